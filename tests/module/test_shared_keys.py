"""Fetched keys that all workers of a process share: new policies, VMs that are made anew, rotations at bad moments."""

from __future__ import annotations

import json
from typing import Any

import pytest

import scene
from harness.tokens import Signer
from host import SECOND, Header, HttpCall, Stream, Vm

GOOD: list[Header] = [(b":status", b"200")]
COOLDOWN_MS = 5_000
TIMEOUT_MS = 2_000
URI = {"cluster": "issuer", "authority": "auth.example", "path": "/jwks", "timeout_ms": TIMEOUT_MS}


def _policy(policy_id: str = "1", uri: scene.Config = URI, **more: Any) -> scene.Config:
    return scene.policy(policy_id=policy_id, token={"source": "jwks", "jwks_uri": uri}, **more)


def _beside(other: Vm, config: scene.Config | None = None) -> Vm:
    """Another worker of the same process, or the same one after its VM was made anew."""
    vm = scene.load(_policy() if config is None else config)
    vm.shared, vm.now, vm.monotonic = other.shared, other.now, other.monotonic
    assert vm.configure(), vm.log
    return vm


def _key_set(*keys: Signer | dict[str, Any]) -> bytes:
    return json.dumps({"keys": [key.jwk() if isinstance(key, Signer) else key for key in keys]}).encode()


def _call(vm: Vm) -> HttpCall:
    (call,) = vm.http_calls
    vm.http_calls.clear()
    return call


def _ready(*keys: Signer) -> Vm:
    vm = scene.start(_policy())
    vm.tick(100)
    vm.answer(_call(vm), GOOD, _key_set(*(keys or [scene.signer()])))
    return vm


def _request(vm: Vm, number: int = 1, by: Signer | None = None, client: str | None = "acme") -> Stream:
    return vm.request(scene.headers(bearer=scene.token(by=by, jti=str(number))), scene.connection(client, number))


def _waits(stream: Stream) -> bool:
    return not stream.passed and stream.response is None


def _reason(stream: Stream) -> str:
    assert stream.response is not None and not stream.passed
    return stream.response.details


@pytest.mark.parametrize("config", [
    pytest.param(_policy(), id="a VM that is made anew"),
    pytest.param(_policy("2"), id="a new policy"),
    pytest.param(_policy("2", URI | {"timeout_ms": 500, "refresh_seconds": 30}), id="other times"),
    pytest.param(_policy("2", candidate=_policy("3")), id="with a candidate"),
])
def test_good_keys_serve_the_next_worker_although_their_server_is_down(config: scene.Config) -> None:
    vm = _ready()
    vm.tick(30_000)
    following = _beside(vm, config)
    assert _request(following).passed, following.log
    following.tick(100)
    assert following.gauges["mtls_fetch_age_seconds.source.jwks"] == 30, "as old as they are"


def test_a_new_configuration_of_the_same_worker_keeps_its_keys() -> None:
    vm = _ready()
    vm.tick(1_000)
    assert vm.configure_again(json.dumps(_policy("2")).encode())
    assert _request(vm).passed
    assert vm.configure_again(json.dumps(_policy("1")).encode())
    assert _request(vm, 2).passed, "and so does going back"


def test_keys_do_not_live_longer_because_a_worker_is_new() -> None:
    uri = URI | {"refresh_seconds": 60, "max_stale_seconds": 120}
    vm = scene.start(_policy(uri=uri))
    vm.tick(100)
    vm.answer(_call(vm), GOOD, _key_set(scene.signer()))
    vm.pass_time(119_999)
    following = _beside(vm, _policy("2", uri))
    assert _request(following).passed
    following.tick(1)
    assert _waits(_request(following, 2))
    assert _waits(_request(_beside(following, _policy("3", uri))))


def test_the_keys_of_one_source_are_not_those_of_another() -> None:
    vm = _ready()
    for uri in (URI | {"cluster": "other"}, URI | {"authority": "other"}, URI | {"path": "/other"},
                URI | {"headers": {"x-tenant": "other"}}):
        assert _waits(_request(_beside(vm, _policy(uri=uri)))), uri


def test_what_workers_share_about_keys_is_bounded_however_often_they_change() -> None:
    vm = _ready()
    names = sorted(name for name in vm.shared if ".keys." in name)
    for number in range(50):
        vm.tick(300_000)
        vm.answer(_call(vm), [*GOOD, (b"etag", b'"%d"' % number)], _key_set(Signer("ES256", f"key-{number}")))
    assert sorted(name for name in vm.shared if ".keys." in name) == names and len(names) == 3
    vm.tick(300_000)
    vm.answer(_call(vm), GOOD, b" " * 300_000)
    assert all(len(vm.shared[name][0]) < 2_000 for name in names)


def test_one_worker_fetches_for_all() -> None:
    vm = scene.start(_policy())
    other = _beside(vm)
    vm.tick(100)
    other.monotonic = vm.monotonic
    other.tick()
    waiting = _request(other)
    assert len(vm.http_calls) == 1 and not other.http_calls and _waits(waiting)
    vm.answer(_call(vm), GOOD, _key_set(scene.signer()))
    other.tick(100)
    assert waiting.passed
    assert vm.counters["mtls_fetch_total.source.jwks.outcome.adopted"] == 1
    assert other.counters.get("mtls_fetch_total.source.jwks.outcome.adopted", 0) == 0


ROTATIONS = {
    "another kid": (Signer("ES256", "old"), Signer("ES256", "new")),
    "another key under the same kid": (Signer("ES256", "key"), Signer("ES256", "key")),
    "another kind of key under the same kid": (Signer("ES256", "key"), Signer("RS256", "key")),
}


@pytest.mark.parametrize("name", ROTATIONS)
@pytest.mark.parametrize("after_ms", [0, 1_000, 4_000, 60_000])
def test_a_rotation_costs_a_good_token_one_wait(name: str, after_ms: int) -> None:
    old, new = ROTATIONS[name]
    vm = _ready(old)
    other = _beside(vm)
    vm.pass_time(after_ms)
    other.monotonic = vm.monotonic
    waiting = [_request(vm, 1, new), _request(other, 2, new), _request(vm, 3, new)]
    assert all(map(_waits, waiting))
    vm.tick(100)
    other.tick(100)
    assert not other.http_calls, "one fetch for all workers"
    vm.answer(_call(vm), GOOD, _key_set(new))
    other.tick(100)
    assert all(stream.passed for stream in waiting), [stream.response for stream in waiting]


def test_another_algorithm_for_the_same_key_costs_a_good_token_one_wait() -> None:
    signer = Signer("RS256")
    vm = scene.start(_policy())
    vm.tick(100)
    vm.answer(_call(vm), GOOD, _key_set(signer.jwk() | {"alg": "RS512"}))
    waiting = _request(vm, 1, signer)
    assert _waits(waiting)
    vm.tick(100)
    vm.answer(_call(vm), GOOD, _key_set(signer.jwk() | {"alg": "RS256"}))
    assert waiting.passed


def test_bad_signatures_cost_one_fetch_in_a_cooldown_and_do_not_delay_good_tokens() -> None:
    vm = _ready()
    other = _beside(vm)
    fetches = 0
    for step in range(200):
        for number, worker in enumerate((vm, other)):
            worker.monotonic = vm.monotonic
            _request(worker, 10 * step + number, scene.stranger())
            assert _request(worker, 10 * step + 5 + number).passed, "a good token does not wait"
            worker.tick()
            for call in worker.http_calls:
                fetches += 1
                worker.answer(call, GOOD, _key_set(scene.signer()))
            worker.http_calls.clear()
        vm.pass_time(100)
    assert fetches == 20_000 // COOLDOWN_MS, fetches


def test_a_bad_signature_waits_no_longer_than_a_cooldown_and_a_fetch() -> None:
    vm = _ready()
    first, second = _request(vm, 1, scene.stranger()), None
    vm.tick(100)
    vm.answer(_call(vm), GOOD, _key_set(scene.signer()))
    assert _reason(first) == "token_signature_invalid"
    second = _request(vm, 2, scene.stranger())
    vm.tick(COOLDOWN_MS)
    assert _waits(second) and len(vm.http_calls) == 1
    vm.tick(TIMEOUT_MS - 100)
    assert _waits(second)
    vm.tick(100)
    assert _reason(second) == "token_signature_invalid"


def test_a_signature_that_is_bad_under_the_same_keys_is_not_verified_twice() -> None:
    vm = _ready()
    stream = _request(vm, 1, scene.stranger())
    vm.tick(100)
    scene.forget(vm)
    vm.answer(_call(vm), GOOD, _key_set(scene.signer()))
    assert _reason(stream) == "token_signature_invalid" and stream.record["reason"] == "token_signature_invalid"
    assert "call_foreign_function verify_signature" not in vm.calls
    assert vm.counters["mtls_auth_failure_total.reason.token_signature_invalid"] == 1


def test_a_caller_with_bad_signatures_takes_no_place_of_others() -> None:
    """No keys but the attacker's requests wait; a rotation then finds room for everybody else."""
    old, new = Signer("ES256", "key"), Signer("ES256", "key")
    vm = _ready(old)
    attacks = [_request(vm, number, scene.stranger(), "other") for number in range(600)]
    assert sum(map(_waits, attacks)) == 512
    waiting = _request(vm, 700, new)
    assert _waits(waiting)
    vm.tick(100)
    vm.answer(_call(vm), GOOD, _key_set(new))
    for _ in range(8):
        vm.tick(100)
    assert waiting.passed


def test_an_inline_key_set_has_nothing_to_wait_for() -> None:
    vm = scene.start()
    assert _reason(_request(vm, 1, scene.stranger())) == "token_signature_invalid"
    assert vm.monotonic == 1_000 * SECOND and not vm.http_calls
