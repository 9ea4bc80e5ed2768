"""A certificate that a proxy in front forwards: what it costs, that nothing of it stays, and a host that fails."""

from __future__ import annotations

import base64
import itertools
from typing import Any

import pytest

import scene
from host import STATUSES, Header, Stream

HEADER = "x-own-cert"
ADDRESS = {"filter_state.mtls_authz.direct_remote_address": b"192.0.2.1"}

ASKED = [
    "get_header_map_pairs request_headers",
    "get_current_time_nanoseconds",
    "get_property mtls_authz.connection",
]
NOTED = "set_property mtls_authz.connection"
PASSED = [
    "set_header_map_pairs request_headers",
    "set_property mtls_authz.verdict",
    "increment_metric mtls_auth_success_total",
    "set_property mtls_authz.decision",
]
MISSING = [
    "increment_metric mtls_auth_failure_total.reason.certificate_missing",
    "set_property mtls_authz.decision",
    "send_local_response 401",
]


def _policy(source: str = "forwarded", **trusted: list[str]) -> scene.Config:
    """`acme` with a certificate alone, from a proxy at 192.0.2.0/24 unless `trusted` says otherwise."""
    forwarded = {"format": "base64_der", "header": HEADER, "trusted_proxies": trusted or {"cidrs": ["192.0.2.0/24"]}}
    return scene.policy(mode="mtls", token={}, certificate={"source": source, "forwarded": forwarded})


def _value(client: str = "acme") -> bytes:
    return base64.b64encode(scene.credential(client).der)


def _request(*values: bytes) -> list[Header]:
    return scene.headers("/payments/1", None, "GET", *((HEADER.encode(), value) for value in values))


def test_a_connection_and_a_certificate_that_are_known_cost_no_call_more_than_without_a_proxy() -> None:
    for config, first in [
        (_policy(), ["get_property request.protocol", "get_property filter_state.mtls_authz.direct_remote_address",
                     "get_property connection.sha256_peer_certificate_digest"]),
        (_policy(identities=["cn:proxy"]),
         ["get_property connection.peer_certificate", "get_property connection.peer_certificate_valid"]),
    ]:
        vm = scene.start(config)
        properties = scene.connection("proxy") | ADDRESS
        for found_out, noted in (([*first, NOTED], scene.NOTED), ([], [])):
            scene.forget(vm)
            stream = vm.request(_request(_value()), properties)
            assert stream.values("x-client-id") == [b"acme"] and not stream.values(HEADER)
            assert vm.calls == [*ASKED, *found_out, *PASSED[:-1], *noted, PASSED[-1]]


def test_over_quic_no_address_is_asked_for_and_nobody_is_believed_for_one() -> None:
    vm = scene.start(_policy())
    properties = scene.connection("proxy") | ADDRESS | {"request.protocol": b"HTTP/3"}
    for found_out in (["get_property request.protocol", NOTED], []):
        scene.forget(vm)
        assert vm.request(_request(_value()), properties).response
        assert vm.calls[:len(ASKED) + len(found_out)] == [*ASKED, *found_out]


def test_without_the_header_nothing_is_asked() -> None:
    vm = scene.start(_policy())
    assert vm.request(_request(), scene.connection("acme") | ADDRESS).response
    assert vm.calls == [*ASKED[:2], *MISSING]


def test_a_bypassed_request_asks_only_where_something_is_removed() -> None:
    vm = scene.start(_policy())
    for headers, asked in [([], 0), ([(HEADER.encode(), _value())], 5)]:
        scene.forget(vm)
        stream = vm.request(scene.headers("/health", None, "GET", *headers), scene.connection(None) | ADDRESS)
        assert stream.passed and not stream.values(HEADER)
        assert len([call for call in vm.calls if call.startswith(("get_property", "get_current"))]) == asked
        assert "increment_metric mtls_forwarded_cert_stripped_total" not in vm.calls


def test_what_a_stranger_sends_is_counted_and_ignored() -> None:
    vm = scene.start(_policy())
    stranger = {"filter_state.mtls_authz.direct_remote_address": b"198.51.100.1"}
    for path in ("/payments/1", "/health"):
        scene.forget(vm)
        headers = scene.headers(path, None, "GET", (HEADER.encode(), _value()))
        stream = vm.request(headers, scene.connection(None) | stranger)
        assert stream.passed == (path == "/health")
        assert not stream.passed or not stream.values(HEADER)
        assert vm.calls.count("increment_metric mtls_forwarded_cert_stripped_total") == 1


@pytest.mark.parametrize("source", ["forwarded", "connection_or_forwarded"])
@pytest.mark.parametrize("trusted", [{"cidrs": ["192.0.2.0/24"]}, {"identities": ["cn:proxy"]},
                                     {"cidrs": ["203.0.113.0/24"], "identities": ["cn:proxy"]}])
def test_each_call_that_fails_alone_takes_nobody_for_another(source: str, trusted: dict[str, list[str]]) -> None:
    config = _policy(source, **trusted)
    config["clients"]["proxy"] = {"identities": ["cn:proxy"], "profiles": ["partner"]}
    vm = scene.start(config)
    numbers = itertools.count(1)

    def request() -> Stream:
        return vm.request(_request(_value()), scene.connection("proxy", next(numbers)) | ADDRESS)

    assert request().values("x-client-id") == [b"acme"]
    for place in range(len(vm.calls)):
        for status in STATUSES[1:]:
            scene.forget(vm)
            vm.sabotage = lambda call: status if len(vm.calls) == place + 1 else None  # noqa: B023
            stream = request()
            if stream.passed:
                assert stream.has_verdict and stream.values("x-client-id") == [b"acme"]
                assert not stream.values(HEADER)


def test_requests_leave_nothing_behind() -> None:
    vm = scene.start(_policy())
    values = [_value(), b"x", b"A" * 40_000, b""]

    def requests(count: int) -> None:
        for number in range(count):
            properties: dict[str, Any] = scene.connection("proxy", number) | ADDRESS
            vm.end(vm.request(_request(values[number % len(values)]), properties))
        scene.forget(vm)

    requests(3000)
    before = vm.pages
    requests(6000)
    assert vm.pages <= before + 1


def test_values_that_are_never_seen_again_are_forgotten() -> None:
    # Spellings of one certificate: Traefik's older versions escape any character they like.
    forwarded = {"format": "traefik", "header": HEADER, "trusted_proxies": {"cidrs": ["192.0.2.0/24"]}}
    vm = scene.start(scene.policy(mode="mtls", token={}, certificate={"source": "forwarded", "forwarded": forwarded}))
    plain = _value()

    def spelled(number: int) -> bytes:
        return b"".join(b"%%%02X" % byte if number >> place & 1 else bytes([byte])
                        for place, byte in enumerate(plain[:13])) + plain[13:]

    def requests(numbers: range) -> None:
        properties = scene.connection(None) | ADDRESS
        for number in numbers:
            stream = vm.request(_request(spelled(number)), properties)
            assert stream.values("x-client-id") == [b"acme"]
            vm.end(stream)
        scene.forget(vm)

    requests(range(2000))
    before = vm.pages
    requests(range(2000, 6000))
    assert vm.pages <= before + 2
