"""Nobody can tell the upstream in trailers who is calling; all other trailers arrive as they were sent."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from conftest import Bearer, Client, StartEnvoy
from harness import http3, verdicts
from harness.envoy import Envoy, http2_cluster
from harness.filters import Config, JwtAuthn
from harness.http2_upstream import Http2Upstream
from harness.http3 import Http3
from harness.listener import Listener
from harness.pki import Credential
from harness.response import Echo, Header
from harness.tls import ClientTls
from harness.tokens import Signer
from test_upstream_headers import CERTIFICATES, OURS, spellings

CLUSTER = "trailers"
POLICY: Config = {
    # What Envoy before 1.39 needs.
    "certificate": {"validation": "listener"},
    "clients": {"acme": {"identities": ["cn:acme"], "profiles": ["partner"]}},
    "profiles": {"partner": {"allow": [{"paths": ["/open"]}]}},
    "bypass": [{"path": "/health"}],
}
RENAMED: Config = {"client_id": "x-caller", "profile_id": False, "thumbprint": "X-Caller.Thumbprint"}

IDENTITY = sorted({spelling for name in (*OURS, *CERTIFICATES) for spelling in spellings(name)} | {"authorization"})
OTHER: list[Header] = [
    ("x-checksum", "one"), ("x-own", "first"), ("x-bytes", "\xa1\xff"), ("x-own", "second"), ("x-empty", ""),
    ("grpc-status", "0"), ("client", "other"), ("x-client", "other"), ("x-client-ids", "other"),
]
"""Trailers that say nothing about the caller: repetitions, any byte, no value, names that are nearly ours."""

BODY = b"x" * 20_000


@dataclass(frozen=True)
class Way:
    """One way past the filter."""

    listener: str
    path: str = "/open"
    credentials: bool = True


WAYS = {
    "allowed": Way("main"),
    "allowed_with_renamed_headers": Way("renamed"),
    "bypassed": Way("main", "/health", credentials=False),
    "bypassed_with_credentials": Way("main", "/health"),
    "shadow_allowed": Way("shadow"),
    "shadow_refused": Way("shadow", "/elsewhere"),
    "shadow_unknown": Way("shadow", credentials=False),
    "shadow_bypassed": Way("shadow", "/health", credentials=False),
}


@pytest.fixture(scope="module")
def http2_upstream() -> Iterator[Http2Upstream]:
    with Http2Upstream() as running:
        yield running


@pytest.fixture(scope="module")
def envoy(start_envoy: StartEnvoy, every_envoy: Path, http2_upstream: Http2Upstream, signer: Signer) -> Envoy:
    def listener(name: str, **members: Config | str) -> Listener:
        # Without this Envoy drops the trailers of HTTP/1.1 itself. Those of HTTP/2 it always passes on.
        manager: Config = {"http_protocol_options": {"enable_trailers": True}}
        jwt = JwtAuthn((signer,))
        return Listener(name, {**POLICY, **members}, jwt=jwt, cluster=CLUSTER, manager=manager)

    return start_envoy(
        listener("main"), listener("renamed", upstream_headers=RENAMED), listener("shadow", enforcement="shadow"),
        binary=every_envoy, clusters=[http2_cluster(http2_upstream.port, CLUSTER)],
    )


@pytest.fixture(autouse=True)
def no_trap(envoy: Envoy) -> Iterator[None]:
    """No trailers may take a worker's VM down."""
    yield
    reloads = envoy.admin.stats(r"^wasm\..*\.vm_reload")
    assert set(reloads.values()) <= {0}, reloads


class Sender:
    """Sends requests with trailers on one of the ways and returns what the upstream received of each."""

    def __init__(self, envoy: Envoy, acme: Credential, bearer: Bearer, http: Client) -> None:
        self._envoy = envoy
        self._acme = acme
        self._bearer = bearer
        self._http = http
        self.other = http3.grouped(self._taken(OTHER) or []) if http is Http3 else OTHER
        """Those that say nothing about the caller, as the upstream must get them."""

    def __call__(self, way: Way, *sent: Sequence[Header] | None, body: bytes = b"body") -> list[Echo]:
        tls = ClientTls(self._acme if way.credentials else None)
        headers = [self._bearer("acme", self._acme)] if way.credentials else []
        with self._http(self._envoy.port(way.listener), tls) as client:
            echoes = [verdicts.passed(client.request("POST", way.path, headers, body, trailers=self._taken(trailers)))
                      for trailers in sent]
        assert {echo.body_length for echo in echoes} == {len(body)}
        return echoes

    def _taken(self, trailers: Sequence[Header] | None) -> Sequence[Header] | None:
        return trailers and [(name, http3.taken(self._http, value)) for name, value in trailers]


@pytest.fixture
def send(envoy: Envoy, acme: Credential, bearer: Bearer, http: Client) -> Sender:
    return Sender(envoy, acme, bearer, http)


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_an_identity_header_never_reaches_the_upstream_as_a_trailer_and_all_others_do(send: Sender, way: Way) -> None:
    sent = [[(name, "acme"), *OTHER[:4], (name, "\xa1"), *OTHER[4:], (name, "")] for name in IDENTITY]
    for trailers, echo in zip(sent, send(way, *sent)):
        assert echo.trailers == send.other, trailers


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_many_identity_headers_at_once_never_reach_the_upstream_as_trailers(send: Sender, way: Way) -> None:
    spoofed = [(name, "\xa1spoofed") for name in IDENTITY]
    mixed = [line for pair in zip(spoofed, OTHER) for line in pair] + spoofed[len(OTHER):]
    (echo,) = send(way, mixed)
    assert echo.trailers == send.other


@pytest.mark.parametrize("name", ["x-caller", "x_caller", "x.caller", "x-caller.thumbprint", "x_caller_thumbprint",
                                  "x-client-id", "x-profile-id", "x-client-cert-thumbprint"])
def test_a_renamed_header_never_reaches_the_upstream_as_a_trailer(send: Sender, name: str) -> None:
    (echo,) = send(WAYS["allowed_with_renamed_headers"], [(name, "acme"), *OTHER])
    assert echo.trailers == send.other


def test_a_header_of_another_listeners_choice_is_an_ordinary_trailer(send: Sender) -> None:
    line = ("x-caller", "acme")
    (echo,) = send(WAYS["allowed"], [line])
    assert echo.trailers == [line]


@pytest.mark.parametrize("body", [b"", BODY], ids=["empty", "body"])
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_request_whose_trailers_are_all_removed_still_arrives_whole(send: Sender, way: Way, body: bytes) -> None:
    single = ("x-client-id", "client-cert", "x-forwarded-client-cert", "x_client_id", "authorization")
    sent = [*([(name, "\xa1")] for name in single), [(name, "acme") for name in IDENTITY]]
    for trailers, echo in zip(sent, send(way, *sent, body=body)):
        assert echo.trailers is None, trailers


@pytest.mark.parametrize("body", [b"", BODY], ids=["empty", "body"])
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_trailers_that_say_nothing_about_the_caller_are_left_as_they_are(
    send: Sender, way: Way, body: bytes
) -> None:
    (echo,) = send(way, OTHER, body=body)
    assert echo.trailers == send.other


@pytest.mark.parametrize("body", [b"", BODY], ids=["empty", "body"])
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_request_without_trailers_gets_none(send: Sender, way: Way, body: bytes) -> None:
    (echo,) = send(way, None, body=body)
    assert echo.trailers is None


def test_what_the_headers_tell_the_upstream_does_not_depend_on_the_trailers(send: Sender, acme: Credential) -> None:
    told = {
        "x-client-id": ["acme"], "x-profile-id": ["partner"], "x-client-principal": [],
        "x-client-identity": ["cn:acme"], "x-client-cert-thumbprint": [acme.thumbprint],
    }
    for echo in send(WAYS["allowed"], None, OTHER, [(name, "spoofed") for name in IDENTITY]):
        assert {name: echo.values(name) for name in OURS} == told


def test_trailers_change_no_decision_and_those_of_a_refused_request_stay_away(
    envoy: Envoy, acme: Credential, bearer: Bearer, http2_upstream: Http2Upstream, http: Client
) -> None:
    name, value = bearer("acme", acme)
    mark, request_id = http2_upstream.mark(), str(uuid.uuid4())
    with http(envoy.port("main"), ClientTls(acme)) as client:
        headers = [("x-request-id", request_id)]
        verdicts.refused(client.request("POST", "/open", headers, b"body", trailers=[(name, value)]), "token_missing")
    assert envoy.record("main", request_id)["decision"]["reason"] == "token_missing"
    assert http2_upstream.since(mark) == []
