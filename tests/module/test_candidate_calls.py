"""A candidate: what it costs, what it fetches, and that none of it is seen of a request."""

from __future__ import annotations

import json

import scene
from host import Vm


def _with_candidate(**changes: object) -> scene.Config:
    return scene.policy(candidate=scene.policy(**changes))


def _jwks(*keys: object) -> bytes:
    return json.dumps({"keys": keys}).encode()


def _calls(config: scene.Config, times: int) -> list[str]:
    vm, token = scene.start(config), scene.token()
    for _ in range(times):
        scene.forget(vm)
        assert vm.request(scene.headers(bearer=token), scene.connection()).passed
    return [call for call in vm.calls if "mtls_auth_candidate_total" not in call]


def test_a_candidate_costs_no_host_call() -> None:
    for times in (1, 2):
        assert _calls(_with_candidate(), times) == _calls(scene.policy(), times)


def test_a_known_request_counts_the_candidate_once() -> None:
    vm, token = scene.start(_with_candidate()), scene.token()
    assert vm.request(scene.headers(bearer=token), scene.connection()).record["candidate"] is None
    assert vm.counters["mtls_auth_candidate_total.outcome.same"] == 1


def test_a_candidate_fetches_for_itself_and_no_request_waits_for_it() -> None:
    uri = {"cluster": "issuer", "authority": "auth.example", "path": "/jwks.json"}
    config = _with_candidate(token={"source": "jwks", "jwks_uri": uri})
    vm, token = scene.start(config), scene.token()
    assert vm.tick_period == 100
    stream = vm.request(scene.headers(bearer=token), scene.connection())
    assert stream.passed
    assert stream.record["candidate"]["reason"] == "keys_unavailable"
    vm.tick(100)
    (call,) = vm.http_calls
    vm.answer(call, [(b":status", b"200")], _jwks(scene.signer().jwk()))
    assert vm.request(scene.headers(bearer=token), scene.connection()).record["candidate"] is None
    assert not [name for name in vm.gauges if name.startswith("mtls_fetch_age")], "its gauges would be those of the policy"
    assert [line for _, line in vm.log if "candidate.token.jwks_uri: new keys are in force" in line]


def test_a_candidate_fetches_its_lists_and_no_request_waits_for_them() -> None:
    feed = {"type": "json", "cluster": "lists", "authority": "lists.example", "path": "/"}
    vm, token = scene.start(_with_candidate(revocation={"feeds": [feed]})), scene.token()
    vm.tick(100)
    (call,) = vm.http_calls
    stream = vm.request(scene.headers(bearer=token), scene.connection())
    assert stream.passed
    assert stream.record["candidate"]["reason"] == "revocation_unavailable"
    vm.answer(call, [(b":status", b"200")], b'{"sha256": []}')
    assert vm.request(scene.headers(bearer=token), scene.connection()).record["candidate"] is None
    assert not [name for name in vm.counters if name.startswith("mtls_fetch_total.source.feed")]


def test_a_key_that_a_candidate_does_not_know_is_looked_for() -> None:
    uri = {"cluster": "issuer", "authority": "auth.example", "path": "/jwks.json"}
    vm, token = scene.start(_with_candidate(token={"source": "jwks", "jwks_uri": uri})), scene.token()
    vm.tick(100)
    vm.answer(vm.http_calls[0], [(b":status", b"200")], _jwks(scene.stranger().jwk() | {"kid": "another"}))
    record = vm.request(scene.headers(bearer=token), scene.connection()).record
    assert record["candidate"]["reason"] == "token_key_unknown"
    vm.tick(6_000)
    assert len(vm.http_calls) == 2


def test_a_candidate_is_not_asked_about_a_request_before_it_has_waited() -> None:
    uri = {"cluster": "issuer", "authority": "auth.example", "path": "/jwks.json"}
    candidate = scene.policy()
    candidate["profiles"]["partner"]["rate_limit"] = {"requests": 1, "per_seconds": 3600, "burst": 1}
    config = scene.policy(candidate=candidate, token={"source": "jwks", "jwks_uri": uri})
    vm = scene.start(config)
    stream = vm.request(scene.headers(bearer=scene.token()), scene.connection())
    assert not stream.passed and stream.response is None
    vm.tick(100)
    vm.answer(vm.http_calls[0], [(b":status", b"200")], _jwks(scene.signer().jwk()))
    assert stream.passed and stream.record["candidate"] is None
    assert vm.counters["mtls_auth_candidate_total.outcome.same"] == 1
    # Its rate is used up by that one request.
    assert vm.request(scene.headers(bearer=scene.token()), scene.connection()).record["candidate"]["reason"] == "rate_limited"


def test_an_unreadable_candidate_is_reported_and_harms_nothing() -> None:
    vm: Vm = scene.start(scene.policy(candidate={"profiles": []}))
    assert [line for level, line in vm.log if level == "error" and "candidate.profiles" in line]
    assert vm.request(scene.headers(bearer=scene.token()), scene.connection()).passed
