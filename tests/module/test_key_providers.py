"""Several issuers, each with fetched keys of its own: what is fetched for whom, and who waits for what."""

from __future__ import annotations

import json

import scene
from harness.tokens import Signer
from host import Header, HttpCall, Stream, Vm

GOOD: list[Header] = [(b":status", b"200")]
FIRST, SECOND = "https://first.example", "https://second.example"


def _start() -> Vm:
    def provider(issuer: str, cluster: str) -> scene.Config:
        return {"issuer": issuer, "jwks_uri": {"cluster": cluster, "authority": "auth.example", "path": "/jwks"}}

    providers = [provider(FIRST, "first"), provider(SECOND, "second")]
    return scene.start(scene.policy(token={"source": "jwks", "providers": providers}))


def _calls(vm: Vm) -> dict[str, HttpCall]:
    """The fetches that are under way, by cluster."""
    calls = {call.cluster: call for call in vm.http_calls}
    assert len(calls) == len(vm.http_calls)
    vm.http_calls.clear()
    return calls


def _key_set(*signers: Signer) -> bytes:
    return json.dumps({"keys": [signer.jwk() for signer in signers]}).encode()


def _request(vm: Vm, number: int, issuer: str, by: Signer) -> Stream:
    token = scene.token(by=by, jti=str(number), iss=issuer)
    return vm.request(scene.headers(bearer=token), scene.connection(number=number))


def _waits(stream: Stream) -> bool:
    return not stream.passed and stream.response is None


def _reason(stream: Stream) -> str:
    assert stream.response is not None and not stream.passed
    return stream.response.details


def test_a_request_waits_for_the_keys_of_its_own_issuer() -> None:
    vm = _start()
    one, other = scene.signer(), Signer()
    of_first, of_second = _request(vm, 1, FIRST, one), _request(vm, 2, SECOND, other)
    forged = _request(vm, 3, FIRST, other)
    assert _reason(_request(vm, 4, "https://third.example", one)) == "token_issuer_mismatch"
    vm.tick(100)
    calls = _calls(vm)
    assert calls.keys() == {"first", "second"}
    assert all(map(_waits, (of_first, of_second, forged)))
    vm.answer(calls["second"], GOOD, _key_set(other))
    assert of_second.passed and _waits(of_first) and _waits(forged)
    vm.answer(calls["first"], GOOD, _key_set(one))
    assert of_first.passed and _reason(forged) == "token_signature_invalid"


def test_an_unknown_key_has_the_keys_of_its_issuer_fetched_and_no_others() -> None:
    vm = _start()
    one, other, rotated = scene.signer(), Signer(), Signer(key_id="key-2")
    vm.tick(100)
    for cluster, call in _calls(vm).items():
        vm.answer(call, GOOD, _key_set(one if cluster == "first" else other))
    vm.pass_time(5_000)
    waiting = _request(vm, 1, SECOND, rotated)
    vm.tick(100)
    calls = _calls(vm)
    assert calls.keys() == {"second"} and _waits(waiting)
    vm.answer(calls["second"], GOOD, _key_set(other, rotated))
    assert waiting.passed
    assert _request(vm, 2, FIRST, one).passed and _request(vm, 3, SECOND, other).passed


def test_each_key_set_has_its_own_figures() -> None:
    vm = _start()
    vm.tick(100)
    calls = _calls(vm)
    vm.answer(calls["first"], GOOD, _key_set(scene.signer()))
    vm.answer(calls["second"], [])
    vm.tick(1_000)
    fetched = {name: count for name, count in vm.counters.items() if name.startswith("mtls_fetch_total") and count}
    assert fetched == {
        "mtls_fetch_total.source.jwks_0.outcome.adopted": 1,
        "mtls_fetch_total.source.jwks_1.outcome.failed": 1,
    }
    assert {name for name in vm.gauges if "fetch_age" in name} == {
        "mtls_fetch_age_seconds.source.jwks_0", "mtls_fetch_age_seconds.source.jwks_1"}
    assert any(line.startswith("mtls_authz: token.providers[1].jwks_uri: ") for _, line in vm.log)
