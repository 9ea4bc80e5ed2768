"""A QUIC connection can move, and Envoy goes on telling its first address: over HTTP/3 no address gives any right."""

from __future__ import annotations

import base64

import pytest

from conftest import StartEnvoy
from harness import verdicts
from harness.envoy import Envoy
from harness.filters import Config
from harness.http3 import Http3
from harness.listener import Listener
from harness.pki import Authority, Credential
from harness.response import Header
from harness.tls import ClientTls

HEADER = "x-client-cert"
POLICY: Config = {
    "mode": "mtls",
    "clients": {
        "acme": {"identities": ["cn:acme"], "profiles": ["local"]},
        "free": {"identities": ["cn:free"], "profiles": ["anywhere"]},
    },
    "profiles": {
        "local": {"allow": [{"paths": ["/**"]}], "source_cidrs": ["127.0.0.1/32"]},
        "anywhere": {"allow": [{"paths": ["/**"]}]},
    },
    "bypass": [{"path": "/health"}],
}


def forwarded(source: str, **proxies: list[str]) -> Config:
    rules = {"format": "base64_der", "header": HEADER, "trusted_proxies": proxies}
    return {**POLICY, "source_address": "envoy", "certificate": {"source": source, "forwarded": rules}}


@pytest.fixture(scope="module", params=[1, 2], ids=["one_worker", "two_workers"])
def envoy(start_envoy: StartEnvoy, request: pytest.FixtureRequest) -> Envoy:
    policies = {
        "direct": POLICY,
        "envoy": {**POLICY, "source_address": "envoy"},
        "cidrs": forwarded("forwarded", cidrs=["127.0.0.0/8"]),
        "or_cidrs": forwarded("connection_or_forwarded", cidrs=["127.0.0.0/8"]),
        "identities": forwarded("forwarded", identities=["cn:proxy"]),
        "or_identities": forwarded("connection_or_forwarded", cidrs=["127.0.0.0/8"], identities=["cn:proxy"]),
    }
    listeners = [Listener(name, policy, quic=True, use_remote_address=edge)
                 for base, policy in policies.items() for name, edge in ((base, False), (f"{base}_edge", True))]
    return start_envoy(*listeners, concurrency=request.param)


@pytest.fixture(scope="module")
def free(issuer: Authority) -> Credential:
    return issuer.issue([("CN", "free")])


every_listener = pytest.mark.parametrize("listener", ["direct", "direct_edge", "envoy", "envoy_edge"])


def note(envoy: Envoy, client: Http3, reason: str, *headers: Header) -> str:
    """What the log says of a request that is refused for this reason."""
    request_id = verdicts.refused(client.request("GET", "/", headers), reason)["request_id"]
    return envoy.wait_for_log(request_id)


@every_listener
def test_a_profile_with_source_cidrs_is_of_no_use_before_and_after_a_migration(
    envoy: Envoy, acme: Credential, listener: str
) -> None:
    with Http3(envoy.port(listener), ClientTls(acme)) as client:
        verdicts.refused(client.request(), "source_ip_denied")
        client.migrate("127.0.0.2")
        verdicts.refused(client.request(), "source_ip_denied")
        client.move("127.0.0.3")
        for forged in ([], [("x-forwarded-for", "127.0.0.1")], [("forwarded", "for=127.0.0.1")]):
            verdicts.refused(client.request("GET", "/", forged), "source_ip_denied")
        client.migrate("127.0.0.1")
        verdicts.refused(client.request(), "source_ip_denied")
        verdicts.passed(client.request("GET", "/health"))


def test_the_log_says_why_no_address_counts(envoy: Envoy, acme: Credential) -> None:
    with Http3(envoy.port("direct"), ClientTls(acme)) as client:
        assert "HTTP/3" in note(envoy, client, "source_ip_denied")
    with Http3(envoy.port("cidrs"), ClientTls()) as client:
        forged = (HEADER, base64.b64encode(acme.der).decode())
        assert "HTTP/3" in note(envoy, client, "certificate_missing", forged)


@every_listener
def test_a_profile_without_source_cidrs_survives_a_migration(envoy: Envoy, free: Credential, listener: str) -> None:
    with Http3(envoy.port(listener), ClientTls(free)) as client:
        for step in (lambda: None, lambda: client.migrate("127.0.0.2"), lambda: client.move("127.0.0.3"),
                     client.retire_connection_id, lambda: client.migrate("127.0.0.1")):
            step()
            assert verdicts.passed(client.request()).values("x-client-id") == ["free"]


@pytest.mark.parametrize("who", ["free", "nobody"])
@pytest.mark.parametrize("listener", ["cidrs", "cidrs_edge", "or_cidrs", "or_cidrs_edge"])
def test_nobody_is_a_trusted_proxy_by_address(envoy: Envoy, free: Credential, listener: str, who: str) -> None:
    forged = (HEADER, base64.b64encode(free.der).decode())
    with Http3(envoy.port(listener), ClientTls(free if who == "free" else None)) as client:
        for address in ("127.0.0.2", "127.0.0.1"):
            verdicts.refused(client.request("GET", "/", [forged]), "certificate_missing")
            client.migrate(address)
        verdicts.refused(client.request("GET", "/", [forged]), "certificate_missing")
        assert verdicts.passed(client.request("GET", "/health", [forged])).values(HEADER) == []


@pytest.mark.parametrize("listener", ["identities", "identities_edge", "or_identities", "or_identities_edge"])
def test_a_trusted_proxy_by_its_certificate_stays_one_when_it_moves(
    envoy: Envoy, issuer: Authority, free: Credential, listener: str
) -> None:
    header = (HEADER, base64.b64encode(free.der).decode())
    with Http3(envoy.port(listener), ClientTls(issuer.issue([("CN", "proxy")]))) as client:
        for address in ("127.0.0.2", "127.0.0.3", "127.0.0.1"):
            assert verdicts.passed(client.request("GET", "/", [header])).values("x-client-id") == ["free"]
            client.migrate(address)
        assert verdicts.passed(client.request("GET", "/", [header])).values("x-client-id") == ["free"]
