"""How old fetched keys are, and how long requests wait for them, whatever happens to the time of day."""

from __future__ import annotations

import json
import time

import pytest

import scene
from harness.tokens import Signer
from host import SECOND, Header, HttpCall, Stream, Vm

GOOD: list[Header] = [(b":status", b"200")]
REFRESH, MAX_STALE, TIMEOUT_MS = 60, 120, 2_000
HOUR = 3_600 * SECOND
SHIFTS = [0, -HOUR, HOUR, -24 * 365 * HOUR, 24 * 365 * HOUR]
"""By which the time of day is corrected, as NTP or an operator does."""


def _start() -> Vm:
    uri = {"cluster": "issuer", "authority": "auth.example", "path": "/jwks", "refresh_seconds": REFRESH,
           "max_stale_seconds": MAX_STALE, "timeout_ms": TIMEOUT_MS}
    return scene.start(scene.policy(token={"source": "jwks", "jwks_uri": uri}))


def _key_set(*signers: Signer) -> bytes:
    return json.dumps({"keys": [signer.jwk() for signer in signers]}).encode()


def _fetched(vm: Vm, *signers: Signer) -> None:
    """The only fetch that is under way brings these keys."""
    vm.answer(_call(vm), GOOD, _key_set(*(signers or [scene.signer()])))


def _call(vm: Vm) -> HttpCall:
    (call,) = vm.http_calls
    vm.http_calls.clear()
    return call


def _ready() -> Vm:
    vm = _start()
    vm.tick(100)
    _fetched(vm)
    return vm


def _shift(vm: Vm, by: int) -> None:
    """Corrects the time of day."""
    vm.now += by


def _set_right(vm: Vm) -> None:
    """The time of day is that of certificates and tokens, because only the keys are looked at here."""
    vm.now = time.time_ns()


def _request(vm: Vm, number: int = 1, by: Signer | None = None) -> Stream:
    shifted = vm.now
    _set_right(vm)
    stream = vm.request(scene.headers(bearer=scene.token(by=by, jti=str(number))), scene.connection(number=number))
    vm.now = shifted
    return stream


def _waits(stream: Stream) -> bool:
    return not stream.passed and stream.response is None


def _reason(stream: Stream) -> str:
    assert stream.response is not None
    return stream.response.details


@pytest.mark.parametrize("shift", SHIFTS)
def test_keys_are_fetched_again_when_they_are_due(shift: int) -> None:
    vm = _ready()
    _shift(vm, shift)
    vm.tick(REFRESH * 800)
    assert not vm.http_calls, "too early"
    vm.tick(REFRESH * 200)
    assert len(vm.http_calls) == 1


@pytest.mark.parametrize("shift", SHIFTS)
def test_keys_that_cannot_be_fetched_again_are_dropped_when_they_are_too_old(shift: int) -> None:
    vm = _ready()
    _shift(vm, shift)
    assert _request(vm, 1).passed
    vm.tick(MAX_STALE * 1_000 - 100)
    assert _request(vm, 2).passed, "not dropped too early"
    vm.tick(100)
    assert _waits(_request(vm, 3)), "waits for others"
    assert any("older than max_stale_seconds" in line for _, line in vm.log)


@pytest.mark.parametrize("shift", SHIFTS)
def test_keys_that_were_dropped_come_back_with_the_next_fetch(shift: int) -> None:
    vm = _ready()
    _shift(vm, shift)
    vm.tick(MAX_STALE * 500)
    vm.answer(_call(vm), [])
    vm.tick(MAX_STALE * 500)
    waiting = _request(vm)
    assert _waits(waiting)
    _set_right(vm)
    _fetched(vm)
    assert waiting.passed


@pytest.mark.parametrize("shift", SHIFTS)
def test_a_second_new_key_is_looked_for_after_the_cooldown_and_not_before(shift: int) -> None:
    vm, rotated, again = _ready(), Signer(key_id="key-2"), Signer(key_id="key-3")
    _shift(vm, shift)
    waiting = _request(vm, 1, rotated)
    vm.tick(100)
    _set_right(vm)
    _fetched(vm, scene.signer(), rotated)
    assert waiting.passed
    _shift(vm, shift)
    waiting = _request(vm, 2, again)
    vm.tick(4_900)
    assert _waits(waiting) and not vm.http_calls
    vm.tick(100)
    _set_right(vm)
    _fetched(vm, scene.signer(), rotated, again)
    assert waiting.passed


@pytest.mark.parametrize("shift", SHIFTS)
def test_no_request_waits_longer_than_it_may(shift: int) -> None:
    vm = _start()
    waiting = _request(vm)
    vm.tick(100)
    _shift(vm, shift)
    vm.tick(TIMEOUT_MS - 200)
    assert _waits(waiting), "nor shorter"
    vm.tick(100)
    assert not waiting.passed and not _waits(waiting)


@pytest.mark.parametrize("shift", SHIFTS)
def test_the_age_that_is_shown_is_the_time_that_has_passed(shift: int) -> None:
    vm = _ready()
    _shift(vm, shift)
    vm.tick(10_000)
    assert vm.gauges["mtls_fetch_age_seconds.source.jwks"] == 10


def test_without_a_clock_no_key_counts_as_fresh() -> None:
    vm = _ready()
    vm.sabotage = lambda call: 2 if call == "clock_time_get" else None
    vm.tick(100)
    assert _reason(_request(vm, 1)) == "keys_unavailable"
    vm.sabotage = lambda call: None
    vm.tick(100)
    assert _request(vm, 2).passed, "how old they are is known again"
    vm.tick(MAX_STALE * 1_000)
    assert _waits(_request(vm, 3))


def test_without_a_clock_no_request_waits() -> None:
    vm = _start()
    stream = _request(vm, 1)
    vm.sabotage = lambda call: 2 if call == "clock_time_get" else None
    vm.tick(100)
    assert stream.record["reason"] == "keys_unavailable"


def test_a_request_does_not_ask_how_old_the_keys_are() -> None:
    vm = _ready()
    vm.end(_request(vm, 1))
    scene.forget(vm)
    assert _request(vm, 1).passed
    assert "clock_time_get" not in vm.calls and vm.calls.count("get_current_time_nanoseconds") == 1

