"""Certificates and tokens as real issuers name their clients: URIs, addresses, several units, one certificate for several clients."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from cryptography.x509 import GeneralName

from conftest import Client, StartEnvoy
from harness import pki, tokens, verdicts
from harness.envoy import Envoy
from harness.filters import Config
from harness.http1 import Http1
from harness.listener import Listener
from harness.pki import Authority, Credential
from harness.response import Response
from harness.tls import ClientTls
from harness.tokens import AUDIENCE, ISSUER, Signer

DN = list[tuple[str, str]]
UUID = "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6"
ANYTHING: Config = {"allow": [{"paths": ["/**"]}]}
NAMES: Config = {
    "mode": "mtls",
    "clients": {
        "by-url": {"identities": ["uri:https://acme.example/app"], "profiles": ["partner"]},
        "by-urn": {"identities": [f"uri:{UUID}"], "profiles": ["partner"]},
        "by-v4": {"identities": ["ip:192.0.2.7"], "profiles": ["partner"]},
        "by-v6": {"identities": ["ip:2001:DB8:0::7"], "profiles": ["partner"]},
    },
    "profiles": {"partner": ANYTHING},
    "revocation": {"identities": ["uri:https://revoked.example/app", "ip:192.0.2.66"]},
}
SEVERAL: Config = {
    "mode": "mtls",
    "identity": {
        "allow_unregistered": True,
        "mappings": [
            {"match": {"subject": {"OU": {"any": "app:{guid}"}}}, "client_id": "app-{guid}", "profile_id": "partner"},
            {"match": {"subject": {"O": {"any": "system:nodes"}}}, "client_id": "{subject.CN}", "profile_id": "partner"},
            {"match": {"uri_san": "urn:acme:service:{name}"}, "client_id": "{name}", "profile_id": "partner"},
        ],
    },
    "profiles": {"partner": ANYTHING},
}
SHARED: Config = {
    "clients": {
        "web": {"identities": ["cn:org"], "profiles": ["tokens"], "shared_identities": True, "token_client_ids": ["0oaweb"]},
        "mobile": {"identities": ["cn:org"], "profiles": ["tokens"], "shared_identities": True},
        "batch": {"identities": ["cn:org"], "profiles": ["certificates"], "shared_identities": True},
        "okta": {"identities": ["cn:okta"], "profiles": ["tokens"], "token_client_ids": ["0oa9zx7"]},
    },
    "profiles": {"tokens": ANYTHING, "certificates": {**ANYTHING, "mode": "mtls"}},
}


@pytest.fixture(scope="module")
def signer() -> Signer:
    return Signer()


@pytest.fixture(scope="module")
def envoy(start_envoy: StartEnvoy, signer: Signer) -> Envoy:
    token = {"source": "jwks", "jwks": {"keys": [signer.jwk()]}, "issuers": [ISSUER], "audiences": [AUDIENCE]}
    return start_envoy(
        Listener("names", NAMES), Listener("several", SEVERAL), Listener("shared", {**SHARED, "token": token}), concurrency=2,
        log_level="info",
    )


def client_of(response: Response) -> str:
    """The client that the upstream was told, or the reason of the refusal."""
    if response.header("x-upstream") is None:
        return verdicts.reason_of(response)
    (client,) = response.echo().values("x-client-id")
    return client


def ask(envoy: Envoy, listener: str, credential: Credential, *headers: tuple[str, str]) -> str:
    with Http1(envoy.port(listener), ClientTls(credential)) as client:
        return client_of(client.request("GET", "/", headers))


def bearer(signer: Signer, client_id: str, bound_to: Credential) -> tuple[str, str]:
    return "authorization", f"Bearer {signer.sign(tokens.claims(client_id, bound_to))}"


@pytest.mark.parametrize(("sans", "verdict"), [
    ([pki.uri("https://acme.example/app")], "by-url"),
    ([pki.uri(UUID)], "by-urn"),
    ([pki.ip("192.0.2.7")], "by-v4"),
    ([pki.ip("2001:db8::7")], "by-v6"),
    ([pki.uri("urn:other:1"), pki.uri(UUID), pki.ip("192.0.2.9")], "by-urn"),
    ([pki.uri("https://ACME.example/app")], "identity_not_mapped"),
    ([pki.uri("https://acme.example/app/more")], "identity_not_mapped"),
    ([pki.ip("192.0.2.8")], "identity_not_mapped"),
    ([pki.uri(UUID), pki.ip("192.0.2.7")], "identity_invalid"),
    ([pki.uri("HTTPS://Revoked.example/app")], "certificate_revoked"),
    ([pki.ip("::ffff:192.0.2.66")], "certificate_revoked"),
], ids=["url", "urn", "IPv4", "IPv6", "one of several", "another letter case", "another URI", "another address", "two clients",
        "revoked in capitals", "revoked inside IPv6"])
def test_a_certificate_whose_only_name_is_a_uri_or_an_address_finds_its_client(
    envoy: Envoy, issuer: Authority, http: Client, sans: list[GeneralName], verdict: str
) -> None:
    with http(envoy.port("names"), ClientTls(issuer.issue([], sans=sans))) as client:
        assert client_of(client.request()) == verdict


@pytest.mark.parametrize(("subject", "sans", "verdict"), [
    ([("OU", "organization:o1"), ("OU", "space:s1"), ("OU", "app:4f1c"), ("CN", "instance")], [], "app-4f1c"),
    ([("OU", "app:4f1c"), ("OU", "app:5e2d"), ("CN", "instance")], [], "identity_invalid"),
    ([("O", "system:authenticated"), ("O", "system:nodes"), ("CN", "node-1")], [], "node-1"),
    ([("O", "system:authenticated"), ("CN", "node-1")], [], "identity_not_mapped"),
    ([], [pki.uri("urn:acme:service:pay")], "pay"),
    ([], [pki.uri("URN:ACME:service:pay")], "pay"),
], ids=["Cloud Foundry", "two apps", "Kubernetes", "another group", "URN", "URN in capitals"])
def test_one_of_several_units_and_groups_names_the_client(
    envoy: Envoy, issuer: Authority, subject: DN, sans: list[GeneralName], verdict: str
) -> None:
    assert ask(envoy, "several", issuer.issue(subject, sans=sans)) == verdict


def test_a_token_names_the_client_by_what_the_issuer_calls_it(envoy: Envoy, issuer: Authority, signer: Signer) -> None:
    okta = issuer.issue([("CN", "okta")])
    assert ask(envoy, "shared", okta, bearer(signer, "0oa9zx7", okta)) == "okta"
    assert ask(envoy, "shared", okta, bearer(signer, "okta", okta)) == "client_profile_mismatch"
    assert r'found client_id \"okta\"' in envoy.wait_for_log("token_client_ids")


def test_several_clients_share_a_certificate_and_the_request_says_which(
    envoy: Envoy, issuer: Authority, signer: Signer, http: Client
) -> None:
    org = issuer.issue([("CN", "org")])
    web, mobile = bearer(signer, "0oaweb", org), bearer(signer, "mobile", org)
    with http(envoy.port("shared"), ClientTls(org)) as client:
        for headers, verdict in [
            ([web], "web"),
            ([mobile], "mobile"),
            ([web, ("x-client-id", "web")], "web"),
            ([web, ("x-client-id", "mobile")], "client_profile_mismatch"),
            ([web, ("x-client-id", "okta")], "client_mismatch"),
            ([("x-client-id", "batch")], "batch"),
            ([("x-client-id", "web")], "token_missing"),
            ([], "token_missing"),
            ([bearer(signer, "okta", org)], "client_profile_mismatch"),
            ([bearer(signer, "batch", org)], "client_header_missing"),
        ]:
            assert client_of(client.request("GET", "/", headers)) == verdict, headers


def test_each_client_of_a_shared_certificate_is_in_the_inventory(envoy: Envoy, issuer: Authority, signer: Signer) -> None:
    end = datetime.now(timezone.utc) + timedelta(days=77, hours=1)
    org = issuer.issue([("CN", "org")], not_after=end)
    assert ask(envoy, "shared", org, bearer(signer, "0oaweb", org)) == "web"
    assert ask(envoy, "shared", org, ("x-client-id", "batch")) == "batch"
    days = envoy.admin.prometheus()
    for client in ("web", "batch"):
        assert f'mtls_cert_days_until_expiry{{client="{client}"}}' in days


def test_the_log_shows_the_names_of_a_certificate_of_no_client(envoy: Envoy, issuer: Authority) -> None:
    stranger = issuer.issue([("O", "Unknown Corp"), ("CN", "stranger")], sans=[pki.uri("urn:stranger:1"), pki.ip("192.0.2.77")])
    with Http1(envoy.port("names"), ClientTls(stranger)) as client:
        problem = verdicts.refused(client.request(), "identity_not_mapped")
    assert "stranger" not in str(problem)
    names = ["cn:stranger", "uri:urn:stranger:1", "ip:192.0.2.77", "O=Unknown Corp", f"sha256:{stranger.thumbprint_hex}"]
    assert all(name in envoy.wait_for_log(stranger.thumbprint_hex) for name in names)


def test_a_token_of_the_previous_certificate_is_said_to_be_a_renewal(envoy: Envoy, issuer: Authority, signer: Signer) -> None:
    def ending_in(days: int) -> Credential:
        return issuer.issue([("CN", "okta")], not_after=datetime.now(timezone.utc) + timedelta(days=days))

    old, new, never_seen = ending_in(40), ending_in(80), ending_in(120)
    assert ask(envoy, "shared", old, bearer(signer, "0oa9zx7", old)) == "okta"
    for bound_to, expected in [(old, "a renewal, not a theft"), (never_seen, "does not know of the client")]:
        assert ask(envoy, "shared", new, bearer(signer, "0oa9zx7", bound_to)) == "sender_binding_mismatch"
        assert expected in envoy.wait_for_log(f"({bound_to.thumbprint})")
