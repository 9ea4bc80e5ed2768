"""Less proof never gives more: what a token alone reaches where a certificate is optional, and what it does not."""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from conftest import Bearer, Client, StartEnvoy
from harness import verdicts
from harness.envoy import Envoy
from harness.filters import Config, JwtAuthn
from harness.http1 import Http1
from harness.listener import Listener
from harness.pki import Authority, Credential
from harness.response import Header
from harness.tls import ClientTls
from harness.tokens import AUDIENCE, Signer
from harness.verdicts import ask

OPEN: Config = {"allow": [{"paths": ["/**"]}]}
ISSUER_NAME = "CN=Example Intermediate"


def policy(clients: Config, **more: Any) -> Config:
    return {
        "mode": "bearer_plus_mtls_optional",
        "token": {"audiences": [AUDIENCE]},
        "clients": clients,
        "profiles": {"open": OPEN, "other": OPEN, "strict": {**OPEN, "mode": "bearer_plus_mtls_required"},
                     "quiet": {**OPEN, "mode": "mtls"}},
        "bypass": [{"path": "/health"}],
        **more,
    }


def client(*profiles: str, **more: Any) -> Config:
    return {"identities": [f"cn:{more.pop('name', 'acme')}"], "profiles": list(profiles), **more}


MAPPED: Config = {"identity": {"mappings": [{"match": {"subject": {"O": "Mapped"}}, "client_id": "{subject.CN}",
                                             "profile_id": "{subject.OU}"}]}}
POLICIES: dict[str, Config] = {
    "open": policy({"acme": client("open")}),
    "strict": policy({"acme": client("strict")}),
    "quiet": policy({"acme": client("quiet")}),
    "both": policy({"acme": client("open", "strict")}),
    "issuers": policy({"acme": client("open", issuers=[ISSUER_NAME])}),
    "mapped": policy({"acme": {"profiles": ["open", "other"]}}, **MAPPED),
    "none": policy({"acme": {"identities": ["cn:acme"], "profiles": ["open"]}, "lone": {"profiles": ["open"]}}),
}


@pytest.fixture(scope="module")
def envoy(start_envoy: StartEnvoy, signer: Signer) -> Envoy:
    jwt = JwtAuthn((signer,))
    return start_envoy(*(Listener(name, each, jwt=jwt) for name, each in POLICIES.items()))


CASES = [
    # listener, profile that is asked for, verdict of the token alone, verdict of certificate and token
    ("open", None, "allowed", "allowed"),
    ("open", "other", "client_profile_mismatch", "client_profile_mismatch"),
    ("strict", None, "certificate_missing", "allowed"),
    ("strict", "open", "client_profile_mismatch", "client_profile_mismatch"),
    ("quiet", None, "certificate_missing", "allowed"),
    ("both", None, "profile_required", "profile_required"),
    ("both", "open", "allowed", "allowed"),
    ("both", "strict", "certificate_missing", "allowed"),
    ("issuers", None, "certificate_missing", "allowed"),
    ("issuers", "open", "certificate_missing", "allowed"),
]


@pytest.mark.parametrize(("listener", "profile", "alone", "together"), CASES)
def test_a_token_alone_reaches_only_optional_profiles_of_clients_without_issuers(
    envoy: Envoy, acme: Credential, bearer: Bearer, http: Client,
    listener: str, profile: str | None, alone: str, together: str,
) -> None:
    claims = [("x-profile-id", profile)] if profile else []
    for credential, token, expected in (
        (None, bearer("acme"), alone),
        (acme, bearer("acme", acme), together),
        (None, bearer("acme", acme), None),
    ):
        with http(envoy.port(listener), ClientTls(credential)) as caller:
            found = verdicts.reason_of(caller.request("GET", "/a", [token, *claims]))
        # A token that is bound is never enough by itself.
        assert found == expected or expected is None and found != "allowed", (credential, found)


def test_a_client_that_a_mapping_limits_to_a_profile_is_not_reached_by_token_alone(
    envoy: Envoy, issuer: Authority, bearer: Bearer, http: Client
) -> None:
    leaf = issuer.issue([("CN", "acme"), ("OU", "open"), ("O", "Mapped")])
    with http(envoy.port("mapped"), ClientTls(leaf)) as caller:
        echo = verdicts.passed(caller.request("GET", "/a", [bearer("acme", leaf)]))
        assert echo.values("x-profile-id") == ["open"]
        other = [bearer("acme", leaf), ("x-profile-id", "other")]
        verdicts.refused(caller.request("GET", "/a", other), "client_profile_mismatch")
    for claims in ([], [("x-profile-id", "open")], [("x-profile-id", "other")]):
        with http(envoy.port("mapped"), ClientTls()) as caller:
            response = caller.request("GET", "/a", [bearer("acme"), *claims])
        assert verdicts.reason_of(response) in ("certificate_missing", "profile_required")


def test_a_client_without_identities_is_reached_by_its_token(envoy: Envoy, bearer: Bearer, http: Client) -> None:
    with http(envoy.port("none"), ClientTls()) as caller:
        verdicts.passed(caller.request("GET", "/a", [bearer("lone")]))


@pytest.mark.parametrize("claims", [
    # An ID token is meant for the app itself, others for other services.
    {"aud": "acme", "azp": "acme", "nonce": "n"}, {"aud": "https://other.example"}, {"aud": ["x"]},
    {"aud": ["https://other.example", "acme"]}, {"aud": AUDIENCE + "/"}, {"aud": AUDIENCE.upper()},
], ids=str)
def test_a_token_that_is_meant_for_somebody_else_reaches_nothing(
    envoy: Envoy, bearer: Bearer, http: Client, claims: dict[str, Any]
) -> None:
    with http(envoy.port("open"), ClientTls()) as caller:
        verdicts.refused(caller.request("GET", "/a", [bearer("acme", **claims)]), "token_audience_mismatch")
        verdicts.passed(caller.request("GET", "/a", [bearer("acme", aud=["x", AUDIENCE])]))


def test_a_token_without_an_audience_reaches_nothing(envoy: Envoy, signer: Signer, http: Client) -> None:
    now = int(time.time())
    claims = {"iss": "https://issuer.example", "sub": "acme", "client_id": "acme", "exp": now + 600}
    with http(envoy.port("open"), ClientTls()) as caller:
        header = ("authorization", f"Bearer {signer.sign(claims)}")
        verdicts.refused(caller.request("GET", "/a", [header]), "token_audience_mismatch")


# Revoked certificates. Two workers: what one has seen the other knows.


@pytest.fixture(scope="module")
def revoked(issuer: Authority) -> dict[str, Credential]:
    """Certificates that the policies of `revoking` revoke, by the way in which they do."""
    return {name: issuer.issue([("CN", name)]) for name in ("thumbprint", "serial", "name", "registered")}


@pytest.fixture(scope="module")
def revoking(start_envoy: StartEnvoy, signer: Signer, revoked: dict[str, Credential]) -> Envoy:
    clients = {name: client("open", name=name) for name in ("thumbprint", "serial", "name", "good")}
    clients["registered"] = {"identities": [f"sha256:{revoked['registered'].thumbprint_hex}"], "profiles": ["open"]}
    serial = f"{revoked['serial'].certificate.serial_number:x}"
    revocation: Config = {
        "sha256": [revoked["thumbprint"].thumbprint_hex, revoked["registered"].thumbprint_hex],
        "serials": [{"issuer": ISSUER_NAME, "serial": serial}],
        "identities": ["cn:name"],
    }
    return start_envoy(Listener("main", policy(clients, revocation=revocation), jwt=JwtAuthn((signer,))), concurrency=2)


MANY = 16
"""Connections, so many that both workers get some."""


def alone(envoy: Envoy, token: Header) -> set[str]:
    """What a token alone comes to on many connections."""
    return {ask(envoy.port("main"), None, "/a", [token]) for _ in range(MANY)}


@pytest.mark.parametrize("who", ["name", "registered"])
def test_a_client_all_of_whose_names_are_revoked_is_not_reached_by_token_alone(
    revoking: Envoy, revoked: dict[str, Credential], bearer: Bearer, http: Client, who: str
) -> None:
    with http(revoking.port("main"), ClientTls()) as caller:
        verdicts.refused(caller.request("GET", "/a", [bearer(who)]), "certificate_missing")
        verdicts.passed(caller.request("GET", "/health", [bearer(who)]))
    assert alone(revoking, bearer(who)) == {"certificate_missing"}
    assert ask(revoking.port("main"), revoked[who], "/a", [bearer(who, revoked[who])]) == "certificate_revoked"
    assert alone(revoking, bearer("good")) == {"allowed"}


@pytest.mark.parametrize("who", ["thumbprint", "serial"])
def test_what_one_worker_saw_revoked_no_worker_serves_until_there_is_a_newer_one(
    revoking: Envoy, issuer: Authority, revoked: dict[str, Credential], bearer: Bearer, who: str
) -> None:
    port = revoking.port("main")
    # Nothing is known of its certificates.
    assert alone(revoking, bearer(who)) == {"allowed"}
    assert ask(port, revoked[who], "/a", [bearer(who, revoked[who])]) == "certificate_revoked"
    assert alone(revoking, bearer(who)) == {"certificate_missing"}
    assert alone(revoking, bearer("good")) == {"allowed"}
    # A certificate that lasts longer takes its place.
    newer = issuer.issue([("CN", who)], not_after=datetime.now(timezone.utc) + timedelta(days=400))
    assert ask(port, newer, "/a", [bearer(who, newer)]) == "allowed"
    assert alone(revoking, bearer(who)) == {"allowed"}


@pytest.mark.parametrize("presented", ["without a token", "with another's token", "with a token of its own"])
def test_a_revoked_certificate_is_noted_whatever_comes_with_it(
    start_envoy: StartEnvoy, signer: Signer, issuer: Authority, bearer: Bearer, presented: str
) -> None:
    leaf = issuer.issue([("CN", "acme")])
    revocation = {"sha256": [leaf.thumbprint_hex]}
    clients = {"acme": client("open"), "good": client("open", name="good")}
    envoy = start_envoy(Listener("main", policy(clients, revocation=revocation), jwt=JwtAuthn((signer,))), concurrency=2)
    headers = {"without a token": [], "with another's token": [bearer("good")], "with a token of its own": [bearer("acme", leaf)]}
    with Http1(envoy.port("main"), ClientTls(leaf)) as caller:
        verdicts.refused(caller.request("GET", "/a", headers[presented]), "certificate_revoked")
    assert alone(envoy, bearer("acme")) == {"certificate_missing"}
