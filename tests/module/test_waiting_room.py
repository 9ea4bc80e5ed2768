"""The room for requests that wait for keys: callers without a certificate leave some of it for others."""

from __future__ import annotations

import scene
from host import Stream, Vm

WAITING, BEFORE_ANONYMOUS = 1024, 512


def _start() -> Vm:
    """Clients of the profile may come without a certificate, and no keys have come yet."""
    uri = {"cluster": "issuer", "authority": "auth.example", "path": "/jwks"}
    token = {"source": "jwks", "jwks_uri": uri, "audiences": ["payments"]}
    return scene.start(scene.policy(mode="bearer_plus_mtls_optional", token=token))


def _waits(stream: Stream) -> bool:
    return not stream.passed and stream.response is None


def test_callers_without_a_certificate_leave_room_for_those_who_have_one() -> None:
    vm, bearer = _start(), scene.token()
    anonymous = [vm.request(scene.headers(bearer=bearer), scene.connection(None)) for _ in range(BEFORE_ANONYMOUS + 1)]
    assert all(map(_waits, anonymous[:-1]))
    refused = anonymous[-1].response
    assert refused is not None and refused.details == "keys_unavailable"
    known = [vm.request(scene.headers(bearer=bearer), scene.connection(number=2)) for _ in range(WAITING - BEFORE_ANONYMOUS + 1)]
    assert all(map(_waits, known[:-1])) and not _waits(known[-1])
    # Room that is left is there for whoever comes next.
    vm.end(known[0])
    assert _waits(vm.request(scene.headers(bearer=bearer), scene.connection(number=2)))
    assert not _waits(vm.request(scene.headers(bearer=bearer), scene.connection(None)))
