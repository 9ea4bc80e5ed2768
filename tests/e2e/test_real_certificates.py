"""Certificates that real authorities issue: all that TLS takes can be read, and a refusal says what is wrong."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.name import _ASN1Type as Type
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from conftest import StartEnvoy
from harness import pki, verdicts
from harness.envoy import Envoy
from harness.filters import Config
from harness.http1 import Http1
from harness.listener import Listener
from harness.pki import CLIENT_AUTH, SERVER_AUTH, Authority, Credential
from harness.tls import ClientTls

ACME = [("CN", "acme")]
SPIFFE = "spiffe://example.org/svc"
SERVICE = [("DC", "example"), ("CN", "Users"), ("CN", "svc")]
"""A service account of Active Directory, in the order of the DER."""
LARGE = {
    "uuid": "2.25.329800735698586629295641978511506172918",
    "33 bits": "1.3.6.1.4.1.4294967296",
    "in the middle": "1.3.18446744073709551616.7",
    "in the second place": "2.4294967296.1",
    "2.999": "2.999.1.2",
    "long": "1.3.6." + ".".join(["999999999"] * 9),
}


@pytest.fixture(scope="module")
def several(issuer: Authority) -> Credential:
    return issuer.issue([("CN", "one"), ("CN", "two")])


@pytest.fixture(scope="module")
def envoy(start_envoy: StartEnvoy, several: Credential) -> Envoy:
    policy: Config = {
        "mode": "mtls",
        "certificate": {"validation": "listener"},
        "clients": {
            "acme": {"identities": ["cn:acme", SPIFFE], "profiles": ["partner"]},
            "svc": {"identities": ["subject:CN=svc,CN=Users,DC=example"], "profiles": ["partner"]},
            "both": {"identities": [f"sha256:{several.thumbprint_hex}"], "profiles": ["partner"]},
        },
        "profiles": {"partner": {"allow": [{"paths": ["/**"]}]}},
    }
    servers: Config = {**policy, "certificate": {"validation": "listener", "extended_key_usage": "client_or_server_auth"}}
    lax: Config = {"trust": "ACCEPT_UNTRUSTED"}
    return start_envoy(
        Listener("strict", {**policy, "certificate": {"validation": "attribute"}}),
        Listener("any", policy, **lax),
        Listener("servers", servers, **lax),
    )


def verdict(envoy: Envoy, listener: str, leaf: Credential) -> str:
    """The client, or why there is none."""
    with Http1(envoy.port(listener), ClientTls(leaf)) as client:
        answer = client.request()
    if answer.header("x-upstream") is None:
        return verdicts.reason_of(answer)
    (client_id,) = answer.echo().values("x-client-id")
    return client_id


def note(envoy: Envoy, listener: str, leaf: Credential, reason: str) -> str:
    """What the log says about its refusal."""
    before = envoy.log().count(reason)
    assert verdict(envoy, listener, leaf) == reason
    envoy.wait("the line in the log", lambda: envoy.log().count(reason) > before)
    return [line for line in envoy.log().splitlines() if reason in line][-1]


@pytest.mark.parametrize("oid", LARGE.values(), ids=LARGE)
def test_an_object_identifier_may_have_any_size_in_an_extension_a_policy_and_a_name(
    envoy: Envoy, issuer: Authority, oid: str
) -> None:
    kind = ObjectIdentifier(oid)
    name = x509.Name([x509.NameAttribute(kind, "x"), x509.NameAttribute(NameOID.COMMON_NAME, "acme")])
    more: list[tuple[x509.ExtensionType, bool]] = [
        (x509.UnrecognizedExtension(kind, b"\x05\x00"), False),
        (x509.UnrecognizedExtension(ObjectIdentifier(oid + ".1"), b"\x05\x00"), False),
        (x509.CertificatePolicies([x509.PolicyInformation(kind, None)]), False),
    ]
    leaf = issuer.issue(name, extensions=more, extended_key_usage=[kind, CLIENT_AUTH])
    assert verdict(envoy, "strict", leaf) == "acme"


def test_an_unknown_critical_extension_is_named_whatever_its_size(envoy: Envoy, issuer: Authority) -> None:
    for oid, found in (("1.3.6.1.4.1.99999.1", "1.3.6.1.4.1.99999.1"), (LARGE["uuid"], "2^32")):
        extension = x509.UnrecognizedExtension(ObjectIdentifier(oid), b"\x05\x00")
        leaf = issuer.issue(ACME, extensions=[(extension, True)])
        assert found in note(envoy, "any", leaf, "certificate_unsuitable")


CRITICAL: dict[str, tuple[Any, str]] = {
    "cRLDistributionPoints": (x509.CRLDistributionPoints(
        [x509.DistributionPoint([x509.UniformResourceIdentifier("http://a.example/l")], None, None, None)]), "acme"),
    "certificatePolicies": (x509.CertificatePolicies([x509.PolicyInformation(ObjectIdentifier("1.2.3.4"), None)]), "acme"),
    "nameConstraints": (x509.NameConstraints([x509.DNSName("a.example")], None), "acme"),
    "inhibitAnyPolicy": (x509.InhibitAnyPolicy(0), "acme"),
    "freshestCRL": (x509.FreshestCRL(
        [x509.DistributionPoint([x509.UniformResourceIdentifier("http://a.example/l")], None, None, None)]),
        "certificate_unsuitable"),
    "issuerAltName": (x509.IssuerAlternativeName([x509.DNSName("a.example")]), "certificate_unsuitable"),
    "tlsFeature": (x509.TLSFeature([x509.TLSFeatureType.status_request]), "certificate_unsuitable"),
    "privateKeyUsagePeriod": (x509.UnrecognizedExtension(
        ObjectIdentifier("2.5.29.16"), bytes.fromhex("3011800f32303237303131353038303030305a")), "certificate_unsuitable"),
    "proxyCertInfo": (x509.UnrecognizedExtension(
        ObjectIdentifier("1.3.6.1.5.5.7.1.14"), bytes.fromhex("300c300a06082b06010505071501")), "certificate_unsuitable"),
}


@pytest.mark.parametrize("kind", CRITICAL)
def test_an_extension_may_be_critical_if_a_tls_stack_heeds_it(envoy: Envoy, issuer: Authority, kind: str) -> None:
    extension, expected = CRITICAL[kind]
    assert verdict(envoy, "any", issuer.issue(ACME, extensions=[(extension, True)])) == expected
    assert verdict(envoy, "any", issuer.issue(ACME, extensions=[(extension, False)])) == "acme"


@pytest.mark.parametrize("year", [1950, 1969, 1970, 2049, 2050, 9999])
def test_a_certificate_may_begin_in_1950_and_end_in_9999(envoy: Envoy, issuer: Authority, year: int) -> None:
    time = datetime(year, 12, 31, 23, 59, 59, tzinfo=timezone.utc)
    bounds = {"not_before": time} if year < 2000 else {"not_after": time}
    assert verdict(envoy, "strict", issuer.issue(ACME, **bounds)) == "acme"


@pytest.mark.parametrize("kind", [
    Type.UTF8String, Type.PrintableString, Type.IA5String, Type.T61String, Type.BMPString, Type.UniversalString,
])
def test_a_common_name_may_have_any_string_type(envoy: Envoy, issuer: Authority, kind: Type) -> None:
    attributes = [x509.NameAttribute(oid, "acme", kind, _validate=False) for oid in (NameOID.TITLE, NameOID.COMMON_NAME)]
    assert verdict(envoy, "strict", issuer.issue(x509.Name(attributes))) == "acme"


def test_several_common_names_do_not_identify_but_the_subject_and_the_thumbprint_do(
    envoy: Envoy, issuer: Authority, several: Credential
) -> None:
    assert verdict(envoy, "strict", issuer.issue(SERVICE)) == "svc"
    assert verdict(envoy, "strict", several) == "both"
    for other in ([("CN", "acme"), ("CN", "two")], [("CN", "acme"), ("CN", "acme")], SERVICE[::-1]):
        found = note(envoy, "strict", issuer.issue(other), "identity_invalid")
        assert "several Common Names" in found and "found subject:" in found
    # A stronger name than a Common Name identifies as ever.
    assert verdict(envoy, "strict", issuer.issue(SERVICE[::-1], sans=[pki.uri(SPIFFE)])) == "acme"


USAGES: dict[str, tuple[x509.KeyUsage | None, str]] = {
    "none": (None, "acme"),
    "signature": (pki.key_usage(digital_signature=True), "acme"),
    "signature and agreement": (pki.key_usage(digital_signature=True, key_agreement=True), "acme"),
    "encipherment": (pki.key_usage(key_encipherment=True), "identity_invalid"),
    "agreement": (pki.key_usage(key_agreement=True), "identity_invalid"),
    "commitment": (pki.key_usage(content_commitment=True), "identity_invalid"),
    "certificates": (pki.key_usage(digital_signature=True, key_cert_sign=True), "certificate_unsuitable"),
    "lists": (pki.key_usage(digital_signature=True, crl_sign=True), "certificate_unsuitable"),
}


@pytest.mark.parametrize("usage", USAGES)
def test_the_key_of_a_spiffe_certificate_signs_and_does_not_sign_certificates(
    envoy: Envoy, issuer: Authority, usage: str
) -> None:
    key_usage, expected = USAGES[usage]
    # An RSA key, which TLS 1.2 can use for encipherment alone.
    leaf = issuer.issue([("O", "SPIRE")], sans=[pki.uri(SPIFFE)], key_usage=key_usage, key_type="rsa")
    try:
        found = verdict(envoy, "any", leaf)
    except OSError:
        # BoringSSL has such a client sign, and refuses the key.
        found = "identity_invalid"
    assert found == expected


PURPOSES = {
    "client": ([CLIENT_AUTH], "acme", "acme"),
    "server": ([SERVER_AUTH], "certificate_unsuitable", "acme"),
    "both": ([SERVER_AUTH, CLIENT_AUTH], "acme", "acme"),
    "code": ([ExtendedKeyUsageOID.CODE_SIGNING], "certificate_unsuitable", "certificate_unsuitable"),
    "any": ([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE], "certificate_unsuitable", "certificate_unsuitable"),
    "none": (None, "acme", "acme"),
}


@pytest.mark.parametrize("purposes", PURPOSES)
def test_a_certificate_for_servers_alone_is_taken_only_if_the_policy_says_so(
    envoy: Envoy, issuer: Authority, purposes: str
) -> None:
    usage, by_default, with_setting = PURPOSES[purposes]
    leaf = issuer.issue(ACME, extended_key_usage=usage)
    assert verdict(envoy, "any", leaf) == by_default
    assert verdict(envoy, "servers", leaf) == with_setting
    if by_default != with_setting:
        assert "client_or_server_auth" in note(envoy, "any", leaf, "certificate_unsuitable")


def test_that_a_certificate_for_servers_is_taken_hides_nothing_else(envoy: Envoy, issuer: Authority) -> None:
    unknown = x509.UnrecognizedExtension(ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00")
    authority = x509.BasicConstraints(ca=True, path_length=None)
    for more in ({"extensions": [(unknown, True)]}, {"basic_constraints": authority}):
        leaf = issuer.issue(ACME, extended_key_usage=[SERVER_AUTH], **more)
        assert verdict(envoy, "servers", leaf) == "certificate_unsuitable"


def test_envoys_own_tls_refuses_a_certificate_for_servers_alone_in_the_handshake(envoy: Envoy, issuer: Authority) -> None:
    with pytest.raises(OSError):
        verdict(envoy, "strict", issuer.issue(ACME, extended_key_usage=[SERVER_AUTH]))


def test_a_refusal_says_when_a_certificate_is_valid_and_what_names_it_has(envoy: Envoy, issuer: Authority) -> None:
    now = datetime.now(timezone.utc).replace(microsecond=0)
    day = timedelta(days=1)
    for bounds, reason, name, time in [
        ({"not_before": now - 2 * day, "not_after": now - day}, "certificate_expired", "notAfter", now - day),
        ({"not_before": now + day, "not_after": now + 2 * day}, "certificate_not_yet_valid", "notBefore", now + day),
    ]:
        found = note(envoy, "any", issuer.issue(ACME, **bounds), reason)
        assert f"{name} is {time:%Y-%m-%dT%H:%M:%SZ}, now is {now:%Y-%m-%d}" in found
    leaf = issuer.issue([("O", "Example")], sans=[pki.email("a@b.example"), pki.uri("urn:x")])
    found = note(envoy, "any", leaf, "identity_not_mapped")
    assert "uri:urn:x, subject:O=Example" in found and "a@b.example" not in found
