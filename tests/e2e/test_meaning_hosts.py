"""`hosts` of a rule or a bypass: the host that the request names, in any letter case and with any port, and no other."""

from __future__ import annotations

import re

import pytest

from conftest import Client, StartEnvoy, Streams
from harness import verdicts
from harness.envoy import Envoy
from harness.filters import Config
from harness.http1 import Http1
from harness.http2 import Http2
from harness.listener import CLOSE_AT_ONCE, Listener
from harness.pki import Credential
from harness.response import ConnectionEnded, Header
from harness.tls import ClientTls
from harness.upstream import Upstream

POLICY: Config = {
    "mode": "mtls",
    "clients": {"acme": {"identities": ["cn:acme"], "profiles": ["partner"]}},
    "profiles": {"partner": {"allow": [
        {"paths": ["/a"], "hosts": ["api.example", "*.tenant.example", "[2001:db8::1]"]},
        {"paths": ["/port"], "hosts": ["api.example:8443", "*.tenant.example:8443"]},
        {"paths": ["/any"]},
    ]}},
    "bypass": [{"path": "/health", "hosts": ["api.example"]}],
}


def tunnels(*hosts: str) -> Config:
    return POLICY | {"profiles": {"partner": {"allow": [
        {"paths": ["/**"], "methods": ["CONNECT"], "hosts": list(hosts)},
        {"paths": ["/**"], "methods": ["GET"]},
    ]}}, "bypass": []}


@pytest.fixture(scope="module")
def envoy(start_envoy: StartEnvoy) -> Envoy:
    connect: Config = {"upgrades": ["CONNECT"], "manager": CLOSE_AT_ONCE}
    return start_envoy(
        Listener("main", POLICY, manager=CLOSE_AT_ONCE),
        Listener("tunnels", tunnels("db.example:5432", "*.cache.example:6379"), **connect),
        Listener("any_port", tunnels("db.example"), **connect),
    )


HOSTS = [
    ("api.example", "/a", "allowed"),
    ("API.Example", "/a", "allowed"),
    ("api.example:443", "/a", "allowed"),
    ("Api.Example:8443", "/a", "allowed"),
    ("other.example", "/a", "path_denied"),
    ("other.example:443", "/a", "path_denied"),
    ("api.example.", "/a", "path_denied"),
    ("api.example.:443", "/a", "path_denied"),
    (".api.example", "/a", "path_denied"),
    ("api.example.other.example", "/a", "path_denied"),
    ("xapi.example", "/a", "path_denied"),
    ("other.example:api.example", "/a", "path_denied"),
    # A star is one label, not none and not two.
    ("one.tenant.example", "/a", "allowed"),
    ("ONE.Tenant.example:9", "/a", "allowed"),
    ("a.b.tenant.example", "/a", "path_denied"),
    ("tenant.example", "/a", "path_denied"),
    (".tenant.example", "/a", "path_denied"),
    ("xtenant.example", "/a", "path_denied"),
    ("one.tenant.example.", "/a", "path_denied"),
    ("[2001:db8::1]", "/a", "allowed"),
    ("[2001:DB8::1]:443", "/a", "allowed"),
    ("[2001:db8::2]", "/a", "path_denied"),
    # A port that the rule names is the request's.
    ("api.example:8443", "/port", "allowed"),
    ("api.example", "/port", "path_denied"),
    ("api.example:443", "/port", "path_denied"),
    ("one.tenant.example:8443", "/port", "allowed"),
    ("one.tenant.example:84430", "/port", "path_denied"),
    ("other.example:8443", "/any", "allowed"),
]


@pytest.mark.parametrize(("host", "path", "expected"), HOSTS)
def test_a_rule_with_hosts_is_about_these_hosts_alone(
    envoy: Envoy, acme: Credential, http: Client, host: str, path: str, expected: str
) -> None:
    with http(envoy.port("main"), ClientTls(acme)) as client:
        assert verdicts.reason_of(client.request("GET", path, host=host)) == expected


@pytest.mark.parametrize(("host", "expected"), [
    ("api.example", "allowed"),
    ("API.EXAMPLE:8443", "allowed"),
    ("other.example", "certificate_missing"),
    ("api.example.", "certificate_missing"),
    ("one.tenant.example", "certificate_missing"),
])
def test_a_bypass_with_hosts_is_about_these_hosts_alone(envoy: Envoy, http: Client, host: str, expected: str) -> None:
    with http(envoy.port("main"), ClientTls()) as client:
        assert verdicts.reason_of(client.request("GET", "/health", host=host)) == expected


@pytest.mark.parametrize("host", [
    "api.example@other.example", "other.example@api.example", "user:api.example@other.example", "api.example:443@other.example",
    "api.example:99999", "api.example:4 43", "api.example:+443", "api.example/other", "api.example,other.example",
    "api.example:443:443", "api%2Eexample", "*.tenant.example.other", "\xe1pi.example", "",
    "*.tenant.example", "x@y.tenant.example", "other.example:80@y.tenant.example", "other.example/y.tenant.example",
    "other.example,y.tenant.example", "a%2eb.tenant.example", "other.example?.tenant.example", "other.example#.tenant.example",
])
def test_what_is_no_plain_host_and_port_is_none_of_the_hosts(
    envoy: Envoy, acme: Credential, upstream: Upstream, http: Client, host: str
) -> None:
    mark = upstream.mark()
    for path in ("/a", "/health"):
        with http(envoy.port("main"), ClientTls(acme)) as client:
            try:
                response = client.request("GET", path, host=host)
            except ConnectionEnded:
                continue
        # Envoy refuses some of them itself.
        assert response.status == 400 or verdicts.reason_of(response) == "path_denied", (response.status, response.body)
    assert upstream.since(mark) == []


@pytest.mark.parametrize(("target", "host", "expected"), [
    ("https://api.example/a", "other.example", "allowed"),
    ("https://API.example:443/a", "other.example", "allowed"),
    ("http://api.example/a", "other.example", "allowed"),
    ("https://other.example/a", "api.example", "path_denied"),
    ("https://other.example:443/a", "api.example", "path_denied"),
    ("https://user@other.example/a", "api.example", "path_denied"),
    ("https://api.example@other.example/a", "api.example", "path_denied"),
])
def test_the_host_of_an_absolute_target_counts_and_is_what_the_upstream_is_told(
    envoy: Envoy, acme: Credential, upstream: Upstream, target: str, host: str, expected: str
) -> None:
    mark = upstream.mark()
    with Http1(envoy.port("main"), ClientTls(acme)) as client:
        response = client.request("GET", target, host=host)
    if response.status != 400:
        assert verdicts.reason_of(response) == expected
    for echo in upstream.since(mark):
        assert [name.split(":")[0].lower() for name in echo.values("host")] == ["api.example"]


@pytest.mark.parametrize(("authority", "host", "expected"), [
    ("api.example", "other.example", "allowed"),
    ("other.example", "api.example", "path_denied"),
    (None, "api.example", "allowed"),
    (None, "other.example", "path_denied"),
])
def test_the_upstream_is_told_the_host_that_was_decided_about(
    envoy: Envoy, acme: Credential, upstream: Upstream, streams: Streams, authority: str | None, host: str, expected: str
) -> None:
    mark = upstream.mark()
    pseudo: list[Header] = [(":method", "GET"), (":scheme", "https"), (":path", "/a")]
    if authority is not None:
        pseudo.insert(2, (":authority", authority))
    try:
        with streams(envoy.port("main"), ClientTls(acme)) as client:
            response = client.response(client.open([*pseudo, ("host", host)]))
        assert response.status == 400 or verdicts.reason_of(response) == expected
    except ConnectionEnded:
        # Some of it is not HTTP to Envoy's codecs.
        pass
    for echo in upstream.since(mark):
        assert echo.values("host") == ["api.example"]


def test_two_hosts_are_none(envoy: Envoy, acme: Credential, upstream: Upstream) -> None:
    mark = upstream.mark()
    for hosts in (("api.example", "other.example"), ("other.example", "api.example"), ("api.example", "api.example")):
        with Http1(envoy.port("main"), ClientTls(acme)) as client:
            response = client.request("GET", "/a", [("host", hosts[1])], host=hosts[0])
            assert response.status == 400 or verdicts.reason_of(response) == "path_denied"
        pseudo = [(":method", "GET"), (":scheme", "https"), (":path", "/a"), *((":authority", host) for host in hosts)]
        try:
            with Http2(envoy.port("main"), ClientTls(acme)) as other:
                second = other.response(other.open(pseudo))
            assert second.status == 400 or verdicts.reason_of(second) == "path_denied"
        except ConnectionEnded:
            pass
    assert upstream.since(mark) == []


def test_the_methods_of_a_refusal_are_those_of_the_host(envoy: Envoy, acme: Credential, http: Client) -> None:
    with http(envoy.port("tunnels"), ClientTls(acme)) as client:
        refusal = client.request("DELETE", "/a")
    assert (verdicts.reason_of(refusal), refusal.header("allow")) == ("method_not_allowed", "GET, HEAD")


INSIDE = b"GET /inside HTTP/1.1\r\nhost: inside\r\n\r\n"


def over_http1(envoy: Envoy, listener: str, credential: Credential | None, target: str, host: str | None = None) -> str:
    """`tunnel` where one was made and carries bytes, or the reason of the refusal."""
    with Http1(envoy.port(listener), ClientTls(credential)) as client:
        client.send(f"CONNECT {target} HTTP/1.1\r\nhost: {host or target}\r\n\r\n".encode("latin-1"))
        # The head of a tunnel is no whole response, and a refusal comes in one piece.
        head = client.receive()
        if not head.startswith(b"HTTP/1.1 200"):
            found = re.search(rb'"code":"([a-z_]+)"', head)
            return (found or head.split(b" "))[1].decode()
        client.send(INSIDE)
        assert client.receive().startswith(b"HTTP/1.1 200")
    return "tunnel"


def over_a_stream(envoy: Envoy, streams: Streams, listener: str, credential: Credential | None, target: str) -> str:
    with streams(envoy.port(listener), ClientTls(credential)) as client:
        stream = client.open([(":method", "CONNECT"), (":authority", target)], end=False)
        try:
            head = client.head(stream)
            if head.status != 200:
                response = client.response(stream)
                return verdicts.reason_of(response) if response.body else str(response.status)
        except ConnectionEnded:
            return "400"
        client.data(stream, INSIDE)
        assert client.body(stream, 4).startswith(b"HTTP")
    return "tunnel"


CONNECT = [
    # listener, target, expected
    ("tunnels", "db.example:5432", "tunnel"),
    ("tunnels", "DB.Example:5432", "tunnel"),
    ("tunnels", "one.cache.example:6379", "tunnel"),
    ("tunnels", "db.example:22", "upgrade_denied"),
    ("tunnels", "db.example:05432", "tunnel"),
    ("tunnels", "db.example.:5432", "upgrade_denied"),
    ("tunnels", "other.example:5432", "upgrade_denied"),
    ("tunnels", "cache.example:6379", "upgrade_denied"),
    ("tunnels", "a.b.cache.example:6379", "upgrade_denied"),
    ("tunnels", "db.example:5432@other.example:22", "upgrade_denied"),
    ("tunnels", "169.254.169.254:80", "upgrade_denied"),
    ("any_port", "db.example:22", "tunnel"),
    ("any_port", "other.example:22", "upgrade_denied"),
]


@pytest.mark.parametrize(("listener", "target", "expected"), CONNECT)
def test_connect_leads_to_the_hosts_and_ports_of_its_rule_alone_over_http1(
    envoy: Envoy, acme: Credential, upstream: Upstream, listener: str, target: str, expected: str
) -> None:
    mark = upstream.mark()
    assert over_http1(envoy, listener, acme, target) in ({expected} if expected == "tunnel" else {expected, "400"})
    assert [echo.path for echo in upstream.since(mark)] == (["/inside"] if expected == "tunnel" else [])


@pytest.mark.parametrize(("listener", "target", "expected"), CONNECT)
def test_connect_leads_to_the_hosts_and_ports_of_its_rule_alone_over_a_stream(
    envoy: Envoy, acme: Credential, upstream: Upstream, streams: Streams, listener: str, target: str, expected: str
) -> None:
    mark = upstream.mark()
    found = over_a_stream(envoy, streams, listener, acme, target)
    assert found in ({expected} if expected == "tunnel" else {expected, "400"})
    assert [echo.path for echo in upstream.since(mark)] == (["/inside"] if expected == "tunnel" else [])


def test_the_target_of_connect_counts_and_not_its_host_header(envoy: Envoy, acme: Credential, upstream: Upstream) -> None:
    mark = upstream.mark()
    assert over_http1(envoy, "tunnels", acme, "other.example:22", host="db.example:5432") in ("upgrade_denied", "400")
    assert upstream.since(mark) == []


def test_connect_needs_a_certificate_whatever_its_host(envoy: Envoy, streams: Streams) -> None:
    assert over_http1(envoy, "tunnels", None, "db.example:5432") == "certificate_missing"
    assert over_a_stream(envoy, streams, "tunnels", None, "db.example:5432") == "certificate_missing"
