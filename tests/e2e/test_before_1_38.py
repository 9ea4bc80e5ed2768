"""On an Envoy that does not show the whole certificate, it comes from Envoy's own XFCC, or from nowhere."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from urllib.parse import quote

import pytest

from conftest import Bearer, Client, StartEnvoy
from harness import artifacts, grpc_client, pki, verdicts
from harness.envoy import Envoy
from harness.filters import Config, JwtAuthn
from harness.http1 import Http1
from harness.listener import Listener
from harness.pki import Authority, Credential
from harness.response import Header, Response
from harness.tls import ClientTls
from harness.tokens import Signer

NAME = "x-forwarded-client-cert"
SPIFFE = "spiffe://example.org/acme"
POLICY: Config = {
    "mode": "mtls",
    "certificate": {"validation": "listener"},
    "clients": {
        "acme": {"identities": ["cn:acme", SPIFFE, "dns:acme.example"], "profiles": ["partner"]},
        "pinned": {"identities": ["cn:pinned"], "profiles": ["partner"], "issuers": ["CN=Example Intermediate"]},
        "admin": {"identities": ["cn:admin"], "profiles": ["partner"]},
    },
    "profiles": {"partner": {"allow": [{"paths": ["/**"]}]}},
}


@pytest.fixture(scope="module")
def envoy(start_envoy: StartEnvoy, signer: Signer) -> Envoy:
    whole: Config = {"forward_client_cert_details": "SANITIZE_SET", "set_current_client_cert_details": {"cert": True}}
    bearer = {**POLICY, "mode": "bearer_plus_mtls_required"}
    return start_envoy(
        Listener("whole", POLICY, trust="ACCEPT_UNTRUSTED", **whole),
        Listener("digest", POLICY, trust="ACCEPT_UNTRUSTED"),
        Listener("forged", POLICY, forward_client_cert_details="ALWAYS_FORWARD_ONLY"),
        Listener("attribute", {**POLICY, "certificate": {"validation": "attribute"}}, **whole),
        Listener("bearer", bearer, jwt=JwtAuthn((signer,)), **whole),
        Listener("bearer_digest", bearer, jwt=JwtAuthn((signer,))),
        binary=artifacts.envoy_old(),
    )


@pytest.fixture(scope="module")
def pinned(issuer: Authority) -> Credential:
    return issuer.issue([("CN", "pinned")])


def client_of(response: Response) -> str:
    """The client that the upstream was told, or the reason of the refusal."""
    if response.header("x-upstream") is None:
        return verdicts.reason_of(response)
    (client,) = response.echo().values("x-client-id")
    return client


def forwarded(credential: Credential, digest_of: Credential | None = None) -> Header:
    """An XFCC header with the certificate of one and the digest of another."""
    return (NAME, f'Hash={(digest_of or credential).thumbprint_hex};Cert="{quote(credential.pem, safe="")}"')


def test_a_certificate_is_checked_whole_where_the_listener_writes_it(
    envoy: Envoy, issuer: Authority, pinned: Credential, http_over_tcp: Client
) -> None:
    now, day = datetime.now(timezone.utc), timedelta(days=1)
    acme = [("CN", "acme")]
    two = [pki.uri(SPIFFE), pki.uri("spiffe://example.org/other")]
    cases = [
        (issuer.issue(acme), "acme", "acme"),
        (pinned, "pinned", "identity_not_mapped"),
        (issuer.issue(acme, not_before=now - 2 * day, not_after=now - day), "certificate_expired", "acme"),
        (issuer.issue(acme, extended_key_usage=[pki.SERVER_AUTH]), "certificate_unsuitable", "acme"),
        (issuer.issue(acme, sans=two), "identity_invalid", "acme"),
    ]
    for leaf, with_whole, with_digest in cases:
        for listener, verdict in (("whole", with_whole), ("digest", with_digest)):
            with http_over_tcp(envoy.port(listener), ClientTls(leaf)) as client:
                assert client_of(client.request()) == verdict, listener


def test_without_the_whole_certificate_digest_subject_and_first_names_identify(
    envoy: Envoy, issuer: Authority, http_over_tcp: Client
) -> None:
    for subject, sans in (([("CN", "acme")], []), ([("O", "x")], [pki.uri(SPIFFE)]), ([], [pki.dns("acme.example")])):
        leaf = issuer.issue(subject, sans=sans)
        with http_over_tcp(envoy.port("digest"), ClientTls(leaf)) as client:
            echo = verdicts.passed(client.request())
        assert echo.values("x-client-id") == ["acme"]
        assert echo.values("x-client-cert-thumbprint") == [leaf.thumbprint]


@pytest.mark.parametrize("name", ["a,CN=admin", "a+CN=admin", 'a",CN=admin', "a\\,CN=admin", "x, CN = admin", "#0c"])
def test_a_common_name_cannot_inject_another_into_the_subject(envoy: Envoy, issuer: Authority, name: str) -> None:
    for subject in ([("CN", name)], [("O", name), ("CN", "nobody")], [("OU", f"admin,{name}"), ("O", name)]):
        leaf = issuer.issue(subject)
        for listener in ("digest", "whole"):
            with Http1(envoy.port(listener), ClientTls(leaf)) as client:
                assert client_of(client.request()) in ("identity_not_mapped", "identity_missing", "identity_invalid")


def test_a_forwarded_certificate_that_does_not_hash_to_the_digest_is_not_used(
    envoy: Envoy, issuer: Authority, acme: Credential, pinned: Credential, http_over_tcp: Client
) -> None:
    admin = issuer.issue([("CN", "admin")])
    stranger = issuer.issue([("CN", "stranger")])
    for leaf, verdict in ((acme, "acme"), (stranger, "identity_not_mapped")):
        for header in (forwarded(admin), forwarded(admin, leaf), forwarded(pinned, leaf)):
            with http_over_tcp(envoy.port("forged"), ClientTls(leaf)) as client:
                response = client.request("GET", "/", [header])
            assert client_of(response) == verdict
            if response.status == 200:
                assert response.echo().values(NAME) == []


def test_a_forwarded_certificate_that_hashes_to_the_digest_is_used_whoever_wrote_it(
    envoy: Envoy, acme: Credential, pinned: Credential, http_over_tcp: Client
) -> None:
    with http_over_tcp(envoy.port("forged"), ClientTls(pinned)) as client:
        assert client_of(client.request("GET", "/", [forwarded(pinned)])) == "pinned"
    with http_over_tcp(envoy.port("forged"), ClientTls(pinned)) as client:
        assert client_of(client.request()) == "identity_not_mapped"


def test_a_certificate_that_was_seen_whole_is_known_for_the_rest_of_its_connection(
    envoy: Envoy, pinned: Credential, http_over_tcp: Client
) -> None:
    with http_over_tcp(envoy.port("forged"), ClientTls(pinned)) as client:
        assert client_of(client.request()) == "identity_not_mapped"
        assert client_of(client.request("GET", "/", [forwarded(pinned)])) == "pinned"
        assert client_of(client.request()) == "pinned"


@pytest.mark.parametrize("value", [
    "Cert=", 'Cert=""', 'Cert="x"', 'Cert="%', "Hash=00", 'Cert="a";Cert="b"', ";;;", ",,,", "\xa1",
    'Cert="\xa1"', "Cert",
])
def test_a_forwarded_certificate_that_cannot_be_read_is_as_good_as_none(
    envoy: Envoy, acme: Credential, value: str
) -> None:
    with Http1(envoy.port("forged"), ClientTls(acme)) as client:
        response = client.request("GET", "/", [(NAME, value)])
    assert client_of(response) in ("acme", "certificate_malformed")


def test_nobody_is_verified_by_an_attribute_that_this_envoy_does_not_have(
    envoy: Envoy, acme: Credential, http_over_tcp: Client
) -> None:
    with http_over_tcp(envoy.port("attribute"), ClientTls(acme)) as client:
        verdicts.refused(client.request(), "certificate_untrusted")


def test_tokens_are_bound_by_the_digest(
    envoy: Envoy, root: Authority, issuer: Authority, acme: Credential, bearer: Bearer, http_over_tcp: Client
) -> None:
    other = issuer.issue([("CN", "acme")])
    for listener in ("bearer", "bearer_digest"):
        port = envoy.port(listener)
        for bound_to, verdict in ((acme, "acme"), (other, "sender_binding_mismatch"), (None, "sender_binding_missing")):
            with http_over_tcp(port, ClientTls(acme)) as client:
                assert client_of(client.request("POST", "/", [bearer("acme", bound_to)], b"body")) == verdict
        with http_over_tcp(port, ClientTls()) as client:
            verdicts.refused(client.request("GET", "/", [bearer("acme", acme)]), "certificate_missing")
        assert grpc_client.call(port, root, acme, metadata=[bearer("acme", acme)]).message == b"hello"
        verdicts.refused_grpc(grpc_client.call(port, root, acme), "token_missing")
