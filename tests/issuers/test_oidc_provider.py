"""oidc-provider issues bound tokens over mTLS; the filter takes each with its certificate alone, before and after keys are rotated."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from gateway import CALLERS, SOURCES, Gateway
from harness import recipes
from harness.pki import Authority, Credential, self_signed
from harness.tokens import Signer
from issuer import parts
from oidc_provider import OidcProvider, certificate_jwk, registered

pytestmark = pytest.mark.timeout(400)
FIRST, SECOND, THIRD, FOURTH = (Signer("ES256", name) for name in ("first", "second", "third", "fourth"))


@dataclass(frozen=True)
class World:
    """The issuer, the gateway and those who have certificates."""

    issuer: OidcProvider
    gateway: Gateway
    acme: Credential
    renewed: Credential
    """The next certificate of the same client."""
    globex: Credential
    """Known by the certificate itself (`self_signed_tls_client_auth`), although an authority issued it: the gateway wants one."""
    unknown: Credential

    def token(self) -> str:
        """A new one for acme's certificate."""
        return self.issuer.token(self.acme, "acme-mobile", scope="payments:read")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    clients = Authority.create(tmp_path_factory.mktemp("clients"), "Example Clients")
    servers = Authority.create(tmp_path_factory.mktemp("servers"), "Example Servers")
    acme, renewed = (clients.issue([("O", "Acme"), ("CN", "acme-mobile")]) for _ in range(2))
    globex = clients.issue([("O", "Globex"), ("CN", "globex-batch")])
    unknown = self_signed(tmp_path_factory.mktemp("unknown"), [("O", "Acme"), ("CN", "acme-mobile")])
    known = [
        registered("acme-mobile", token_endpoint_auth_method="tls_client_auth", tls_client_auth_subject_dn="CN=acme-mobile,O=Acme"),
        registered("globex-batch", token_endpoint_auth_method="self_signed_tls_client_auth",
                   jwks={"keys": [certificate_jwk(globex)]}),
    ]
    with OidcProvider(tmp_path_factory.mktemp("issuer"), servers, clients, known, FIRST) as issuer:
        policy = recipes.policy("oidc-provider")
        with Gateway(tmp_path_factory.mktemp("envoy"), clients, policy, servers, issuer.port) as gateway:
            yield World(issuer, gateway, acme, renewed, globex, unknown)


def test_the_token_says_what_the_recipe_says(world: World) -> None:
    header, claims = parts(world.token())
    assert (header["alg"], header["typ"], header["kid"] in world.issuer.key_ids()) == ("ES256", "at+jwt", True)
    expected = {"iss": "https://auth.example", "aud": "https://api.example", "client_id": "acme-mobile", "scope": "payments:read",
                "cnf": {"x5t#S256": world.acme.thumbprint}}
    assert {name: claims.get(name) for name in expected} == expected


@pytest.mark.parametrize("client_id", ["acme-mobile", "globex-batch"])
@pytest.mark.parametrize("who", ["acme", "globex", "unknown", None])
def test_the_issuer_gives_no_token_to_another_certificate(world: World, who: str | None, client_id: str) -> None:
    response = world.issuer.grant(getattr(world, who) if who else None, client_id, scope="payments:read")
    own = {"acme-mobile": "acme", "globex-batch": "globex"}[client_id]
    assert response.status == (200 if who == own else 401), response.body


@pytest.mark.parametrize(("who", "verdict"), CALLERS)
@pytest.mark.parametrize("source", SOURCES)
def test_a_token_is_taken_with_its_certificate_alone(world: World, source: str, who: str | None, verdict: str) -> None:
    token = world.token()
    world.gateway.wait_until("allowed", source, world.acme, token)
    assert world.gateway.ask(source, getattr(world, who) if who else None, token) == verdict
    assert world.gateway.ask(source, world.acme, None) == "token_missing"


@pytest.mark.parametrize("source", SOURCES)
def test_a_client_that_is_known_by_its_certificate_has_the_same_tokens(world: World, source: str) -> None:
    token = world.issuer.token(world.globex, "globex-batch", scope="payments:read")
    world.gateway.wait_until("allowed", source, world.globex, token)
    assert world.gateway.ask(source, world.acme, token) == "sender_binding_mismatch"


@pytest.mark.parametrize("source", SOURCES)
def test_the_next_key_is_taken_and_the_former_one_for_as_long_as_it_is_published(world: World, source: str) -> None:
    former, following = (FIRST, SECOND) if source == "jwks" else (THIRD, FOURTH)
    world.issuer.restart(former)
    old = world.token()
    world.gateway.wait_until("allowed", source, world.acme, old)
    world.issuer.restart(following, former)
    new = world.token()
    assert (parts(old)[0]["kid"], parts(new)[0]["kid"]) == (former.key_id, following.key_id)
    world.gateway.wait_until("allowed", source, world.acme, new)
    assert world.gateway.ask(source, world.renewed, new) == "sender_binding_mismatch"
    assert world.gateway.ask(source, world.acme, old) == "allowed"


@pytest.mark.parametrize(("source", "verdict"), [("jwks_often", "token_key_unknown"), ("jwt_authn", "token_missing")])
def test_the_tokens_of_a_key_that_was_removed_are_refused_after_the_next_fetch(world: World, source: str, verdict: str) -> None:
    gone, left = (Signer("ES256", f"{name}-{source}") for name in ("gone", "left"))
    world.issuer.restart(gone, left)
    old = world.token()
    world.gateway.wait_until("allowed", source, world.acme, old)
    world.issuer.restart(left)
    world.gateway.wait_until(verdict, source, world.acme, old)
    world.gateway.wait_until("allowed", source, world.acme, world.token())
