"""What a request costs: every host call, in order. One more than stands here is a regression.

A call into Envoy costs more than most of what the filter computes, so each is asked only where its answer matters.
"""

from __future__ import annotations

from collections import Counter
from urllib.parse import quote

import scene
from host import Vm

EXPORTS = {
    "memory", "_initialize", "proxy_abi_version_0_2_1", "proxy_on_memory_allocate", "proxy_on_context_create",
    "proxy_on_vm_start", "proxy_on_configure", "proxy_on_tick", "proxy_on_http_call_response",
    "proxy_on_request_headers", "proxy_on_request_trailers", "proxy_on_delete",
}

ADDED = [
    "add_header_map_value x-client-id",
    "add_header_map_value x-profile-id",
    "add_header_map_value x-client-identity",
    "add_header_map_value x-client-cert-thumbprint",
]
"""What the upstream is told of a client that has no principal."""

ALLOWED = [
    *ADDED,
    "set_property mtls_authz.verdict",
    "increment_metric mtls_auth_success_total",
    "set_property mtls_authz.decision",
]

HOT = [
    "get_header_map_pairs request_headers",
    "get_current_time_nanoseconds",
    "get_property mtls_authz.connection",
    *ALLOWED,
]


def _known(vm: Vm, token: str) -> None:
    """Lets the filter get to know the connection and the token."""
    assert vm.request(scene.headers(bearer=token), scene.connection()).passed
    scene.forget(vm)


def test_the_filter_exports_no_callback_that_envoy_would_make_for_nothing() -> None:
    assert scene.start().exports == EXPORTS


def test_a_request_whose_connection_and_token_are_known() -> None:
    vm, token = scene.start(), scene.token()
    _known(vm, token)
    stream = vm.request(scene.headers(bearer=token), scene.connection())
    assert stream.passed and stream.has_verdict
    assert vm.calls == HOT
    # What Envoy calls: the headers and the connection's id are the two things that memory is allocated for.
    vm.end(stream)
    assert vm.entries == [
        "proxy_on_context_create", "proxy_on_request_headers", "proxy_on_memory_allocate", "proxy_on_memory_allocate",
        "proxy_on_delete",
    ]
    assert vm.calls == HOT, "the end of a request costs no call"


def test_more_clients_and_rules_cost_no_call() -> None:
    clients = {f"client-{number}": {"identities": [f"cn:client-{number}"], "profiles": ["partner"]}
               for number in range(1000)}
    rules = [{"paths": [f"/other/{number}/*"]} for number in range(1000)]
    config = scene.policy()
    config["clients"] |= clients
    config["profiles"]["partner"]["allow"] = rules + config["profiles"]["partner"]["allow"]
    vm, token = scene.start(config), scene.token()
    _known(vm, token)
    assert vm.request(scene.headers(bearer=token), scene.connection()).passed
    assert vm.calls == HOT


def test_the_first_request_of_a_connection_with_a_known_token() -> None:
    vm, token = scene.start(), scene.token()
    _known(vm, token)
    assert vm.request(scene.headers(bearer=token), scene.connection(number=2)).passed
    assert vm.calls == [
        "get_header_map_pairs request_headers",
        "get_current_time_nanoseconds",
        "get_property mtls_authz.connection",
        "get_property connection.peer_certificate",
        "get_property connection.peer_certificate_valid",
        "set_property mtls_authz.connection",
        *ALLOWED,
    ]


def test_a_request_of_a_known_connection_costs_the_same_over_every_protocol() -> None:
    for protocol in (b"HTTP/1.1", b"HTTP/2", b"HTTP/3"):
        vm, token = scene.start(), scene.token()
        connection = scene.connection() | {"request.protocol": protocol}
        assert vm.request(scene.headers(bearer=token), connection).passed
        scene.forget(vm)
        assert vm.request(scene.headers(bearer=token), connection).passed
        assert vm.calls == HOT


def test_the_first_request_of_a_connection_before_envoy_1_38() -> None:
    config = scene.policy(certificate={"validation": "listener"})
    vm, token = scene.start(config), scene.token()
    connection = scene.connection()
    del connection["connection.peer_certificate"]
    by_properties = [
        "get_header_map_pairs request_headers",
        "get_current_time_nanoseconds",
        "get_property mtls_authz.connection",
        "get_property connection.peer_certificate",
        "get_property connection.sha256_peer_certificate_digest",
        "get_property connection.subject_peer_certificate",
        "get_property connection.uri_san_peer_certificate",
        "get_property connection.dns_san_peer_certificate",
    ]
    assert vm.request(scene.headers(bearer=token), connection).passed
    noted = "set_property mtls_authz.connection"
    assert vm.calls == [*by_properties, "call_foreign_function verify_signature", noted, *ALLOWED]
    scene.forget(vm)
    assert vm.request(scene.headers(bearer=token), connection).passed
    assert vm.calls == HOT
    # The certificate may yet come whole, so a request that could bring it is looked at.
    scene.forget(vm)
    stranger = f'Cert="{quote(scene.credential("other").pem)}"'.encode()
    forwarded = scene.headers("/payments/1", token, "GET", (b"x-forwarded-client-cert", stranger))
    assert vm.request(forwarded, connection).passed
    assert vm.calls[: len(by_properties)] == by_properties
    scene.forget(vm)
    whole = f'Cert="{quote(scene.credential("acme").pem)}"'.encode()
    assert vm.request(scene.headers("/payments/1", token, "GET", (b"x-forwarded-client-cert", whole)), connection).passed
    assert vm.calls[: len(by_properties) - 3] == by_properties[:-3], "no property is needed but the digest"
    scene.forget(vm)
    assert vm.request(scene.headers("/payments/1", token, "GET", (b"x-forwarded-client-cert", stranger)), connection).passed
    assert vm.calls[3] == "set_header_map_pairs request_headers", "and from then on it is known"


def test_a_token_that_was_never_seen() -> None:
    vm = scene.start()
    _known(vm, scene.token())
    assert vm.request(scene.headers(bearer=scene.token(jti="another")), scene.connection()).passed
    assert vm.calls == [
        "get_header_map_pairs request_headers",
        "get_current_time_nanoseconds",
        "get_property mtls_authz.connection",
        "call_foreign_function verify_signature",
        *ALLOWED,
    ]


def test_a_request_from_which_something_is_removed() -> None:
    # Taking the map back whole is dearer than adding to it, so only these do.
    vm, token = scene.start(), scene.token()
    _known(vm, token)
    spoofed = scene.headers("/payments/1", token, "GET", (b"X_Client_Id", b"other"))
    stream = vm.request(spoofed, scene.connection())
    assert stream.values("x-client-id") == [b"acme"] and not stream.values("x_client_id")
    assert vm.calls == [*HOT[:3], "set_header_map_pairs request_headers", *ALLOWED[len(ADDED):]]


def test_a_bypassed_request() -> None:
    vm = scene.start()
    stream = vm.request(scene.headers("/health"), scene.connection(None))
    assert stream.passed and stream.has_verdict
    assert vm.calls == [
        "get_header_map_pairs request_headers",
        "set_property mtls_authz.verdict",
        "increment_metric mtls_auth_bypassed_total",
        "set_property mtls_authz.decision",
    ]


def test_a_refused_request() -> None:
    for log, logged in [("none", []), ("denied", ["clock_time_get", "log warn"])]:
        vm, token = scene.start(scene.policy(audit={"log": log})), scene.token()
        _known(vm, token)
        stream = vm.request(scene.headers("/secret", token), scene.connection())
        assert not stream.passed and not stream.has_verdict
        assert vm.calls == [
            "get_header_map_pairs request_headers",
            "get_current_time_nanoseconds",
            "get_property mtls_authz.connection",
            "increment_metric mtls_auth_failure_total.reason.path_denied",
            "set_property mtls_authz.decision",
            *logged,
            "send_local_response 403",
        ]


def test_a_malformed_request() -> None:
    vm = scene.start()
    assert vm.request(scene.headers("//"), scene.connection()).response
    assert vm.calls == [
        "get_header_map_pairs request_headers",
        "increment_metric mtls_auth_failure_total.reason.path_malformed",
        "set_property mtls_authz.decision",
        "send_local_response 400",
    ]


def test_a_stranger_without_a_certificate() -> None:
    vm = scene.start()
    asked = [
        "get_header_map_pairs request_headers",
        "get_current_time_nanoseconds",
        "get_property mtls_authz.connection",
    ]
    refused = [
        "increment_metric mtls_auth_failure_total.reason.certificate_missing",
        "set_property mtls_authz.decision",
        "send_local_response 401",
    ]
    properties = ["get_property connection.peer_certificate",
                  "get_property connection.sha256_peer_certificate_digest"]
    for found_out in ([*properties, "set_property mtls_authz.connection"], []):
        scene.forget(vm)
        assert vm.request(scene.headers(bearer=scene.token()), scene.connection(None)).response
        # That a connection has no certificate is noted, too.
        assert vm.calls == [*asked, *found_out, *refused]


def test_a_request_that_is_written_into_the_log() -> None:
    vm, token = scene.start(scene.policy(audit={"log": "all"})), scene.token()
    _known(vm, token)
    assert vm.request(scene.headers(bearer=token), scene.connection()).passed
    assert vm.calls == [*HOT, "clock_time_get", "log info"]


def test_a_rate_limit() -> None:
    config = scene.policy()
    config["profiles"]["partner"]["rate_limit"] = {"requests": 100, "per_seconds": 1}
    vm, token = scene.start(config), scene.token()
    _known(vm, token)
    assert vm.request(scene.headers(bearer=token), scene.connection()).passed
    assert vm.calls == [
        "get_header_map_pairs request_headers",
        "get_current_time_nanoseconds",
        "get_property mtls_authz.connection",
        "clock_time_get",
        "get_shared_data mtls_authz.rate_limit",
        "set_shared_data mtls_authz.rate_limit",
        *ALLOWED,
    ]


def test_behind_jwt_authn() -> None:
    vm = scene.start(scene.policy(token={"source": "jwt_authn"}))
    claims = scene.claims()
    token = scene.signer().sign(claims)
    behind = [
        "get_header_map_pairs request_headers",
        "get_current_time_nanoseconds",
        "get_property metadata",
        "get_property mtls_authz.connection",
    ]
    left = scene.connection() | scene.metadata(claims)
    assert vm.request(scene.headers(bearer=token), left).passed
    scene.forget(vm)
    assert vm.request(scene.headers(bearer=token), left).passed
    assert vm.calls == [*behind, *ALLOWED]
    # Where jwt_authn has removed the token, its payload is asked for when it is needed.
    scene.forget(vm)
    assert vm.request(scene.headers(), left).passed
    assert vm.calls == [behind[0], behind[1], behind[3], behind[2], *ALLOWED]


def test_a_certificate_alone() -> None:
    vm = scene.start(scene.policy(mode="mtls", token={}))
    for _ in range(2):
        scene.forget(vm)
        assert vm.request(scene.headers(), scene.connection()).passed
    assert vm.calls == HOT


def test_a_forwarded_certificate_of_this_connection() -> None:
    vm, token = scene.start(), scene.token()
    _known(vm, token)
    own = f"Hash={scene.credential('acme').thumbprint_hex}".encode()
    forwarded = scene.headers("/payments/1", token, "GET", (b"x-forwarded-client-cert", own))
    assert vm.request(forwarded, scene.connection()).values("x-forwarded-client-cert") == [own]
    assert vm.calls == HOT
    # Only a `By` needs this proxy's own name.
    scene.forget(vm)
    by = b"By=spiffe://td/envoy;" + own
    forwarded = scene.headers("/payments/1", token, "GET", (b"x-forwarded-client-cert", by))
    properties = scene.connection() | {"connection.uri_san_local_certificate": b"spiffe://td/envoy"}
    assert vm.request(forwarded, properties).values("x-forwarded-client-cert") == [by]
    assert vm.calls == [*HOT[:3], "get_property connection.uri_san_local_certificate", *ALLOWED]


def test_trailers() -> None:
    vm, token = scene.start(), scene.token()
    stream = vm.request(scene.headers(bearer=token), scene.connection())
    for trailers, calls in [
        ([(b"x-checksum", b"1")], ["get_header_map_pairs request_trailers"]),
        ([(b"x-client-id", b"other")],
         ["get_header_map_pairs request_trailers", "set_header_map_pairs request_trailers"]),
    ]:
        scene.forget(vm)
        assert vm.trailers(stream, trailers)
        assert vm.calls == calls


def test_the_first_configuration_and_a_second_one() -> None:
    vm = scene.load()
    assert vm.configure(), vm.log
    assert _without_counters(vm.calls) == {
        "get_property plugin_name": 1,
        "get_property plugin_root_id": 1,
        "get_property plugin_vm_id": 1,
        "get_buffer_bytes plugin_configuration": 1,
        "get_shared_data mtls_authz.accepted": 1,
        "call_foreign_function declare_property": 1,
        "set_shared_data mtls_authz.accepted": 1,
        "log info": 1,
        "set_tick_period_milliseconds 10000": 1,
        # Hash maps start from a random number.
        "random_get": 1,
    }
    # Only the first worker says that the configuration is accepted.
    scene.forget(vm)
    assert vm.configure_again()
    assert _without_counters(vm.calls) == {
        "get_property plugin_name": 1,
        "get_property plugin_root_id": 1,
        "get_property plugin_vm_id": 1,
        "get_buffer_bytes plugin_configuration": 1,
        "get_shared_data mtls_authz.accepted": 1,
        "call_foreign_function declare_property": 1,
        "set_tick_period_milliseconds 10000": 1,
    }


def _without_counters(calls: list[str]) -> dict[str, int]:
    return dict(Counter(call for call in calls if not call.startswith("define_metric ")))
