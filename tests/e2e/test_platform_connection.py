"""What Envoy tells a filter about the connection and the certificate on it."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path
from typing import Any

import pytest

from conftest import Client, StartEnvoy
from harness import pki, probe
from harness.envoy import Envoy
from harness.http1 import Http1
from harness.pki import Authority, Credential
from harness.probe import NOT_FOUND, OK, Answer
from harness.tls import ClientTls

NAMES = ("mtls", "peer_certificate_valid", "peer_certificate", "sha256_peer_certificate_digest",
         "subject_peer_certificate", "uri_san_peer_certificate", "dns_san_peer_certificate")
CALLS = [("property", "connection", name) for name in NAMES]
ABSENT = Answer(NOT_FOUND)
TRUE, FALSE = Answer(OK, b"\x01"), Answer(OK, b"\x00")


@pytest.fixture(scope="module")
def envoy(start_envoy: StartEnvoy, every_envoy: Path) -> Envoy:
    return start_envoy(
        probe.listener("strict"),
        probe.listener("lax", trust="ACCEPT_UNTRUSTED"),
        probe.listener("resuming", resumption=True),
        probe.listener("edge", use_remote_address=True),
        binary=every_envoy,
    )


@pytest.fixture(scope="module")
def leaf(issuer: Authority) -> Credential:
    sans = [pki.uri("spiffe://example.org/one"), pki.uri("spiffe://example.org/two"),
            pki.dns("one.example"), pki.dns("two.example")]
    return issuer.issue([("CN", "acme"), ("OU", "prod"), ("O", "ExampleCorp")], sans=sans)


def test_a_verified_certificate_is_shown_in_the_request_phase(
    envoy: Envoy, leaf: Credential, http: Client, newest: bool
) -> None:
    with http(envoy.port("strict"), ClientTls(leaf)) as client:
        shown = dict(zip(NAMES, probe.ask(client, *CALLS)))
    assert shown["mtls"] == TRUE
    assert shown["sha256_peer_certificate_digest"].text() == leaf.thumbprint_hex
    assert shown["subject_peer_certificate"].text() == "O=ExampleCorp,OU=prod,CN=acme"
    assert shown["peer_certificate_valid"] == (TRUE if newest else ABSENT)


def test_the_whole_leaf_is_shown_as_plain_pem_by_an_envoy_that_has_the_property(
    envoy: Envoy, leaf: Credential, http: Client, newest: bool
) -> None:
    with http(envoy.port("strict"), ClientTls(leaf)) as client:
        (shown,) = probe.ask(client, ("property", "connection", "peer_certificate"))
    assert shown == (Answer(OK, leaf.pem.encode()) if newest else ABSENT)


def test_only_the_first_uri_and_dns_name_are_shown(envoy: Envoy, leaf: Credential) -> None:
    with Http1(envoy.port("strict"), ClientTls(leaf)) as client:
        shown = dict(zip(NAMES, probe.ask(client, *CALLS)))
    assert shown["uri_san_peer_certificate"].text() == "spiffe://example.org/one"
    assert shown["dns_san_peer_certificate"].text() == "one.example"


def test_a_connection_without_a_certificate_has_no_certificate_properties_but_an_empty_subject(
    envoy: Envoy, http: Client, newest: bool
) -> None:
    with http(envoy.port("strict"), ClientTls()) as client:
        shown = dict(zip(NAMES, probe.ask(client, *CALLS)))
    assert shown == {
        "mtls": FALSE,
        "peer_certificate_valid": FALSE if newest else ABSENT,
        "peer_certificate": ABSENT,
        "sha256_peer_certificate_digest": ABSENT,
        "subject_peer_certificate": Answer(OK, b""),
        "uri_san_peer_certificate": ABSENT,
        "dns_san_peer_certificate": ABSENT,
    }


def test_an_unverified_certificate_looks_presented_and_only_one_property_tells(
    envoy: Envoy, tmp_path: Path, newest: bool
) -> None:
    stranger = pki.self_signed(tmp_path, [("CN", "acme")])
    with Http1(envoy.port("lax"), ClientTls(stranger)) as client:
        shown = dict(zip(NAMES, probe.ask(client, *CALLS)))
    assert shown["mtls"] == TRUE
    assert shown["sha256_peer_certificate_digest"].text() == stranger.thumbprint_hex
    assert shown["peer_certificate_valid"] == (FALSE if newest else ABSENT)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_resumed_session_keeps_the_certificate_and_loses_its_validity(
    envoy: Envoy, leaf: Credential, version: ssl.TLSVersion, newest: bool
) -> None:
    first, again = _two_connections(envoy.port("resuming"), leaf, version)
    assert (first["resumed"], again["resumed"]) == (False, True)
    if newest:
        assert (first["peer_certificate_valid"], again["peer_certificate_valid"]) == (TRUE, FALSE)
        assert again["peer_certificate"].text() == leaf.pem
    assert again["mtls"] == TRUE
    assert again["sha256_peer_certificate_digest"].text() == leaf.thumbprint_hex


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_the_two_resumption_settings_of_the_listener_prevent_resumption(
    envoy: Envoy, leaf: Credential, version: ssl.TLSVersion
) -> None:
    first, again = _two_connections(envoy.port("strict"), leaf, version)
    assert (first["resumed"], again["resumed"]) == (False, False)
    assert first["peer_certificate_valid"] == again["peer_certificate_valid"]


def test_a_connection_is_told_from_others_by_eight_bytes(envoy: Envoy, leaf: Credential, http: Client) -> None:
    identifier = ("property", "connection", "id")
    with http(envoy.port("strict"), ClientTls(leaf)) as one, http(envoy.port("strict"), ClientTls(leaf)) as other:
        first, second = probe.ask(one, identifier), probe.ask(one, identifier)
        third = probe.ask(other, identifier)
    assert len(first[0].value or b"") == 8
    assert first == second != third


def test_a_caller_chooses_the_source_address_where_use_remote_address_is_off(
    envoy: Envoy, leaf: Credential, http: Client
) -> None:
    forwarded = [("x-forwarded-for", "10.0.0.1")]
    with http(envoy.port("strict"), ClientTls(leaf)) as client:
        (address,) = probe.ask(client, ("property", "source", "address"), headers=forwarded)
    assert address.text() == "10.0.0.1:0"


def test_the_source_address_is_the_peer_where_use_remote_address_is_on(envoy: Envoy, leaf: Credential) -> None:
    forwarded = [("x-forwarded-for", "10.0.0.1")]
    with Http1(envoy.port("edge"), ClientTls(leaf)) as client:
        (address,) = probe.ask(client, ("property", "source", "address"), headers=forwarded)
    assert address.text().startswith("127.0.0.1:")


@pytest.mark.parametrize("listener", ["strict", "edge"])
def test_no_caller_chooses_the_direct_address_in_filter_state(
    envoy: Envoy, leaf: Credential, http: Client, listener: str
) -> None:
    key = ("property", "filter_state", "mtls_authz.direct_remote_address")
    with http(envoy.port(listener), ClientTls(leaf), source="127.0.0.7") as client:
        (address,) = probe.ask(client, key, headers=[("x-forwarded-for", "10.0.0.1")])
    assert address.text() == "127.0.0.7"


def _two_connections(port: int, leaf: Credential, version: ssl.TLSVersion) -> list[dict[str, Any]]:
    context = ClientTls(leaf, version).context("http/1.1")
    session = None
    shown = []
    for _ in range(2):
        plain = socket.create_connection(("127.0.0.1", port))
        connection = context.wrap_socket(plain, server_hostname="localhost", session=session)
        with Http1.over(connection) as client:
            answers = dict(zip(NAMES, probe.ask(client, *CALLS)))
            shown.append({"resumed": connection.session_reused, **answers})
            # TLS 1.3 sends its ticket after the handshake, so it is here only now.
            session = connection.session
    return shown
