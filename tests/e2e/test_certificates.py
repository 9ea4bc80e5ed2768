"""Which client certificates are good, checked by the filter on every request."""

from __future__ import annotations

import ssl
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from cryptography.x509 import BasicConstraints, GeneralName, ObjectIdentifier, UnrecognizedExtension
from cryptography.x509.oid import ExtendedKeyUsageOID

from conftest import Bearer, Client, StartEnvoy
from harness import pki, verdicts
from harness.envoy import Envoy
from harness.filters import Config, JwtAuthn
from harness.http1 import Http1
from harness.listener import Listener
from harness.pki import CLIENT_AUTH, SERVER_AUTH, Authority, Credential
from harness.sessions import connect_again
from harness.tls import ClientTls
from harness.tokens import Signer

DAY = timedelta(days=1)
NAME = [("CN", "acme")]
POLICY: Config = {
    "mode": "mtls",
    "clients": {"acme": {"identities": ["cn:acme"], "profiles": ["partner"]}},
    "profiles": {"partner": {"allow": [{"paths": ["/**"]}]}},
}
LISTENER: Config = {"validation": "listener"}


@pytest.fixture(scope="module")
def envoy(start_envoy: StartEnvoy, signer: Signer) -> Envoy:
    lax: Config = {"trust": "ACCEPT_UNTRUSTED"}
    known = ["cn:acme", "dns:acme.example", "spiffe://example.org/acme"]
    names: Config = {"clients": {"acme": {"identities": known, "profiles": ["partner"]}}}
    return start_envoy(
        Listener("main", POLICY),
        Listener("bearer", {**POLICY, "mode": "bearer_plus_mtls_required"}, jwt=JwtAuthn((signer,)), **lax),
        Listener("attribute", POLICY, **lax),
        Listener("listener", {**POLICY, "certificate": LISTENER}, **lax),
        Listener("skew", {**POLICY, "certificate": {**LISTENER, "clock_skew_seconds": 300}}, **lax),
        Listener("resuming", POLICY, resumption=True),
        Listener("resuming_listener", {**POLICY, "certificate": LISTENER}, resumption=True),
        Listener("resuming_lax", {**POLICY, "certificate": LISTENER}, resumption=True, **lax),
        Listener("names", {**POLICY, **names, "certificate": LISTENER}, **lax),
    )


@pytest.mark.parametrize(("usages", "verdict"), [
    ((CLIENT_AUTH,), "allowed"),
    ((SERVER_AUTH, CLIENT_AUTH), "allowed"),
    (None, "allowed"),
    ((SERVER_AUTH,), "certificate_unsuitable"),
    ((ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,), "certificate_unsuitable"),
    ((ExtendedKeyUsageOID.CODE_SIGNING,), "certificate_unsuitable"),
], ids=["client", "both", "none", "server", "any", "code_signing"])
def test_an_extended_key_usage_must_include_client_authentication(
    envoy: Envoy, issuer: Authority, http: Client, usages: tuple[ObjectIdentifier, ...] | None, verdict: str
) -> None:
    leaf = issuer.issue(NAME, extended_key_usage=usages)
    with http(envoy.port("listener"), ClientTls(leaf)) as client:
        assert verdicts.reason_of(client.request()) == verdict


def test_a_certificate_authority_is_no_client(envoy: Envoy, issuer: Authority, http: Client) -> None:
    authorities = [
        issuer.issue(NAME, basic_constraints=BasicConstraints(ca=True, path_length=None)),
        issuer.issue(NAME, basic_constraints=None, key_usage=pki.key_usage(digital_signature=True, key_cert_sign=True)),
        issuer.issue(NAME, key_usage=pki.key_usage(digital_signature=True, crl_sign=True)),
    ]
    for leaf in authorities:
        with http(envoy.port("listener"), ClientTls(leaf)) as client:
            verdicts.refused(client.request(), "certificate_unsuitable")


def test_a_leaf_needs_neither_basic_constraints_nor_key_usage(
    envoy: Envoy, issuer: Authority, http: Client
) -> None:
    leaf = issuer.issue(NAME, basic_constraints=None, extended_key_usage=None)
    with http(envoy.port("main"), ClientTls(leaf)) as client:
        verdicts.passed(client.request())


def test_an_unknown_extension_makes_a_certificate_unsuitable_only_where_it_is_critical(
    envoy: Envoy, issuer: Authority, http: Client
) -> None:
    unknown = UnrecognizedExtension(ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00")
    for critical, verdict in ((False, "allowed"), (True, "certificate_unsuitable")):
        leaf = issuer.issue(NAME, extensions=[(unknown, critical)])
        with http(envoy.port("listener"), ClientTls(leaf)) as client:
            assert verdicts.reason_of(client.request()) == verdict


@pytest.mark.parametrize(("listener", "begin", "end", "verdict"), [
    ("listener", -2 * DAY, -DAY, "certificate_expired"),
    ("listener", DAY, 2 * DAY, "certificate_not_yet_valid"),
    ("listener", -2 * DAY, -timedelta(hours=1), "certificate_expired"),
    ("skew", -2 * DAY, -timedelta(minutes=2), "allowed"),
    ("skew", timedelta(minutes=2), DAY, "allowed"),
    ("skew", -2 * DAY, -timedelta(minutes=10), "certificate_expired"),
    ("skew", timedelta(minutes=10), DAY, "certificate_not_yet_valid"),
    ("listener", -20000 * DAY, -DAY, "certificate_expired"),
    ("listener", -DAY, 40000 * DAY, "allowed"),
])
def test_validity_is_checked_by_the_filter_with_its_own_clock_skew(
    envoy: Envoy, issuer: Authority, http: Client, listener: str, begin: timedelta, end: timedelta, verdict: str
) -> None:
    now = datetime.now(timezone.utc)
    leaf = issuer.issue(NAME, not_before=now + begin, not_after=now + end)
    with http(envoy.port(listener), ClientTls(leaf)) as client:
        assert verdicts.reason_of(client.request()) == verdict


def test_an_unverified_certificate_is_refused_though_it_is_presented(
    envoy: Envoy, tmp_path_factory: pytest.TempPathFactory, issuer: Authority, http: Client, bearer: Bearer
) -> None:
    now = datetime.now(timezone.utc)
    untrusted = [
        pki.self_signed(tmp_path_factory.mktemp("self"), NAME),
        pki.Authority.create(tmp_path_factory.mktemp("other"), "Example Intermediate").issue(NAME),
        issuer.issue(NAME, not_before=now - 2 * DAY, not_after=now - DAY),
    ]
    for leaf in untrusted:
        with http(envoy.port("attribute"), ClientTls(leaf)) as client:
            verdicts.refused(client.request(), "certificate_untrusted")
        with http(envoy.port("bearer"), ClientTls(leaf)) as client:
            verdicts.refused(client.request("GET", "/", [bearer("acme", leaf)]), "certificate_untrusted")


def test_a_trusted_certificate_is_accepted_by_a_listener_that_takes_others_too(
    envoy: Envoy, acme: Credential, http: Client
) -> None:
    with http(envoy.port("attribute"), ClientTls(acme)) as client:
        verdicts.passed(client.request())


def test_a_connection_without_a_certificate_is_refused_wherever_one_is_required(
    envoy: Envoy, http: Client
) -> None:
    for listener in ("main", "attribute", "listener", "bearer"):
        with http(envoy.port(listener), ClientTls()) as client:
            verdicts.refused(client.request(), "certificate_missing")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_resumed_session_is_untrusted_by_attribute_and_trusted_by_listener(
    envoy: Envoy, acme: Credential, version: ssl.TLSVersion
) -> None:
    assert two_connections(envoy, "resuming", "resuming", acme, version) == [
        (False, "allowed"), (True, "certificate_untrusted"),
    ]
    line = envoy.wait_for_log("certificate_untrusted")
    assert "resum" in line and "trust" in line
    assert two_connections(envoy, "resuming_listener", "resuming_listener", acme, version) == [
        (False, "allowed"), (True, "allowed"),
    ]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_session_from_a_lax_listener_gives_no_rights_at_a_strict_one(
    envoy: Envoy, version: ssl.TLSVersion, tmp_path_factory: pytest.TempPathFactory
) -> None:
    stranger = pki.self_signed(tmp_path_factory.mktemp("stranger"), NAME)
    for strict in ("resuming", "resuming_listener"):
        first, second = two_connections(envoy, "resuming_lax", strict, stranger, version)
        assert first == (False, "allowed")
        assert second[1] != "allowed"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(("validation", "trust"), [
    ("attribute", "VERIFY_TRUST_CHAIN"), ("listener", "VERIFY_TRUST_CHAIN"), ("attribute", "ACCEPT_UNTRUSTED"),
])
def test_a_session_from_before_a_change_of_trust_gives_no_rights_after_it(
    start_envoy: StartEnvoy, root: Authority, tmp_path: Path, validation: str, trust: str, version: ssl.TLSVersion
) -> None:
    former = Authority.create(tmp_path / "former", "Former Root")
    leaf = former.issue(NAME)
    policy: Config = {**POLICY, "certificate": {"validation": validation}}

    def listener(trusted: Path) -> Listener:
        return Listener("a", policy, resumption=True, trust=trust, trusted=trusted)

    envoy = start_envoy(listener(former.trust_file), dynamic=True)
    context = ClientTls(leaf, version).context("http/1.1")
    assert (first := connect_again(envoy, "a", context)).verdict == "allowed"
    before = envoy.update_count(accepted=True)
    envoy.replace_listeners(listener(root.trust_file))
    envoy.wait_for_listener_update(accepted=True, before=before)
    # Whoever comes without the session is refused as soon as the workers have the new listener, and so is who has it.
    envoy.wait("the new roots", lambda: connect_again(envoy, "a", context).verdict != "allowed")
    assert connect_again(envoy, "a", context, first.session).verdict != "allowed"


@pytest.mark.parametrize("sans", [
    [pki.uri("spiffe://example.org/acme\x00.evil")],
    [pki.uri("spiffe://example.org/\x00acme")],
    [pki.dns("acme.example\x00.evil.example")],
    [pki.dns("\x00acme.example")],
], ids=["uri_end", "uri_middle", "dns_end", "dns_begin"])
def test_nul_in_a_name_makes_a_certificate_worthless(
    envoy: Envoy, issuer: Authority, http: Client, sans: list[GeneralName]
) -> None:
    leaf = issuer.issue(NAME, sans=sans)
    with http(envoy.port("names"), ClientTls(leaf)) as client:
        assert verdicts.reason_of(client.request()) in ("identity_invalid", "certificate_malformed")


def test_nul_in_the_common_name_makes_a_certificate_worthless(
    envoy: Envoy, issuer: Authority, http: Client
) -> None:
    for name in ("acme\x00", "acme\x00.evil", "\x00acme"):
        leaf = issuer.issue([("CN", name)])
        with http(envoy.port("names"), ClientTls(leaf)) as client:
            assert verdicts.reason_of(client.request()) in ("identity_invalid", "certificate_malformed")


def test_rsa_certificates_are_as_good(envoy: Envoy, issuer: Authority, http: Client) -> None:
    with http(envoy.port("main"), ClientTls(issuer.issue(NAME, key_type="rsa"))) as client:
        verdicts.passed(client.request())


def two_connections(
    envoy: Envoy, first: str, second: str, leaf: Credential, version: ssl.TLSVersion
) -> list[tuple[bool, str]]:
    """Whether each of two connections with one session was resumed, and what its request came to."""
    context = ClientTls(leaf, version).context("http/1.1")
    one = connect_again(envoy, first, context)
    two = connect_again(envoy, second, context, one.session)
    return [(one.resumed, one.verdict), (two.resumed, two.verdict)]
