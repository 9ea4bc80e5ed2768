"""Keys that the filter fetches (`token.jwks_uri`): late, wrong, changed, gone, and asked for too often."""

from __future__ import annotations

import json
import socket
import struct
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from conftest import Client, StartEnvoy
from harness import grpc_client, tokens, verdicts
from harness.envoy import Envoy, http1_cluster
from harness.fetched import RESET, Answer, FetchServer, cut
from harness.filters import Config
from harness.http1 import AUTHORITY, Http1
from harness.http2 import Http2
from harness.keys import key_set
from harness.listener import Listener
from harness.pki import Authority, Credential, base64url
from harness.response import Header, Response
from harness.tls import ClientTls
from harness.tokens import Algorithm, Signer
from harness.upstream import Upstream

SAY = "/echo.Echo/Say"
COOLDOWN_SECONDS = 5.0
STILL_SECONDS = 0.3
"""How long it is watched that nothing happens."""
LONG = {"timeout_ms": 60_000}
SHORT = {"timeout_ms": 1_000}
BRIEF = {"timeout_ms": 400}
OFTEN = {"refresh_seconds": 1}
POLICY: Config = {
    "clients": {"acme": {"identities": ["cn:acme"], "profiles": ["partner"]}},
    "profiles": {"partner": {"allow": [{"paths": ["/open", SAY]}]}},
    "bypass": [{"path": "/health"}],
}
SIGNER = Signer("ES256", "first")
SECOND = Signer("ES256", "second")
GOOD = key_set(SIGNER)


def deep(depth: int) -> bytes:
    return GOOD.body[:-1] + b',"deep":' + b"[" * depth + b"]" * depth + b"}"


def renamed(count: int) -> list[dict[str, Any]]:
    return [SIGNER.jwk(), *(SIGNER.jwk(kid=f"further-{number}") for number in range(count - 1))]


BAD: dict[str, Answer | None] = {
    "refused": None,
    "reset": RESET,
    "status 500": replace(GOOD, status=500),
    "status 404": replace(GOOD, status=404),
    "a redirection": replace(GOOD, status=302, headers=(("location", "/elsewhere"),)),
    "HTML": Answer(b"<!DOCTYPE html><html><body>Please sign in</body></html>", content_type="text/html"),
    "nothing": Answer(b""),
    "an oversized set": key_set(SIGNER, padding="x" * 300_000),
    "truncated JSON": replace(GOOD, body=GOOD.body[:-20]),
    "an answer that is cut": cut(GOOD),
    "JSON that is no object": Answer(b"[" + GOOD.body + b"]"),
    "JSON of a hundred thousand levels": Answer(deep(100_000)),
    "no keys": Answer(b'{"keys":[]}'),
    "keys that are no list": Answer(b'{"keys":{}}'),
    "an object without keys": Answer(b"{}"),
    "unusable keys only": key_set({"kty": "oct", "kid": "secret", "k": "AAAA"}, SIGNER.jwk(x="AAAA")),
    "too many keys": key_set(*renamed(101)),
    "zeros": Answer(b"\0" * 1000),
}


@dataclass
class Issuer:
    """A key server and the cluster and policy of the listener that fetches from it."""

    name: str
    answer: Answer = GOOD
    held: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)
    enforcement: str = "enforce"
    server: FetchServer = field(init=False)

    def __post_init__(self) -> None:
        self.server = FetchServer(self.answer, held=self.held)

    def listener(self, newest: bool) -> Listener:
        uri = {"cluster": f"issuer-{self.name}", "authority": "issuer.example", "path": "/.well-known/jwks.json"}
        token = {"source": "jwks", "jwks_uri": {**uri, **self.settings}, "issuers": [tokens.ISSUER]}
        validation = {"validation": "attribute" if newest else "listener"}
        policy = {**POLICY, "certificate": validation, "token": token, "enforcement": self.enforcement}
        return Listener(self.name, policy)

    def cluster(self) -> Config:
        return http1_cluster(self.server.port, f"issuer-{self.name}")


@dataclass
class World:
    """An Envoy with one listener for each issuer."""

    envoy: Envoy
    issuers: Mapping[str, Issuer]
    acme: Credential

    def server(self, name: str) -> FetchServer:
        return self.issuers[name].server

    def client(self, name: str, http: Client = Http1) -> Http1 | Http2:
        return http(self.envoy.port(name), ClientTls(self.acme))

    def ask(self, name: str, token: Header | None = None, *, path: str = "/open", http: Client = Http1) -> Response:
        with self.client(name, http) as client:
            return client.request("GET", path, [token or self.bearer()])

    def verdict(self, name: str, token: Header | None = None) -> str:
        return verdicts.reason_of(self.ask(name, token))

    def bearer(self, signer: Signer = SIGNER, **more: Any) -> Header:
        """A token that nobody has seen."""
        claims = tokens.claims("acme", self.acme, jti=uuid.uuid4().hex, **more)
        return ("authorization", f"Bearer {signer.sign(claims)}")

    def wait_until(self, verdict: str, name: str, signer: Signer = SIGNER) -> None:
        self.envoy.wait(f"{verdict} at {name}", lambda: self.verdict(name, self.bearer(signer)) == verdict)

    def wait_for_fetches(self, name: str, count: int) -> None:
        self.envoy.wait(f"{count} fetches", lambda: self.server(name).count() >= count)

    def wait_for_cooldown(self, name: str) -> None:
        """Until an unknown key may be asked for again."""
        self.envoy.wait("the cooldown", lambda: self.server(name).idle_seconds() > COOLDOWN_SECONDS + 0.5)

    def active(self, name: str) -> int:
        return self.envoy.admin.stat(f"http.{name}.downstream_rq_active")


def build(start_envoy: StartEnvoy, binary: Path, newest: bool, acme: Credential, issuers: Sequence[Issuer],
          running: ExitStack, **options: Any) -> World:
    for issuer in issuers:
        running.enter_context(issuer.server)
    listeners = [issuer.listener(newest) for issuer in issuers]
    envoy = start_envoy(*listeners, binary=binary, clusters=[issuer.cluster() for issuer in issuers], **options)
    return World(envoy, {issuer.name: issuer for issuer in issuers}, acme)


@pytest.fixture(scope="module")
def world(start_envoy: StartEnvoy, every_envoy: Path, newest: bool, acme: Credential) -> Iterator[World]:
    late = [Issuer(f"late_{name}", held=True, settings=LONG) for name in
            ("http1", "http2", "grpc", "body", "gone", "other", "wrong")]
    bad = [Issuer(f"bad_{number}", Answer(status=503), settings={**OFTEN, **BRIEF}) for number in range(len(BAD))]
    issuers = [
        *late, *bad,
        Issuer("never", held=True, settings=BRIEF),
        Issuer("shadow", held=True, settings=BRIEF, enforcement="shadow"),
        Issuer("unknown_cluster", settings={"cluster": "nowhere", **BRIEF}),
        Issuer("shape", settings=OFTEN),
        Issuer("cooldown", settings=SHORT),
        Issuer("hopeless"),
        Issuer("rotation"),
        Issuer("slow_rotation", settings=LONG),
        Issuer("hasty_rotation", settings=LONG),
        Issuer("withdrawal", settings=SHORT),
        Issuer("lost", settings=BRIEF),
        Issuer("stale", settings={**OFTEN, "max_stale_seconds": 2, **BRIEF}),
    ]
    with ExitStack() as running:
        yield build(start_envoy, every_envoy, newest, acme, issuers, running)


@pytest.fixture(scope="module")
def two_workers(start_envoy: StartEnvoy, every_envoy: Path, newest: bool, acme: Credential) -> Iterator[World]:
    with ExitStack() as running:
        issuers = [Issuer("late", held=True, settings=LONG), Issuer("cooldown", settings=SHORT)]
        yield build(start_envoy, every_envoy, newest, acme, issuers, running, concurrency=2)


@pytest.fixture(scope="module")
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(64) as executor:
        yield executor


def assert_nothing_happens(waiting: Sequence[Future[Any]]) -> None:
    done = wait(waiting, STILL_SECONDS).done
    assert not done, [future.result() for future in done]


def fields(method: str, path: str, *headers: Header) -> list[Header]:
    return [(":method", method), (":scheme", "https"), (":authority", AUTHORITY), (":path", path), *headers]


# What takes its time, which is therefore watched while the other tests run.


def watch_bad_answer(world: World, name: str, answer: Answer | None) -> None:
    server = world.server(name)

    def answer_badly() -> None:
        if answer is None:
            server.refuse()
            failed = f"cluster.issuer-{name}.upstream_cx_connect_fail"
            before = world.envoy.admin.stat(failed)
            world.envoy.wait("refused connections", lambda: world.envoy.admin.stat(failed) >= before + 2)
        else:
            server.publish(answer)
            # The first of three may already have been on its way, and the third shows that the second was read.
            world.wait_for_fetches(name, server.count() + 3)

    answer_badly()
    assert world.verdict(name) == "keys_unavailable", "adopted at first"
    server.publish(GOOD)
    world.wait_until("allowed", name)
    old = world.bearer()
    assert world.verdict(name, old) == "allowed"
    answer_badly()
    assert world.verdict(name, old) == "allowed", "forgot a token"
    assert world.verdict(name) == "allowed", "lost the last good set"
    assert world.verdict(name, world.bearer(SECOND)) == "token_key_unknown"
    assert world.verdict(name) == "allowed", "lost the last good set for an unknown key"
    server.publish(key_set(SECOND))
    world.wait_until("allowed", name, SECOND)
    assert world.verdict(name, old) == "token_key_unknown", "kept a key that was withdrawn"


def watch_stale_keys(world: World) -> None:
    remembered = world.bearer()
    world.wait_until("allowed", "stale")
    assert world.verdict("stale", remembered) == "allowed"
    world.server("stale").publish(Answer(status=500))
    world.wait_until("keys_unavailable", "stale")
    assert world.verdict("stale", remembered) == "keys_unavailable"
    world.server("stale").publish(GOOD)
    world.wait_until("allowed", "stale")
    assert world.verdict("stale", remembered) == "allowed"


def watch_hasty_rotation(world: World) -> None:
    world.wait_until("allowed", "hasty_rotation")
    before = world.server("hasty_rotation").count()
    world.server("hasty_rotation").publish(key_set(SECOND))
    assert world.verdict("hasty_rotation", world.bearer(SECOND)) == "allowed"
    assert world.server("hasty_rotation").count() == before + 1


@pytest.fixture(scope="module", autouse=True)
def watched(world: World, two_workers: World, pool: ThreadPoolExecutor) -> Mapping[str, Future[None]]:
    """What becomes of each bad answer and of keys that grow old, to be asked for by the last tests."""
    futures = {what: pool.submit(watch_bad_answer, world, f"bad_{number}", answer)
               for number, (what, answer) in enumerate(BAD.items())}
    futures["stale"] = pool.submit(watch_stale_keys, world)
    futures["hasty"] = pool.submit(watch_hasty_rotation, world)
    return futures


def arrived(upstream: Upstream, query: str) -> int:
    """How many requests with this query the upstream has seen, whatever else goes on meanwhile."""
    return sum(each.path.endswith(f"?{query}") for each in upstream.since(0))


# Before the first set.


def test_requests_wait_for_the_first_set_and_then_pass(world: World, pool: ThreadPoolExecutor) -> None:
    waiting = [pool.submit(world.ask, "late_http1") for _ in range(10)]
    world.wait_for_fetches("late_http1", 1)
    assert_nothing_happens(waiting)
    world.server("late_http1").release()
    for future in waiting:
        echo = verdicts.passed(future.result())
        assert echo.values("x-client-id") == ["acme"]
        assert echo.values("x-client-cert-thumbprint") == [world.acme.thumbprint]
    fetch = world.server("late_http1").fetches()[0]
    assert (fetch.method, fetch.path) == ("GET", "/.well-known/jwks.json")
    assert [value for name, value in fetch.headers if name == "host"] == ["issuer.example"]
    assert "authorization" not in dict(fetch.headers)


def test_many_streams_of_one_connection_wait_at_once(world: World, pool: ThreadPoolExecutor) -> None:
    with Http2(world.envoy.port("late_http2"), ClientTls(world.acme)) as client:
        good = [client.open(fields("GET", "/open", world.bearer())) for _ in range(80)]
        forged = [client.open(fields("GET", "/open", world.bearer(Signer("ES256", "first")))) for _ in range(20)]
        waiting = pool.submit(client.response, good[0])
        world.wait_for_fetches("late_http2", 1)
        assert_nothing_happens([waiting])
        world.server("late_http2").release()
        verdicts.passed(waiting.result())
        for stream in good[1:]:
            verdicts.passed(client.response(stream))
        for stream in forged:
            verdicts.refused(client.response(stream), "token_signature_invalid")


def test_a_grpc_call_waits_and_passes(world: World, root: Authority, pool: ThreadPoolExecutor) -> None:
    waiting = pool.submit(grpc_client.call, world.envoy.port("late_grpc"), root, world.acme,
                          method=SAY, metadata=[world.bearer()])
    world.wait_for_fetches("late_grpc", 1)
    assert_nothing_happens([waiting])
    world.server("late_grpc").release()
    assert waiting.result().message == b"hello"


def test_a_body_waits_with_its_request(world: World, upstream: Upstream, pool: ThreadPoolExecutor) -> None:
    sizes = [1, 10_000, 200_000, 3_000_000]

    def post(client: Client, size: int) -> Response:
        with world.client("late_body", client) as connection:
            return connection.request("POST", f"/open?{query}", [world.bearer()], b"x" * size)

    query = f"late-body-{world.envoy.port('late_body')}"
    waiting = {pool.submit(post, client, size): size for client in (Http1, Http2) for size in sizes}
    world.wait_for_fetches("late_body", 1)
    assert_nothing_happens(list(waiting))
    assert arrived(upstream, query) == 0
    world.server("late_body").release()
    for future, size in waiting.items():
        assert verdicts.passed(future.result()).body_length == size


def test_a_refusal_after_the_wait_keeps_a_body_from_the_upstream(
    world: World, upstream: Upstream, pool: ThreadPoolExecutor
) -> None:
    def post(client: Client, token: Header) -> Response:
        with world.client("late_wrong", client) as connection:
            return connection.request("POST", f"/open?{query}", [token], b"x" * 10_000)

    wrong = {
        "token_signature_invalid": world.bearer(Signer("ES256", "first")),
        "token_expired": world.bearer(exp=int(time.time()) - 100),
        "sender_binding_mismatch": world.bearer(cnf={"x5t#S256": "A" * 43}),
    }
    query = f"late-wrong-{world.envoy.port('late_wrong')}"
    waiting = [(reason, pool.submit(post, client, token))
               for client in (Http1, Http2) for reason, token in wrong.items()]
    world.wait_for_fetches("late_wrong", 1)
    world.server("late_wrong").release()
    for reason, future in waiting:
        verdicts.refused(future.result(), reason)
    assert arrived(upstream, query) == 0


def test_clients_that_go_away_while_they_wait_harm_nobody(world: World, pool: ThreadPoolExecutor) -> None:
    server = world.server("late_gone")
    with ExitStack() as clients:
        ones = [clients.enter_context(Http1(world.envoy.port("late_gone"), ClientTls(world.acme))) for _ in range(6)]
        two = clients.enter_context(Http2(world.envoy.port("late_gone"), ClientTls(world.acme)))
        for client, (lines, body) in zip(ones, [([], ""), ([("content-length", "100")], "some")] * 3):
            head = [f"{name}: {value}" for name, value in [world.bearer(), *lines]]
            client.send("\r\n".join(["POST /open HTTP/1.1", "host: api.example", *head, "", body]).encode())
        streams = [two.open(fields("GET", "/open", world.bearer())) for _ in range(6)]
        world.wait_for_fetches("late_gone", 1)
        world.envoy.wait("the requests", lambda: world.active("late_gone") == 12)
        for client in ones[:3]:
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        for stream in streams[:3]:
            two.reset(stream)
        for client in ones:
            client.socket.close()
        world.envoy.wait("the end of the requests", lambda: world.active("late_gone") == 3)
        two.socket.close()
    world.envoy.wait("the end of all requests", lambda: world.active("late_gone") == 0)
    waiting = pool.submit(world.ask, "late_gone")
    assert_nothing_happens([waiting])
    server.release()
    verdicts.passed(waiting.result())
    for _ in range(5):
        verdicts.passed(world.ask("late_gone"))
    assert set(world.envoy.admin.stats(r"^wasm\..*\.vm_reload").values()) <= {0}


def test_what_needs_no_key_does_not_wait_for_one(world: World, http: Client) -> None:
    good = world.bearer()
    cases: list[tuple[str, Sequence[Header], str]] = [
        ("/open", [], "token_missing"),
        ("/open", [good, good], "authorization_malformed"),
        ("/open", [good, world.bearer(SECOND)], "authorization_malformed"),
        ("/open;x", [good], "path_malformed"),
    ]
    with world.client("late_other", http) as client:
        assert client.request("GET", "/health").status == 200
    for path, headers, reason in cases:
        with world.client("late_other", http) as client:
            verdicts.refused(client.request("GET", path, headers), reason)
    with http(world.envoy.port("late_other"), ClientTls()) as client:
        verdicts.refused(client.request("GET", "/open", [good]), "certificate_missing")


def test_a_server_that_never_answers_makes_keys_unavailable(
    world: World, root: Authority, upstream: Upstream, http: Client
) -> None:
    name = f"never-{http.__name__}-{world.envoy.port('never')}"
    with world.client("never", http) as client:
        begun = time.monotonic()
        for _ in range(2):
            response = client.request("GET", f"/open?{name}", [world.bearer(), ("x-request-id", name)])
            problem = verdicts.refused(response, "keys_unavailable")
            assert not response.values("www-authenticate")
            assert "issuer" not in json.dumps(problem)
        assert time.monotonic() - begun < 10
        assert client.request("GET", "/health").status == 200
    assert arrived(upstream, name) == 0
    decision = world.envoy.record("never", name)["decision"]
    assert (decision["decision"], decision["status"], decision["reason"]) == ("deny", 503, "keys_unavailable")
    result = grpc_client.call(world.envoy.port("never"), root, world.acme, method=SAY, metadata=[world.bearer()])
    verdicts.refused_grpc(result, "keys_unavailable")


def test_many_requests_that_wait_in_vain_are_all_answered(world: World) -> None:
    with Http2(world.envoy.port("never"), ClientTls(world.acme)) as client:
        for stream in [client.open(fields("POST", "/open", world.bearer()), b"body") for _ in range(50)]:
            verdicts.refused(client.response(stream), "keys_unavailable")


def test_missing_keys_refuse_nobody_in_shadow_mode_and_nobody_is_vouched_for(world: World, http: Client) -> None:
    request_id = f"shadow-{http.__name__}"
    with world.client("shadow", http) as client:
        echo = verdicts.passed(client.request("POST", "/open", [
            world.bearer(), ("x-request-id", request_id), ("x-client-id", "acme")], b"body"))
    assert echo.values("x-client-id") == echo.values("x-client-cert-thumbprint") == []
    assert echo.body_length == 4
    decision = world.envoy.record("shadow", request_id)["decision"]
    assert (decision["decision"], decision["reason"]) == ("deny", "keys_unavailable")


def test_an_unknown_cluster_makes_keys_unavailable_and_the_log_says_so(world: World, http: Client) -> None:
    for _ in range(3):
        verdicts.refused(world.ask("unknown_cluster", http=http), "keys_unavailable")
    assert "wasm log" in world.envoy.wait_for_log("nowhere")
    assert world.ask("unknown_cluster", path="/health").status == 200


# Keys that are not known.


def ask_for_unknown_keys(world: World, name: str) -> None:
    """Many tokens with unknown keys start at most one fetch per cooldown for all workers, and harm no good token."""
    before, begun = world.server(name).count(), time.monotonic()
    with ExitStack() as stack:
        clients = [stack.enter_context(Http2(world.envoy.port(name), ClientTls(world.acme))) for _ in range(8)]
        # The second round comes after the fetch that the first one started.
        for _ in range(2):
            strange = [(client, client.open(fields("GET", "/open", world.bearer(Signer("ES256", uuid.uuid4().hex)))))
                       for client in clients for _ in range(10)]
            good = [(client, client.open(fields("GET", "/open", world.bearer()))) for client in clients]
            for client, stream in good:
                verdicts.passed(client.response(stream))
            for client, stream in strange:
                verdicts.refused(client.response(stream), "token_key_unknown")
    cooldowns = 1 + (time.monotonic() - begun) // COOLDOWN_SECONDS
    assert 1 <= world.server(name).count() - before <= cooldowns


def test_unknown_keys_start_at_most_one_fetch_in_a_cooldown(world: World) -> None:
    world.wait_until("allowed", "cooldown")
    world.wait_for_cooldown("cooldown")
    ask_for_unknown_keys(world, "cooldown")


def test_tokens_that_no_key_could_make_good_start_no_fetch(world: World) -> None:
    world.wait_until("allowed", "hopeless")
    world.wait_for_cooldown("hopeless")
    before = world.server("hopeless").count()
    nobody = Signer("ES256", "nobody")
    claims = tokens.claims("acme", world.acme)
    for header in ({"alg": "none", "kid": "nobody"}, {"alg": "HS256", "kid": "nobody"},
                   {"alg": "ES256", "kid": "nobody", "crit": ["exp"]}, {"alg": "ES256", "kid": "nobody", "typ": "x"}):
        verdict = world.verdict("hopeless", ("authorization", f"Bearer {nobody.sign(claims, header)}"))
        assert verdict in ("token_algorithm_not_allowed", "token_malformed")
    assert world.server("hopeless").count() == before


def test_a_new_key_is_used_from_the_first_request_and_no_request_fails(world: World) -> None:
    world.wait_until("allowed", "rotation")
    remembered = world.bearer()
    world.wait_for_cooldown("rotation")
    assert world.verdict("rotation", remembered) == "allowed"
    before = world.server("rotation").count()
    world.server("rotation").publish(key_set(SIGNER, SECOND))
    with Http2(world.envoy.port("rotation"), ClientTls(world.acme)) as client:
        streams = [client.open(fields("GET", "/open", token)) for _ in range(20)
                   for token in (world.bearer(), world.bearer(SECOND), remembered)]
        for stream in streams:
            verdicts.passed(client.response(stream))
    assert world.server("rotation").count() == before + 1


def test_a_key_that_was_withdrawn_is_not_remembered(world: World) -> None:
    remembered = world.bearer()
    world.wait_until("allowed", "withdrawal")
    world.wait_for_cooldown("withdrawal")
    world.server("withdrawal").publish(key_set(SECOND))
    assert world.verdict("withdrawal", remembered) == "allowed"
    assert world.verdict("withdrawal", world.bearer(SECOND)) == "allowed"
    assert world.verdict("withdrawal", remembered) == "token_key_unknown"


def test_a_token_with_a_new_key_waits_for_it_and_others_do_not(world: World, pool: ThreadPoolExecutor) -> None:
    server = world.server("slow_rotation")
    world.wait_until("allowed", "slow_rotation")
    world.wait_for_cooldown("slow_rotation")
    before = server.count()
    server.hold()
    waiting = [pool.submit(world.ask, "slow_rotation", world.bearer(SECOND)) for _ in range(5)]
    gone = Http1(world.envoy.port("slow_rotation"), ClientTls(world.acme))
    gone.send("\r\n".join(["GET /open HTTP/1.1", "host: x", ": ".join(world.bearer(SECOND)), "", ""]).encode())
    world.wait_for_fetches("slow_rotation", before + 1)
    assert world.verdict("slow_rotation") == "allowed"
    assert_nothing_happens(waiting)
    gone.socket.close()
    server.publish(key_set(SECOND))
    server.release()
    for future in waiting:
        verdicts.passed(future.result())
    assert server.count() == before + 1


def test_an_unknown_key_whose_fetch_fails_stays_unknown_and_known_keys_serve_on(world: World) -> None:
    world.wait_until("allowed", "lost")
    world.wait_for_cooldown("lost")
    world.server("lost").hold()
    assert world.verdict("lost", world.bearer(SECOND)) == "token_key_unknown"
    assert world.verdict("lost") == "allowed"


# Several workers.


def test_every_worker_waits_for_its_keys(two_workers: World, pool: ThreadPoolExecutor) -> None:
    waiting = [pool.submit(two_workers.ask, "late") for _ in range(32)]
    two_workers.wait_for_fetches("late", 1)
    assert_nothing_happens(waiting)
    two_workers.server("late").release()
    for future in waiting:
        verdicts.passed(future.result())
    for _ in range(20):
        verdicts.passed(two_workers.ask("late", http=Http2))


def test_all_workers_together_ask_for_unknown_keys_once_in_a_cooldown(two_workers: World) -> None:
    two_workers.wait_for_cooldown("cooldown")
    ask_for_unknown_keys(two_workers, "cooldown")


# What a server may answer.


def test_mixed_keys_of_an_issuer_serve_and_those_that_do_not_are_named_in_the_log(
    world: World, acme: Credential
) -> None:
    algorithms: list[Algorithm] = ["RS256", "PS256", "ES256", "ES384", "EdDSA"]
    signers = {algorithm: Signer(algorithm, f"{algorithm}-2026") for algorithm in algorithms}
    encryption = Signer("RS256", "for-encryption")
    chain = {"x5c": [base64url(acme.der)], "x5t": "AAAA", "x5t#S256": acme.thumbprint}
    world.server("shape").publish(key_set(
        signers["RS256"].jwk(**chain, key_ops=["verify"]),
        {"kty": "oct", "kid": "a-shared-secret", "k": "AAAA", "alg": "HS256"},
        signers["PS256"].jwk(alg=None),
        encryption.jwk(use="enc", alg="RSA-OAEP"),
        {"kty": "EC", "crv": "secp256k1", "kid": "an-odd-curve", "x": "AAAA", "y": "AAAA"},
        signers["ES256"].jwk(use=None, issuer="https://issuer.example"),
        {"kty": "unheard-of", "kid": "an-unknown-type"},
        {"kty": "RSA", "kid": "a-short-key", "n": base64url(b"\xc1" * 128), "e": "AQAB"},
        signers["ES384"],
        {"kty": "OKP", "crv": "X25519", "kid": "an-exchange-key", "x": "AAAA"},
        signers["EdDSA"],
    ))
    for signer in signers.values():
        world.wait_until("allowed", "shape", signer)
    assert world.verdict("shape", world.bearer(encryption)) in ("token_key_unknown", "token_algorithm_not_allowed")
    for name in ("a-shared-secret", "an-odd-curve", "an-unknown-type", "a-short-key", "an-exchange-key"):
        assert "warning" in world.envoy.wait_for_log(name)


@pytest.mark.parametrize("form", ["chunked", "a hundred keys", "almost 256 KiB", "another content type", "white space"])
def test_a_good_set_is_adopted_in_whatever_form_it_comes(
    world: World, form: str
) -> None:
    new = Signer("ES256", f"new {form}")
    others = renamed(99)
    answers = {
        "chunked": replace(key_set(*others[:20], new), chunked=True),
        "a hundred keys": key_set(*others, new),
        "almost 256 KiB": key_set(new, padding="x" * 250_000),
        "another content type": replace(key_set(new), content_type="text/plain; charset=utf-8"),
        "white space": replace(key_set(new), body=json.dumps(json.loads(key_set(new).body), indent=4).encode() + b"\n"),
    }
    world.server("shape").publish(answers[form])
    world.wait_until("allowed", "shape", new)


def test_keys_that_are_too_old_are_not_used_any_more(watched: Mapping[str, Future[None]]) -> None:
    watched["stale"].result()


def test_a_new_key_that_is_asked_for_too_soon_is_waited_for(watched: Mapping[str, Future[None]]) -> None:
    watched["hasty"].result()


@pytest.mark.parametrize("what", BAD)
def test_a_bad_answer_is_not_adopted_and_the_last_good_set_is_kept(
    watched: Mapping[str, Future[None]], what: str
) -> None:
    watched[what].result()


def test_fetches_and_the_age_of_the_keys_are_metrics(world: World) -> None:
    world.ask("shape")
    world.envoy.wait("a failed fetch", lambda: 'outcome="failed"' in world.envoy.admin.get("/stats/prometheus"))
    series = world.envoy.admin.prometheus()
    for outcome in ("adopted", "failed"):
        assert series[f'mtls_fetch_total{{source="jwks",outcome="{outcome}"}}'] > 0
    assert series['mtls_fetch_age_seconds{source="jwks"}'] >= 0


def test_no_vm_was_reloaded(world: World, two_workers: World) -> None:
    for each in (world, two_workers):
        assert set(each.envoy.admin.stats(r"^wasm\..*\.vm_reload").values()) <= {0}
