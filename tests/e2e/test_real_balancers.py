"""A balancer of layer 4 that speaks the PROXY protocol: docs/callers.md with the shipped configuration."""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Iterator

import pytest

from conftest import Client
from harness import artifacts, shipped, verdicts
from harness.artifacts import REPOSITORY
from harness.http1 import Http1
from harness.http2 import Http2
from harness.pki import Credential
from harness.response import ConnectionEnded, Header, Response
from harness.shipped import Folder, Shipped
from harness.tls import ClientTls
from harness.upstream import Upstream

BALANCER, ELSEWHERE = "127.0.0.1", "127.0.0.9"
LOOSE = {"loose": ("ProxyProtocol\n", "ProxyProtocol\n            allow_requests_without_proxy_protocol: true\n")}


def v1(source: str, family: str = "TCP4", target: str = "192.0.2.1") -> bytes:
    return f"PROXY {family} {source} {target} 40000 443\r\n".encode()


def v2(source: str, family: int = socket.AF_INET, command: int = 1) -> bytes:
    kind, target = (0x11, "192.0.2.1") if family == socket.AF_INET else (0x21, "2001:db8::1")
    addresses = socket.inet_pton(family, source) + socket.inet_pton(family, target) + struct.pack("!HH", 40000, 443)
    return b"\r\n\r\n\0\r\nQUIT\n" + bytes([0x20 | command, kind]) + struct.pack("!H", len(addresses)) + addresses


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return Folder(tmp_path_factory.mktemp("balancers"))


@pytest.fixture(scope="module")
def erp(folder: Folder) -> Credential:
    """A client whose profile has `source_cidrs`: 10.0.0.0/8 and other private networks."""
    return folder.credential("initech-erp")


def started(folder: Folder, upstream: Upstream, name: str, *changes: tuple[str, str]) -> Shipped:
    """envoy.yaml with the lines of the page."""
    page = (REPOSITORY / "docs" / "callers.md").read_text()
    [lines] = re.findall(r"(?ms)^(      listener_filters:\n.*?)\n\n", page)
    text = (shipped.ENVOY / "envoy.yaml").read_text()
    for old, new in (
        ("      filter_chains:\n        - transport_socket:\n", f"{lines}\n          transport_socket:\n"),
        ('"policy_id": "example-1",', '"policy_id": "example-1", "source_address": "envoy",'),
        ('"127.0.0.0/8", ', ""), ("address_prefix: 192.0.2.0, prefix_len: 24", f"address_prefix: {BALANCER}, prefix_len: 32"), *changes,
    ):
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    config = folder.directory / f"{name}.yaml"
    config.write_text(folder.localize(text, artifacts.module(), upstream.port, shipped.free_port()))
    return Shipped(artifacts.envoy(), config)


@pytest.fixture(scope="module")
def envoy(folder: Folder, upstream: Upstream) -> Iterator[Shipped]:
    with started(folder, upstream, "balancer") as running:
        yield running


def call(
    envoy: Shipped, http: Client, credential: Credential, head: bytes, *headers: Header, source: str = BALANCER
) -> Response:
    """`GET /ledger/1` behind a header of the PROXY protocol."""
    plain = socket.create_connection(("127.0.0.1", envoy.port("mtls")), 20, source_address=(source, 0))
    plain.sendall(head)
    kind, alpn = (Http1, "http/1.1") if http is Http1 else (Http2, "h2")
    connection = ClientTls(credential).context(alpn).wrap_socket(plain, server_hostname="localhost")
    with kind.over(connection) as client:
        return client.request("GET", "/ledger/1", headers)


@pytest.mark.parametrize(("head", "allowed"), [
    (v1("10.1.2.3"), True), (v1("203.0.113.5"), False), (v1("2001:db8::5", "TCP6", "2001:db8::1"), False),
    (v2("10.1.2.3"), True), (v2("203.0.113.5"), False), (v2("2001:db8::5", socket.AF_INET6), False),
    # The balancer speaks for itself: its own address counts, which is none of the networks.
    (v2("10.1.2.3", command=0), False), (b"PROXY UNKNOWN\r\n", False),
], ids=["v1", "v1_elsewhere", "v1_ipv6", "v2", "v2_elsewhere", "v2_ipv6", "v2_local", "v1_unknown"])
def test_the_address_that_the_balancer_tells_is_the_one_that_a_profile_asks_for(
    envoy: Shipped, erp: Credential, http_over_tcp: Client, head: bytes, allowed: bool
) -> None:
    response = call(envoy, http_over_tcp, erp, head)
    assert verdicts.reason_of(response) == ("allowed" if allowed else "source_ip_denied")
    if allowed:
        assert response.echo().values("x-client-id") == ["initech-erp"]


def test_a_caller_behind_the_balancer_cannot_choose_another_address(
    envoy: Shipped, erp: Credential, http_over_tcp: Client
) -> None:
    for name in ("x-forwarded-for", "forwarded", "x-real-ip", "x-envoy-external-address"):
        response = call(envoy, http_over_tcp, erp, v1("203.0.113.5"), (name, "10.1.2.3"))
        assert verdicts.reason_of(response) == "source_ip_denied", name


@pytest.mark.parametrize("head", [b"", b"PROXY \r\n", b"PROXY TCP4 10.1.2.3\r\n"], ids=["none", "empty", "cut"])
def test_a_connection_without_the_header_is_closed(
    envoy: Shipped, erp: Credential, http_over_tcp: Client, upstream: Upstream, head: bytes
) -> None:
    mark = upstream.mark()
    with pytest.raises((OSError, ConnectionEnded)):
        call(envoy, http_over_tcp, erp, head)
    assert upstream.since(mark) == []


def test_who_goes_past_the_balancer_is_disconnected_whatever_it_writes(
    envoy: Shipped, erp: Credential, http_over_tcp: Client, upstream: Upstream
) -> None:
    mark = upstream.mark()
    for head in (v1("10.1.2.3"), v2("10.1.2.3"), b""):
        with pytest.raises((OSError, ConnectionEnded)):
            call(envoy, http_over_tcp, erp, head, source=ELSEWHERE)
    assert upstream.since(mark) == []


def test_without_the_match_everybody_chooses_its_address_as_the_page_warns(
    folder: Folder, upstream: Upstream, erp: Credential, http_over_tcp: Client
) -> None:
    prefix = ("prefix_len: 32", "prefix_len: 0")
    with started(folder, upstream, "open", prefix) as envoy:
        assert verdicts.reason_of(call(envoy, http_over_tcp, erp, v1("10.1.2.3"), source=ELSEWHERE)) == "allowed"
    with started(folder, upstream, "loose", prefix, LOOSE["loose"]) as envoy:
        assert verdicts.reason_of(call(envoy, http_over_tcp, erp, b"", source=ELSEWHERE)) == "source_ip_denied"
        assert verdicts.reason_of(call(envoy, http_over_tcp, erp, v1("10.1.2.3"), source=ELSEWHERE)) == "allowed"


def test_by_default_the_address_is_the_balancers(folder: Folder, upstream: Upstream, erp: Credential, http_over_tcp: Client) -> None:
    with started(folder, upstream, "direct", ('"source_address": "envoy"', '"source_address": "direct"')) as envoy:
        assert verdicts.reason_of(call(envoy, http_over_tcp, erp, v1("10.1.2.3"))) == "source_ip_denied"
