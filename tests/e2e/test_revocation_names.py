"""What revokes compares names as broadly as TLS, DNS and mail do; what grants compares them exactly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pytest
from cryptography import x509
from cryptography.x509.name import _ASN1Type as StringType

from conftest import ServeFeeds, StartEnvoy
from harness import pki
from harness.envoy import Envoy
from harness.feed_server import Feed, crl, json_answer, policy
from harness.filters import Config
from harness.listener import Listener
from harness.pki import Authority, Credential
from harness.verdicts import ask

LAB = "CN=Lab CA,O=Lab"


def lab_name(organization: str, common_name: str, kind: StringType = StringType.UTF8String) -> x509.Name:
    pairs = [(x509.NameOID.ORGANIZATION_NAME, organization), (x509.NameOID.COMMON_NAME, common_name)]
    return x509.Name([x509.NameAttribute(oid, value, kind) for oid, value in pairs])


SPELLINGS: dict[str, x509.Name] = {
    "as the authority does": lab_name("Lab", "Lab CA"),
    "with two spaces": lab_name("Lab", "Lab  CA"),
    "with spaces at the ends": lab_name(" Lab", " Lab CA "),
    "in capitals": lab_name("LAB", "LAB CA"),
    "as a PrintableString": lab_name("Lab", "Lab CA", StringType.PrintableString),
    "as a BMPString": lab_name("lab", "Lab  CA", StringType.BMPString),
}
"""How certificates may spell their issuer: TLS finds the authority all the same."""

ADDRESS = "user@EXAMPLE.com"
EMAIL_LISTS: Config = {"identities": ["email:user@example.com"]}


@dataclass(frozen=True)
class Scene:
    """An Envoy with a listener for each way to revoke, and for each spelling a certificate that is revoked and one that is not."""

    envoy: Envoy
    revoked: Mapping[str, Credential]
    good: Mapping[str, Credential]
    user: Credential


@pytest.fixture(scope="module")
def scene(serve_feeds: ServeFeeds, root: Authority) -> Scene:
    lab = root.intermediate([("O", "Lab"), ("CN", "Lab CA")])
    revoked = {how: lab.issue([("CN", "one")], issuer_name=name) for how, name in SPELLINGS.items()}
    good = {how: lab.issue([("CN", "one")], issuer_name=name) for how, name in SPELLINGS.items()}
    user = lab.issue([("CN", "one")], sans=[pki.email(ADDRESS)])

    def serials(issuer: str) -> Config:
        return {"serials": [{"issuer": issuer, "serial": f"{each.certificate.serial_number:x}"} for each in revoked.values()]}

    feeds = [
        Feed("json", json_answer(**serials(LAB), **EMAIL_LISTS)),
        Feed("crl", crl(lab, *revoked.values()), lab),
        # The list spells its issuer in another way, too.
        Feed("crl-in-capitals", crl(lab, *revoked.values(), name=SPELLINGS["in capitals"]), lab),
    ]
    envoy = serve_feeds(
        feeds,
        Listener("nothing", policy(revocation={})),
        Listener("serials", policy(revocation=serials(LAB))),
        Listener("spaces", policy(revocation=serials("CN=lab  ca,O=lab"))),
        Listener("order", policy(revocation=serials("O=Lab,CN=Lab CA"))),
        Listener("identities", policy(revocation=EMAIL_LISTS)),
        *[Listener(feed.name, policy(feed)) for feed in feeds],
    )
    return Scene(envoy, revoked, good, user)


@pytest.mark.parametrize("how", SPELLINGS)
def test_tls_takes_every_spelling_of_the_issuer_for_the_authority(scene: Scene, how: str) -> None:
    assert ask(scene.envoy.port("nothing"), scene.revoked[how]) == "allowed"


@pytest.mark.parametrize("how", SPELLINGS)
@pytest.mark.parametrize("way", ["serials", "spaces", "order", "json", "crl", "crl-in-capitals"])
def test_a_serial_is_revoked_however_the_certificate_spells_its_issuer(scene: Scene, way: str, how: str) -> None:
    assert ask(scene.envoy.port(way), scene.revoked[how]) == "certificate_revoked"
    assert ask(scene.envoy.port(way), scene.good[how]) == "allowed"


@pytest.mark.parametrize("way", ["identities", "json"])
def test_an_address_is_revoked_in_any_letter_case_of_its_host(scene: Scene, way: str) -> None:
    assert ask(scene.envoy.port("nothing"), scene.user) == "allowed"
    assert ask(scene.envoy.port(way), scene.user) == "certificate_revoked"


def test_a_client_has_the_names_that_it_is_registered_with_in_that_spelling_only(
    start_envoy: StartEnvoy, root: Authority
) -> None:
    lab = root.intermediate([("O", "Lab"), ("CN", "Lab CA")])
    user = lab.issue([("CN", "one")], sans=[pki.email(ADDRESS)])
    spaced = lab.issue([("CN", "one")], issuer_name=SPELLINGS["with two spaces"])
    # whose certificate, what grants, whether it does
    cases: list[tuple[Credential, Config, bool]] = [
        (user, {"identities": [f"email:{ADDRESS}"]}, True),
        (user, {"identities": ["email:user@example.com"]}, False),
        (spaced, {"identities": ["cn:one"], "issuers": ["CN=Lab  CA,O=Lab"]}, True),
        (spaced, {"identities": ["cn:one"], "issuers": [LAB]}, False),
        (user, {"identities": ["cn:one"], "issuers": ["O=Lab,CN=Lab CA"]}, False),
    ]
    # A mapping restricts, too, and compares its issuer as names are compared; only the direction counts.
    mapped: list[tuple[Credential, str, bool]] = [
        (spaced, "CN=Lab  CA,O=Lab", True), (spaced, LAB, True), (spaced, "CN=lab ca,O=LAB", True), (spaced, "O=Lab,CN=Lab CA", False)]
    registered = [Listener(f"client{number}", policy(
        identity={}, revocation={}, clients={"one": {**client, "profiles": ["partner"]}}))
        for number, (_, client, _) in enumerate(cases)]
    mappings = [Listener(f"mapping{number}", policy(revocation={}, identity={
        "allow_unregistered": True,
        "mappings": [{"match": {"issuer": issuer, "subject": {"CN": "{name}"}}, "client_id": "{name}", "profile_id": "partner"}]}))
        for number, (_, issuer, _) in enumerate(mapped)]
    envoy = start_envoy(*registered, *mappings)
    verdicts = {True: "allowed", False: "identity_not_mapped"}
    for number, (credential, _, grants) in enumerate(cases):
        assert ask(envoy.port(f"client{number}"), credential) == verdicts[grants], cases[number]
    for number, (credential, _, grants) in enumerate(mapped):
        assert ask(envoy.port(f"mapping{number}"), credential) == verdicts[grants], mapped[number]
