"""Two readers of one `Authorization`: what Envoy's `jwt_authn` finds in a value, and what the filter says to it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from conftest import Client, StartEnvoy
from harness import http3, probe, tokens, verdicts
from harness.envoy import Envoy
from harness.filters import Config, JwtAuthn
from harness.listener import Listener
from harness.pki import Authority, Credential
from harness.probe import OK, Answer
from harness.tls import ClientTls
from harness.tokens import AUDIENCE, Signer

POLICY: Config = {
    "clients": {"acme": {"identities": ["cn:acme"], "profiles": ["partner", "certificate"]}},
    "profiles": {"partner": {"allow": [{"paths": ["/open"]}]},
                 "certificate": {"mode": "mtls", "allow": [{"paths": ["/open"]}]}},
    "bypass": [{"path": "/health"}],
}
OPTIONAL: Config = {**POLICY, "mode": "bearer_plus_mtls_optional", "token": {"audiences": [AUDIENCE]}}
PARTNER = ("x-profile-id", "partner")

# (value, whether jwt_authn finds the token in it)
MIXED = [
    ("Basic dXNlcjpwdw== Bearer {token}", True),
    ("Basic Bearer {token}", True),
    ("xBearer {token}", True),
    ("Basic dXNlcjpwdw==,Bearer {token}", True),
    ("Basic dXNlcjpwdw==;Bearer {token}", True),
    ('Basic realm="Bearer {token}"', False),
    ("DPoP x Bearer {token} y", True),
    ("bearer x Bearer {token}", True),
    ("\xa0Bearer {token}", True),
    ("Bearer  {token}", True),
    ("Bearer ,{token}", True),
    ("Bearer {token},", False),
    ("Bearer {token} x", True),
    ("Bearer {token},Basic dXNlcjpwdw==", False),
    ("Bearer {token}\xa0x", False),
    ("Bearer {token}\tx", True),
    ("Bearer Bearer {token}", False),
    ("Basic dXNlcjpwdw== bearer {token}", False),
    ("Bearer\t{token}", False),
    ("Bearer\xa0{token}", False),
]
# What the filter alone cannot know for a token: only that jwt_authn has verified one tells.
HIDDEN = ["DPoP {token}", "Bearer{token}", "Basic dXNlcjpwdw== {token}", "{token}"]
FOUND_BY_PREFIX = {"none": "", "word": "Bearer"}


def _jwt(signer: Signer, prefix: str | None = None) -> JwtAuthn:
    header = {"name": "Authorization"} | ({"value_prefix": prefix} if prefix else {})
    return JwtAuthn((signer,), options={} if prefix is None else {"from_headers": [header]})


@pytest.fixture(scope="module")
def seen(start_envoy: StartEnvoy, every_envoy: Path, signer: Signer) -> Envoy:
    """What Envoy finds, on each supported Envoy."""
    return start_envoy(probe.listener("jwt", jwt=_jwt(signer)), binary=every_envoy)


@pytest.fixture(scope="module")
def envoy(start_envoy: StartEnvoy, signer: Signer) -> Envoy:
    keys = json.loads(tokens.jwks(signer))
    elsewhere = JwtAuthn((signer,), options={"from_headers": [{"name": "x-token"}]})
    return start_envoy(
        Listener("main", POLICY, jwt=_jwt(signer)),
        Listener("optional", OPTIONAL, jwt=_jwt(signer)),
        Listener("jwks", {**POLICY, "token": {"source": "jwks", "jwks": keys}}),
        # As istiod writes it for a rule with `fromHeaders`.
        Listener("istio", POLICY, jwt=_jwt(signer, "Bearer ")),
        Listener("elsewhere", POLICY, jwt=elsewhere),
        *(Listener(name, POLICY, jwt=_jwt(signer, prefix)) for name, prefix in FOUND_BY_PREFIX.items()),
    )


@pytest.mark.parametrize(("value", "found"), [*MIXED, ("Bearer {token}", True), ("bearer {token}", False)])
def test_jwt_authn_finds_its_prefix_anywhere_in_the_value(
    seen: Envoy, issuer: Authority, signer: Signer, http: Client, value: str, found: bool
) -> None:
    token = signer.sign(tokens.claims("acme"))
    sent = [("authorization", http3.taken(http, value.format(token=token)))]
    with http(seen.port("jwt"), ClientTls(issuer.issue())) as client:
        (whole,) = probe.ask(client, ("property", "metadata"), headers=sent)
    assert whole.status == OK and (whole != Answer(OK, b"")) == found


@pytest.mark.parametrize("listener", ["main", "optional", "jwks", "istio", *FOUND_BY_PREFIX])
@pytest.mark.parametrize("value", [value for value, _ in MIXED])
def test_a_bearer_token_beside_anything_else_is_malformed_in_both_sources(
    envoy: Envoy, acme: Credential, signer: Signer, http: Client, listener: str, value: str
) -> None:
    for kind in ("at+jwt", "logout+jwt"):
        header = {"alg": signer.algorithm, "kid": signer.key_id, "typ": kind}
        token = signer.sign(tokens.claims("acme", acme), header)
        with http(envoy.port(listener), ClientTls(acme)) as client:
            response = client.request("GET", "/open", [("authorization", http3.taken(http, value.format(token=token))), PARTNER])
        verdicts.refused(response, "authorization_malformed")


@pytest.mark.parametrize("listener", FOUND_BY_PREFIX)
@pytest.mark.parametrize("value", HIDDEN)
def test_a_verified_token_in_a_value_that_names_no_bearer_is_malformed(
    envoy: Envoy, acme: Credential, signer: Signer, http: Client, listener: str, value: str
) -> None:
    found = {("none", "{token}"), ("word", "Bearer{token}")}
    sent = http3.taken(http, value.format(token=signer.sign(tokens.claims("acme", acme))))
    with http(envoy.port(listener), ClientTls(acme)) as client:
        reason = verdicts.reason_of(client.request("GET", "/open", [("authorization", sent), PARTNER]))
    assert reason == ("authorization_malformed" if (listener, value) in found else "token_missing")


@pytest.mark.parametrize("value", ["Basic dXNlcjpwdw==", "DPoP x", "Digest a=b", "", "x"])
def test_a_token_from_elsewhere_goes_with_no_authorization_of_another_scheme(
    envoy: Envoy, acme: Credential, signer: Signer, http: Client, value: str
) -> None:
    token = ("x-token", signer.sign(tokens.claims("acme", acme)))
    with http(envoy.port("elsewhere"), ClientTls(acme)) as client:
        verdicts.passed(client.request("GET", "/open", [token, PARTNER]))
        response = client.request("GET", "/open", [token, ("authorization", value), PARTNER])
    verdicts.refused(response, "authorization_malformed")


def test_another_scheme_without_a_verified_token_is_no_token(
    envoy: Envoy, acme: Credential, http: Client
) -> None:
    basic = ("authorization", "Basic dXNlcjpwdw==")
    for listener in ("main", "optional", "jwks"):
        with http(envoy.port(listener), ClientTls(acme)) as client:
            verdicts.refused(client.request("GET", "/open", [basic, PARTNER]), "token_missing")
            verdicts.passed(client.request("GET", "/open", [basic, ("x-profile-id", "certificate")]))
            verdicts.passed(client.request("GET", "/health", [("authorization", "Basic x Bearer y")]))
