"""A handshake that Envoy refuses leaves no request: what it leaves instead, with the shipped configuration."""

from __future__ import annotations

import json
import socket
import ssl
import struct
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from conftest import Client
from harness import artifacts, pki, shipped
from harness.http1 import Http1
from harness.http3 import Http3
from harness.pki import SERVER_AUTH, Authority, Credential
from harness.response import ConnectionEnded
from harness.shipped import Folder, Shipped
from harness.tls import ClientTls, connect
from harness.upstream import Upstream

OPEN = "require_client_certificate: false"
VERIFY = "trust_chain_verification: VERIFY_TRUST_CHAIN"
LISTENERS = {
    "shipped": {},
    "required": {OPEN: "require_client_certificate: true"},
    "by_name": {VERIFY: f'{VERIFY}\n{" " * 18}match_typed_subject_alt_names: [{{ san_type: DNS, matcher: {{ exact: other.example }} }}]'},
    "by_hash": {VERIFY: f'{VERIFY}\n{" " * 18}verify_certificate_hash: ["{"00" * 32}"]'},
}
"""Listeners of the shipped file, and what they say more."""


@dataclass(frozen=True)
class Refusal:
    """A certificate that a listener refuses, and what it leaves."""

    kind: str
    listener: str
    counter: str
    reason: str
    quic: str
    """The code with which Envoy ends the connection over HTTP/3."""


REFUSALS = [
    Refusal("expired", "shipped", "fail_verify_error", "certificate_has_expired", "TLS_CERTIFICATE_EXPIRED"),
    Refusal("not_yet_valid", "shipped", "fail_verify_error", "certificate_is_not_yet_valid", "TLS_CERTIFICATE_EXPIRED"),
    Refusal("unknown_authority", "shipped", "fail_verify_error", "unable_to_get_local_issuer_certificate", "HANDSHAKE_FAILED"),
    Refusal("without_intermediate", "shipped", "fail_verify_error", "unable_to_get_local_issuer_certificate", "HANDSHAKE_FAILED"),
    Refusal("self_signed", "shipped", "fail_verify_error", "self_signed_certificate", "HANDSHAKE_FAILED"),
    Refusal("server_usage", "shipped", "fail_verify_error", "unsupported_certificate_purpose", "TLS_UNSUPPORTED_CERTIFICATE"),
    Refusal("none", "required", "fail_verify_no_cert", "peer_did_not_provide_required_client_certificate", "TLS_CERTIFICATE_REQUIRED"),
    Refusal("good", "by_name", "fail_verify_san", "SAN_matcher", "TLS_CERTIFICATE_UNKNOWN"),
    Refusal("good", "by_hash", "fail_verify_cert_hash", "cert_hash_and_spki", "HANDSHAKE_FAILED"),
]
every_refusal = pytest.mark.parametrize("refusal", REFUSALS, ids=lambda each: f"{each.listener}-{each.kind}")


@pytest.fixture(scope="module")
def presented(root: Authority, issuer: Authority, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Credential | None]:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    now, day = datetime.now(timezone.utc), timedelta(days=1)
    name = [("CN", "acme-mobile")]
    good = issuer.issue(name)
    return {
        "good": good, "none": None,
        "expired": issuer.issue(name, not_before=now - 2 * day, not_after=now - day),
        "not_yet_valid": issuer.issue(name, not_before=now + day, not_after=now + 2 * day),
        "unknown_authority": Authority.create(elsewhere, "Other Root").issue(name),
        "without_intermediate": Credential(good.certificate, good.key, (), elsewhere),
        "self_signed": pki.self_signed(elsewhere, name),
        "server_usage": issuer.issue(name, extended_key_usage=[SERVER_AUTH]),
        "long_name": pki.self_signed(elsewhere, [("CN", "acme-mobile"), *(("OU", f"{number:>60}") for number in range(40))]),
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return Folder(tmp_path_factory.mktemp("handshakes"))


@pytest.fixture(scope="module")
def envoys(folder: Folder, root: Authority, upstream: Upstream) -> Iterator[dict[str, Shipped]]:
    """http3.yaml as it is shipped, and with a listener that demands more."""
    running: dict[str, Shipped] = {}
    try:
        for name, changes in LISTENERS.items():
            running[name] = started(folder, root, upstream, artifacts.envoy(), "http3.yaml", name, changes)
        yield running
    finally:
        for each in running.values():
            each.__exit__(None, None, None)


def started(
    folder: Folder, root: Authority, upstream: Upstream, binary: Path, file: str, name: str, changes: dict[str, str]
) -> Shipped:
    text = (shipped.ENVOY / file).read_text().replace("/etc/envoy/certs/root.pem", str(root.trust_file))
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    config = folder.directory / f"{name}-{binary.parent.name}.yaml"
    config.write_text(folder.localize(text, artifacts.module(), upstream.port, shipped.free_port()))
    return Shipped(binary, config, concurrency=1).__enter__()


def lines(envoy: Shipped) -> list[dict[str, Any]]:
    """The listener's lines: they have no status."""
    entries = [json.loads(line) for line in envoy.output().splitlines() if line.startswith("{")]
    return [entry for entry in entries if "status" not in entry]


def moved(envoy: Shipped, before: dict[str, int], pattern: str = r"^listener\..*\.(ssl|http3\.downstream\.tx)\.") -> dict[str, int]:
    """The listeners' counters that have moved, by their names without the listener's."""
    now = envoy.admin.stats(pattern)
    changed = {name: value - before.get(name, 0) for name, value in now.items() if value != before.get(name, 0)}
    names = {name: name.rpartition(".ssl.")[2] if ".ssl." in name else name.rpartition("error_code_")[2] for name in changed}
    return {names[name]: value for name, value in changed.items()}


def counted(envoy: Shipped) -> dict[str, int]:
    return envoy.admin.stats(r"^listener\..*\.(ssl|http3\.downstream\.tx)\.")


def refused(http: Client, port: int, credential: Credential | None) -> None:
    with pytest.raises((OSError, ConnectionEnded)), http(port, ClientTls(credential)) as client:
        client.request("GET", "/health")


@every_refusal
def test_a_refused_handshake_is_counted_and_leaves_a_line_with_the_reason_and_the_peer(
    envoys: dict[str, Shipped], presented: dict[str, Credential | None], http_over_tcp: Client, refusal: Refusal
) -> None:
    envoy, credential = envoys[refusal.listener], presented[refusal.kind]
    before, known = counted(envoy), len(lines(envoy))
    requests = envoy.admin.stats(r"^http\.mtls\.downstream_rq_total$")
    refused(http_over_tcp, envoy.port("mtls"), credential)
    envoy.wait("the line", lambda: len(lines(envoy)) > known)
    [line] = lines(envoy)[known:]
    assert refusal.reason in line["details"] and line["peer"] == "127.0.0.1" and line["decision"] is None
    assert line["certificate_sha256"] == (credential and credential.thumbprint_hex)
    assert line["certificate_subject"] == ("CN=acme-mobile" if credential else "")
    assert (line["certificate_not_after"] is None) == (credential is None)
    assert moved(envoy, before)[refusal.counter] == 1
    assert envoy.admin.stats(r"^http\.mtls\.downstream_rq_total$") == requests


@every_refusal
def test_over_http3_a_refused_handshake_is_counted_and_the_client_is_told_why(
    envoys: dict[str, Shipped], presented: dict[str, Credential | None], refusal: Refusal
) -> None:
    envoy = envoys[refusal.listener]
    before, known = counted(envoy), len(lines(envoy))
    refused(Http3, envoy.port("mtls_http3"), presented[refusal.kind])
    envoy.wait("the counter", lambda: f"QUIC_{refusal.quic}" in moved(envoy, before))
    changed = moved(envoy, before)
    # Envoy's QUIC does not count a certificate that is missing but as a code of the end.
    assert changed.get(refusal.counter) == (None if refusal.kind == "none" else 1)
    # Nor does it write the listener's access log. Once it does, the documentation has to say so.
    assert len(lines(envoy)) == known


@every_refusal
def test_prometheus_gets_the_counter_by_the_address_of_the_listener(
    envoys: dict[str, Shipped], presented: dict[str, Credential | None], refusal: Refusal
) -> None:
    envoy = envoys[refusal.listener]
    refused(Http1, envoy.port("mtls"), presented[refusal.kind])
    with Http1(envoy.port("metrics"), None) as client:
        text = client.request("GET", "/stats/prometheus").body.decode()
    assert f'envoy_listener_ssl_{refusal.counter}{{envoy_listener_address="127.0.0.1_0"}}' in text


def _plain(port: int) -> None:
    with Http1(port, None) as client:
        client.request("GET", "/health")


def _old_version(port: int) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.wrap_socket(socket.create_connection(("127.0.0.1", port)), server_hostname="localhost")


def _distrusts(port: int) -> None:
    context = ssl.create_default_context()
    context.wrap_socket(socket.create_connection(("127.0.0.1", port)), server_hostname="localhost")


@pytest.mark.parametrize(("connects", "reason"), [
    (_plain, "HTTP_REQUEST"), (_old_version, "UNSUPPORTED_PROTOCOL"), (_distrusts, "TLS_error:"),
], ids=["plaintext", "tls_1_1", "client_that_distrusts_the_server"])
def test_another_error_of_tls_is_a_connection_error_with_a_line(envoys: dict[str, Shipped], connects: Any, reason: str) -> None:
    envoy = envoys["shipped"]
    before, known = counted(envoy), len(lines(envoy))
    with suppress(OSError, ConnectionEnded):
        connects(envoy.port("mtls"))
    envoy.wait("the line", lambda: len(lines(envoy)) > known)
    assert reason in lines(envoy)[known]["details"]
    assert moved(envoy, before)["connection_error"] == 1


def test_a_connection_that_is_not_refused_leaves_no_line(
    envoys: dict[str, Shipped], presented: dict[str, Credential | None]
) -> None:
    envoy, known = envoys["shipped"], len(lines(envoys["shipped"]))
    for credential in (None, presented["good"]):
        with Http1(envoy.port("mtls"), ClientTls(credential)) as client:
            assert client.request("GET", "/health").status == 200
    # A balancer's health check: connects and goes. Then one that goes by a reset in the middle of TLS.
    connect(envoy.port("mtls"), None, "").close()
    reset = connect(envoy.port("mtls"), ClientTls(), "http/1.1")
    reset.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    reset.close()
    # Lines come in the order in which connections end: this one is the first.
    refused(Http1, envoy.port("mtls"), presented["expired"])
    envoy.wait("the line", lambda: len(lines(envoy)) > known)
    assert "certificate_has_expired" in lines(envoy)[known]["details"]


def test_a_subject_of_the_callers_choice_is_cut(envoys: dict[str, Shipped], presented: dict[str, Credential | None]) -> None:
    envoy, known = envoys["shipped"], len(lines(envoys["shipped"]))
    refused(Http1, envoy.port("mtls"), presented["long_name"])
    envoy.wait("the line", lambda: len(lines(envoy)) > known)
    assert len(lines(envoy)[known]["certificate_subject"]) == 256
    assert len(json.dumps(lines(envoy)[known])) < 1024


@pytest.mark.parametrize("kind", ["expired", "unknown_authority", "server_usage"])
def test_every_supported_envoy_writes_the_line(
    folder: Folder, root: Authority, upstream: Upstream, presented: dict[str, Credential | None], every_envoy: Path, kind: str
) -> None:
    [refusal] = [each for each in REFUSALS if each.kind == kind]
    envoy = started(folder, root, upstream, every_envoy, "envoy.yaml", f"old-{kind}", {})
    try:
        refused(Http1, envoy.port("mtls"), presented[kind])
        envoy.wait("the line", lambda: bool(lines(envoy)))
        [line] = lines(envoy)
        assert refusal.reason in line["details"] and line["certificate_subject"] == "CN=acme-mobile"
    finally:
        envoy.__exit__(None, None, None)


@pytest.mark.parametrize(("kind", "said"), [
    ("expired", "certificate expired"), ("unknown_authority", "unknown ca"), ("server_usage", "unsupported certificate"),
])
def test_curl_and_openssl_show_the_alert_with_tls_1_2(
    envoys: dict[str, Shipped], folder: Folder, presented: dict[str, Credential | None], kind: str, said: str
) -> None:
    # With TLS 1.3 the alert comes after the client's first bytes, and a client may fail to send them before it reads the alert.
    port, credential = envoys["shipped"].port("mtls"), presented[kind]
    assert credential is not None
    own = {"cert": str(credential.chain_file), "key": str(credential.key_file)}
    # Without -v curl says of an expired certificate of its own what it says where it distrusts the server: (60).
    for alert, command in (
        ("alert ", ["openssl", "s_client", "-connect", f"localhost:{port}", "-tls1_2", "-cert", own["cert"], "-cert_chain", own["cert"], "-key", own["key"]]),
        ("(in), tls alert, ", ["curl", "-sSv", "--tls-max", "1.2", "--cacert", str(folder.certs.file("root")), "--cert", own["cert"], "--key", own["key"],
                               f"https://localhost:{port}/health"]),
    ):
        failed = subprocess.run(command, input="", capture_output=True, text=True, check=False, timeout=20)
        assert failed.returncode != 0 and alert + said in failed.stderr.lower(), command[0]
