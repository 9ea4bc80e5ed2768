"""Keys that are fetched: requests that wait for them, and answers that come late, wrong, twice or to nobody."""

from __future__ import annotations

import json
from typing import Any

import pytest

import scene
from harness.tokens import Signer
from host import STATUSES, Header, HttpCall, Stream, Vm

GOOD: list[Header] = [(b":status", b"200"), (b"content-type", b"application/json")]
TIMEOUT_MS = 2000
AGE = "mtls_fetch_age_seconds.source.jwks"
LOOK = ["get_shared_data mtls_authz.keys.state", "get_shared_data mtls_authz.keys.attempt"]
"""What all workers know of a key set."""
TAKEN = [
    "get_shared_data mtls_authz.keys.state",
    # Reading takes its time.
    "get_shared_data mtls_authz.keys.attempt", "set_shared_data mtls_authz.keys.attempt",
    "get_shared_data mtls_authz.keys.state", "set_shared_data mtls_authz.keys.state",
    "get_shared_data mtls_authz.keys.set", "get_shared_data mtls_authz.keys.state", "set_shared_data mtls_authz.keys.set",
    "get_shared_data mtls_authz.keys.attempt", "set_shared_data mtls_authz.keys.attempt",
]
"""And how a worker leaves for them what it has fetched."""
WAITING = [
    "get_header_map_pairs request_headers",
    "get_current_time_nanoseconds",
    "get_property mtls_authz.connection",
    "get_property connection.peer_certificate",
    "get_property connection.peer_certificate_valid",
    "set_property mtls_authz.connection",
    # When its patience ends.
    "clock_time_get",
]


def _key_set(*signers: Signer) -> bytes:
    return json.dumps({"keys": [signer.jwk() for signer in signers]}).encode()


def _start(**more: Any) -> Vm:
    uri = {"cluster": "issuer", "authority": "auth.example", "path": "/jwks", "timeout_ms": TIMEOUT_MS} | more
    return scene.start(scene.policy(token={"source": "jwks", "jwks_uri": uri}))


def _ready() -> Vm:
    """With the first set in force."""
    vm = _start()
    vm.tick(100)
    vm.answer(_call(vm), GOOD, _key_set(scene.signer()))
    scene.forget(vm)
    return vm


def _call(vm: Vm) -> HttpCall:
    """The only fetch that is under way."""
    (call,) = vm.http_calls
    vm.http_calls.clear()
    return call


def _request(vm: Vm, number: int = 1, by: Signer | None = None) -> Stream:
    return vm.request(scene.headers(bearer=scene.token(by=by, jti=str(number))), scene.connection(number=number))


def _waits(stream: Stream) -> bool:
    return not stream.passed and stream.response is None and not stream.filter_state


def _refused(stream: Stream, reason: str, status: int) -> bool:
    assert stream.response is not None and not stream.passed and not stream.has_verdict
    assert (stream.response.details, stream.response.status) == (reason, status)
    assert stream.record["reason"] == reason
    return True


def _rotated() -> Signer:
    return Signer(key_id="key-2")


def test_a_request_waits_for_the_first_set_and_goes_on() -> None:
    vm = _start()
    assert vm.tick_period == 100
    stream = _request(vm)
    assert _waits(stream) and vm.calls == WAITING
    scene.forget(vm)
    vm.tick(100)
    assert vm.calls == [
        "clock_time_get", *LOOK, "set_shared_data mtls_authz.keys.attempt", "http_call issuer",
        f"define_metric {AGE}", f"record_metric {AGE}",
    ]
    call = _call(vm)
    assert (call.cluster, call.timeout_ms) == ("issuer", TIMEOUT_MS)
    assert dict(call.headers) == {
        b":method": b"GET", b":scheme": b"https", b":authority": b"auth.example", b":path": b"/jwks",
        b"accept": b"application/jwk-set+json, application/json", b"user-agent": scene.USER_AGENT,
    }
    scene.forget(vm)
    vm.answer(call, GOOD, _key_set(scene.signer()))
    assert stream.passed and stream.has_verdict and stream.values("x-client-id") == [b"acme"]
    assert vm.calls == [
        "clock_time_get",
        "get_header_map_pairs http_call_response_headers",
        "get_buffer_bytes http_call_response_body",
        *TAKEN,
        "clock_time_get",
        "log info",
        "increment_metric mtls_fetch_total.source.jwks.outcome.adopted",
        "set_effective_context",
        "get_header_map_pairs request_headers",
        "get_current_time_nanoseconds",
        "get_property mtls_authz.connection",
        "call_foreign_function verify_signature",
        "add_header_map_value x-client-id",
        "add_header_map_value x-profile-id",
        "add_header_map_value x-client-identity",
        "add_header_map_value x-client-cert-thumbprint",
        "set_property mtls_authz.verdict",
        "increment_metric mtls_auth_success_total",
        *scene.NOTED,
        "set_property mtls_authz.decision",
        "continue_stream",
    ]
    vm.end(stream)


def test_a_tick_with_nothing_to_do_looks_at_what_all_workers_know_and_once_a_second_tells_the_age_of_the_keys() -> None:
    vm = _ready()
    vm.tick(1_000)
    assert vm.calls == ["clock_time_get", *LOOK, f"record_metric {AGE}"]
    scene.forget(vm)
    vm.tick()
    assert vm.calls == ["clock_time_get", *LOOK]


def test_the_age_of_the_keys_is_counted_from_the_last_good_set() -> None:
    vm = _ready()
    ages = []
    for _ in range(3):
        vm.tick(1_000)
        ages.append(vm.gauges[AGE])
    assert ages == [1, 2, 3]


def test_with_inline_keys_a_tick_has_nothing_to_do_but_for_the_gauges() -> None:
    vm = scene.start()
    assert vm.tick_period == 10_000
    vm.tick()
    assert vm.calls == ["clock_time_get"]


def test_each_waiting_request_is_decided_for_itself() -> None:
    vm = _start()
    good, forged = _request(vm, 1), _request(vm, 2, scene.stranger())
    bypassed = vm.request(scene.headers("/health"), scene.connection(None, 3))
    assert _waits(good) and _waits(forged) and bypassed.passed
    vm.tick(100)
    vm.answer(_call(vm), GOOD, _key_set(scene.signer()))
    assert good.passed and _refused(forged, "token_signature_invalid", 401)


def test_patience_ends() -> None:
    vm = _start()
    stream = _request(vm)
    vm.tick(100)
    call = _call(vm)
    vm.tick(TIMEOUT_MS - 200)
    assert _waits(stream)
    vm.tick(100)
    assert _refused(stream, "keys_unavailable", 503)
    # Late, but not useless: the next request finds the keys there.
    vm.answer(call, GOOD, _key_set(scene.signer()))
    assert stream.response is not None and not stream.passed
    assert _request(vm, 2).passed


@pytest.mark.parametrize("headers, body", [
    ([], b""),
    ([(b":status", b"503")], b""),
    ([(b":status", b"200")], b""),
    ([(b":status", b"200")], b"{}"),
    ([(b":status", b"200")], b'{"keys":[]}'),
    ([(b":status", b"200")], b"a" * 1_000_000),
    ([(b":status", b"200")], b"[" * 100_000),
    ([(b":status", b"\xff")], b""),
    ([(b"content-type", b"application/json")], b"{}"),
], ids=["failed", "503", "empty", "no keys member", "no keys", "too large", "deep", "no status code", "no status"])
def test_an_answer_without_keys(headers: list[Header], body: bytes) -> None:
    vm = _start()
    stream = _request(vm)
    vm.tick(100)
    vm.answer(_call(vm), headers, body)
    assert _waits(stream), "another attempt may come in time"
    assert [level for level, _ in vm.log if level == "warn"], vm.log
    vm.tick(1000)
    vm.answer(_call(vm), GOOD, _key_set(scene.signer()))
    assert stream.passed


def test_an_unknown_key_costs_one_fetch_in_five_seconds() -> None:
    vm, rotated = _ready(), _rotated()
    waiting = [_request(vm, number, rotated) for number in range(2, 5)]
    assert all(map(_waits, waiting)) and _request(vm, 5).passed
    vm.tick(100)
    call = _call(vm)
    vm.tick(100)
    assert not vm.http_calls
    vm.answer(call, GOOD, _key_set(scene.signer()))
    assert all(_refused(stream, "token_key_unknown", 401) for stream in waiting)
    late = _request(vm, 6, rotated)
    vm.tick(4_800)
    assert _waits(late) and not vm.http_calls
    vm.tick(100)
    vm.answer(_call(vm), GOOD, _key_set(scene.signer(), rotated))
    assert late.passed


def test_a_fetch_that_fails_leaves_the_keys_in_force() -> None:
    vm, rotated = _ready(), _rotated()
    vm.pass_time(5_000)
    stream = _request(vm, 1, rotated)
    vm.tick(100)
    vm.answer(_call(vm), [])
    assert _refused(stream, "token_key_unknown", 401) and _request(vm, 2).passed


def test_a_client_that_has_gone_is_not_decided_about() -> None:
    vm = _start()
    gone, stays = _request(vm, 1), _request(vm, 2)
    vm.end(gone)
    vm.tick(100)
    scene.forget(vm)
    vm.answer(_call(vm), GOOD, _key_set(scene.signer()))
    assert stays.passed and _waits(gone)
    assert vm.calls.count("set_effective_context") == 1
    vm.tick(10 * TIMEOUT_MS)
    assert _waits(gone)


def test_a_client_that_goes_while_others_are_decided_about() -> None:
    """Its context is gone for the host alone: it says so, and nothing else is asked."""
    vm = _start()
    stream, stays = _request(vm, 1), _request(vm, 2)
    vm.tick(100)
    vm.sabotage = lambda call: 2 if call == "set_effective_context" and vm.calls.count(call) == 1 else None
    vm.answer(_call(vm), GOOD, _key_set(scene.signer()))
    assert _waits(stream) and stays.passed


@pytest.mark.parametrize("place", range(5))
def test_answers_that_nobody_waits_for(place: int) -> None:
    """Envoy does not make them; the SDK for Rust panics at them."""
    vm = _start()
    strangers = [0, 77, 2**31 - 1]
    call: HttpCall | None = None
    if place > 0:
        stream = _request(vm)
    if place > 1:
        vm.tick(100)
        call = _call(vm)
    if place > 2 and call:
        vm.answer(call, GOOD, _key_set(scene.signer()))
    if place > 3 and call:
        strangers.append(call.token)
    for token in strangers:
        scene.forget(vm)
        vm.answer(token, GOOD, _key_set(scene.stranger()))
        assert not vm.calls, "what nobody asked for is not read"
    if place > 2:
        assert stream.passed and _request(vm, 2).passed
    elif place > 0:
        assert _waits(stream)


def test_a_new_configuration_leaves_nobody_waiting() -> None:
    vm = _start()
    stream = _request(vm)
    vm.tick(100)
    call = _call(vm)
    assert vm.configure_again()
    assert _refused(stream, "keys_unavailable", 503)
    vm.answer(call, GOOD, _key_set(scene.signer()))
    assert _waits(_request(vm, 2)), "the answer was the old configuration's"


def test_a_plugin_that_goes_while_a_request_waits() -> None:
    vm = _start()
    stream = _request(vm)
    vm.tick(100)
    call = _call(vm)
    vm.end_plugin()
    vm.answer(call, GOOD, _key_set(scene.signer()))
    vm.tick(10 * TIMEOUT_MS)
    assert _waits(stream), "Envoy keeps a plugin for as long as it has requests"
    vm.end(stream)


def test_what_finds_no_room_to_wait_is_refused_and_all_that_waits_goes_on() -> None:
    vm = _start()
    streams = [_request(vm, number) for number in range(520)]
    assert all(map(_waits, streams[:512]))
    assert all(_refused(stream, "keys_unavailable", 503) for stream in streams[512:])
    vm.tick(100)
    vm.answer(_call(vm), GOOD, _key_set(scene.signer()))
    # Envoy ends refused requests within the call: hundreds in one would use up the stack.
    assert sum(stream.passed for stream in streams) == 64
    for _ in range(7):
        vm.tick(100)
    assert all(stream.passed for stream in streams[:512])


CALLS = ["get_current_time_nanoseconds", "clock_time_get", "http_call", "get_header_map_pairs", "get_buffer_bytes", "log",
         "set_effective_context", "continue_stream", "add_header_map_value", "set_property", "get_property",
         "call_foreign_function", "increment_metric"]


@pytest.mark.parametrize("name", CALLS)
def test_a_call_that_fails_while_keys_come(name: str) -> None:
    """No trap, nothing goes on without a verdict, and once the host is well again so is the filter."""
    for status in STATUSES[1:]:
        vm = _start()
        stream = _request(vm)
        vm.sabotage = lambda call: status if call.split()[0] == name else None  # noqa: B023
        vm.tick(100)
        for call in vm.http_calls:
            vm.answer(call, GOOD, _key_set(scene.signer()))
        vm.http_calls.clear()
        assert not stream.passed or stream.has_verdict
        if name in ("continue_stream", "set_effective_context", "add_header_map_value"):
            assert not stream.passed
        vm.sabotage = lambda call: None
        vm.tick(20_000)
        for call in vm.http_calls:
            vm.answer(call, GOOD, _key_set(scene.signer()))
        assert _request(vm, 2).passed, (status, vm.log)


def test_nonsense_in_an_answers_headers() -> None:
    for value in (b"\xff", b"\xff\xff\xff\xff", b"\x01\0\0\0", b"\0" * 40, b""):
        vm = _start()
        stream = _request(vm)
        vm.tick(100)
        vm.garbage = {"get_header_map_pairs http_call_response_headers": value}
        vm.answer(_call(vm), GOOD, _key_set(scene.signer()))
        assert _waits(stream)
