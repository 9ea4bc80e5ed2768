"""An Envoy whose clock is set forward and back by an hour while it runs: what lasts is kept by a clock that is never set."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from conftest import ServeFeeds, StartEnvoy
from harness import verdicts
from harness.clock import HOUR, Clock
from harness.envoy import Envoy
from harness.feed_server import REFRESH_SECONDS, Feed, fetched, json_list, policy
from harness.fetched import Answer
from harness.filters import Config
from harness.http1 import Http1
from harness.listener import Listener
from harness.pki import Authority, Credential
from harness.tls import ClientTls

FAILED = Answer(status=503)
JUMPS = pytest.mark.parametrize("jump", [HOUR, -HOUR, -200], ids=["forward", "back", "a little back"])


@pytest.fixture(scope="module")
def clients(issuer: Authority) -> Sequence[Credential]:
    """Certificates that are valid whichever way the clock is set."""
    now, day = datetime.now(timezone.utc), timedelta(days=1)
    return [issuer.issue([("CN", name)], not_before=now - day, not_after=now + day) for name in ("one", "two")]


def ask(envoy: Envoy, credential: Credential, listener: str = "main") -> str:
    return verdicts.ask(envoy.port(listener), credential)


def start(serve_feeds: ServeFeeds, feed: Feed, clock: Clock, **more: Any) -> Envoy:
    validation = {"certificate": {"validation": "listener"}}
    return serve_feeds([feed], Listener("main", policy(feed, **validation)), environment=clock.environment, **more)


def age(envoy: Envoy) -> float:
    return envoy.admin.prometheus().get('mtls_fetch_age_seconds{source="feed_0"}', -1)


def another_second(envoy: Envoy) -> None:
    """Waits until the filter's timer has fired after now, which the age of a feed shows."""
    before = age(envoy)
    envoy.wait("another second", lambda: age(envoy) > before)


def test_envoy_sees_the_clock_that_is_set(
    serve_feeds: ServeFeeds, clients: Sequence[Credential], every_envoy: Path
) -> None:
    clock, feed = Clock(HOUR), Feed("seen", json_list())
    envoy = start(serve_feeds, feed, clock, binary=every_envoy)
    envoy.wait("the list", lambda: ask(envoy, clients[0]) == "allowed")
    for jump in (HOUR, -HOUR, 0):
        clock.set(jump)
        number = str(uuid.uuid4())
        with Http1(envoy.port("main"), ClientTls(clients[0])) as client:
            verdicts.passed(client.request("GET", "/", [("x-request-id", number)]))
        clock.check(envoy, "main", number)
    # Each worker sees the same monotonic clock: the list that one has fetched is fresh in all of them.
    assert fetched(envoy, 0, "adopted") == 1


@JUMPS
def test_a_certificate_is_revoked_within_the_refresh_of_its_list(
    serve_feeds: ServeFeeds, clients: Sequence[Credential], jump: int
) -> None:
    clock, feed = Clock(), Feed(f"refreshed-{jump}", json_list(clients[1]), settings={"refresh_seconds": 2})
    envoy = start(serve_feeds, feed, clock)
    envoy.wait("the list", lambda: ask(envoy, clients[0]) == "allowed")
    clock.set(jump)
    assert [ask(envoy, client) for client in clients] == ["allowed", "certificate_revoked"]
    fetches = feed.server.count()
    feed.server.publish(json_list(clients[0]))
    envoy.wait("the revocation", lambda: ask(envoy, clients[0]) == "certificate_revoked")
    assert feed.server.count() - fetches <= 3, "no storm of fetches"
    assert ask(envoy, clients[1]) == "allowed"


@JUMPS
def test_a_list_that_is_not_too_old_stays_in_force(
    serve_feeds: ServeFeeds, clients: Sequence[Credential], jump: int
) -> None:
    clock, feed = Clock(), Feed(f"lasting-{jump}", json_list(clients[1]), settings={"max_stale_seconds": 600})
    envoy = start(serve_feeds, feed, clock)
    envoy.wait("the list", lambda: ask(envoy, clients[0]) == "allowed")
    feed.server.publish(FAILED)
    failed = fetched(envoy, 0, "failed")
    clock.set(jump)
    envoy.wait("a failure", lambda: fetched(envoy, 0, "failed") > failed)
    assert [ask(envoy, client) for client in clients] == ["allowed", "certificate_revoked"]


@JUMPS
def test_a_list_is_too_old_after_its_time_and_not_before(
    serve_feeds: ServeFeeds, clients: Sequence[Credential], jump: int
) -> None:
    clock, feed = Clock(), Feed(f"stale-{jump}", json_list(), settings={"max_stale_seconds": 6})
    envoy = start(serve_feeds, feed, clock)
    envoy.wait("the list", lambda: ask(envoy, clients[0]) == "allowed")
    feed.server.publish(FAILED)
    begun = time.monotonic()
    clock.set(jump)
    envoy.wait("its end", lambda: ask(envoy, clients[0]) == "revocation_unavailable")
    # It was fetched up to a refresh before, and late by what a fetch takes.
    assert time.monotonic() - begun > 6 - 2 * REFRESH_SECONDS - 1
    feed.server.publish(json_list())
    envoy.wait("the next list", lambda: ask(envoy, clients[0]) == "allowed")


@dataclass(frozen=True)
class Waiting:
    """A request that waits for a list, and its answer to come."""

    envoy: Envoy
    feed: Feed
    answer: Future[str]


@pytest.fixture
def waiting(serve_feeds: ServeFeeds, clients: Sequence[Credential], jump: int) -> Iterator[Waiting]:
    """A request that waits for a list, when the clock has just been set."""
    clock = Clock()
    feed = Feed(f"never-{jump}-{uuid.uuid4().hex[:4]}", json_list(), settings={"timeout_ms": 12_000})
    feed.server.hold()
    envoy = start(serve_feeds, feed, clock)
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(ask, envoy, clients[0])
        envoy.wait("the request to wait", lambda: envoy.admin.stat("http.main.downstream_rq_active") == 1)
        clock.set(jump)
        yield Waiting(envoy, feed, answer)


@JUMPS
def test_a_request_that_waits_for_a_list_goes_on_when_it_comes(waiting: Waiting) -> None:
    another_second(waiting.envoy)
    assert not waiting.answer.done()
    waiting.feed.server.release()
    assert waiting.answer.result() == "allowed"


@JUMPS
def test_a_request_that_waits_for_a_list_in_vain_is_answered_in_time(waiting: Waiting) -> None:
    waiting.envoy.wait("the answer", waiting.answer.done)
    assert waiting.answer.result() == "revocation_unavailable"


LIMITS: Config = {
    "mode": "mtls",
    "certificate": {"validation": "listener"},
    "clients": {name: {"identities": [f"cn:{name}"], "profiles": [name]} for name in ("one", "two")},
    "profiles": {
        "one": {"allow": [{"paths": ["/"]}], "rate_limit": {"requests": 2, "per_seconds": HOUR // 2}},
        "two": {"allow": [{"paths": ["/"]}], "rate_limit": {"requests": 1, "per_seconds": 2}},
    },
}


@JUMPS
def test_a_rate_is_neither_lifted_nor_held_for_longer_than_its_window(
    start_envoy: StartEnvoy, clients: Sequence[Credential], jump: int
) -> None:
    clock = Clock()
    envoy = start_envoy(Listener("main", LIMITS), environment=clock.environment)
    slow, fast = clients
    assert [ask(envoy, slow) for _ in range(3)] == ["allowed", "allowed", "rate_limited"]
    envoy.wait("the rate to be spent", lambda: ask(envoy, fast) == "rate_limited")
    clock.set(jump)
    assert ask(envoy, slow) == "rate_limited"
    envoy.wait("the rate to come back", lambda: ask(envoy, fast) == "allowed")
    assert ask(envoy, slow) == "rate_limited"
