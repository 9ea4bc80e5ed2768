"""Which requests reach a filter: paths, methods, pseudo headers, upgrades."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from conftest import Client, StartEnvoy
from harness import probe
from harness.envoy import Envoy
from harness.http1 import Http1
from harness.http2 import Http2
from harness.listener import CLOSE_AT_ONCE
from harness.pki import Authority
from harness.response import ConnectionEnded, Header, Response
from harness.tls import ClientTls

GET = [(":method", "GET"), (":scheme", "https"), (":authority", "api.example"), (":path", "/")]
WEBSOCKET = [("upgrade", "websocket"), ("connection", "Upgrade")]
EXTENDED_CONNECT = [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "https"),
                    (":authority", "api.example"), (":path", "/chat")]


@pytest.fixture(scope="module")
def envoy(start_envoy: StartEnvoy, every_envoy: Path) -> Envoy:
    return start_envoy(
        probe.listener("plain", ("map",), manager=CLOSE_AT_ONCE),
        probe.listener("normalizing", ("map",), normalize=True),
        probe.listener("upgrading", ("map",), upgrades=("websocket", "CONNECT")),
        binary=every_envoy,
    )


@pytest.fixture(scope="module")
def tls(issuer: Authority) -> ClientTls:
    return ClientTls(issuer.issue())


AS_SENT = ["/a/../b", "/%2e%2e/b", "/a//b", "/a;x/b", "/a%2Fb", "/a%5Cb", "/a\\b", "/a%00b", "/a%zz", "/%61", "/a|b<>"]


@pytest.mark.parametrize("path", AS_SENT)
def test_without_normalisation_a_path_reaches_the_filter_as_it_was_sent(
    envoy: Envoy, tls: ClientTls, http: Client, path: str
) -> None:
    with http(envoy.port("plain"), tls) as client:
        assert seen(client.request("GET", path))[":path"] == path


@pytest.mark.parametrize(("path", "normal"), [
    ("/a/../b", "/b"), ("/%2e%2e/b", "/b"), ("/a//b", "/a/b"), ("/a\\b", "/a/b"), ("/%61", "/a"),
    ("/a;x/b", "/a;x/b"), ("/a%zz", "/a%zz"), ("/a|b<>", "/a%7Cb%3C%3E"),
])
def test_with_normalisation_dots_slashes_and_escapes_are_resolved_and_the_rest_stays(
    envoy: Envoy, tls: ClientTls, http: Client, path: str, normal: str
) -> None:
    with http(envoy.port("normalizing"), tls) as client:
        assert seen(client.request("GET", path))[":path"] == normal


@pytest.mark.parametrize("path", ["/a%2Fb", "/a%5Cb", "/a%00b"])
def test_with_normalisation_escaped_slashes_and_nul_are_refused_by_envoy(
    envoy: Envoy, tls: ClientTls, http: Client, path: str
) -> None:
    with http(envoy.port("normalizing"), tls) as client:
        assert refused(client.request("GET", path), 400)


@pytest.mark.parametrize("listener", ["plain", "normalizing"])
def test_a_fragment_is_refused_by_envoy(envoy: Envoy, tls: ClientTls, http: Client, listener: str) -> None:
    with http(envoy.port(listener), tls) as client:
        assert refused(client.request("GET", "/a#b"), 400)


def test_raw_bytes_in_a_path_reach_the_filter_over_http2_only(envoy: Envoy, tls: ClientTls) -> None:
    with Http1(envoy.port("plain"), tls) as client:
        assert refused(client.request("GET", "/a\xa1b"), 400)
    with Http2(envoy.port("plain"), tls) as client:
        assert seen(client.request("GET", "/a\xa1b"))[":path"] == "/a\xa1b"
    with Http2(envoy.port("normalizing"), tls) as client:
        assert seen(client.request("GET", "/a\xa1b"))[":path"] == "/a%A1b"


def test_methods_that_nobody_knows_reach_the_filter_over_http2_only(envoy: Envoy, tls: ClientTls) -> None:
    for method in ("get", "FOO"):
        with Http1(envoy.port("plain"), tls) as client:
            assert refused(client.request(method), 400)
        with Http2(envoy.port("plain"), tls) as client:
            assert seen(client.request(method))[":method"] == method


@pytest.mark.parametrize("headers", [
    [*GET, (":path", "/other")],
    [*GET, ("x-between", "b"), (":path", "/other")],
    [*GET, (":method", "POST")],
    [*GET, (":authority", "other.example")],
    [*GET, (":unknown", "u")],
    [field for field in GET if field[0] != ":path"],
    [field for field in GET if field[0] != ":method"],
    [(name, "" if name == ":path" else value) for name, value in GET],
])
def test_repeated_missing_empty_or_unknown_pseudo_headers_end_the_connection(
    envoy: Envoy, tls: ClientTls, headers: Sequence[Header]
) -> None:
    assert ended(envoy.port("plain"), tls, headers)


def test_a_host_header_is_the_authority_and_nothing_else(envoy: Envoy, tls: ClientTls) -> None:
    with Http1(envoy.port("plain"), tls) as client:
        headers = seen(client.request("GET", "/", [("host", "other.example")]))
        assert headers[":authority"] == "api.example,other.example"
        assert "host" not in headers
    with Http2(envoy.port("plain"), tls) as client:
        headers = seen(client.request("GET", "/", [("host", "other.example")]))
        assert headers[":authority"] == "api.example"
        assert "host" not in headers


def test_a_websocket_upgrade_is_refused_by_envoy_unless_the_listener_allows_it(envoy: Envoy, tls: ClientTls) -> None:
    with Http1(envoy.port("plain"), tls) as client:
        assert refused(client.request("GET", "/chat", WEBSOCKET), 403)
    with Http1(envoy.port("upgrading"), tls) as client:
        headers = seen(client.request("GET", "/chat", WEBSOCKET))
    assert headers[":method"] == "GET"
    assert (headers["upgrade"], headers["connection"]) == ("websocket", "Upgrade")


def test_an_http2_websocket_looks_to_the_filter_like_an_http1_upgrade(envoy: Envoy, tls: ClientTls) -> None:
    assert ended(envoy.port("plain"), tls, EXTENDED_CONNECT)
    with Http2(envoy.port("upgrading"), tls) as client:
        headers = seen(client.response(client.open(EXTENDED_CONNECT)))
    assert headers[":method"] == "GET"
    assert (headers["upgrade"], headers["connection"]) == ("websocket", "upgrade")
    assert ":protocol" not in headers


@pytest.mark.parametrize("listener", ["plain", "upgrading"])
def test_connect_reaches_the_filter_without_a_path_even_where_the_listener_does_not_allow_it(
    envoy: Envoy, tls: ClientTls, listener: str
) -> None:
    with Http1(envoy.port(listener), tls) as client:
        one = seen(client.request("CONNECT", "api.example:443", host="api.example:443"))
    with Http2(envoy.port(listener), tls) as client:
        two = seen(client.response(client.open([(":method", "CONNECT"), (":authority", "api.example:443")])))
    for headers in (one, two):
        assert (headers[":method"], headers[":authority"]) == ("CONNECT", "api.example:443")
        assert ":path" not in headers


def seen(response: Response) -> dict[str, str]:
    """The header map that the filter was given."""
    (answer,) = probe.answers(response)
    return dict(answer.pairs())


def refused(response: Response, status: int) -> bool:
    """Whether the answer is Envoy's own and not the filter's."""
    return response.status == status and response.header("x-upstream") is None


def ended(port: int, tls: ClientTls, headers: Sequence[Header]) -> bool:
    """Whether Envoy ends an HTTP/2 connection on these header fields."""
    try:
        with Http2(port, tls) as client:
            client.response(client.open(headers))
    except ConnectionEnded:
        return True
    return False
