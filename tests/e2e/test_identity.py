"""Which name of a certificate is the caller's identity, and which client it belongs to."""

from __future__ import annotations

import pytest
from cryptography.x509 import GeneralName

from conftest import Client, StartEnvoy
from harness import pki, verdicts
from harness.envoy import Envoy
from harness.filters import Config
from harness.http1 import Http1
from harness.listener import Listener
from harness.pki import Authority, Credential
from harness.response import Response
from harness.tls import ClientTls

OPEN: Config = {"profiles": {"partner": {"allow": [{"paths": ["/**"]}]}}}
DN = list[tuple[str, str]]
ACME: DN = [("CN", "acme")]


def registry(**identities: list[str]) -> Config:
    """Clients by their identities, in mode `mtls` and with one profile."""
    clients = {client: {"identities": names, "profiles": ["partner"]} for client, names in identities.items()}
    return {"mode": "mtls", "clients": clients, **OPEN}


KINDS = registry(
    by_uri=["spiffe://example.org/ns/pay/sa/acme"],
    by_dns=["dns:api.example", "dns:also.example"],
    by_cn=["cn:acme"],
    by_email=["email:ops@acme.example"],
    by_subject=["subject:CN=subject,OU=pay,O=ExampleCorp"],
    literal=["dns:*.literal.example", "cn:a.c*[me]"],
)


@pytest.fixture(scope="module")
def by_digest(issuer: Authority) -> dict[str, Credential]:
    return {name: issuer.issue([("CN", name)]) for name in ("hexadecimal", "base64url")}


@pytest.fixture(scope="module")
def odd(issuer: Authority) -> list[Credential]:
    names = ("acme\u00e9", "\u4e2d\u6587", "a/b:c*", "%00", "a b", "\u00e9", "%C3%A9", "odd", "odd ", "x" * 64)
    return [issuer.issue([("CN", name)]) for name in names]


@pytest.fixture(scope="module")
def envoy(start_envoy: StartEnvoy, by_digest: dict[str, Credential], odd: list[Credential]) -> Envoy:
    digests = registry(
        hexadecimal=[f"sha256:{by_digest['hexadecimal'].thumbprint_hex}"],
        base64url=[f"sha256:{by_digest['base64url'].thumbprint}"],
    )
    pinned = registry(acme=["cn:acme"])
    pinned["clients"]["acme"]["issuers"] = ["CN=Example Intermediate"]

    def precedence(policy: Config, *kinds: str) -> Config:
        return {**policy, "identity": {"precedence": list(kinds)}}

    return start_envoy(
        Listener("main", KINDS),
        Listener("digests", digests),
        Listener("pinned", pinned),
        Listener("domains", {**KINDS, "identity": {"trust_domains": ["example.org"]}}),
        Listener("odd", registry(odd=[f"sha256:{leaf.thumbprint_hex}" for leaf in odd])),
        Listener("cn_first", precedence(KINDS, "subject_cn", "dns_san", "uri_san")),
        Listener("cn_only", precedence(registry(by_cn=["cn:acme"]), "subject_cn")),
        Listener("dns_only", precedence(registry(by_dns=["dns:api.example"]), "dns_san")),
    )


def client_of(response: Response) -> str:
    """The client that the upstream was told, or the reason of the refusal."""
    if response.header("x-upstream") is None:
        return verdicts.reason_of(response)
    (client,) = response.echo().values("x-client-id")
    return client


def test_the_first_kind_of_name_that_the_certificate_holds_is_its_identity(
    envoy: Envoy, issuer: Authority, http: Client
) -> None:
    uri, dns = pki.uri("spiffe://example.org/ns/pay/sa/acme"), pki.dns("api.example")
    cases: list[tuple[str, list[GeneralName], str, str]] = [
        ("main", [dns, uri], "by_uri", "spiffe://example.org/ns/pay/sa/acme"),
        ("main", [dns], "by_dns", "dns:api.example"),
        ("main", [], "by_cn", "cn:acme"),
        ("cn_first", [uri, dns], "by_cn", "cn:acme"),
        ("cn_only", [uri, dns], "by_cn", "cn:acme"),
        ("dns_only", [uri, dns], "by_dns", "dns:api.example"),
    ]
    for listener, sans, client_id, identity in cases:
        with http(envoy.port(listener), ClientTls(issuer.issue(ACME, sans=sans))) as client:
            echo = verdicts.passed(client.request())
        assert echo.values("x-client-id") == [client_id]
        assert echo.values("x-client-identity") == [identity]


@pytest.mark.parametrize(("sans", "verdict"), [
    ([pki.uri("spiffe://example.org/unknown")], "identity_not_mapped"),
    ([pki.dns("unknown.example")], "identity_not_mapped"),
    ([pki.uri("spiffe://example.org/unknown"), pki.dns("api.example")], "identity_not_mapped"),
], ids=["uri_over_cn", "dns_over_cn", "uri_over_dns"])
def test_a_weaker_name_does_not_step_in_for_a_stronger_one_that_is_unknown(
    envoy: Envoy, issuer: Authority, sans: list[GeneralName], verdict: str
) -> None:
    with Http1(envoy.port("main"), ClientTls(issuer.issue(ACME, sans=sans))) as client:
        assert client_of(client.request()) == verdict


def test_a_uri_of_another_scheme_is_no_identity(envoy: Envoy, issuer: Authority) -> None:
    leaf = issuer.issue(ACME, sans=[pki.uri("https://example.org/acme")])
    with Http1(envoy.port("main"), ClientTls(leaf)) as client:
        assert client_of(client.request()) == "by_cn"


@pytest.mark.parametrize(("subject", "sans", "verdict"), [
    (ACME, [pki.dns("also.example")], "by_dns"),
    (ACME, [pki.dns("api.example"), pki.dns("also.example")], "by_dns"),
    (ACME, [pki.dns("API.Example")], "by_dns"),
    (ACME, [pki.dns("sub.api.example")], "identity_not_mapped"),
    ([("CN", "Acme")], [], "identity_not_mapped"),
    ([("CN", " acme")], [], "identity_not_mapped"),
    ([("CN", "subject"), ("OU", "pay"), ("O", "ExampleCorp")], [], "identity_not_mapped"),
    ([("O", "ExampleCorp"), ("OU", "pay"), ("CN", "subject")], [], "by_subject"),
    ([("O", "ExampleCorp"), ("OU", "pay"), ("OU", "pay"), ("CN", "subject")], [], "identity_not_mapped"),
    ([("CN", "somebody")], [pki.email("ops@acme.example")], "by_email"),
    ([("CN", "somebody")], [pki.email("other@acme.example")], "identity_not_mapped"),
    ([("O", "ExampleCorp")], [], "identity_missing"),
    ([], [], "identity_missing"),
])
def test_registered_identities_are_typed(
    envoy: Envoy, issuer: Authority, subject: DN, sans: list[GeneralName], verdict: str
) -> None:
    with Http1(envoy.port("main"), ClientTls(issuer.issue(subject, sans=sans))) as client:
        assert client_of(client.request()) == verdict


@pytest.mark.parametrize(("subject", "sans", "verdict"), [
    (ACME, [pki.dns("x.literal.example")], "identity_not_mapped"),
    (ACME, [pki.dns("*.literal.example")], "literal"),
    ([("CN", "abcm")], [], "identity_not_mapped"),
    ([("CN", "a.c*[me]")], [], "literal"),
])
def test_registered_identities_are_literal(
    envoy: Envoy, issuer: Authority, subject: DN, sans: list[GeneralName], verdict: str
) -> None:
    with Http1(envoy.port("main"), ClientTls(issuer.issue(subject, sans=sans))) as client:
        assert client_of(client.request()) == verdict


def test_a_certificate_is_known_by_its_digest_in_both_spellings(
    envoy: Envoy, issuer: Authority, by_digest: dict[str, Credential], http: Client
) -> None:
    for name, leaf in by_digest.items():
        with http(envoy.port("digests"), ClientTls(leaf)) as client:
            assert client_of(client.request()) == name
        with http(envoy.port("digests"), ClientTls(issuer.issue([("CN", name)]))) as client:
            assert client_of(client.request()) == "identity_not_mapped"


@pytest.mark.parametrize("sans", [
    [pki.uri("spiffe://example.org/ns/pay/sa/acme"), pki.uri("spiffe://example.org/other")],
    [pki.uri("spiffe://example.org/ns/pay/sa/acme"), pki.uri("https://example.org")],
    [pki.uri("https://example.org"), pki.uri("spiffe://example.org/ns/pay/sa/acme")],
    [pki.uri("spiffe://example.org/ns/pay/sa/acme")] * 2,
    [pki.uri("spiffe://example.org")],
    [pki.uri("spiffe://example.org/")],
    [pki.uri("spiffe://example.org/ns/pay/sa/acme/")],
    [pki.uri("spiffe://example.org/ns//sa")],
    [pki.uri("spiffe://example.org/ns/../acme")],
    [pki.uri("spiffe://example.org/ns/./acme")],
    [pki.uri("spiffe://example.org/%6es/pay")],
    [pki.uri("spiffe://example.org/a?b")],
    [pki.uri("spiffe://example.org/a#b")],
    [pki.uri("spiffe://example.org:443/a")],
    [pki.uri("spiffe://user@example.org/a")],
    [pki.uri("spiffe:///a")],
    [pki.uri("spiffe://Example.org/ns/pay/sa/acme")],
    [pki.uri("spiffe://example.org/a b")],
    [pki.uri("spiffe://" + "a" * 256 + "/b")],
    [pki.uri("spiffe://example.org/" + "a" * 2048)],
    [pki.uri("SPIFFE://example.org/ns/pay/sa/acme")],
])
def test_a_spiffe_certificate_must_be_a_valid_svid(
    envoy: Envoy, issuer: Authority, sans: list[GeneralName]
) -> None:
    with Http1(envoy.port("main"), ClientTls(issuer.issue(ACME, sans=sans))) as client:
        assert client_of(client.request()) == "identity_invalid"


def test_an_invalid_spiffe_name_is_refused_even_where_another_kind_comes_first(
    envoy: Envoy, issuer: Authority
) -> None:
    leaf = issuer.issue(ACME, sans=[pki.uri("spiffe://example.org/a"), pki.uri("spiffe://example.org/b")])
    for listener in ("cn_first", "cn_only"):
        with Http1(envoy.port(listener), ClientTls(leaf)) as client:
            assert client_of(client.request()) == "identity_invalid"


def test_a_trust_domain_outside_the_list_is_refused(envoy: Envoy, issuer: Authority, http: Client) -> None:
    cases = [("spiffe://example.org/ns/pay/sa/acme", "by_uri"), ("spiffe://sub.example.org/a", "identity_invalid"),
             ("spiffe://example.com/ns/pay/sa/acme", "identity_invalid")]
    for name, verdict in cases:
        with http(envoy.port("domains"), ClientTls(issuer.issue(ACME, sans=[pki.uri(name)]))) as client:
            assert client_of(client.request()) == verdict


def test_two_common_names_identify_nobody(envoy: Envoy, issuer: Authority) -> None:
    for names in (["acme", "acme"], ["acme", "other"], ["other", "acme"]):
        leaf = issuer.issue([("CN", name) for name in names])
        with Http1(envoy.port("main"), ClientTls(leaf)) as client:
            assert client_of(client.request()) == "identity_invalid"


def test_names_of_two_clients_in_one_certificate_identify_nobody(envoy: Envoy, issuer: Authority) -> None:
    mixed = [
        issuer.issue(ACME, sans=[pki.dns("api.example"), pki.dns("*.literal.example")]),
        issuer.issue(ACME, sans=[pki.dns("api.example"), pki.email("ops@acme.example")]),
        issuer.issue([("O", "ExampleCorp"), ("OU", "pay"), ("CN", "subject")], sans=[pki.dns("api.example")]),
    ]
    for leaf in mixed:
        with Http1(envoy.port("main"), ClientTls(leaf)) as client:
            assert client_of(client.request()) == "identity_invalid"


def test_a_pinned_client_is_nobody_with_a_certificate_of_another_issuer(
    envoy: Envoy, root: Authority, issuer: Authority, http: Client
) -> None:
    other = root.intermediate("Other Intermediate")
    for authority, verdict in ((issuer, "acme"), (other, "identity_not_mapped"), (root, "identity_not_mapped")):
        with http(envoy.port("pinned"), ClientTls(authority.issue(ACME))) as client:
            assert client_of(client.request()) == verdict


def test_what_the_upstream_is_told_of_odd_names_is_visible_ascii_and_different_for_each(
    envoy: Envoy, odd: list[Credential], http: Client
) -> None:
    told = []
    for leaf in odd:
        with http(envoy.port("odd"), ClientTls(leaf)) as client:
            told += verdicts.passed(client.request()).values("x-client-identity")
    assert all(identity.startswith("cn:") for identity in told)
    assert [identity for identity in told if not all("!" <= character <= "~" for character in identity)] == []
    assert len(set(told)) == len(odd), told


def test_a_control_character_in_a_name_makes_it_invalid(envoy: Envoy, issuer: Authority, http: Client) -> None:
    for name in ("acme\t", "ac\nme", "acme\x7f", "acme\x01"):
        with http(envoy.port("main"), ClientTls(issuer.issue([("CN", name)]))) as client:
            assert client_of(client.request()) == "identity_invalid"
