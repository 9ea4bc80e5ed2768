"""Envoy's own `x-forwarded-client-cert` reaches the upstream in every form that Envoy gives it, and nothing that a caller wrote."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import ObjectIdentifier

from conftest import Client, StartEnvoy
from harness import pki, verdicts
from harness.envoy import Envoy
from harness.filters import Config
from harness.http1 import Http1
from harness.listener import Listener
from harness.pki import Authority, Credential
from harness.tls import ClientTls

NAME = "x-forwarded-client-cert"
SPIFFE = "spiffe://example.org/acme"
SERVERS = ["spiffe://example.org/proxy", "spiffe://example.org/second", "urn:third"]
UUID = ObjectIdentifier("2.25.329800735698586629295641978511506172918")


@dataclass(frozen=True)
class OfServer(Listener):
    """A listener with a certificate of its own."""

    own: Credential | None = None

    def config(self, server: Credential, *more: Any, **options: Any) -> Config:
        return super().config(self.own or server, *more, **options)


def policy(newest: bool) -> Config:
    return {
        "mode": "mtls",
        "certificate": {"validation": "attribute" if newest else "listener"},
        "clients": {"acme": {"identities": [SPIFFE], "profiles": ["partner"]}},
        "profiles": {"partner": {"allow": [{"paths": ["/**"]}]}},
        "bypass": [{"path": "/health"}],
    }


DETAILS: dict[str, Config] = {
    "hash": {}, "subject": {"subject": True}, "cert": {"cert": True}, "chain": {"chain": True},
    "names": {"dns": True, "uri": True},
    "all": {"subject": True, "cert": True, "chain": True, "dns": True, "uri": True},
}
NEWER: dict[str, Config] = {
    "issuer": {"issuer": True}, "all_issuer": {**DETAILS["all"], "issuer": True},
    "json": {**DETAILS["all"], "issuer": True, "format": "JSON"}, "json_hash": {"format": "JSON"},
    "json_cert": {"cert": True, "format": "JSON"},
}
"""What the old Envoy does not have."""


@pytest.fixture(scope="module")
def envoy(start_envoy: StartEnvoy, root: Authority, every_envoy: Path, newest: bool) -> Envoy:
    certificates = {
        "none": root.issue_server(),
        "one": root.issue([("CN", "localhost")], sans=[pki.uri(SERVERS[0])], extended_key_usage=[pki.SERVER_AUTH]),
        "several": root.issue([("CN", "localhost")], sans=[pki.uri(uri) for uri in SERVERS], extended_key_usage=[pki.SERVER_AUTH]),
    }
    forms = {**DETAILS, **(NEWER if newest else {})}
    return start_envoy(*(
        OfServer(f"{form}-{count}", policy(newest), own=own, forward_client_cert_details="SANITIZE_SET",
                 set_current_client_cert_details=details)
        for form, details in forms.items() for count, own in certificates.items()
    ), OfServer("forward", policy(newest), own=certificates["several"], forward_client_cert_details="ALWAYS_FORWARD_ONLY"),
        binary=every_envoy)


@pytest.fixture(scope="module")
def leaf(issuer: Authority) -> Credential:
    """As SPIRE issues it: with a subject that has an x500UniqueIdentifier."""
    name = x509.Name([
        x509.NameAttribute(x509.oid.NameOID.COUNTRY_NAME, "US"), x509.NameAttribute(x509.oid.NameOID.ORGANIZATION_NAME, "SPIRE"),
        x509.NameAttribute(x509.oid.NameOID.X500_UNIQUE_IDENTIFIER, "0e4f1c7b4d9f2c3a"),
    ])
    return issuer.issue(name, sans=[pki.uri(SPIFFE), pki.dns("one.example")])


@pytest.mark.parametrize("count", ["none", "one", "several"])
@pytest.mark.parametrize("form", [*DETAILS, *NEWER])
def test_what_envoy_wrote_stays_in_every_form(envoy: Envoy, leaf: Credential, newest: bool, form: str, count: str) -> None:
    if not newest and form in NEWER:
        return
    for path in ("/open", "/health"):
        with Http1(envoy.port(f"{form}-{count}"), ClientTls(leaf)) as client:
            (value,) = verdicts.passed(client.request("GET", path, [(NAME, "Hash=00")])).values(NAME)
        assert leaf.thumbprint_hex in value
        if form.startswith("json"):
            (element,) = json.loads(value)
            assert element.get("by", []) == {"none": [], "one": SERVERS[:1], "several": SERVERS}[count]


def odd(*attributes: tuple[str, str | bytes, Any]) -> x509.Name:
    return x509.Name([x509.NameAttribute(ObjectIdentifier(oid), text, kind, _validate=False) for oid, text, kind in attributes])


TYPE = x509.name._ASN1Type
ODD: dict[str, x509.Name] = {
    "no attribute": x509.Name([]),
    "a type that Envoy cannot print": odd((UUID.dotted_string, "x", TYPE.UTF8String), ("2.5.4.3", "y", TYPE.UTF8String)),
    "a teletex string beyond ASCII": odd(("2.5.4.3", "\xe9", TYPE.T61String)),
    "an empty value": odd(("2.5.4.11", "", TYPE.UTF8String), ("2.5.4.3", "x", TYPE.UTF8String)),
    "quotes and separators": odd(("2.5.4.3", 'a";URI=spiffe://evil,\\', TYPE.UTF8String)),
}


@pytest.mark.parametrize("kind", ODD)
def test_no_subject_makes_envoy_write_what_the_filter_takes_for_a_callers(
    envoy: Envoy, issuer: Authority, newest: bool, kind: str
) -> None:
    leaf = issuer.issue(ODD[kind], sans=[pki.uri(SPIFFE)])
    for form in ["subject", "all", *(["all_issuer", "json"] if newest else [])]:
        with Http1(envoy.port(f"{form}-one"), ClientTls(leaf)) as client:
            assert len(verdicts.passed(client.request()).values(NAME)) == 1, form


def test_further_names_that_only_the_old_envoy_knows_take_the_header_away(
    envoy: Envoy, issuer: Authority, newest: bool
) -> None:
    leaf = issuer.issue([("O", "x")], sans=[pki.uri(SPIFFE), pki.dns("one.example"), pki.dns("two.example")])
    with Http1(envoy.port("names-one"), ClientTls(leaf)) as client:
        assert len(verdicts.passed(client.request()).values(NAME)) == (1 if newest else 0)
    with Http1(envoy.port("all-one"), ClientTls(leaf)) as client:
        assert len(verdicts.passed(client.request()).values(NAME)) == 1


def forged(leaf: Credential, other: Credential) -> Sequence[str]:
    """What a caller could try where the listener lets its header through."""
    own = f"Hash={leaf.thumbprint_hex}"
    member = {"hash": leaf.thumbprint_hex}
    made: list[Any] = [
        f'{own};Issuer="CN=admin"', f"{own};By=spiffe://example.org/admin", f"By=urn:third;By={SERVERS[0]};{own};Role=admin",
        f"By={SERVERS[0]};By=x\";Role=admin;{own}", f"{own};Role=admin", f'{own};Later="CN=admin"',
        [{**member, "uri": [SPIFFE, "spiffe://example.org/admin"]}], [{**member, "uri": "spiffe://example.org/admin"}],
        [{**member, "dns": ["admin.example"]}], [{**member, "subject": "CN=admin"}], [{**member, "issuer": "CN=admin"}],
        [{**member, "by": ["spiffe://example.org/admin"]}], [{**member, "role": "admin"}], [{**member, "role": ["admin"]}],
        [{**member, "role": {"is": "admin"}}], [{**member, "cert": other.pem, "role": "admin"}],
        [{**member, ";URI=spiffe://example.org/admin;x": leaf.thumbprint_hex}],
        [{"hash": "00", "uri": ["spiffe://example.org/admin"]}, member], [member, {"uri": ["spiffe://example.org/admin"]}],
        [{"uri": ["spiffe://example.org/admin"]}], {**member, "uri": ["spiffe://example.org/admin"]},
    ]
    twice = '[{"hash":"%s","%s":"spiffe://example.org/admin","uri":"%s"}]'
    texts = [value if isinstance(value, str) else json.dumps(value) for value in made]
    return [*texts, *(twice % (leaf.thumbprint_hex, key, SPIFFE) for key in ("uri", "URI", "u\\u0072i"))]


def test_nothing_that_a_caller_wrote_reaches_the_upstream(
    envoy: Envoy, leaf: Credential, root: Authority, http_over_tcp: Client
) -> None:
    for value in forged(leaf, root.credential):
        for path in ("/open", "/health"):
            with http_over_tcp(envoy.port("forward"), ClientTls(leaf)) as client:
                assert verdicts.passed(client.request("GET", path, [(NAME, value)])).values(NAME) == [], value
