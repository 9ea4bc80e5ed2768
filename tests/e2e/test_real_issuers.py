"""Tokens of the shapes that Okta, Microsoft Entra ID and Auth0 publish, under the recipes of docs/issuers.md."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from conftest import StartEnvoy
from harness import recipes, tokens, verdicts
from harness.envoy import Envoy
from harness.filters import JwtAuthn
from harness.listener import Listener
from harness.pki import Authority, Credential
from harness.tokens import Signer

SOURCES = ("jwks", "jwt_authn")
OPAQUE = "0oc3kVIRSOq8yM3bB4sT.opaque"


@dataclass(frozen=True)
class Issuer:
    """An issuer of the page: its heading, and what the tokens' headers have beside `alg` and `kid`."""

    name: str
    header: Mapping[str, str] = field(default_factory=dict)
    binds: bool = False

    def claims(self, **more: Any) -> dict[str, Any]:
        """The claims that the page shows, with times of now; `None` takes one away."""
        (text,) = recipes.blocks(self.name, "json claims")
        claims = json.loads(text)
        life = claims["exp"] - claims["iat"]
        now = int(time.time())
        times = {"iat": now, "exp": now + life, **({"nbf": now} if "nbf" in claims else {})}
        return {name: value for name, value in (claims | times | more).items() if value is not None}


AUTH0, OKTA, ENTRA = "Auth0", "Okta", "Microsoft Entra ID"
ISSUERS = {each.name: each for each in (
    Issuer(AUTH0, {"typ": "JWT"}, binds=True), Issuer(OKTA), Issuer(ENTRA, {"typ": "JWT", "x5t": "i6lGk3FZzxRcUb2C3nEQ7syHJlY"}),
)}
RSA = Signer("RS256", "their-key")
TENANT = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
OTHER = "12345678-0000-0000-0000-000000000000"

# What differs from the page's token, and what comes of it. `cnf` may name a certificate of the test.
CASES: list[tuple[str, str, dict[str, Any], str]] = [
    (AUTH0, "as the page shows it", {}, "allowed"),
    (AUTH0, "RFC 9068 profile", {"azp": None, "client_id": "my_client_id", "jti": "x"}, "allowed"),
    (AUTH0, "a user's token with two audiences", {
        "sub": "auth0|123456", "aud": ["https://api.example", "https://example.eu.auth0.com/userinfo"], "gty": None,
        "scope": "openid profile payments:read"}, "allowed"),
    (AUTH0, "an issuer without its slash", {"iss": "https://example.eu.auth0.com"}, "token_issuer_mismatch"),
    (AUTH0, "an ID token", {"aud": "my_client_id"}, "token_audience_mismatch"),
    (AUTH0, "another application", {"azp": "another_client_id"}, "client_profile_mismatch"),
    (AUTH0, "our name for the client", {"azp": "acme-mobile"}, "client_profile_mismatch"),
    (AUTH0, "two names for the client", {"client_id": "another_client_id"}, "client_profile_mismatch"),
    (AUTH0, "without the add-on", {"cnf": None}, "sender_binding_missing"),
    (AUTH0, "bound to another certificate", {"cnf": "renewed"}, "sender_binding_mismatch"),
    (AUTH0, "another permission", {"scope": "payments:write"}, "insufficient_scope"),
    (OKTA, "as the page shows it", {}, "allowed"),
    (OKTA, "a user's token", {"uid": "00uid4BxXw6I6TV4m0g3", "sub": "user@acme.example", "scp": ["openid", "payments:read"]}, "allowed"),
    (OKTA, "the org authorization server", {"iss": "https://example.okta.com", "aud": "https://example.okta.com"}, "token_issuer_mismatch"),
    (OKTA, "another authorization server", {"iss": "https://example.okta.com/oauth2/aus9o8wzkhckw9TLa0h7z"}, "token_issuer_mismatch"),
    (OKTA, "an ID token", {"aud": "0oa9zx7example", "cid": None, "scp": None}, "token_audience_mismatch"),
    (OKTA, "another application", {"cid": "0oa1another"}, "client_profile_mismatch"),
    (OKTA, "our name for the client", {"cid": "acme-mobile"}, "client_profile_mismatch"),
    (OKTA, "without an application", {"cid": None}, "client_profile_mismatch"),
    (OKTA, "bound by DPoP", {"cnf": {"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}}, "sender_binding_missing"),
    (OKTA, "bound to another certificate", {"cnf": "renewed"}, "sender_binding_mismatch"),
    (OKTA, "another scope", {"scp": ["payments:write"]}, "insufficient_scope"),
    (ENTRA, "as the page shows it", {}, "allowed"),
    (ENTRA, "a user's token", {"roles": None, "scp": "Payments.Read Payments.Write", "name": "A User"}, "allowed"),
    (ENTRA, "bound in the preview", {"cnf": "acme"}, "allowed"),
    (ENTRA, "bound to another certificate", {"cnf": "renewed"}, "sender_binding_mismatch"),
    (ENTRA, "a signed HTTP request", {"cnf": {"kid": "xxx"}}, "sender_binding_missing"),
    (ENTRA, "another tenant", {"iss": f"https://login.microsoftonline.com/{OTHER}/v2.0", "tid": OTHER}, "token_issuer_mismatch"),
    (ENTRA, "version 1.0", {"iss": f"https://sts.windows.net/{TENANT}/", "ver": "1.0"}, "token_issuer_mismatch"),
    (ENTRA, "another API", {"aud": OTHER}, "token_audience_mismatch"),
    (ENTRA, "an API by its URI", {"aud": "api://payments"}, "token_audience_mismatch"),
    (ENTRA, "another application", {"azp": OTHER}, "client_profile_mismatch"),
    (ENTRA, "a name in appid alone", {"azp": None, "appid": "66666666-7777-8888-9999-000000000000"}, "client_profile_mismatch"),
]


@dataclass(frozen=True)
class World:
    envoy: Envoy
    acme: Credential
    renewed: Credential
    """The next certificate of the same client."""
    initech: Credential
    """Of the same authority."""
    stranger: Credential
    """The same names, of another authority that the listener trusts."""

    def ask(self, listener: str, who: Credential | None, token: str) -> str:
        return verdicts.ask(self.envoy.port(listener), who, "/payments/1", [("authorization", f"Bearer {token}")])

    def token(self, name: str, /, **more: Any) -> str:
        issuer = ISSUERS[name]
        bound = more.get("cnf", "acme" if issuer.binds else None)
        if isinstance(bound, str):
            more["cnf"] = {"x5t#S256": getattr(self, bound).thumbprint}
        return RSA.sign(issuer.claims(**more), {"alg": "RS256", "kid": RSA.key_id, **issuer.header})


def slug(name: str) -> str:
    return name.replace(" ", "_")


def listeners(name: str, title: str, **token: Any) -> list[Listener]:
    """The recipe with this key, once for each source; `title` is that of the listener."""
    keys = {"keys": [RSA.jwk(x5c=["MIIC"], x5t="i6lGk3FZzxRcUb2C3nEQ7syHJlY")]}
    # They take the token from the header alone, as the shipped provider does, and leave the claims to the filter.
    jwt = JwtAuthn((RSA,), options={"issuer": "", "clock_skew_seconds": 86400})
    return [
        Listener(f"{slug(title)}-jwks", recipes.policy(name, jwks=keys, jwks_uri=None, **token)),
        Listener(f"{slug(title)}-jwt_authn", recipes.policy(name, source=None, jwks_uri=None, **token), jwt=jwt),
    ]


@pytest.fixture(scope="module")
def world(start_envoy: StartEnvoy, root: Authority) -> World:
    clients, others = root.intermediate("Example Clients"), root.intermediate("Example Others")
    name = [("O", "Acme"), ("CN", "acme-mobile")]
    envoy = start_envoy(
        *(listener for each in ISSUERS for listener in listeners(each, each)),
        *listeners(ENTRA, "v1", issuers=[f"https://sts.windows.net/{TENANT}/"], audiences=["api://payments"], client_id_claims=["appid"]),
    )
    return World(envoy, clients.issue(name), clients.issue(name), clients.issue([("O", "Initech"), ("CN", "initech-erp")]),
                 others.issue(name))


@pytest.mark.parametrize(("name", "kind", "more", "verdict"), CASES, ids=[f"{slug(name)}-{slug(kind)}" for name, kind, *_ in CASES])
@pytest.mark.parametrize("source", SOURCES)
def test_a_token_of_the_issuer_is_judged_as_its_recipe_says(
    world: World, source: str, name: str, kind: str, more: dict[str, Any], verdict: str
) -> None:
    assert world.ask(f"{slug(name)}-{source}", world.acme, world.token(name, **more)) == verdict


@pytest.mark.parametrize("name", ISSUERS)
@pytest.mark.parametrize("source", SOURCES)
def test_a_token_is_not_enough_without_a_certificate_of_its_client(world: World, source: str, name: str) -> None:
    listener, token = f"{slug(name)}-{source}", world.token(name)
    assert world.ask(listener, None, token) == "certificate_missing"
    # Where the token names a certificate, that is compared first. The listener trusts both authorities.
    bound = ISSUERS[name].binds
    for who in (world.stranger, world.initech):
        assert world.ask(listener, who, token) == ("sender_binding_mismatch" if bound else "identity_not_mapped")
    # Where it names none, the next certificate of the same client will do: the page says so.
    assert world.ask(listener, world.renewed, token) == ("sender_binding_mismatch" if bound else "allowed")


@pytest.mark.parametrize("source", SOURCES)
def test_a_token_of_version_1_has_its_client_in_appid(world: World, source: str) -> None:
    own = {"iss": f"https://sts.windows.net/{TENANT}/", "aud": "api://payments", "azp": None, "ver": "1.0"}
    for appid, verdict in [("66666666-7777-8888-9999-000000000000", "allowed"), (OTHER, "client_profile_mismatch")]:
        assert world.ask(f"v1-{source}", world.acme, world.token(ENTRA, **own, appid=appid)) == verdict


def test_application_permissions_are_no_scopes(world: World, start_envoy: StartEnvoy) -> None:
    policy = recipes.policy(ENTRA, jwks={"keys": [RSA.jwk()]}, jwks_uri=None)
    policy["profiles"]["partner"]["allow"][0]["scopes"] = ["Payments.Read"]
    scoped = World(start_envoy(Listener("scopes", policy)), world.acme, world.renewed, world.initech, world.stranger)
    assert scoped.ask("scopes", world.acme, scoped.token(ENTRA)) == "insufficient_scope"
    assert scoped.ask("scopes", world.acme, scoped.token(ENTRA, roles=None, scp="Payments.Read")) == "allowed"


@pytest.mark.parametrize("name", ISSUERS)
def test_an_opaque_token_is_malformed(world: World, name: str) -> None:
    assert world.ask(f"{slug(name)}-jwks", world.acme, OPAQUE) == "token_malformed"
