"""`token.source: jwt_authn` and `jwks` judge every claim alike: the same tokens through both, in one Envoy."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from conftest import StartEnvoy
from harness import tokens, verdicts
from harness.envoy import Envoy
from harness.filters import Config, JwtAuthn
from harness.http1 import Http1
from harness.listener import Listener
from harness.pki import Credential, base64url
from harness.tls import ClientTls
from harness.tokens import AUDIENCE, ISSUER, Signer

SIGNER = Signer("ES256")
SOURCES = ("jwt_authn", "jwks")
NOW = int(time.time())
DAY = 86_400

ALIKE: dict[str, dict[str, dict[str, Any]]] = {
    "allowed": {
        "as it should be": {},
        "a null scope": {"scope": None}, "a null scp": {"scp": None},
        "a null azp": {"azp": None}, "a null client_id beside azp": {"client_id": None, "azp": "acme"},
        "an unknown null": {"foreign": None},
        "an empty scope": {"scope": ""}, "a scope list": {"scope": ["a", "b"]}, "an empty scope list": {"scope": []},
        "scopes between several spaces": {"scope": " a  b "}, "scp": {"scp": "a b"}, "an scp list": {"scp": ["a"]}, "scope and scp": {"scope": "a", "scp": ["b"]},
        "an aud list": {"aud": [AUDIENCE, "https://other.example"]}, "one aud twice": {"aud": [AUDIENCE, AUDIENCE]},
        "an aud with a space": {"aud": ["a b", AUDIENCE]},
        "exp with a fraction": {"exp": NOW + 3600.5}, "iat with a fraction": {"iat": NOW - 0.123456}, "nbf with a fraction": {"nbf": NOW - 0.5},
        "exp far away": {"exp": 253_402_300_799}, "iat of 1970": {"iat": 0}, "nbf of 1970": {"nbf": 0}, "iat a little ahead": {"iat": NOW + 20},
        "azp beside client_id": {"azp": "acme"}, "no sub": {"sub": ""}, "amr": {"amr": ["pwd"], "acr": "1"},
        "nested claims": {"realm_access": {"roles": ["a", {"deep": [None, True, 1.5]}]}, "address": {}},
        "a big number elsewhere": {"big": 2**53 - 1}, "an empty name": {"": "x"}, "text of other scripts": {"name": "Зоя ☂"},
        "jti twice the same length": {"jti": "x" * 500}, "auth_time": {"auth_time": NOW}, "updated_at": {"updated_at": 1.5},
        "cnf with further members": {"cnf": {"x5t#S256": "OWN", "jkt": "x"}},
    },
    "token_claims_invalid": {
        "a numeric scope": {"scope": 1}, "a scope object": {"scope": {}}, "a scope list with a number": {"scope": ["a", 1]},
        "a scope list with null": {"scope": [None]}, "scp: true": {"scp": True},
        "an empty aud list": {"aud": []}, "a numeric client_id": {"client_id": 1}, "an azp list": {"azp": ["acme"]},
        "an empty azp": {"azp": ""}, "an azp object": {"azp": {}}, "a client_id that is false": {"client_id": False},
        "exp after 9999": {"exp": 253_402_300_800}, "iat after 9999": {"iat": 1e15},
    },
    "token_audience_mismatch": {
        "another aud": {"aud": "https://other.example"}, "an aud in capital letters": {"aud": AUDIENCE.upper()},
        "an empty aud": {"aud": ""}, "other auds": {"aud": ["a", "b"]}, "an aud with a slash more": {"aud": AUDIENCE + "/"},
    },
    "token_issuer_mismatch": {
        "another iss": {"iss": "https://other.example"}, "an iss with a slash more": {"iss": ISSUER + "/"},
    },
    "client_profile_mismatch": {
        "another client_id": {"client_id": "other"}, "another azp": {"azp": "other"}, "null for both": {"client_id": None, "azp": None},
    },
    "sender_binding_malformed": {
        "a null cnf": {"cnf": None}, "a cnf text": {"cnf": "x"}, "a cnf list": {"cnf": []}, "a null x5t#S256": {"cnf": {"x5t#S256": None}},
        "a numeric x5t#S256": {"cnf": {"x5t#S256": 1}}, "x5t": {"cnf": {"x5t": "x"}},
    },
    "sender_binding_missing": {"an empty cnf": {"cnf": {}}, "jkt": {"cnf": {"jkt": "x"}}},
    "sender_binding_mismatch": {"another's cnf": {"cnf": {"x5t#S256": base64url(bytes(32))}}},
    "token_not_yet_valid": {"iat ahead": {"iat": NOW + DAY}},
}
"""The changes of each token, by what both sources answer."""

BY_ENVOY: dict[str, tuple[bytes | dict[str, Any], str, str]] = {
    "an expired token": ({"exp": NOW - 600}, "token_missing", "token_expired"),
    "nbf ahead": ({"nbf": NOW + DAY}, "token_missing", "token_not_yet_valid"),
    "exp as a text": ({"exp": str(NOW + 600)}, "token_missing", "token_claims_invalid"),
    "a negative exp": ({"exp": -1}, "token_missing", "token_claims_invalid"),
    "a numeric aud": ({"aud": 1}, "token_missing", "token_claims_invalid"),
    "a numeric iss": ({"iss": 1}, "token_missing", "token_claims_invalid"),
    "a null exp": ({"exp": None}, "token_missing", "token_claims_invalid"),
    "a null nbf": ({"nbf": None}, "token_missing", "allowed"),
    "a null iat": ({"iat": None}, "token_missing", "allowed"),
    "a null jti": ({"jti": None}, "token_missing", "allowed"),
    "a numeric sub": ({"sub": 7}, "token_missing", "allowed"),
    "a null aud": ({"aud": None}, "token_missing", "token_audience_mismatch"),
    "a null iss": ({"iss": None}, "token_missing", "token_issuer_mismatch"),
    "a member twice": (b'{"jti": "a", "jti": "a", ', "token_missing", "token_malformed"),
    "a client twice": (b'{"client_id": "other", ', "token_missing", "token_malformed"),
    "a number beyond doubles": (b'{"big": 1e400, ', "token_missing", "token_malformed"),
}
"""What Envoy's `jwt_authn` itself refuses, so that there is no token: the answer with `jwt_authn`, and the one with `jwks`."""


class World:
    """An Envoy with a listener for each source."""

    def __init__(self, start_envoy: StartEnvoy, acme: Credential) -> None:
        self.acme = acme
        policy: Config = {
            "clients": {"acme": {"identities": ["cn:acme"], "profiles": ["partner"]}},
            "profiles": {"partner": {"allow": [{"paths": ["/open"]}]}},
        }
        rules = {"issuers": [ISSUER], "audiences": [AUDIENCE]}
        self.envoy: Envoy = start_envoy(
            Listener("jwt_authn", {**policy, "token": rules}, jwt=JwtAuthn((SIGNER,), options={"issuer": ""})),
            Listener("jwks", {**policy, "token": {**rules, "source": "jwks", "jwks": json.loads(tokens.jwks(SIGNER))}}),
        )

    def verdicts(self, changes: bytes | dict[str, Any]) -> tuple[str, ...]:
        """What both sources answer to a token with these changes, or with this beginning of its payload."""
        claims = tokens.claims("acme", self.acme)
        if isinstance(changes, bytes):
            token = SIGNER.sign(changes + json.dumps(claims).encode()[1:])
        else:
            own = json.loads(json.dumps(changes).replace("OWN", self.acme.thumbprint))
            token = SIGNER.sign(claims | own)
        return tuple(self._ask(source, token) for source in SOURCES)

    def _ask(self, source: str, token: str) -> str:
        with Http1(self.envoy.port(source), ClientTls(self.acme)) as client:
            return verdicts.reason_of(client.request("GET", "/open", [("authorization", f"Bearer {token}")]))


@pytest.fixture(scope="module")
def world(start_envoy: StartEnvoy, acme: Credential) -> World:
    return World(start_envoy, acme)


def _cases() -> Iterator[Any]:
    for expected, cases in ALIKE.items():
        yield from (pytest.param(changes, expected, id=name) for name, changes in cases.items())


@pytest.mark.parametrize(("changes", "expected"), list(_cases()))
def test_both_sources_judge_a_claim_alike(world: World, changes: dict[str, Any], expected: str) -> None:
    assert world.verdicts(changes) == (expected, expected)


@pytest.mark.parametrize(("changes", "jwt_authn", "jwks"), BY_ENVOY.values(), ids=BY_ENVOY)
def test_what_jwt_authn_itself_refuses_is_no_token_and_nothing_else_differs(
    world: World, changes: bytes | dict[str, Any], jwt_authn: str, jwks: str
) -> None:
    assert world.verdicts(changes) == (jwt_authn, jwks)


@pytest.mark.parametrize("written", ["{}.123456", "{}.0", "{}e0", "{}0E-1", "{}.5e+0"])
@pytest.mark.parametrize("claim", ["iat", "nbf", "exp"])
def test_a_date_may_be_written_as_any_number(world: World, claim: str, written: str) -> None:
    at = NOW + 3600 if claim == "exp" else NOW - 10
    payload = json.dumps({name: value for name, value in tokens.claims("acme", world.acme).items() if name != claim})
    token = SIGNER.sign(f'{{"{claim}": {written.format(at)}, {payload[1:]}'.encode())
    assert [world._ask(source, token) for source in SOURCES] == ["allowed", "allowed"]
