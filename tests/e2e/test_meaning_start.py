"""After a start certificates wait for every list, also for those that may be missing later (`on_stale: allow`)."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from conftest import Client, ServeFeeds
from harness import verdicts
from harness.envoy import Envoy
from harness.feed_server import Feed, json_list
from harness.feed_server import policy as fed
from harness.fetched import Answer
from harness.filters import Config
from harness.listener import Listener
from harness.pki import Authority, Credential
from harness.tls import ClientTls
from harness.verdicts import ask

MANY = 12
"""Requests on connections of their own, so many that both workers get some."""
LATE: Config = {"on_stale": "allow", "timeout_ms": 60_000}
SHORT: Config = {"on_stale": "allow", "timeout_ms": 1_000}


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(MANY) as running:
        yield running


@pytest.fixture(scope="module")
def good(issuer: Authority) -> Credential:
    return issuer.issue([("CN", "good")])


@pytest.fixture(scope="module")
def revoked(issuer: Authority) -> Credential:
    return issuer.issue([("CN", "revoked")])


def policy(*feeds: Feed) -> Config:
    return fed(*feeds, bypass=[{"path": "/health"}])


def waiting(envoy: Envoy, pool: ThreadPoolExecutor, *credentials: Credential) -> list[Future[str]]:
    """Requests that have arrived at Envoy and have no answer yet."""
    asked = [pool.submit(ask, envoy.port("main"), each) for each in credentials]
    active = "http.main.downstream_rq_active"
    envoy.wait("the requests", lambda: envoy.admin.stat(active) + sum(each.done() for each in asked) == len(asked))
    return asked


def test_a_revoked_certificate_never_passes_where_the_first_list_is_late(
    serve_feeds: ServeFeeds, pool: ThreadPoolExecutor, good: Credential, revoked: Credential
) -> None:
    feed = Feed("late", json_list(revoked), settings=LATE)
    feed.server.hold()
    envoy = serve_feeds([feed], Listener("main", policy(feed)), concurrency=2)
    asked = waiting(envoy, pool, *[revoked, good] * (MANY // 2))
    # What needs no certificate waits for nothing.
    assert ask(envoy.port("main"), None, "/health") == "allowed"
    envoy.wait("the fetch", lambda: feed.server.count() > 0)
    assert [each.done() for each in asked] == [False] * MANY
    feed.server.release()
    assert [each.result() for each in asked] == ["certificate_revoked", "allowed"] * (MANY // 2)


def test_a_list_that_must_be_there_does_not_end_the_wait_for_one_that_may_be_missing(
    serve_feeds: ServeFeeds, pool: ThreadPoolExecutor, good: Credential, revoked: Credential
) -> None:
    prompt, late = Feed("prompt", json_list()), Feed("second-late", json_list(revoked), settings=LATE)
    late.server.hold()
    envoy = serve_feeds([prompt, late], Listener("main", policy(prompt, late)), concurrency=2)
    asked = waiting(envoy, pool, *[revoked, good] * (MANY // 2))
    envoy.wait("both fetches", lambda: prompt.server.count() > 0 and late.server.count() > 0)
    assert [each.done() for each in asked] == [False] * MANY
    late.server.release()
    assert [each.result() for each in asked] == ["certificate_revoked", "allowed"] * (MANY // 2)


@pytest.mark.parametrize("fault", ["refuses connections", "answers 503", "never answers", "sends no list"])
def test_without_a_list_requests_go_on_after_the_wait(
    serve_feeds: ServeFeeds, pool: ThreadPoolExecutor, good: Credential, revoked: Credential, http: Client, fault: str
) -> None:
    answer = {"answers 503": Answer(status=503), "sends no list": Answer(b"<html>")}.get(fault, json_list(revoked))
    feed = Feed(f"{fault.replace(' ', '-')}-{http.__name__}", answer, settings=SHORT)
    if fault == "never answers":
        feed.server.hold()
    envoy = serve_feeds([feed], Listener("main", policy(feed)), concurrency=2)
    if fault == "refuses connections":
        feed.server.refuse()
    asked = [pool.submit(ask, envoy.port("main"), each) for each in [revoked, good] * (MANY // 2)]
    with http(envoy.port("main"), ClientTls(good)) as client:
        verdicts.passed(client.request())
    found = [each.result() for each in asked]
    assert found[1::2] == ["allowed"] * (MANY // 2)
    # A list that came before its server went down counts.
    assert set(found[::2]) == {"allowed"} or fault == "refuses connections"
    # And a list counts as soon as it is there.
    feed.server.release()
    feed.server.publish(json_list(revoked))
    envoy.wait("the list", lambda: ask(envoy.port("main"), revoked) == "certificate_revoked")
    assert ask(envoy.port("main"), good) == "allowed"
