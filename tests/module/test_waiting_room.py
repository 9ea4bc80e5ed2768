"""The room for requests that wait for keys: no caller takes the places of all others."""

from __future__ import annotations

import pytest
import scene
from host import Stream, Vm

WAITING = 1024


def _start() -> Vm:
    """Clients of the profile may come without a certificate, and no keys have come yet."""
    uri = {"cluster": "issuer", "authority": "auth.example", "path": "/jwks"}
    token = {"source": "jwks", "jwks_uri": uri, "audiences": ["payments"]}
    return scene.start(scene.policy(mode="bearer_plus_mtls_optional", token=token))


def _waits(stream: Stream) -> bool:
    return not stream.passed and stream.response is None


@pytest.mark.parametrize("callers", [(None, "acme", "other"), ("acme", None, "other")])
def test_no_caller_takes_the_room_of_another(callers: tuple[str | None, ...]) -> None:
    vm, bearer = _start(), scene.token()

    def ask(caller: str | None) -> Stream:
        return vm.request(scene.headers(bearer=bearer), scene.connection(caller, callers.index(caller)))

    free = WAITING
    for caller in callers:
        share = free // 2
        waiting = [ask(caller) for _ in range(share + 1)]
        assert [_waits(stream) for stream in waiting] == [True] * share + [False]
        refused = waiting[-1].response
        assert refused is not None and refused.details == "keys_unavailable", caller
        free -= share
    # A place that becomes free is there for the next request.
    vm.end(waiting[0])
    assert _waits(ask(callers[-1]))
    assert not _waits(ask(callers[-1]))
