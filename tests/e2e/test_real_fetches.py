"""Keys and lists as real servers give them: policies that change, keys that rotate at bad moments, firewalls, wrong certificates.

Each case names the kind of what went wrong for somebody.
"""

from __future__ import annotations

import functools
import json
import socketserver
import threading
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

import pytest

from conftest import StartEnvoy
from harness import artifacts, tokens, verdicts
from harness.envoy import Envoy, http1_cluster
from harness.fetched import Answer, Fetch, FetchServer
from harness.filters import Config
from harness.http1 import Http1
from harness.keys import key_set
from harness.listener import Listener
from harness.pki import Credential
from harness.response import ConnectionEnded, Header
from harness.tls import ClientTls
from harness.tokens import Signer

WORKERS = 2
SIGNER = Signer("ES256", "key")
NOBODY = Answer(json.dumps({"identities": ["cn:nobody"]}).encode())
TLS: Config = {"transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": {
    "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext", "sni": "issuer.example"}}}


@dataclass
class Source:
    """A key server, one for lists, and the policy that fetches from both."""

    name: str
    keys: Answer = field(default_factory=lambda: key_set(SIGNER))
    held: bool = False
    lists: int = 0
    uri: Config = field(default_factory=dict)
    cluster: Config = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.server = FetchServer(self.keys, held=self.held)
        self.feeds = [FetchServer(NOBODY, held=self.held) for _ in range(self.lists)]

    def listener(self, policy_id: str = "1") -> Listener:
        def place(name: str) -> Config:
            return {"cluster": name, "authority": "issuer.example", "path": f"/{name}", **self.uri}

        feeds = [{"type": "json", **place(f"{self.name}-list-{index}")} for index in range(self.lists)]
        return Listener(self.name, {
            "policy_id": policy_id,
            "clients": {"acme": {"identities": ["cn:acme"], "profiles": ["partner"]}},
            "profiles": {"partner": {"allow": [{"paths": ["/open"]}]}},
            "token": {"source": "jwks", "jwks_uri": place(f"{self.name}-keys"), "issuers": [tokens.ISSUER]},
            "revocation": {"feeds": feeds},
        }, http3=False)

    def clusters(self) -> list[Config]:
        names = [f"{self.name}-keys", *(f"{self.name}-list-{index}" for index in range(self.lists))]
        return [{**http1_cluster(server.port, name), **self.cluster}
                for name, server in zip(names, [self.server, *self.feeds])]

    def fetches(self) -> list[Fetch]:
        return [fetch for server in (self.server, *self.feeds) for fetch in server.fetches()]


@dataclass
class World:
    """An Envoy with a listener for each source."""

    envoy: Envoy
    sources: dict[str, Source]
    acme: Credential

    def bearer(self, signer: Signer = SIGNER) -> Header:
        claims = tokens.claims("acme", self.acme, jti=uuid.uuid4().hex)
        return ("authorization", f"Bearer {signer.sign(claims)}")

    def verdict(self, name: str, signer: Signer = SIGNER) -> str:
        with Http1(self.envoy.port(name), ClientTls(self.acme)) as client:
            return verdicts.reason_of(client.request("GET", "/open", [self.bearer(signer)]))

    def policy_id(self, name: str) -> str | None:
        """That of the policy which decided about a good request, and `None` while the listener is not there."""
        request_id = str(uuid.uuid4())
        try:
            with Http1(self.envoy.port(name), ClientTls(self.acme)) as client:
                client.request("GET", "/open", [self.bearer(), ("x-request-id", request_id)])
        except (OSError, ConnectionEnded):
            return None
        found: str = self.envoy.record(name, request_id)["decision"]["policy_id"]
        return found

    def change(self, *listeners: Listener) -> None:
        before = self.envoy.update_count(accepted=True)
        self.envoy.replace_listeners(*listeners)
        self.envoy.wait_for_listener_update(accepted=True, before=before)


def _world(start_envoy: StartEnvoy, acme: Credential, sources: Sequence[Source], running: ExitStack) -> World:
    for source in sources:
        for server in (source.server, *source.feeds):
            running.enter_context(server)
    clusters = [cluster for source in sources for cluster in source.clusters()]
    listeners = [source.listener() for source in sources]
    envoy = start_envoy(*listeners, clusters=clusters, concurrency=WORKERS, dynamic=True)
    return World(envoy, {source.name: source for source in sources}, acme)


class _Plain(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        self.request.recv(65_536)
        self.request.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


@pytest.fixture(scope="module")
def plain() -> Iterator[int]:
    """The port of a server that does not speak TLS and says so to whoever does."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Plain) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.fixture(scope="module")
def world(start_envoy: StartEnvoy, acme: Credential, plain: int) -> Iterator[World]:
    sources = [
        Source("agent", lists=1),
        Source("headers", lists=1, uri={"headers": {"X-Api-Key": "a secret", "User-Agent": "own/1"}}),
        Source("late", held=True, lists=2, uri={"timeout_ms": 30_000}),
        *(Source(f"rotation-{number}") for number in range(len(_rotations()))),
        Source("tls", cluster={**http1_cluster(plain), **TLS, "name": "tls-keys"}),
        Source("forbidden", keys=Answer(b"<html>blocked</html>", status=403)),
        Source("page", keys=Answer(b"<!DOCTYPE html><html>Sign in</html>")),
        Source("empty", keys=Answer(b"")),
    ]
    with ExitStack() as running:
        yield _world(start_envoy, acme, sources, running)


def test_every_fetch_says_who_fetches(world: World) -> None:
    assert world.verdict("agent") == "allowed"
    fetches = world.sources["agent"].fetches()
    assert len(fetches) >= 2
    for fetch in fetches:
        assert [value for name, value in fetch.headers if name == "user-agent"] == [f"mtls-authz/{artifacts.version()}"]


def test_headers_of_the_policy_are_sent_and_never_logged(world: World) -> None:
    assert world.verdict("headers") == "allowed"
    for fetch in world.sources["headers"].fetches():
        assert ("x-api-key", "a secret") in fetch.headers
        assert [value for name, value in fetch.headers if name == "user-agent"] == ["own/1"]
    assert "a secret" not in "\n".join(line for line in world.envoy.log().splitlines() if "wasm log" in line)


def test_requests_of_the_first_moments_wait_for_lists_and_then_for_keys(world: World) -> None:
    late = world.sources["late"]
    with ThreadPoolExecutor(16) as pool:
        waiting = [pool.submit(world.verdict, "late") for _ in range(16)]
        for server in (*late.feeds, late.server):
            world.envoy.wait("a fetch", lambda: server.count() > 0)
        active = functools.partial(world.envoy.admin.stat, "http.late.downstream_rq_active")
        world.envoy.wait("the requests", lambda: active() == 16)
        for server in (*late.feeds, late.server):
            assert not any(future.done() for future in waiting)
            server.release()
        assert {future.result() for future in waiting} == {"allowed"}


def _rotations() -> dict[str, tuple[Signer, Signer]]:
    """The issuer's key before and after, by what differs."""
    rsa = Signer("RS256", "key")
    return {
        "another kid": (Signer("ES256", "old"), Signer("ES256", "new")),
        "another key under the same kid": (Signer("ES256", "key"), Signer("ES256", "key")),
        "another kind of key under the same kid": (Signer("ES256", "key"), Signer("RS256", "key")),
        "another algorithm for the same key": (rsa, replace(rsa, algorithm="PS256")),
    }


@pytest.mark.parametrize("kind", _rotations())
def test_no_good_token_is_refused_when_keys_rotate_at_a_bad_moment(world: World, kind: str) -> None:
    """A moment after a fetch, in all workers at once, without a set that holds both keys."""
    old, new = _rotations()[kind]
    name = f"rotation-{list(_rotations()).index(kind)}"
    server = world.sources[name].server
    server.publish(key_set(old))
    world.envoy.wait("the old key", lambda: world.verdict(name, old) == "allowed")
    before = server.count()
    server.publish(key_set(new))
    with ThreadPoolExecutor(12) as pool:
        found = list(pool.map(lambda _: world.verdict(name, new), range(12)))
    assert found == ["allowed"] * 12
    assert server.count() - before == 1, "one fetch for all workers"
    assert world.verdict(name, old) in ("token_key_unknown", "token_signature_invalid", "token_algorithm_not_allowed")


def test_bad_signatures_cost_the_key_server_one_fetch_in_five_seconds(world: World) -> None:
    server, forged = world.sources["agent"].server, Signer("ES256", "key")
    assert world.verdict("agent") == "allowed"
    before = server.count()
    with ThreadPoolExecutor(12) as pool:
        bad = [pool.submit(world.verdict, "agent", forged) for _ in range(10)]
        assert {world.verdict("agent") for _ in range(20)} == {"allowed"}
        assert {future.result() for future in bad} == {"token_signature_invalid"}
    assert server.count() - before <= 3


@pytest.mark.parametrize("name, words", [
    pytest.param("tls", "or the TLS handshake failed: see upstream_cx_connect_fail and ssl.*", id="a server that does not speak TLS"),
    pytest.param("forbidden", "the status is 403; the server, or a firewall in front of it", id="a firewall"),
    pytest.param("page", "the answer is an HTML or XML page", id="a page to sign in"),
    pytest.param("empty", "the answer is empty", id="nothing"),
])
def test_a_fetch_that_fails_says_what_to_look_at(world: World, name: str, words: str) -> None:
    assert world.verdict(name) == "keys_unavailable"
    line = world.envoy.wait_for_log(words)
    assert "token.jwks_uri: what was fetched cannot be used: " in line and line.rstrip().endswith("there are none yet")
    assert "blocked" not in world.envoy.log()


def test_good_keys_outlive_changes_of_the_policy_although_their_server_is_down(
    start_envoy: StartEnvoy, acme: Credential
) -> None:
    with ExitStack() as running:
        source = Source("policies")
        world = _world(start_envoy, acme, [source], running)
        assert world.verdict("policies") == "allowed"
        source.server.refuse()
        # And back again.
        for policy_id in ("2", "1", "3"):
            world.change(source.listener(policy_id))
            world.envoy.wait("the new policy", lambda: world.policy_id("policies") == policy_id)  # noqa: B023
            assert [world.verdict("policies") for _ in range(8)] == ["allowed"] * 8
            assert source.server.count() == 1
