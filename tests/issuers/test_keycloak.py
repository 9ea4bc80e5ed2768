"""Keycloak issues bound tokens over mTLS; the filter takes each with its certificate alone, before and after keys are rotated."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from gateway import CALLERS, SOURCES, Gateway
from harness import recipes
from harness.pki import Authority, Credential
from issuer import parts
from keycloak import Keycloak

pytestmark = pytest.mark.timeout(400)
ISSUER = "https://auth.example/realms/partners"
BINDING = {"tls.client.certificate.bound.access.tokens": "true"}


@dataclass(frozen=True)
class World:
    """Keycloak, the gateway and those who have certificates."""

    keycloak: Keycloak
    gateway: Gateway
    acme: Credential
    renewed: Credential
    """The next certificate of the same client."""
    globex: Credential

    def token(self) -> str:
        """A new one for acme's certificate."""
        return self.keycloak.token(self.acme, "acme-mobile")


def x509_client(client_id: str, subject: str, **attributes: str) -> dict[str, object]:
    """A client that is known by the subject of its certificate, and whose tokens have no audience of an API."""
    return {
        "clientId": client_id, "clientAuthenticatorType": "client-x509", "serviceAccountsEnabled": True, "fullScopeAllowed": False,
        "attributes": {"x509.subjectdn": subject, "x509.allow.regex.pattern.comparison": "false", **attributes},
    }


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    # The authority of the issuer's own certificate and that of the clients' are not the same.
    clients = Authority.create(tmp_path_factory.mktemp("clients"), "Example Clients")
    servers = Authority.create(tmp_path_factory.mktemp("servers"), "Example Servers")
    acme, renewed = (clients.issue([("O", "Acme"), ("CN", "acme-mobile")]) for _ in range(2))
    globex = clients.issue([("O", "Globex"), ("CN", "globex-batch")])
    with Keycloak(tmp_path_factory.mktemp("keycloak"), servers, clients) as keycloak:
        keycloak.add_client(**x509_client("globex-batch", "CN=globex-batch,O=Globex", **BINDING))
        policy = recipes.policy("Keycloak")
        with Gateway(tmp_path_factory.mktemp("envoy"), clients, policy, servers, keycloak.port) as gateway:
            yield World(keycloak, gateway, acme, renewed, globex)


def test_keycloak_takes_less_than_a_gibibyte(world: World) -> None:
    assert 0 < world.keycloak.resident_kib() < 1024 * 1024


def test_the_token_says_what_the_recipe_says(world: World) -> None:
    header, claims = parts(world.token())
    assert (header["alg"], header["typ"]) == ("RS256", "at+jwt")
    assert header["kid"] in world.keycloak.key_ids()
    assert claims["cnf"] == {"x5t#S256": world.acme.thumbprint}
    expected = {"iss": ISSUER, "aud": "https://api.example", "azp": "acme-mobile", "scope": "payments:read"}
    assert {name: claims.get(name) for name in expected} == expected
    assert "client_id" not in claims


@pytest.mark.parametrize("who", ["globex", None])
def test_keycloak_gives_no_token_to_another_certificate(world: World, who: str | None) -> None:
    response = world.keycloak.grant(getattr(world, who) if who else None, "acme-mobile")
    assert (response.status, response.json()["error"]) == (401, "invalid_client")


@pytest.mark.parametrize(("who", "verdict"), CALLERS)
@pytest.mark.parametrize("source", SOURCES)
def test_a_token_is_taken_with_its_certificate_alone(world: World, source: str, who: str | None, verdict: str) -> None:
    assert world.gateway.ask(source, getattr(world, who) if who else None, world.token()) == verdict
    assert world.gateway.ask(source, world.acme, None) == "token_missing"


@pytest.mark.parametrize("source", SOURCES)
def test_a_token_for_another_audience_is_refused(world: World, source: str) -> None:
    token = world.keycloak.token(world.globex, "globex-batch")
    assert "https://api.example" not in parts(token)[1].get("aud", [])
    assert world.gateway.ask(source, world.globex, token) == "token_audience_mismatch"


@pytest.mark.parametrize("source", SOURCES)
def test_a_key_of_higher_priority_signs_at_once_and_its_tokens_are_taken_after_one_fetch(world: World, source: str) -> None:
    old = world.token()
    world.keycloak.add_signing_key(f"second-{source}", priority=1000 + len(world.keycloak.signing_keys()))
    new = world.token()
    assert parts(new)[0]["kid"] != parts(old)[0]["kid"]
    world.gateway.wait_until("allowed", source, world.acme, new)
    assert world.gateway.ask(source, world.renewed, new) == "sender_binding_mismatch"
    # Its key is published still.
    assert world.gateway.ask(source, world.acme, old) == "allowed"


def test_a_key_that_is_published_before_it_signs_costs_no_request_of_jwt_authn(world: World) -> None:
    before = world.keycloak.key_ids()
    world.keycloak.add_signing_key("next", priority=1)
    (published,) = world.keycloak.key_ids() - before
    old = world.token()
    assert parts(old)[0]["kid"] != published
    world.gateway.wait_for_fetches("jwt_authn")
    world.keycloak.change_signing_key("next", priority="2000")
    new = world.token()
    assert parts(new)[0]["kid"] == published
    assert world.gateway.ask("jwt_authn", world.acme, new) == "allowed"
    assert world.gateway.ask("jwt_authn", world.acme, old) == "allowed"


@pytest.mark.parametrize(("source", "verdict"), [("jwks_often", "token_key_unknown"), ("jwt_authn", "token_missing")])
def test_the_tokens_of_a_key_that_was_removed_are_refused_after_the_next_fetch(world: World, source: str, verdict: str) -> None:
    name = f"removed-{source}"
    world.keycloak.add_signing_key(name, priority=3000)
    old = world.token()
    world.gateway.wait_until("allowed", source, world.acme, old)
    world.keycloak.remove_signing_key(name)
    assert parts(old)[0]["kid"] not in world.keycloak.key_ids()
    world.gateway.wait_until(verdict, source, world.acme, old)
    new = world.token()
    world.gateway.wait_until("allowed", source, world.acme, new)
