"""From where a profile may be used, and whose word is taken for that."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from conftest import Client, StartEnvoy
from harness import verdicts
from harness.envoy import Envoy
from harness.filters import Config
from harness.listener import Listener
from harness.pki import Credential
from harness.response import Header
from harness.tls import ClientTls


def policy(cidrs: Sequence[str], **settings: str) -> Config:
    profile: Config = {"allow": [{"paths": ["/**"]}], "source_cidrs": list(cidrs)}
    return {
        "mode": "mtls",
        "clients": {"acme": {"identities": ["cn:acme"], "profiles": ["partner"]}},
        "profiles": {"partner": profile},
        "bypass": [{"path": "/health"}],
        **settings,
    }


LOCAL = ("127.0.0.4/31", "127.0.1.0/24", "2001:db8::/32")
PRIVATE = ("10.0.0.0/8",)


@pytest.fixture(scope="module")
def envoy(start_envoy: StartEnvoy) -> Envoy:
    return start_envoy(
        Listener("direct", policy(LOCAL)),
        Listener("direct_edge", policy(LOCAL), use_remote_address=True),
        Listener("private", policy(PRIVATE)),
        Listener("envoy", policy(PRIVATE, source_address="envoy")),
        Listener("envoy_edge", policy(PRIVATE, source_address="envoy"), use_remote_address=True),
        Listener("envoy_local", policy(LOCAL, source_address="envoy"), use_remote_address=True),
        Listener("absent", policy(("0.0.0.0/0", "::/0")), direct_remote_address=False),
        Listener("everywhere", policy(("0.0.0.0/0",))),
    )


@pytest.mark.parametrize(("source", "verdict"), [
    ("127.0.0.4", "allowed"),
    ("127.0.0.5", "allowed"),
    ("127.0.0.3", "source_ip_denied"),
    ("127.0.0.6", "source_ip_denied"),
    ("127.0.1.0", "allowed"),
    ("127.0.1.254", "allowed"),
    ("127.0.2.1", "source_ip_denied"),
    ("127.0.0.1", "source_ip_denied"),
])
def test_the_connections_peer_must_be_in_one_of_the_ranges(
    envoy: Envoy, acme: Credential, http_over_tcp: Client, source: str, verdict: str
) -> None:
    for listener in ("direct", "direct_edge", "envoy_local"):
        with http_over_tcp(envoy.port(listener), ClientTls(acme), source=source) as client:
            assert verdicts.reason_of(client.request()) == verdict
    with http_over_tcp(envoy.port("everywhere"), ClientTls(acme), source=source) as client:
        verdicts.passed(client.request())


FORGED: list[list[Header]] = [
    [("x-forwarded-for", "10.0.0.1")],
    [("x-forwarded-for", "127.0.0.4")],
    [("x-forwarded-for", "10.0.0.1, 10.0.0.2")],
    [("x-forwarded-for", "10.0.0.1"), ("x-forwarded-for", "10.0.0.2")],
    [("x-real-ip", "10.0.0.1")],
    [("x-envoy-external-address", "10.0.0.1")],
    [("forwarded", "for=10.0.0.1")],
    [("x-envoy-original-dst-host", "10.0.0.1")],
    [("true-client-ip", "10.0.0.1"), ("cf-connecting-ip", "10.0.0.1")],
]


@pytest.mark.parametrize("headers", FORGED, ids=str)
def test_no_header_chooses_the_direct_address(
    envoy: Envoy, acme: Credential, http_over_tcp: Client, headers: list[Header]
) -> None:
    for listener in ("direct", "direct_edge", "private"):
        with http_over_tcp(envoy.port(listener), ClientTls(acme)) as client:
            verdicts.refused(client.request("GET", "/", headers), "source_ip_denied")


def test_envoys_own_address_is_the_callers_word_unless_envoy_uses_the_remote_address(
    envoy: Envoy, acme: Credential, http_over_tcp: Client
) -> None:
    forged = [("x-forwarded-for", "10.0.0.1")]
    for listener, verdict in (("envoy", "allowed"), ("envoy_edge", "source_ip_denied")):
        with http_over_tcp(envoy.port(listener), ClientTls(acme)) as client:
            verdicts.refused(client.request(), "source_ip_denied")
            assert verdicts.reason_of(client.request("GET", "/", forged)) == verdict


def test_an_address_that_is_needed_and_not_there_denies_and_the_log_says_so(
    envoy: Envoy, acme: Credential, http_over_tcp: Client
) -> None:
    with http_over_tcp(envoy.port("absent"), ClientTls(acme)) as client:
        for headers in ([], [("x-forwarded-for", "10.0.0.1")]):
            verdicts.refused(client.request("GET", "/", headers), "source_ip_denied")
        verdicts.passed(client.request("GET", "/health"))
    line = envoy.wait_for_log("mtls_authz.direct_remote_address")
    assert "warning" in line and "source_ip_denied" in line
