"""Upgrades and CONNECT: refused before a byte reaches the upstream, unless a rule lists them."""

from __future__ import annotations

import pytest

from conftest import Bearer, StartEnvoy, Streams
from harness import verdicts
from harness.envoy import Envoy
from harness.filters import Config, JwtAuthn
from harness.http1 import AUTHORITY, Http1
from harness.listener import CLOSE_AT_ONCE, Listener
from harness.pki import Authority, Credential
from harness.response import ConnectionEnded, Header
from harness.tls import ClientTls
from harness.tokens import Signer
from harness.upstream import Upstream

UPGRADE: list[Header] = [("connection", "Upgrade"), ("upgrade", "websocket")]
POLICY: Config = {
    "clients": {"acme": {"identities": ["cn:acme"], "profiles": ["partner"]}},
    "profiles": {"partner": {"allow": [
        {"paths": ["/ws"], "methods": ["GET"], "upgrades": ["websocket"]},
        {"paths": ["/open"]},
    ]}},
    "bypass": [{"path": "/health"}],
}


@pytest.fixture(scope="module")
def envoy(start_envoy: StartEnvoy, signer: Signer) -> Envoy:
    jwt = JwtAuthn((signer,))
    def certificates(*rules: Config) -> Config:
        return {**POLICY, "mode": "mtls", "profiles": {"partner": {"allow": list(rules)}}}

    tunnels = certificates({"paths": ["/"], "methods": ["CONNECT"], "hosts": ["upstream:80"]})
    refusing = certificates({"paths": ["/**"]}, {"paths": ["/"], "methods": ["GET"], "upgrades": ["websocket"]})
    return start_envoy(
        Listener("main", POLICY, jwt=jwt, upgrades=["websocket", "custom"]),
        Listener("tunnels", tunnels, upgrades=["websocket", "CONNECT"], manager=CLOSE_AT_ONCE),
        Listener("refusing", refusing, upgrades=["websocket", "CONNECT"]),
        Listener("plain", POLICY, jwt=jwt),
    )


def extended_connect(path: str, *headers: Header, protocol: str = "websocket") -> list[Header]:
    """The start of a websocket over HTTP/2 (RFC 8441) and HTTP/3 (RFC 9220)."""
    return [(":method", "CONNECT"), (":protocol", protocol), (":scheme", "https"), (":path", path),
            (":authority", AUTHORITY), *headers]


@pytest.mark.parametrize("spelling", ["websocket", "WebSocket"])
def test_a_listed_upgrade_gets_its_tunnel_over_http1(
    envoy: Envoy, acme: Credential, bearer: Bearer, spelling: str
) -> None:
    headers = [("connection", "keep-alive, Upgrade"), ("upgrade", spelling), bearer("acme", acme)]
    with Http1(envoy.port("main"), ClientTls(acme)) as client:
        assert client.request("GET", "/ws", headers).status == 101
        client.send(b"ping")
        assert client.receive() == b"ping"


def test_a_listed_upgrade_gets_its_tunnel_over_a_stream(
    envoy: Envoy, acme: Credential, bearer: Bearer, streams: Streams
) -> None:
    with streams(envoy.port("main"), ClientTls(acme)) as client:
        stream = client.open(extended_connect("/ws", bearer("acme", acme)), end=False)
        assert client.head(stream).status == 200
        client.data(stream, b"ping")
        assert client.body(stream, 4) == b"ping"


def test_the_upstream_of_an_upgrade_is_told_who_calls(
    envoy: Envoy, acme: Credential, bearer: Bearer, upstream: Upstream
) -> None:
    mark = upstream.mark()
    spoofed = [("x-client-principal", "spoofed"), ("client-cert", "spoofed")]
    with Http1(envoy.port("main"), ClientTls(acme)) as client:
        assert client.request("GET", "/ws", [*UPGRADE, *spoofed, bearer("acme", acme)]).status == 101
    (echo,) = upstream.since(mark)
    assert echo.values("x-client-id") == ["acme"]
    assert "spoofed" not in str(echo.headers)


def test_an_upgrade_names_no_header_that_a_hop_behind_would_drop(
    envoy: Envoy, acme: Credential, bearer: Bearer, upstream: Upstream
) -> None:
    for named in ("Upgrade, x-client-id, client-cert", "x-client-id, Upgrade", "upgrade,X-Profile-ID"):
        mark = upstream.mark()
        with Http1(envoy.port("main"), ClientTls(acme)) as client:
            headers = [("connection", named), ("upgrade", "websocket"), bearer("acme", acme)]
            assert client.request("GET", "/ws", headers).status == 101
        (echo,) = upstream.since(mark)
        assert echo.values("x-client-id") == ["acme"] and echo.values("x-profile-id") == ["partner"]
        assert [value.lower() for value in echo.values("connection")] == ["upgrade"], named


REFUSED = [
    # path, with certificate, with token, reason
    ("/open", True, True, "upgrade_denied"),
    ("/ws", True, False, "token_missing"),
    ("/ws", False, True, "certificate_missing"),
    ("/ws/more", True, True, "path_denied"),
    ("/health", True, True, "path_denied"),
    ("/health", False, False, "certificate_missing"),
]


@pytest.mark.parametrize(("path", "certificate", "token", "reason"), REFUSED)
def test_a_refused_upgrade_and_its_early_bytes_reach_no_upstream_over_http1(
    envoy: Envoy, acme: Credential, bearer: Bearer, upstream: Upstream,
    path: str, certificate: bool, token: bool, reason: str,
) -> None:
    mark = upstream.mark()
    headers = [*UPGRADE, *([bearer("acme", acme)] if token else [])]
    lines = "".join(f"{name}: {value}\r\n" for name, value in [("host", AUTHORITY), *headers])
    early = "GET /open HTTP/1.1\r\nhost: early\r\n\r\n"
    with Http1(envoy.port("main"), ClientTls(acme if certificate else None)) as client:
        client.send(f"GET {path} HTTP/1.1\r\n{lines}\r\n{early}".encode())
        response = client.response()
        verdicts.refused(response, reason)
    assert upstream.since(mark) == []


@pytest.mark.parametrize(("path", "certificate", "token", "reason"), REFUSED)
def test_a_refused_upgrade_and_its_early_bytes_reach_no_upstream_over_a_stream(
    envoy: Envoy, acme: Credential, bearer: Bearer, upstream: Upstream, streams: Streams,
    path: str, certificate: bool, token: bool, reason: str,
) -> None:
    mark = upstream.mark()
    headers = [bearer("acme", acme)] if token else []
    with streams(envoy.port("main"), ClientTls(acme if certificate else None)) as client:
        response = client.response(client.open(extended_connect(path, *headers), b"early bytes"))
    verdicts.refused(response, reason)
    assert upstream.since(mark) == []


def test_another_upgrade_than_the_listed_one_is_refused(
    envoy: Envoy, acme: Credential, bearer: Bearer, upstream: Upstream
) -> None:
    mark = upstream.mark()
    token = bearer("acme", acme)
    with Http1(envoy.port("main"), ClientTls(acme)) as client:
        response = client.request("GET", "/ws", [("connection", "Upgrade"), ("upgrade", "custom"), token])
        verdicts.refused(response, "upgrade_denied")
    for value in ("websocket, custom", "custom, websocket", "websocket\xa1", "h2c", "unknown"):
        with Http1(envoy.port("main"), ClientTls(acme)) as client:
            response = client.request("GET", "/ws", [("connection", "Upgrade"), ("upgrade", value), token])
        # Envoy refuses, or removes, what no listener of it knows.
        assert response.status in (200, 403) and response.status != 101
    for echo in upstream.since(mark):
        assert echo.values("upgrade") == []


def test_two_upgrade_headers_give_no_tunnel_that_no_rule_lists(
    envoy: Envoy, acme: Credential, bearer: Bearer, upstream: Upstream
) -> None:
    mark = upstream.mark()
    for one, two in (("websocket", "custom"), ("custom", "websocket")):
        headers = [("connection", "Upgrade"), ("upgrade", one), ("upgrade", two), bearer("acme", acme)]
        with Http1(envoy.port("main"), ClientTls(acme)) as client:
            assert client.request("GET", "/ws", headers).status != 101
    assert [echo for echo in upstream.since(mark) if echo.values("upgrade")] == []


def test_a_method_that_a_rule_does_not_list_gets_no_upgrade(
    envoy: Envoy, acme: Credential, bearer: Bearer, upstream: Upstream
) -> None:
    mark = upstream.mark()
    with Http1(envoy.port("main"), ClientTls(acme)) as client:
        response = client.request("POST", "/ws", [*UPGRADE, bearer("acme", acme)])
    verdicts.refused(response, "method_not_allowed")
    assert upstream.since(mark) == []


@pytest.mark.parametrize(("listener", "reason"), [
    # jwt_authn looks at paths, and CONNECT has none, so that there is no token that could be good.
    ("plain", "token_missing"),
    ("main", "token_missing"),
    ("refusing", "upgrade_denied"),
])
def test_connect_reaches_no_upstream(
    envoy: Envoy, acme: Credential, bearer: Bearer, upstream: Upstream, streams: Streams, listener: str, reason: str
) -> None:
    mark = upstream.mark()
    for credential, headers, verdict in ((acme, [bearer("acme", acme)], reason), (None, [], "certificate_missing")):
        with Http1(envoy.port(listener), ClientTls(credential)) as client:
            response = client.request("CONNECT", "upstream:80", headers, host="upstream:80")
            assert verdicts.reason_of(response) == verdict
        with streams(envoy.port(listener), ClientTls(credential)) as other:
            stream = other.open([(":method", "CONNECT"), (":authority", "upstream:80"), *headers], b"early bytes")
            assert verdicts.reason_of(other.response(stream)) == verdict
    assert upstream.since(mark) == []


def test_a_refused_connect_that_calls_itself_grpc_gets_an_answer_that_can_be_read(
    envoy: Envoy, acme: Credential, streams: Streams
) -> None:
    # Without a path it is no gRPC to Envoy.
    headers = [(":method", "CONNECT"), (":authority", "upstream:80"), ("content-type", "application/grpc")]
    with streams(envoy.port("refusing"), ClientTls(acme)) as client:
        verdicts.refused(client.response(client.open(headers)), "upgrade_denied")


def test_a_listed_connect_gets_its_tunnel(
    envoy: Envoy, acme: Credential, upstream: Upstream, streams: Streams
) -> None:
    mark = upstream.mark()
    inside = b"GET /inside HTTP/1.1\r\nhost: inside\r\n\r\n"
    with Http1(envoy.port("tunnels"), ClientTls(acme)) as client:
        client.send(b"CONNECT upstream:80 HTTP/1.1\r\nhost: upstream:80\r\n\r\n")
        assert client.receive().startswith(b"HTTP/1.1 200")
        client.send(inside)
        assert client.receive().startswith(b"HTTP/1.1 200")
    with streams(envoy.port("tunnels"), ClientTls(acme)) as other:
        stream = other.open([(":method", "CONNECT"), (":authority", "upstream:80")], end=False)
        assert other.head(stream).status == 200
        other.data(stream, inside)
        assert other.body(stream, 4) != b""
    assert [echo.path for echo in upstream.since(mark)] == ["/inside", "/inside"]


def test_a_connect_with_a_path_never_gets_past_envoy(
    envoy: Envoy, acme: Credential, bearer: Bearer, upstream: Upstream, streams: Streams
) -> None:
    mark = upstream.mark()
    with Http1(envoy.port("tunnels"), ClientTls(acme)) as client:
        assert client.request("CONNECT", "/open", [bearer("acme", acme)]).status == 400
    with streams(envoy.port("tunnels"), ClientTls(acme)) as other:
        headers = [(":method", "CONNECT"), (":scheme", "https"), (":path", "/open"), (":authority", AUTHORITY)]
        with pytest.raises(ConnectionEnded):
            other.response(other.open([*headers, bearer("acme", acme)]))
    assert upstream.since(mark) == []
