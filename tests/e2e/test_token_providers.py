"""Several issuers on a real Envoy: a key speaks for its issuer alone, whoever verifies tokens."""

from __future__ import annotations

import json
from typing import Any

import pytest

from conftest import Client, StartEnvoy
from harness import tokens, verdicts
from harness.envoy import Envoy
from harness.filters import Config, JwtAuthn
from harness.listener import Listener
from harness.pki import Credential
from harness.response import Header
from harness.tls import ClientTls
from harness.tokens import Signer

FIRST, SECOND, THIRD = "https://first.example", "https://second.example", "https://third.example"
AUDIENCES = {FIRST: "https://first-api.example", SECOND: "https://second-api.example"}
SIGNERS = {FIRST: Signer(), SECOND: Signer()}
"""Both keys have the same name."""
POLICY: Config = {
    "clients": {"acme": {"identities": ["cn:acme"], "profiles": ["partner"]}},
    "profiles": {"partner": {"allow": [{"paths": ["/open"]}]}},
}


def _jwt_authn(*, issuers: bool = False, keys: tuple[str, str] = ("first", "second"), both: bool = False) -> Config:
    """Envoy's two providers, each of which takes any `iss` unless it is told its `issuer`."""
    config = JwtAuthn(()).filter()
    typed = config["typed_config"]
    typed["providers"] = {
        name: {
            "local_jwks": {"inline_string": tokens.jwks(SIGNERS[issuer])}, "payload_in_metadata": key, "forward": True,
            "from_headers": [{"name": "authorization", "value_prefix": "Bearer "}, {"name": f"x-{name}"}],
            **({"issuer": issuer} if issuers else {}),
        }
        for name, issuer, key in (("first", FIRST, keys[0]), ("second", SECOND, keys[1]))
    }
    required: list[Config] = [{"provider_name": name} for name in typed["providers"]]
    one = {"requires_any": {"requirements": [*required, {"allow_missing_or_failed": {}}]}}
    typed["rules"] = [{"match": {"prefix": "/"}, "requires": {"requires_all": {"requirements": required}} if both else one}]
    return config


def _providers(**more: Any) -> list[Config]:
    return [{"issuer": issuer, "audiences": [AUDIENCES[issuer]], **{name: value(issuer) for name, value in more.items()}}
            for issuer in (FIRST, SECOND)]


@pytest.fixture(scope="module")
def envoy(start_envoy: StartEnvoy) -> Envoy:
    own_keys = {"providers": _providers(metadata_key=lambda issuer: "first" if issuer == FIRST else "second")}
    shared = {"providers": _providers(), "metadata": {"issuers_bound": True}}
    key_sets = {"source": "jwks", "providers": _providers(jwks=lambda issuer: json.loads(tokens.jwks(SIGNERS[issuer])))}
    return start_envoy(
        Listener("jwt_authn", {**POLICY, "token": own_keys}, before=[_jwt_authn()]),
        Listener("both", {**POLICY, "token": own_keys}, before=[_jwt_authn(both=True)]),
        Listener("istio", {**POLICY, "token": shared}, before=[_jwt_authn(issuers=True, keys=("payload", "payload"))]),
        Listener("jwks", {**POLICY, "token": key_sets}),
    )


def _token(acme: Credential, signed_by: str, says: str, audience: str) -> str:
    return SIGNERS[signed_by].sign(tokens.claims("acme", acme, iss=says, aud=audience))


@pytest.mark.parametrize(("signed_by", "says", "audience", "verdict"), [
    (FIRST, FIRST, FIRST, "allowed"),
    (SECOND, SECOND, SECOND, "allowed"),
    (FIRST, FIRST, SECOND, "token_audience_mismatch"),
    (SECOND, FIRST, FIRST, "another's key"),
    (FIRST, SECOND, SECOND, "another's key"),
    (FIRST, THIRD, FIRST, "token_issuer_mismatch"),
])
@pytest.mark.parametrize("listener", ["jwt_authn", "istio", "jwks"])
def test_a_token_is_verified_with_the_keys_of_the_issuer_that_it_names(
    envoy: Envoy, acme: Credential, http: Client, listener: str, signed_by: str, says: str, audience: str, verdict: str
) -> None:
    token = _token(acme, signed_by, says, AUDIENCES[audience])
    refusals = {"jwt_authn": "token_issuer_mismatch", "istio": "token_missing", "jwks": "token_signature_invalid"}
    if verdict == "another's key":
        verdict = refusals[listener]
    elif says == THIRD and listener == "istio":
        verdict = refusals["istio"]
    with http(envoy.port(listener), ClientTls(acme)) as client:
        for _ in range(2):
            response = client.request("GET", "/open", [("authorization", f"Bearer {token}")])
            assert verdicts.reason_of(response) == verdict


def test_two_tokens_of_two_issuers_are_malformed(envoy: Envoy, acme: Credential, http: Client) -> None:
    sent: list[Header] = [(f"x-{name}", _token(acme, issuer, issuer, AUDIENCES[issuer]))
                          for name, issuer in (("first", FIRST), ("second", SECOND))]
    with http(envoy.port("both"), ClientTls(acme)) as client:
        verdicts.refused(client.request("GET", "/open", sent), "authorization_malformed")
