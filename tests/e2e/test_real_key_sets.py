"""Every key set that Envoy's `jwt_authn` takes is taken: the same sets and tokens through both, in one Envoy."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from conftest import Client, StartEnvoy
from harness import tokens, verdicts
from harness.envoy import Envoy, http1_cluster
from harness.filters import Config, JwtAuthn
from harness.http1 import Http1
from harness.key_sets import KeySet, all_sets
from harness.listener import Listener
from harness.pki import Authority, Credential
from harness.tls import ClientTls
from harness.tokens import Algorithm, Signer

SETS_OF_A_POLICY = 16

STRICTER = {
    "use: enc on the key itself": "the issuer says that the key is not for signatures (RFC 7517 section 4.2)",
    "the key itself is private": "whoever can read the set can sign tokens",
    "RSA of 1024 bits": "keys of fewer than 2048 bits can be broken",
    "RSA of 4104 bits": "signatures of larger keys cost a worker too much",
    "nine keys under one kid": "eight keys are tried for one token, so that no caller chooses how much work a token is",
    "101 keys": "a set has at most 100 keys",
    "an alg that is a number": "what restricts the key to an algorithm cannot be read",
    "a line break in the modulus": "base64url has no white space",
}
"""What `jwt_authn` takes and the filter does not. docs/configuration/tokens.md says the same."""

BROADER = {"an Ed25519 key of RFC 9864", "a byte order mark"}
"""What the filter takes and `jwt_authn` does not."""

BY_NEITHER = {"plain base64", "a member twice", "a member of a key twice"}
"""What both refuse: two readers would take two different sets."""


class KeyServer:
    """Answers `/N` with the body of set N."""

    def __init__(self, sets: list[KeySet]) -> None:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                wanted = sets[int(self.path[1:])]
                self.send_response(200)
                if wanted.content_type:
                    self.send_header("content-type", wanted.content_type)
                self.send_header("content-length", str(len(wanted.body)))
                self.end_headers()
                self.wfile.write(wanted.body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.port: int = self.server.server_address[1]


@cache
def _forger(algorithm: Algorithm) -> Signer:
    return Signer(algorithm)


def _issuer(number: int) -> str:
    return f"https://set-{number}.example"


def _jwt_authn(count: int) -> Config:
    """One provider for each set, required under `/N`."""
    config = JwtAuthn(()).filter()
    config["typed_config"]["providers"] = {
        f"set-{number}": {"issuer": _issuer(number), "forward": True, "remote_jwks": {
            "http_uri": {"uri": f"http://keys.example/{number}", "cluster": "keys", "timeout": "5s"},
            "retry_policy": {"num_retries": 0}}}
        for number in range(count)
    }
    config["typed_config"]["rules"] = [
        {"match": {"path": f"/{number}"}, "requires": {"provider_name": f"set-{number}"}} for number in range(count)
    ]
    return config


def _policy(numbers: range) -> Config:
    uri = {"cluster": "keys", "authority": "keys.example", "timeout_ms": 1000}
    providers = [{"issuer": _issuer(number), "jwks_uri": {**uri, "path": f"/{number}"}} for number in numbers]
    return {
        "clients": {"acme": {"identities": ["cn:acme"], "profiles": ["partner"]}},
        "profiles": {"partner": {"allow": [{"paths": ["/*"]}]}},
        "token": {"source": "jwks", "providers": providers},
    }


class World:
    """An Envoy that has each set twice: for `jwt_authn`, and for the filter."""

    def __init__(self, start_envoy: StartEnvoy, root: Authority, acme: Credential) -> None:
        self.sets = list(all_sets(root))
        self.acme = acme
        keys = KeyServer(self.sets)
        count = len(self.sets)
        self.starts = range(0, count, SETS_OF_A_POLICY)
        self.envoy: Envoy = start_envoy(
            Listener("jwt_authn", module=None, guard=False, before=[_jwt_authn(count)]),
            *(Listener(f"sets-{start}", _policy(range(start, min(count, start + SETS_OF_A_POLICY)))) for start in self.starts),
            clusters=[http1_cluster(keys.port, "keys")],
        )

    def verdicts(self, forged: bool = False) -> Iterator[tuple[str, bool, str]]:
        """Of each set: whether `jwt_authn` takes its token, and what the filter says. A forged one has another's signature."""
        with Http1(self.envoy.port("jwt_authn"), ClientTls(self.acme)) as envoys:
            for start in self.starts:
                with Http1(self.envoy.port(f"sets-{start}"), ClientTls(self.acme)) as own:
                    for number, each in list(enumerate(self.sets))[start:start + SETS_OF_A_POLICY]:
                        signed_by = _forger(each.signer.algorithm) if forged else each.signer
                        token = signed_by.sign(tokens.claims("acme", self.acme, iss=_issuer(number)), each.head())
                        bearer = [("authorization", f"Bearer {token}")]
                        taken = envoys.request("GET", f"/{number}", bearer).status == 200
                        yield each.name, taken, verdicts.reason_of(own.request("GET", "/open", bearer))


@pytest.fixture(scope="module")
def world(start_envoy: StartEnvoy, root: Authority, acme: Credential) -> World:
    return World(start_envoy, root, acme)


def test_every_key_set_that_jwt_authn_takes_is_taken_but_for_those_listed_with_a_reason(world: World) -> None:
    seen = list(world.verdicts())
    assert len({name for name, _, _ in seen}) == len(seen) >= 60
    stricter = {name: verdict for name, taken, verdict in seen if taken and verdict != "allowed"}
    broader = {name for name, taken, verdict in seen if not taken and verdict == "allowed"}
    neither = {name for name, taken, verdict in seen if not taken and verdict != "allowed"}
    assert (set(stricter), broader, neither) == (set(STRICTER), BROADER, BY_NEITHER), stricter


def test_a_token_that_another_key_has_signed_is_refused_with_every_set_by_both(world: World) -> None:
    for name, taken, verdict in world.verdicts(forged=True):
        assert not taken, name
        assert verdict in ("token_signature_invalid", "token_key_unknown", "token_algorithm_not_allowed", "keys_unavailable"), name


def test_why_a_key_is_left_out_is_logged_and_why_a_whole_set_is_of_no_use(world: World) -> None:
    log = world.envoy.log()
    assert "(kid \"one\") is left out: it is a private or symmetric key" in log or "no usable key: keys[0] (kid \"one\"): it is a private" in log
    assert "no usable key: keys[0] (kid \"one\"): use or key_ops do not allow signatures to be verified" in log
    assert "keys[0] (kid \"secret\") is left out" in log
