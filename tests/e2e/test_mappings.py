"""Families of certificates: what a mapping matches, what it captures, and what it makes of that."""

from __future__ import annotations

from urllib.parse import unquote

import pytest
from cryptography import x509
from cryptography.x509 import GeneralName
from cryptography.x509.name import _ASN1Type as StringType
from cryptography.x509.oid import NameOID

from conftest import Client, StartEnvoy
from harness import pki, verdicts
from harness.envoy import Envoy
from harness.filters import Config
from harness.http1 import Http1
from harness.listener import Listener
from harness.pki import Authority
from harness.response import Response
from harness.tls import ClientTls

DN = list[tuple[str, str]]
ANYTHING: Config = {"allow": [{"paths": ["/**"]}]}
PROFILES: Config = {"partner": ANYTHING, "reporter": ANYTHING}
ARN = "arn:example:pay:eu:{subject.OU}:client/{subject.CN}"


def policy(*mappings: Config, unregistered: bool = True, clients: Config | None = None) -> Config:
    identity: Config = {"mappings": list(mappings), "allow_unregistered": unregistered}
    return {"mode": "mtls", "clients": clients or {}, "profiles": PROFILES, "identity": identity}


def mapping(match: Config, client_id: str, profile_id: str | None = "partner", **more: str) -> Config:
    profile = {"profile_id": profile_id} if profile_id is not None else {}
    return {"match": match, "client_id": client_id, **profile, **more}


URI = mapping({"uri_san": "spiffe://example.org/ns/{ns}/sa/{name}"}, "{ns}-{name}")
REST = mapping({"uri_san": "spiffe://example.org/tree/{rest...}"}, "tree:{rest}")
PATH = mapping({"uri_san": "spiffe://{domain}/whole/{rest...}"}, "{spiffe.trust_domain}{spiffe.path}")
DNS = mapping({"dns_san": "{host}.clients.example"}, "host-{host}")
DEEP = mapping({"dns_san": "{host...}.deep.example"}, "deep-{host}")
EMAIL = mapping({"email_san": "{user}@acme.example"}, "user-{user}")
EDGE = mapping({"subject": {"O": "ExampleCorp"}}, "{subject.CN}", "{subject.OU}", principal=ARN)
PAIR = mapping({"subject": {"O": "Pair", "OU": "{unit}"}, "issuer": "CN=Example Intermediate"}, "{unit}.{subject.CN}")


@pytest.fixture(scope="module")
def envoy(start_envoy: StartEnvoy) -> Envoy:
    registered: Config = {
        "acme": {"identities": ["cn:registered"], "profiles": ["partner"], "principal": "arn:registered", "mappings": True},
        "several": {"profiles": ["partner", "reporter"]},
        "spiffe-only": {"identities": ["spiffe://example.org/spiffe-only"], "profiles": ["partner"]},
        "disabled": {"profiles": []},
    }
    return start_envoy(
        Listener("kinds", policy(URI, REST, PATH, DNS, DEEP, EMAIL, EDGE, PAIR)),
        Listener("registered", policy(
            mapping({"subject": {"CN": "registered"}}, "several"),
            mapping({"subject": {"O": "Named"}}, "{subject.CN}", "{subject.OU}"),
            mapping({"subject": {"O": "Bare"}}, "{subject.CN}", None),
            unregistered=False, clients=registered,
        )),
        Listener("order", policy(
            mapping({"subject": {"CN": "both", "OU": "first"}}, "first"),
            mapping({"subject": {"CN": "both"}}, "second"),
            mapping({"subject": {"CN": "{name}"}}, "third"),
        )),
        Listener("strict", policy(
            mapping({"subject": {"O": "ExampleCorp", "OU": "restricted"}}, "{subject.CN}", "reporter"),
            mapping({"uri_san": "https://example.org/restricted/{name}"}, "{name}", "reporter"),
            mapping({"subject": {"O": "ExampleCorp"}}, "{subject.CN}", "partner"),
            mapping({"uri_san": "https://example.org/{any...}"}, "anybody", "partner"),
        )),
    )


def who(response: Response) -> str:
    """`client/profile` as the upstream was told, or the reason of the refusal."""
    if response.header("x-upstream") is None:
        return verdicts.reason_of(response)
    echo = response.echo()
    (client,), (profile,) = echo.values("x-client-id"), echo.values("x-profile-id")
    return f"{client}/{profile}"


@pytest.mark.parametrize(("subject", "sans", "verdict"), [
    ([], [pki.uri("spiffe://example.org/ns/pay/sa/web")], "pay-web/partner"),
    ([], [pki.uri("spiffe://example.org/ns/pay/sa/web/more")], "identity_not_mapped"),
    ([], [pki.uri("spiffe://other.example/ns/pay/sa/web")], "identity_not_mapped"),
    ([], [pki.uri("spiffe://example.org/tree/a/b/c")], "tree:a/b/c/partner"),
    ([], [pki.uri("spiffe://example.org/tree")], "identity_not_mapped"),
    ([], [pki.uri("spiffe://any.example/whole/a")], "any.example/whole/a/partner"),
    ([], [pki.dns("a.clients.example")], "host-a/partner"),
    ([], [pki.dns("a.b.clients.example")], "identity_not_mapped"),
    ([], [pki.dns("clients.example")], "identity_not_mapped"),
    ([], [pki.dns("a.b.deep.example")], "deep-a.b/partner"),
    ([("CN", "x")], [pki.email("ops@acme.example")], "user-ops/partner"),
    ([("CN", "x")], [pki.email("ops@evil.acme.example")], "identity_not_mapped"),
    ([("CN", "acme"), ("OU", "partner"), ("O", "ExampleCorp")], [], "acme/partner"),
    ([("CN", "acme"), ("OU", "reporter"), ("O", "ExampleCorp")], [], "acme/reporter"),
    ([("CN", "acme"), ("OU", "partner"), ("O", " EXAMPLECORP ")], [], "acme/partner"),
    ([("CN", "acme"), ("OU", "partner"), ("O", "Example Corp")], [], "identity_not_mapped"),
    ([("CN", "acme"), ("O", "ExampleCorp")], [], "identity_invalid"),
    ([("CN", "acme"), ("OU", "partner"), ("O", "ExampleCorp"), ("O", "ExampleCorp")], [], "identity_invalid"),
    ([("CN", "acme"), ("OU", "partner"), ("OU", "reporter"), ("O", "ExampleCorp")], [], "identity_invalid"),
    ([], [pki.dns("a.clients.example"), pki.dns("b.clients.example")], "identity_invalid"),
    ([("CN", "web"), ("OU", "pay"), ("O", "Pair")], [], "pay.web/partner"),
])
def test_a_mapping_matches_whole_names_and_captures_their_parts(
    envoy: Envoy, issuer: Authority, subject: DN, sans: list[GeneralName], verdict: str
) -> None:
    with Http1(envoy.port("kinds"), ClientTls(issuer.issue(subject, sans=sans))) as client:
        assert who(client.request()) == verdict


def test_the_issuer_of_a_match_must_be_the_certificates(
    envoy: Envoy, root: Authority, issuer: Authority, http: Client
) -> None:
    subject = [("CN", "web"), ("OU", "pay"), ("O", "Pair")]
    for authority, verdict in ((issuer, "pay.web/partner"), (root, "identity_not_mapped")):
        with http(envoy.port("kinds"), ClientTls(authority.issue(subject))) as client:
            assert who(client.request()) == verdict


def test_the_edge_mapping_makes_client_profile_and_principal_of_the_subject(
    envoy: Envoy, issuer: Authority, http: Client
) -> None:
    leaf = issuer.issue([("CN", "acme mobile"), ("OU", "partner"), ("O", "ExampleCorp")])
    with http(envoy.port("kinds"), ClientTls(leaf)) as client:
        echo = verdicts.passed(client.request())
    assert echo.values("x-client-id") == ["acme mobile"]
    assert echo.values("x-client-principal") == ["arn:example:pay:eu:partner:client/acme mobile"]


HOSTILE = ("a/b", "a:b", "*", "**", "a*", "../x", "a,b", "a;b", 'a"b', "a\\b", "{ns}", "{subject.OU}", "a\u00e9",
           "\u4e2d", "%2F", "%", "a?b#c", "a|b", "$a", "a=b", "<a>", "a&b", "[a]", "x-client-id: b")


@pytest.mark.parametrize("name", HOSTILE)
def test_a_value_that_is_put_into_a_template_never_changes_its_shape(
    envoy: Envoy, issuer: Authority, http: Client, name: str
) -> None:
    leaf = issuer.issue([("CN", name), ("OU", "partner"), ("O", "ExampleCorp")])
    with http(envoy.port("kinds"), ClientTls(leaf)) as client:
        echo = verdicts.passed(client.request())
    ((client_id,), (principal,)) = echo.values("x-client-id"), echo.values("x-client-principal")
    assert unquote(client_id) == name
    assert principal == f"arn:example:pay:eu:partner:client/{client_id}"
    assert principal.count(":") == ARN.count(":") and principal.count("/") == ARN.count("/")
    assert all(" " <= character <= "~" for character in client_id)
    assert not set(client_id) & set('*/:,;"\\{}?#|$=<>&[]')


def test_different_names_never_make_the_same_client_by_one_template(
    envoy: Envoy, issuer: Authority, http: Client
) -> None:
    pairs = [("a-b", "c"), ("a", "b-c"), ("a.b", "c"), ("a", "b.c")]
    by_subject = [issuer.issue([("CN", two), ("OU", one), ("O", "Pair")]) for one, two in [*pairs, ("a%2Db", "c")]]
    by_uri = [issuer.issue([], sans=[pki.uri(f"spiffe://example.org/ns/{one}/sa/{two}")]) for one, two in pairs]
    for leaves in (by_subject, by_uri):
        made = set()
        for leaf in leaves:
            with http(envoy.port("kinds"), ClientTls(leaf)) as client:
                made |= set(verdicts.passed(client.request()).values("x-client-id"))
        assert len(made) == len(leaves), made


@pytest.mark.parametrize("name", [".", ".."])
def test_a_value_that_would_be_a_dot_segment_is_refused(envoy: Envoy, issuer: Authority, name: str) -> None:
    leaf = issuer.issue([("CN", name), ("OU", "partner"), ("O", "ExampleCorp")])
    with Http1(envoy.port("kinds"), ClientTls(leaf)) as client:
        verdicts.refused(client.request(), "identity_invalid")


@pytest.mark.parametrize("name", [" acme", "acme ", " "])
def test_spaces_around_a_value_do_not_make_another_client_of_it(
    envoy: Envoy, issuer: Authority, http: Client, name: str
) -> None:
    leaf = issuer.issue([("CN", name), ("OU", "partner"), ("O", "ExampleCorp")])
    with http(envoy.port("kinds"), ClientTls(leaf)) as client:
        response = client.request()
    assert who(response) not in ("acme/partner", "/partner")


def test_a_value_that_is_no_profile_does_not_become_one(envoy: Envoy, issuer: Authority, http: Client) -> None:
    for unit in ("no-such-profile", "partner/**", "*", "Partner", "partner "):
        leaf = issuer.issue([("CN", "acme"), ("OU", unit), ("O", "ExampleCorp")])
        with http(envoy.port("kinds"), ClientTls(leaf)) as client:
            assert who(client.request()) in ("client_profile_mismatch", "identity_not_mapped")


@pytest.mark.parametrize(("subject", "headers", "verdict"), [
    ([("CN", "both"), ("OU", "first")], [], "first/partner"),
    ([("CN", "both"), ("OU", "other")], [], "second/partner"),
    ([("CN", "else")], [], "third/partner"),
])
def test_the_first_mapping_that_matches_decides(
    envoy: Envoy, issuer: Authority, subject: DN, headers: list[tuple[str, str]], verdict: str
) -> None:
    with Http1(envoy.port("order"), ClientTls(issuer.issue(subject))) as client:
        assert who(client.request("GET", "/", headers)) == verdict


@pytest.mark.parametrize(("subject", "headers", "verdict"), [
    # A registered identity comes before every mapping.
    ([("CN", "registered")], [], "acme/partner"),
    ([("CN", "acme"), ("OU", "partner"), ("O", "Named")], [], "acme/partner"),
    ([("CN", "several"), ("OU", "reporter"), ("O", "Named")], [], "several/reporter"),
    ([("CN", "acme"), ("OU", "reporter"), ("O", "Named")], [], "client_profile_mismatch"),
    ([("CN", "several"), ("OU", "reporter"), ("O", "Named")], [("x-profile-id", "partner")],
     "client_profile_mismatch"),
    ([("CN", "unlisted"), ("OU", "partner"), ("O", "Named")], [], "identity_not_mapped"),
    ([("CN", "acme"), ("O", "Bare")], [], "acme/partner"),
    ([("CN", "several"), ("O", "Bare")], [], "profile_required"),
    ([("CN", "several"), ("O", "Bare")], [("x-profile-id", "reporter")], "several/reporter"),
    ([("CN", "ACME"), ("O", "Bare")], [], "identity_not_mapped"),
    # Of a client that lists its identities, and of one that may do nothing.
    ([("CN", "spiffe-only"), ("OU", "partner"), ("O", "Named")], [], "identity_not_mapped"),
    ([("CN", "spiffe-only"), ("O", "Bare")], [], "identity_not_mapped"),
    ([("CN", "disabled"), ("OU", "partner"), ("O", "Named")], [], "client_profile_mismatch"),
    ([("CN", "disabled"), ("O", "Bare")], [], "profile_required"),
])
def test_a_mapping_names_only_registered_clients_unless_the_policy_allows_others(
    envoy: Envoy, issuer: Authority, subject: DN, headers: list[tuple[str, str]], verdict: str
) -> None:
    with Http1(envoy.port("registered"), ClientTls(issuer.issue(subject))) as client:
        assert who(client.request("GET", "/", headers)) == verdict


CORP = ("O", "ExampleCorp")
RESTRICTED = ("OU", "restricted")
RESTRICTED_URI = "https://example.org/restricted/acme"


@pytest.mark.parametrize(("subject", "sans", "verdict"), [
    ([("CN", "acme"), RESTRICTED, CORP], [], "acme/reporter"),
    ([("CN", "acme"), CORP], [], "acme/partner"),
    ([("CN", "acme"), ("OU", "other"), CORP], [], "acme/partner"),
    ([("CN", "acme"), ("OU", "Restricted"), CORP], [], "acme/reporter"),
    ([("CN", "acme"), ("OU", " restricted "), ("O", "EXAMPLECORP")], [], "acme/reporter"),
    ([("CN", "acme"), RESTRICTED, ("OU", "other"), CORP], [], "identity_invalid"),
    ([("CN", "acme"), ("OU", "other"), ("OU", "RESTRICTED"), CORP], [], "identity_invalid"),
    ([("CN", "acme"), RESTRICTED, RESTRICTED, CORP], [], "identity_invalid"),
    ([RESTRICTED, CORP], [pki.dns("acme.example")], "identity_invalid"),
    ([], [pki.uri(RESTRICTED_URI)], "acme/reporter"),
    ([], [pki.uri("HTTPS://Example.ORG/restricted/acme")], "acme/reporter"),
    ([], [pki.uri("https://example.org/restricted/")], "identity_invalid"),
    ([], [pki.uri(RESTRICTED_URI), pki.uri(f"{RESTRICTED_URI}2")], "identity_invalid"),
    ([], [pki.uri("https://example.org/open")], "anybody/partner"),
])
def test_a_certificate_of_a_stricter_mapping_never_comes_to_a_laxer_one(
    envoy: Envoy, issuer: Authority, subject: DN, sans: list[GeneralName], verdict: str
) -> None:
    with Http1(envoy.port("strict"), ClientTls(issuer.issue(subject, sans=sans))) as client:
        assert who(client.request()) == verdict


@pytest.mark.parametrize("kind", [
    StringType.UTF8String, StringType.PrintableString, StringType.BMPString, StringType.T61String])
def test_another_string_type_makes_no_other_value_of_a_literal(
    envoy: Envoy, issuer: Authority, kind: StringType
) -> None:
    unit = x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "Restricted", kind)
    subject = x509.Name([*pki.distinguished_name([("CN", "acme"), CORP]), unit])
    with Http1(envoy.port("strict"), ClientTls(issuer.issue(subject))) as client:
        assert who(client.request()) == "acme/reporter"


def test_the_log_says_which_condition_of_which_mapping_cannot_be_told(envoy: Envoy, issuer: Authority) -> None:
    leaf = issuer.issue([("CN", "acme"), RESTRICTED, ("OU", "secret value"), CORP])
    with Http1(envoy.port("strict"), ClientTls(leaf)) as client:
        verdicts.refused(client.request("GET", "/", [("x-request-id", "near-miss")]), "identity_invalid")
    envoy.record("strict", "near-miss")
    line, = (line for line in envoy.log().splitlines() if "wasm log" in line and "near-miss" in line)
    assert "identity.mappings[0].match.subject.OU: the certificate has the attribute several times; the certificate is cn:acme" in line
    assert "secret value" not in line
