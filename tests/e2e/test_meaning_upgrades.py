"""A rule with `upgrades` is about these upgrades alone, unless it says `"plain": true`."""

from __future__ import annotations

import pytest

from conftest import Bearer, Client, StartEnvoy, Streams
from harness import verdicts
from harness.envoy import Envoy
from harness.filters import Config, JwtAuthn
from harness.http1 import AUTHORITY, Http1
from harness.listener import Listener
from harness.pki import Credential
from harness.response import Header
from harness.tls import ClientTls
from harness.tokens import Signer
from harness.upstream import Upstream

SOCKET: Config = {"methods": ["GET"], "upgrades": ["websocket"]}
POLICY: Config = {
    "clients": {"acme": {"identities": ["cn:acme"], "profiles": ["partner"]}},
    "profiles": {"partner": {
        "allow": [
            {"paths": ["/ws"], **SOCKET},
            {"paths": ["/both"], **SOCKET, "plain": True},
            # The rule for the plain request needs a scope, and the one for the upgrade another.
            {"paths": ["/scoped"], "methods": ["GET"], "scopes": ["read"]},
            {"paths": ["/scoped"], **SOCKET, "scopes": ["live"]},
            {"paths": ["/posted"], "methods": ["POST"]},
            {"paths": ["/posted"], **SOCKET},
            {"paths": ["/host"], **SOCKET, "hosts": ["live.example"]},
            {"paths": ["/denied/**"], **SOCKET, "plain": True},
            {"paths": ["/open"]},
        ],
        "deny": [{"paths": ["/denied/get"], "methods": ["GET"]}, {"paths": ["/denied/post"], "methods": ["POST"]}],
    }},
}


@pytest.fixture(scope="module")
def envoy(start_envoy: StartEnvoy, signer: Signer) -> Envoy:
    return start_envoy(Listener("main", POLICY, jwt=JwtAuthn((signer,)), upgrades=["websocket", "custom"]))


@pytest.mark.parametrize(("method", "path", "scope", "expected"), [
    ("GET", "/ws", "", "path_denied"),
    ("HEAD", "/ws", "", "403"),
    ("POST", "/ws", "", "path_denied"),
    ("GET", "/both", "", "allowed"),
    ("HEAD", "/both", "", "200"),
    ("POST", "/both", "", "method_not_allowed"),
    ("GET", "/scoped", "read", "allowed"),
    ("GET", "/scoped", "live", "insufficient_scope"),
    ("GET", "/scoped", "", "insufficient_scope"),
    ("POST", "/posted", "", "allowed"),
    ("GET", "/posted", "", "method_not_allowed"),
    ("GET", "/host", "", "path_denied"),
])
def test_a_plain_request_is_none_of_a_rule_about_upgrades(
    envoy: Envoy, acme: Credential, bearer: Bearer, upstream: Upstream, http: Client,
    method: str, path: str, scope: str, expected: str,
) -> None:
    mark = upstream.mark()
    with http(envoy.port("main"), ClientTls(acme)) as client:
        response = client.request(method, path, [bearer("acme", acme, scope=scope)])
    assert (str(response.status) if method == "HEAD" else verdicts.reason_of(response)) == expected
    assert len(upstream.since(mark)) == (expected in ("allowed", "200"))


def test_the_methods_of_a_refusal_are_those_of_plain_requests(
    envoy: Envoy, acme: Credential, bearer: Bearer, http: Client
) -> None:
    for path, allow in (("/posted", "POST"), ("/both", "GET, HEAD")):
        with http(envoy.port("main"), ClientTls(acme)) as client:
            response = client.request("DELETE", path, [bearer("acme", acme)])
        assert (verdicts.reason_of(response), response.header("allow")) == ("method_not_allowed", allow)


UPGRADES = [
    # path, scope, host, expected
    ("/ws", "", AUTHORITY, "tunnel"),
    ("/both", "", AUTHORITY, "tunnel"),
    ("/scoped", "live", AUTHORITY, "tunnel"),
    ("/scoped", "read", AUTHORITY, "insufficient_scope"),
    ("/posted", "", AUTHORITY, "tunnel"),
    ("/host", "", "live.example", "tunnel"),
    ("/host", "", "LIVE.example:8443", "tunnel"),
    ("/host", "", AUTHORITY, "path_denied"),
    ("/open", "", AUTHORITY, "upgrade_denied"),
    ("/denied/post", "", AUTHORITY, "tunnel"),
    ("/denied/get", "", AUTHORITY, "path_denied"),
]


@pytest.mark.parametrize(("path", "scope", "host", "expected"), UPGRADES)
def test_an_upgrade_needs_what_the_rule_about_it_says_over_http1(
    envoy: Envoy, acme: Credential, bearer: Bearer, upstream: Upstream, path: str, scope: str, host: str, expected: str
) -> None:
    mark = upstream.mark()
    headers: list[Header] = [("connection", "Upgrade"), ("upgrade", "websocket"), bearer("acme", acme, scope=scope)]
    with Http1(envoy.port("main"), ClientTls(acme)) as client:
        response = client.request("GET", path, headers, host=host)
        if expected == "tunnel":
            assert response.status == 101
            client.send(b"ping")
            assert client.receive() == b"ping"
        else:
            verdicts.refused(response, expected)
    assert len(upstream.since(mark)) == (expected == "tunnel")


@pytest.mark.parametrize(("path", "scope", "host", "expected"), UPGRADES)
def test_an_upgrade_needs_what_the_rule_about_it_says_over_a_stream(
    envoy: Envoy, acme: Credential, bearer: Bearer, upstream: Upstream, streams: Streams,
    path: str, scope: str, host: str, expected: str,
) -> None:
    mark = upstream.mark()
    headers: list[Header] = [
        (":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "https"), (":path", path), (":authority", host),
        bearer("acme", acme, scope=scope),
    ]
    with streams(envoy.port("main"), ClientTls(acme)) as client:
        if expected == "tunnel":
            stream = client.open(headers, end=False)
            assert client.head(stream).status == 200
            client.data(stream, b"ping")
            assert client.body(stream, 4) == b"ping"
        else:
            verdicts.refused(client.response(client.open(headers)), expected)
    assert len(upstream.since(mark)) == (expected == "tunnel")


@pytest.mark.parametrize("headers", [
    # What asks for no upgrade at all, or for one that no rule lists, is no websocket.
    [("upgrade", "websocket")],
    [("connection", "keep-alive"), ("upgrade", "websocket")],
    [("connection", "Upgrade")],
    [("connection", "Upgrade"), ("upgrade", "custom")],
    [("connection", "Upgrade"), ("upgrade", "custom, websocket")],
    [("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="), ("sec-websocket-version", "13")],
], ids=str)
def test_what_only_looks_like_an_upgrade_gets_nothing_from_a_rule_about_upgrades(
    envoy: Envoy, acme: Credential, bearer: Bearer, upstream: Upstream, headers: list[Header]
) -> None:
    mark = upstream.mark()
    with Http1(envoy.port("main"), ClientTls(acme)) as client:
        response = client.request("GET", "/ws", [*headers, bearer("acme", acme)])
    # Envoy refuses some of them itself.
    assert response.status == 403
    assert upstream.since(mark) == []
