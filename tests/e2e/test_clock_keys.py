"""Keys under a clock that is set: an Envoy starts an hour fast, or slow, and then its clock is set right."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from conftest import StartEnvoy
from harness import tokens, verdicts
from harness.clock import HOUR, Clock
from harness.envoy import Envoy, http1_cluster
from harness.fetched import Answer, FetchServer
from harness.keys import key_set
from harness.listener import Listener
from harness.pki import Authority, Credential
from harness.tokens import Signer

FIRST, SECOND = Signer("ES256", "first"), Signer("ES256", "second")
FAILED = Answer(status=503)
WRONG = pytest.mark.parametrize("wrong", [HOUR, -HOUR], ids=["fast", "slow"])


class World:
    """A filter that has fetched keys by a wrong clock, which is right now."""

    def __init__(self, envoy: Envoy, server: FetchServer, clock: Clock, client: Credential) -> None:
        self.envoy, self.server, self.clock, self._client = envoy, server, clock, client

    def ask(self, signer: Signer) -> str:
        """What a token comes to that is valid whichever way the clock is set."""
        now = int(time.time())
        claims = tokens.claims("acme", self._client, iat=now - 2 * HOUR, nbf=now - 2 * HOUR, exp=now + 2 * HOUR)
        header = ("authorization", f"Bearer {signer.sign(claims)}")
        return verdicts.ask(self.envoy.port("main"), self._client, headers=[header])

    def wait(self, signer: Signer, reason: str) -> None:
        self.envoy.wait(reason, lambda: self.ask(signer) == reason)


Begin = Callable[..., World]


@pytest.fixture
def begin(start_envoy: StartEnvoy, issuer: Authority) -> Iterator[Begin]:
    """Starts an Envoy by a wrong clock: `begin(seconds, held=False, refresh_seconds=…)`."""
    now, day = datetime.now(timezone.utc), timedelta(days=1)
    client = issuer.issue([("CN", "acme")], not_before=now - day, not_after=now + day)

    def start(wrong: int, *, held: bool = False, **settings: Any) -> World:
        clock, server = Clock(wrong), FetchServer(key_set(FIRST), held=held)
        running.enter_context(server)
        uri = {"cluster": "issuer", "authority": "issuer.example", "path": "/keys", **settings}
        policy: Mapping[str, Any] = {
            "certificate": {"validation": "listener"},
            "clients": {"acme": {"identities": ["cn:acme"], "profiles": ["partner"]}},
            "profiles": {"partner": {"allow": [{"paths": ["/"]}]}},
            "token": {"source": "jwks", "jwks_uri": uri, "issuers": [tokens.ISSUER]},
        }
        envoy = start_envoy(
            Listener("main", policy), clusters=[http1_cluster(server.port, "issuer")], environment=clock.environment
        )
        return World(envoy, server, clock, client)

    with ExitStack() as running:
        yield start


@WRONG
def test_a_key_that_the_issuer_has_removed_is_refused_after_a_refresh(begin: Begin, wrong: int) -> None:
    world = begin(wrong, refresh_seconds=2)
    world.wait(FIRST, "allowed")
    world.clock.set(0)
    world.server.publish(key_set(SECOND))
    world.wait(FIRST, "token_key_unknown")
    assert world.ask(SECOND) == "allowed"


@WRONG
def test_keys_that_cannot_be_fetched_are_not_used_past_their_time(begin: Begin, wrong: int) -> None:
    world = begin(wrong, refresh_seconds=1, max_stale_seconds=3)
    world.wait(FIRST, "allowed")
    world.server.publish(FAILED)
    world.clock.set(0)
    world.wait(FIRST, "keys_unavailable")


@WRONG
def test_keys_that_cannot_be_fetched_are_used_until_their_time(begin: Begin, wrong: int) -> None:
    world = begin(wrong, refresh_seconds=1, max_stale_seconds=600)
    world.wait(FIRST, "allowed")
    world.server.publish(FAILED)
    fetches = world.server.count()
    world.clock.set(0)
    world.envoy.wait("two failures", lambda: world.server.count() >= fetches + 2)
    assert world.ask(FIRST) == "allowed"


@WRONG
def test_a_new_key_is_fetched_for_the_first_token_that_names_it(begin: Begin, wrong: int) -> None:
    world = begin(wrong, refresh_seconds=HOUR, max_stale_seconds=2 * HOUR, timeout_ms=10_000)
    world.wait(FIRST, "allowed")
    # One fetch serves all workers, Envoy's main thread included.
    assert world.server.count() == 1
    world.clock.set(0)
    world.server.publish(key_set(FIRST, SECOND))
    assert [world.ask(SECOND), world.ask(FIRST)] == ["allowed", "allowed"]
    assert world.server.count() == 2


@WRONG
def test_a_request_that_waits_for_keys_in_vain_is_answered_in_time(begin: Begin, wrong: int) -> None:
    world = begin(wrong, held=True, timeout_ms=10_000)
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(world.ask, FIRST)
        world.envoy.wait("the request to wait", lambda: world.envoy.admin.stat("http.main.downstream_rq_active") == 1)
        world.clock.set(0)
        world.envoy.wait("the answer", answer.done)
        assert answer.result() == "keys_unavailable"
