"""Everything that is broken while requests are answered, one thing at a time."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from harness.feed_server import json_answer, json_list
from harness.fetched import RESET, Answer, FetchServer, cut
from harness.http1 import Http1
from harness.http2 import Http2
from harness.pki import Credential
from harness.response import ConnectionEnded
from harness.tls import ClientTls
from harness.tokens import Signer, jwks

from .world import World

HOLD_SECONDS = 2.5
"""How long a fault lasts that does not end by itself: longer than a refresh and a timeout."""

Answered = tuple[str, str]
"""Patterns of a request's name and of an answer."""
PASSED = "(allowed|certificate alone|token alone$|nothing needed).*"
REPLACED: tuple[Answered, ...] = ((".*", "closed"),)
"""A connection whose listener is replaced can end before its last answer has been read."""


@dataclass(frozen=True)
class Fault:
    """Something that is broken. `run` breaks it and mends it again.

    Its traces are only what `permits` says; everything else must be answered as if nothing had happened. `shows` is a trace without which it was no fault.
    """

    name: str
    run: Callable[[World], None]
    permits: tuple[Answered, ...] = ()
    shows: Answered | None = None


def _held(broken: Callable[[World], contextlib.AbstractContextManager[object]]) -> Callable[[World], None]:
    def run(world: World) -> None:
        with broken(world):
            time.sleep(HOLD_SECONDS)

    return run


# What is fetched. Keys and lists stay in force, so nobody may see any of it.

_HTML = Answer(b"<html>moved</html>", content_type="text/html")
_BAD_ANSWERS: dict[str, Callable[[Answer], Answer]] = {
    "resets the connection": lambda _: RESET,
    "answers 500": lambda good: replace(good, status=500),
    "answers 403": lambda good: replace(good, status=403),
    "answers 302": lambda good: replace(good, status=302, headers=(("location", "/"),)),
    "sends HTML": lambda _: _HTML,
    "sends nothing": lambda good: replace(good, body=b""),
    "sends half": cut,
    "sends a list": lambda good: replace(good, body=b"[]"),
    "sends 10 MB": lambda good: replace(good, body=good.body + b" " * 10_000_000),
    "sends a byte at a time": lambda good: replace(good, drip_seconds=0.05),
    "sends chunks": lambda good: replace(good, chunked=True),
}


@contextmanager
def _answering(server: FetchServer, bad: Answer, good: Answer) -> Iterator[None]:
    before = server.count()
    server.publish(bad)
    try:
        yield
        assert server.count() > before, "nothing was fetched meanwhile"
    finally:
        server.publish(good)


@contextmanager
def _refusing(server: FetchServer, good: Answer) -> Iterator[None]:
    server.refuse()
    try:
        yield
    finally:
        server.publish(good)


@contextmanager
def _holding(server: FetchServer) -> Iterator[None]:
    server.hold()
    try:
        yield
    finally:
        server.release()


def _fetching(what: str, of: Callable[[World], tuple[FetchServer, Answer]]) -> Iterator[Fault]:
    for name, change in _BAD_ANSWERS.items():
        def bad(world: World, change: Callable[[Answer], Answer] = change) -> contextlib.AbstractContextManager[None]:
            server, good = of(world)
            return _answering(server, change(good), good)

        yield Fault(f"the server of {what} {name}", _held(bad))
    yield Fault(f"the server of {what} is down", _held(lambda world: _refusing(*of(world))))
    yield Fault(f"the server of {what} does not answer", _held(lambda world: _holding(of(world)[0])))


def _further_key(world: World) -> contextlib.AbstractContextManager[None]:
    return _answering(world.keys, Answer(jwks(world.signer, Signer(key_id="key-2")).encode()), world.good_keys)


def _empty_set(world: World) -> contextlib.AbstractContextManager[None]:
    return _answering(world.keys, Answer(b'{"keys": []}'), world.good_keys)


def _revoking(world: World) -> contextlib.AbstractContextManager[None]:
    return _answering(world.list, json_list(world.credentials["revoked"], world.credentials["globex"]), world.good_list)


def _long_list(world: World) -> contextlib.AbstractContextManager[None]:
    return _answering(world.list, json_list(world.credentials["revoked"], others=100_000), world.good_list)


def _empty_list(world: World) -> contextlib.AbstractContextManager[None]:
    return _answering(world.list, json_answer(sha256=[]), world.good_list)


# The upstream.

BROKEN_UPSTREAM: tuple[Answered, ...] = ((PASSED, "(503|502|504|closed|timeout)"),)


def _upstream(change: Callable[[World], contextlib.AbstractContextManager[None]], name: str) -> Fault:
    return Fault(f"the upstream {name}", _held(change), BROKEN_UPSTREAM, ("allowed", "(503|502|closed)"))


# The policy.


@contextmanager
def _policy(world: World, **members: object) -> Iterator[None]:
    world.update(**members)
    try:
        yield
    finally:
        world.update()


def _wrong_policy(world: World) -> None:
    world.install({**world.policy(), "profile": {}}, accepted=False)
    world.update()


def _updates(world: World) -> None:
    for _ in range(5):
        world.update()


def _without_payments(world: World) -> contextlib.AbstractContextManager[None]:
    profiles = world.policy()["profiles"]
    return _policy(world, profiles={**profiles, "partner": {"allow": [{"paths": ["/reports"]}]}})


# Callers.


def _client(world: World, name: str = "acme") -> ClientTls:
    return ClientTls(world.credentials[name])


def _raw(*data: bytes, count: int = 20, reads: bool = False) -> Callable[[World], None]:
    """Bytes over connections that are then closed, with or without reading what came."""

    def run(world: World) -> None:
        for _ in range(count):
            with contextlib.suppress(OSError, ConnectionEnded), Http1(world.port, _client(world)) as client:
                for piece in data:
                    client.send(piece)
                if reads:
                    client.receive()

    return run


def _half_handshakes(world: World) -> None:
    for _ in range(50):
        with socket.create_connection(("127.0.0.1", world.port)) as connection:
            connection.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")


def _open_handshakes(world: World) -> None:
    connections = [socket.create_connection(("127.0.0.1", world.port)) for _ in range(200)]
    time.sleep(1)
    for connection in connections:
        connection.close()


def _many_connections(world: World) -> None:
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Http1(world.port, _client(world, "initech"))) for _ in range(200)]
        for client in clients:
            assert client.request("GET", "/internal").status == 200


def _requests(world: World, path: str, make: Callable[[int], str], count: int, expected: set[int]) -> None:
    client = Http1(world.port, _client(world))
    try:
        for number in range(count):
            answer = client.request("GET", path, [("authorization", f"Bearer {make(number)}")])
            assert answer.status in expected, answer.body
            if answer.header("connection") == "close":
                client.socket.close()
                client = Http1(world.port, _client(world))
    finally:
        client.socket.close()


def _unknown_keys(world: World) -> None:
    others = [Signer(key_id=f"unknown-{number}") for number in range(5)]
    _requests(world, "/payments/1", lambda number: world.token("acme", "acme", by=others[number % 5], jti=str(number)), 30, {401})


def _bad_signatures(world: World) -> None:
    forger = Signer()
    _requests(world, "/payments/1", lambda number: world.token("acme", "acme", by=forger, jti=str(number)), 100, {401})


def _new_tokens(world: World) -> None:
    _requests(world, "/payments/1", lambda number: world.token("acme", "acme", jti=str(time.time_ns())), 300, {200})


def _garbage_tokens(world: World) -> None:
    _requests(world, "/payments/1", lambda number: "." * (number % 5) + "x" * (number * 50), 100, {400, 401})


def _strange_paths(world: World) -> None:
    for path in ("/%00", "/a;b", "/" + "x" * 8000, "/%c3%28", "//", "/%2e%2e/", "/payments/%2F"):
        # Envoy itself refuses some of them, and closes the connection.
        with Http1(world.port, _client(world)) as client:
            assert client.request("GET", path).status in (400, 401, 403)


def _streams_reset(world: World) -> None:
    with Http2(world.port, _client(world)) as client:
        for _ in range(90):
            stream = client.open([(":method", "GET"), (":scheme", "https"), (":authority", "api.example"), (":path", "/payments/1")])
            client.reset(stream)


def _gone_while_waiting(world: World) -> None:
    unknown = Signer(key_id="nobody-knows")
    with _holding(world.keys):
        for number in range(50):
            with Http1(world.port, _client(world)) as client:
                token = world.token("acme", "acme", by=unknown, jti=str(number))
                client.send(f"GET /payments/1 HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\r\n".encode())


def _untrusted_connections(world: World) -> None:
    for _ in range(50):
        with contextlib.suppress(ssl.SSLError, OSError, ConnectionEnded), Http1(world.port, _client(world, "untrusted")) as client:
            client.request("GET", "/")


def _slow_head(world: World) -> None:
    with Http1(world.port, _client(world, "initech")) as client:
        for byte in b"GET /internal HTTP/1.1\r\nhost: x\r\n\r\n":
            client.send(bytes([byte]))
            time.sleep(0.02)
        assert client.response().status == 200


def _large_requests(world: World) -> None:
    fields = [(f"x-{number}", "v" * 100) for number in range(90)]
    token = world.token("acme", "acme")
    for _ in range(20):
        with Http1(world.port, _client(world)) as client:
            answer = client.request("GET", "/payments/1", [("authorization", f"Bearer {token}"), *fields])
            assert answer.status == 200, answer.body


# The process.


def _signal(world: World, number: int) -> None:
    process = world.envoy._process  # noqa: SLF001: nobody but this program has to
    assert process is not None
    os.kill(process.pid, number)


@contextmanager
def _stopped(world: World) -> Iterator[None]:
    _signal(world, signal.SIGSTOP)
    try:
        yield
    finally:
        _signal(world, signal.SIGCONT)


@contextmanager
def _clock(world: World, seconds: int) -> Iterator[None]:
    world.clock.set(seconds)
    try:
        yield
    finally:
        world.clock.set(0)


def _logs_reopened(world: World) -> None:
    for _ in range(5):
        _signal(world, signal.SIGUSR1)
        time.sleep(0.1)


def _admin(world: World) -> None:
    for _ in range(5):
        for page in ("/stats/prometheus", "/config_dump", "/clusters", "/memory", "/listeners", "/certs"):
            world.envoy.admin.get(page)


def _from_other_credentials(world: World, credential: Credential) -> None:
    with Http1(world.port, ClientTls(credential)) as client:
        client.request("GET", "/crowd")


def _crowd(world: World) -> None:
    for credential in world.crowd[:200]:
        _from_other_credentials(world, credential)


FAULTS: tuple[Fault, ...] = (
    *_fetching("keys", lambda world: (world.keys, world.good_keys)),
    Fault("the issuer publishes a further key", _held(_further_key)),
    Fault("the issuer publishes an empty set", _held(_empty_set)),
    *_fetching("the list", lambda world: (world.list, world.good_list)),
    Fault("a certificate is revoked, and the revocation taken back", _held(_revoking),
          (("allowed, (other client|many tokens)", "401 certificate_revoked"),), ("allowed, other client", "401 certificate_revoked")),
    Fault("the list has 100,000 entries", _held(_long_list)),
    Fault("the list is emptied", _held(_empty_list), (("revoked", "200"),), ("revoked", "200")),
    _upstream(lambda world: _refusing(world.upstream, world.good_upstream), "is down"),
    _upstream(lambda world: _answering(world.upstream, RESET, world.good_upstream), "resets connections"),
    _upstream(lambda world: _answering(world.upstream, cut(Answer(b"x" * 100)), world.good_upstream), "sends half"),
    Fault("the policy is updated five times", _updates, REPLACED),
    Fault("a wrong policy is refused", _wrong_policy, REPLACED),
    Fault("a candidate comes and goes", _held(lambda world: _policy(world, candidate={**world.policy(), "profiles": {}, "clients": {}, "binding": {}})), REPLACED),
    Fault("a candidate cannot be read", _held(lambda world: _policy(world, candidate={"profile": {}})), REPLACED),
    Fault("a policy closes a path, and is taken back", _held(_without_payments),
          (*REPLACED, ("allowed.*", "403 path_denied"), ("other method", "403 path_denied")), ("allowed", "403 path_denied")),
    Fault("the policy is updated while no keys can be fetched",
          _held(lambda world: _both(_refusing(world.keys, world.good_keys), _policy(world))), REPLACED),
    Fault("the policy is updated while no list can be fetched",
          _held(lambda world: _both(_refusing(world.list, world.good_list), _policy(world))), REPLACED),
    Fault("callers leave in the middle of the handshake", _half_handshakes),
    Fault("callers do not go on with the handshake", _open_handshakes),
    Fault("callers have untrusted certificates", _untrusted_connections),
    Fault("callers leave in the middle of the head", _raw(b"GET /payments/1 HTTP/1.1\r\nhost: x\r\nautho")),
    Fault("callers leave without reading the answer", _raw(b"GET /payments/1 HTTP/1.1\r\nhost: x\r\n\r\n")),
    Fault("callers send what is no HTTP", _raw(b"\x00\x01\x02\r\n\r\n", reads=True)),
    Fault("callers send two lengths", _raw(b"POST /payments/1 HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxx", reads=True)),
    Fault("a caller sends its head byte by byte", _slow_head),
    Fault("callers reset streams", _streams_reset),
    Fault("callers leave while they wait for keys", _gone_while_waiting),
    Fault("a caller sends tokens of unknown keys", _unknown_keys),
    Fault("a caller sends forged tokens", _bad_signatures),
    Fault("a caller sends what is no token", _garbage_tokens),
    Fault("a caller sends a new token each time", _new_tokens),
    Fault("a caller sends strange paths", _strange_paths),
    Fault("a caller sends many headers", _large_requests),
    Fault("200 connections at once", _many_connections),
    Fault("200 callers that come seldom", _crowd),
    Fault("Envoy is stopped and goes on", _held(_stopped), ((".*", "(unreachable|timeout|closed)"),)),
    Fault("the clock is set forward by an hour", _held(lambda world: _clock(world, 3600))),
    Fault("the clock is set back by an hour", _held(lambda world: _clock(world, -3600))),
    Fault("log files are opened anew", _logs_reopened),
    Fault("everything is asked of the admin interface", _admin),
)


@contextmanager
def _both(first: contextlib.AbstractContextManager[None], second: contextlib.AbstractContextManager[None]) -> Iterator[None]:
    with first, second:
        yield
