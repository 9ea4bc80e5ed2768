"""Which header lines reach a filter, and what becomes of those that it writes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from conftest import Client, StartEnvoy
from harness import http3, probe
from harness.envoy import Envoy
from harness.http1 import Http1
from harness.http2 import Http2
from harness.http3 import Http3
from harness.listener import CLOSE_AT_ONCE
from harness.pki import Authority, Credential
from harness.probe import NOT_FOUND, OK, Answer
from harness.response import ConnectionEnded, Header
from harness.tls import ClientTls

BY_CLIENT_ID = {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
    {"match": {"prefix": "/", "headers": [{"name": "x-client-id", "string_match": {"exact": "acme"}}]},
     "direct_response": {"status": 201}},
    {"match": {"prefix": "/"}, "direct_response": {"status": 202}},
]}]}


@pytest.fixture(scope="module")
def envoy(start_envoy: StartEnvoy, every_envoy: Path) -> Envoy:
    return start_envoy(
        probe.listener("plain", manager=CLOSE_AT_ONCE),
        probe.listener("routed", manager={"route_config": BY_CLIENT_ID}),
        binary=every_envoy,
    )


@pytest.fixture(scope="module")
def leaf(issuer: Authority) -> Credential:
    return issuer.issue()


def seen(client: Http1 | Http2 | Http3, *headers: Header) -> list[Header]:
    """The header map as the filter has it, without the probe's own line."""
    (answer,) = probe.ask(client, ("map",), headers=headers)
    return [pair for pair in answer.pairs() if pair[0] != "x-probe"]


@pytest.mark.parametrize("name", ["authorization", "x-forwarded-for", "x-request-id", "content-type", "user-agent"])
def test_repeated_lines_of_a_header_that_envoy_knows_are_joined_with_a_comma(
    envoy: Envoy, leaf: Credential, http: Client, name: str
) -> None:
    with http(envoy.port("plain"), ClientTls(leaf)) as client:
        headers = seen(client, (name, "one"), (name, "two"))
    assert [value for key, value in headers if key == name] == ["one,two"]


@pytest.mark.parametrize("name", ["x-client-id", "x-profile-id", "client-cert", "x-amzn-mtls-clientcert-leaf"])
def test_repeated_lines_of_other_headers_stay_apart_and_in_order(
    envoy: Envoy, leaf: Credential, http: Client, name: str
) -> None:
    with http(envoy.port("plain"), ClientTls(leaf)) as client:
        headers = seen(client, (name, "one"), ("x-between", "b"), (name, "two"))
    assert [value for key, value in headers if key == name] == ["one", "two"]


def test_looking_up_one_header_returns_only_the_first_line(envoy: Envoy, leaf: Credential, http: Client) -> None:
    lines = [("x-client-id", "one"), ("x-client-id", "two")]
    with http(envoy.port("plain"), ClientTls(leaf)) as client:
        answers = probe.ask(client, ("header", "x-client-id"), ("header", "X-CLIENT-ID"), ("header", "x-none"),
                            headers=lines)
    assert answers == [Answer(OK, b"one"), Answer(OK, b"one"), Answer(NOT_FOUND)]


def test_bytes_above_ascii_and_empty_values_reach_the_filter_as_they_were_sent(
    envoy: Envoy, leaf: Credential, http_over_tcp: Client
) -> None:
    with http_over_tcp(envoy.port("plain"), ClientTls(leaf)) as client:
        headers = seen(client, ("x-bytes", "\xa1\xff\x80"), ("x-empty", ""), ("x_under", "u"))
    assert ("x-bytes", "\xa1\xff\x80") in headers
    assert ("x-empty", "") in headers
    assert ("x_under", "u") in headers


def test_a_byte_above_ascii_in_a_value_ends_the_connection_over_http3(
    start_envoy: StartEnvoy, leaf: Credential
) -> None:
    envoy = start_envoy(probe.listener("quic", quic=True))
    for value in ("\xa1", "\xc3\xa9", "a\xff"):
        assert _refused(Http3, envoy.port("quic"), leaf, [("x-bytes", value)])


@pytest.mark.parametrize("name", ["x-\xa1", "x\xc3\xa9", "x y", "x\0y", "x(", "x\x7f"])
def test_no_header_name_outside_ascii_reaches_the_filter(
    envoy: Envoy, leaf: Credential, http: Client, name: str
) -> None:
    assert _refused(http, envoy.port("plain"), leaf, [(name, "v")])


def test_no_header_without_a_name_reaches_the_filter(envoy: Envoy, leaf: Credential, http_over_tcp: Client) -> None:
    # The HTTP/3 client cannot send one.
    assert _refused(http_over_tcp, envoy.port("plain"), leaf, [("", "v")])


@pytest.mark.parametrize("value", ["a\0b", "a\x01b", "a\x7fb"])
def test_no_control_character_in_a_value_reaches_the_filter(
    envoy: Envoy, leaf: Credential, http: Client, value: str
) -> None:
    assert _refused(http, envoy.port("plain"), leaf, [("x-value", value)])


def test_the_request_id_is_there_before_the_filter_runs(envoy: Envoy, leaf: Credential, http: Client) -> None:
    with http(envoy.port("plain"), ClientTls(leaf)) as client:
        made, given = seen(client), seen(client, ("x-request-id", "from-the-caller"))
    assert len(dict(made)["x-request-id"]) == 36
    assert dict(given)["x-request-id"] == "from-the-caller"


def test_a_header_named_in_connection_is_gone_before_the_filter_runs(envoy: Envoy, leaf: Credential) -> None:
    with Http1(envoy.port("plain"), ClientTls(leaf)) as client:
        headers = dict(seen(client, ("connection", "x-client-id"), ("x-client-id", "acme")))
    assert "x-client-id" not in headers
    assert "connection" not in headers


def test_a_map_written_back_is_intact_in_the_filter_and_at_the_upstream(
    envoy: Envoy, leaf: Credential, http: Client
) -> None:
    lines = [("x-two", "1"), ("x-other", "o"), ("x-two", "2"), ("x-empty", ""), ("x-bytes", http3.taken(http, "\xa1\xff"))]
    script = probe.script(("map",), ("rewrite_map",), ("map",), ("continue",))
    with http(envoy.port("plain"), ClientTls(leaf)) as client:
        response = client.request("POST", "/path?query", [*lines, script], b"body")
    before, written, after = probe.answers(response)
    assert written == Answer(OK)
    assert before.pairs() == after.pairs()
    received = response.echo()
    assert [pair for pair in received.headers if pair in lines] == lines
    assert (received.method, received.path, received.body_length) == ("POST", "/path?query", 4)


def test_replacing_leaves_one_line_and_removing_leaves_none(envoy: Envoy, leaf: Credential, http: Client) -> None:
    lines = [("x-a", "1"), ("x-a", "2"), ("x-b", "1"), ("x-b", "2")]
    with http(envoy.port("plain"), ClientTls(leaf)) as client:
        *written, after = probe.ask(client, ("replace_header", "x-a", "new"), ("remove_header", "x-b"),
                                    ("remove_header", "x-none"), ("map",), headers=lines)
    assert written == [Answer(OK)] * 3
    assert [pair for pair in after.pairs() if pair[0] in ("x-a", "x-b")] == [("x-a", "new")]


@pytest.mark.parametrize(("name", "value"), [("x-\xa1", "v"), ("x-out", "a\r\nb"), ("x-out", "a\0b")])
def test_a_request_with_a_malformed_header_written_by_the_filter_is_a_503(
    envoy: Envoy, leaf: Credential, http: Client, name: str, value: str
) -> None:
    write = ("add_header", name.encode("latin-1"), value.encode("latin-1"))
    with http(envoy.port("plain"), ClientTls(leaf)) as client:
        assert client.request("GET", "/", [probe.script(write, ("continue",))]).status == 503


def test_dropping_x_forwarded_proto_leaves_a_request_without_a_route(envoy: Envoy, leaf: Credential) -> None:
    script = probe.script(("remove_header", "x-forwarded-proto"), ("continue",))
    with Http1(envoy.port("plain"), ClientTls(leaf)) as client:
        assert client.request("GET", "/", [script]).status == 404


def test_the_route_is_chosen_again_after_the_filter_has_written_or_removed_a_header(
    envoy: Envoy, leaf: Credential, http: Client
) -> None:
    add = probe.script(("add_header", "x-client-id", "acme"), ("continue",))
    remove = probe.script(("remove_header", "x-client-id"), ("continue",))
    with http(envoy.port("routed"), ClientTls(leaf)) as client:
        assert client.request("GET", "/", [add]).status == 201
        assert client.request("GET", "/", [("x-client-id", "acme"), remove]).status == 202


def _refused(http: Client, port: int, leaf: Credential, headers: Sequence[Header]) -> bool:
    """Whether Envoy refuses by itself: 400, or an end of the connection in HTTP/2 and HTTP/3."""
    try:
        with http(port, ClientTls(leaf)) as client:
            response = client.request("GET", "/", headers)
    except ConnectionEnded:
        return True
    return response.status == 400 and response.header("x-upstream") is None
