"""What Envoy tells a filter of an HTTP/3 connection, which its client names and moves."""

from __future__ import annotations

import os

import pytest

from conftest import StartEnvoy
from harness import filters, probe
from harness.envoy import Envoy
from harness.http1 import Http1
from harness.http3 import Http3
from harness.pki import Authority, Credential
from harness.probe import BAD_ARGUMENT, NOT_FOUND, OK, Answer, Call
from harness.response import ConnectionEnded, Header
from harness.tls import ClientTls

NOTE = ("property", "note")
ID = ("property", "connection", "id")
DIGEST = ("property", "connection", "sha256_peer_certificate_digest")
VALID = ("property", "connection", "peer_certificate_valid")
DIRECT = ("property", "filter_state", filters.DIRECT_ADDRESS_KEY)
SOURCE = ("property", "source", "address")
TRUE, FALSE, ABSENT = Answer(OK, b"\x01"), Answer(OK, b"\x00"), Answer(NOT_FOUND)


def declare(name: str) -> Call:
    """Declares a property that lives as long as the connection (`DeclarePropertyArguments`)."""
    return ("foreign", "declare_property", b"\x0a" + bytes([len(name)]) + name.encode() + b"\x18\x01\x28\x02")


@pytest.fixture(scope="module", params=[1, 2], ids=["one_worker", "two_workers"])
def envoy(start_envoy: StartEnvoy, request: pytest.FixtureRequest) -> Envoy:
    at_start = probe.script(declare("note"))[1] + ";"
    return start_envoy(
        probe.listener("main", policy=at_start, quic=True),
        probe.listener("other", policy=at_start, quic=True),
        probe.listener("undeclared", quic=True),
        probe.listener("edge", quic=True, use_remote_address=True),
        probe.listener("resuming", quic=True, resumption=True),
        probe.listener("strict", quic=True, require_client_certificate=True),
        concurrency=request.param,
    )


@pytest.fixture(scope="module")
def leaf(issuer: Authority) -> Credential:
    return issuer.issue()


def test_a_verified_certificate_is_shown_as_over_tcp(envoy: Envoy, leaf: Credential) -> None:
    names = ("mtls", "peer_certificate_valid", "peer_certificate", "sha256_peer_certificate_digest")
    with Http3(envoy.port("main"), ClientTls(leaf)) as client:
        shown = probe.ask(client, *(("property", "connection", name) for name in names), ("property", "request", "protocol"))
        pem, digest = leaf.pem.encode(), leaf.thumbprint_hex.encode()
        assert shown == [TRUE, TRUE, *(Answer(OK, value) for value in (pem, digest, b"HTTP/3"))]
    with Http3(envoy.port("main"), ClientTls()) as client:
        assert probe.ask(client, VALID, DIGEST) == [FALSE, ABSENT]
    with pytest.raises(ConnectionEnded):
        Http3(envoy.port("strict"), ClientTls())


def test_the_clients_first_connection_id_alone_makes_envoys(envoy: Envoy, leaf: Credential) -> None:
    connection_id = os.urandom(8)
    with Http3(envoy.port("main"), ClientTls(leaf), connection_id=connection_id) as one, \
            Http3(envoy.port("other"), ClientTls(), connection_id=connection_id) as two, \
            Http3(envoy.port("main"), ClientTls(leaf)) as three:
        first, second, third = probe.ask(one, ID), probe.ask(two, ID), probe.ask(three, ID)
        one.migrate("127.0.0.2")
        assert probe.ask(one, ID) == first
        with Http3(envoy.port("main"), ClientTls(), connection_id=connection_id) as four:
            assert probe.ask(four, ID) == first
    assert first == second != third


@pytest.mark.parametrize("listener", ["main", "edge"])
def test_every_address_stays_the_first_one_when_the_client_moves(envoy: Envoy, leaf: Credential, listener: str) -> None:
    with Http3(envoy.port(listener), ClientTls(leaf), source="127.0.0.5") as client:
        before = probe.ask(client, DIRECT, SOURCE)
        assert before[0] == Answer(OK, b"127.0.0.5")
        for step in (lambda: client.migrate("127.0.0.6"), lambda: client.move("127.0.0.7")):
            step()
            assert probe.ask(client, DIRECT, SOURCE) == before


@pytest.mark.parametrize("listener", ["main", "edge"])
def test_no_caller_chooses_the_direct_address_in_filter_state(envoy: Envoy, leaf: Credential, listener: str) -> None:
    with Http3(envoy.port(listener), ClientTls(leaf), source="127.0.0.7") as client:
        (address,) = probe.ask(client, DIRECT, headers=[("x-forwarded-for", "10.0.0.1")])
    assert address.text() == "127.0.0.7"


def test_a_property_declared_at_the_start_lives_as_long_as_its_connection_and_on_no_other(
    envoy: Envoy, leaf: Credential
) -> None:
    connection_id = os.urandom(8)
    with Http3(envoy.port("main"), ClientTls(leaf), connection_id=connection_id) as client:
        assert probe.ask(client, NOTE, ("set_property", "mine", "note"), NOTE) == [ABSENT, Answer(OK), Answer(OK, b"mine")]
        for step in (lambda: None, lambda: client.migrate("127.0.0.2"), lambda: client.move("127.0.0.3")):
            step()
            assert probe.ask(client, NOTE) == [Answer(OK, b"mine")]
        for listener in ("main", "other"):
            with Http3(envoy.port(listener), ClientTls(), connection_id=connection_id) as other:
                assert probe.ask(other, NOTE) == [ABSENT]
        assert probe.ask(client, NOTE) == [Answer(OK, b"mine")]


def test_a_property_declared_in_a_request_lives_as_long_as_the_request(envoy: Envoy, leaf: Credential) -> None:
    with Http3(envoy.port("undeclared"), ClientTls(leaf)) as client:
        assert probe.ask(client, declare("note"), ("set_property", "mine", "note"), NOTE)[1:] == [Answer(OK), Answer(OK, b"mine")]
        assert probe.ask(client, NOTE) == [ABSENT]


@pytest.mark.parametrize("credential", [True, False], ids=["certificate", "none"])
@pytest.mark.parametrize("listener", ["main", "resuming"])
def test_no_session_can_be_resumed(envoy: Envoy, leaf: Credential, listener: str, credential: bool) -> None:
    with Http3(envoy.port(listener), ClientTls(leaf if credential else None)) as client:
        probe.ask(client, ID)
        client.ping()
        assert client.tickets == 0


BASE = [(":method", "GET"), (":scheme", "https"), (":path", "/")]


@pytest.mark.parametrize("headers", [
    [*BASE], [*BASE, ("host", "b.example")],
    [*BASE, (":authority", "a.example"), ("host", "b.example")],
    [*BASE, (":authority", "a.example"), (":authority", "b.example")],
    [*BASE, (":path", "/x"), (":authority", "a.example")],
    [("x-first", "1"), *BASE, (":authority", "a.example")],
    [*BASE, (":authority", "a.example"), ("X-Upper", "1")],
    [*BASE, (":authority", "a.example"), ("connection", "close")],
    [*BASE, (":authority", "a.example"), ("transfer-encoding", "chunked")],
    [(":method", "GET"), (":scheme", "https"), (":authority", "a.example")],
    [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "https"), (":path", "/"), (":authority", "a.example")],
], ids=str)
def test_a_request_that_can_be_read_in_two_ways_ends_the_stream_or_connection(
    envoy: Envoy, leaf: Credential, headers: list[Header]
) -> None:
    with Http3(envoy.port("main"), ClientTls(leaf)) as client:
        with pytest.raises(ConnectionEnded):
            client.response(client.open([*headers, probe.script(ID)]))


def test_the_same_authority_and_host_are_joined_into_one_value(envoy: Envoy, leaf: Credential) -> None:
    lines = [*BASE, (":authority", "a.example"), ("host", "a.example"), probe.script(("header", ":authority"))]
    with Http3(envoy.port("main"), ClientTls(leaf)) as client:
        assert probe.answers(client.response(client.open(lines))) == [Answer(OK, b"a.example,a.example")]


def test_connect_reaches_the_filter_without_a_path(envoy: Envoy, leaf: Credential) -> None:
    lines = [(":method", "CONNECT"), (":authority", "a.example:80"), probe.script(("header", ":method"), ("header", ":path"))]
    with Http3(envoy.port("main"), ClientTls(leaf)) as client:
        assert probe.answers(client.response(client.open(lines))) == [Answer(OK, b"CONNECT"), ABSENT]


def test_lines_stay_in_order_and_so_do_spaces_around_a_value(envoy: Envoy, leaf: Credential) -> None:
    lines = [("x-a", " 1 "), ("x-b", "2"), ("x-a", "3")]
    with Http3(envoy.port("main"), ClientTls(leaf)) as client:
        (answer,) = probe.ask(client, ("map",), headers=lines)
    assert [pair for pair in answer.pairs() if pair[0] in ("x-a", "x-b")] == lines


def test_a_second_declaration_of_a_property_is_refused_and_does_no_harm(start_envoy: StartEnvoy, leaf: Credential) -> None:
    at_start = probe.script(declare("note"), declare("note"))[1] + ";"
    envoy = start_envoy(probe.listener("twice", policy=at_start))
    assert envoy.wait_for_log("probe at start").endswith(f"{OK}: {BAD_ARGUMENT}")
    with Http1(envoy.port("twice"), ClientTls(leaf)) as client:
        probe.ask(client, ("set_property", "mine", "note"))
        assert probe.ask(client, NOTE) == [Answer(OK, b"mine")]
