"""One subject, as Envoy, OpenSSL and Java print it: a client that is registered by that text is recognised."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.name import _ASN1Type as Type
from cryptography.x509.oid import ObjectIdentifier

from conftest import StartEnvoy
from harness import probe, verdicts
from harness.envoy import Envoy
from harness.filters import Config
from harness.http1 import Http1
from harness.listener import Listener
from harness.pki import Authority, Credential
from harness.tls import ClientTls

NAME = "x-forwarded-client-cert"
ORGANIZATION = "2.5.4.10"
UNIQUE_IDENTIFIER = "0.9.2342.19200300.100.1.44"
UUID = "2.25.329800735698586629295641978511506172918"
UNPRINTABLE = {UUID, "2.999.18446744073709551616.1"}
"""Of a number above 64 bits Envoy prints nothing."""

TYPES: dict[str, list[int]] = {
    "2.5.4": [*range(3, 55), 65, 72, 97, 98, 99, 100, 200],
    "0.9.2342.19200300.100.1": [*range(1, 16), *range(20, 32), *range(37, 57)],
    "1.2.840.113549.1.9": [*range(1, 10), 14, 15, 16, 20, 21],
    "1.3.6.1.4.1.311.60.2.1": [1, 2, 3],
    "1.2.643.100": [1, 3, 4, 5, 111, 112, 113],
    "1.2.643.3.131.1": [1],
    "1.2.3": [4],
    "2.999": [1],
}
"""Every attribute type that OpenSSL 3 knows by name, and some that nobody does."""

OIDS = [f"{beginning}.{number}" for beginning, numbers in TYPES.items() for number in numbers] + sorted(UNPRINTABLE)

JAVA = {
    "2.5.4.3": "CN", "2.5.4.6": "C", "2.5.4.7": "L", "2.5.4.8": "ST", "2.5.4.9": "STREET", "2.5.4.10": "O", "2.5.4.11": "OU",
    "0.9.2342.19200300.100.1.1": "UID", "0.9.2342.19200300.100.1.25": "DC",
}
"""What X500Principal.getName() has names for (JDK 17 and 25)."""

JAVA_TO_STRING = {
    **JAVA, "2.5.4.4": "SURNAME", "2.5.4.5": "SERIALNUMBER", "2.5.4.12": "T", "2.5.4.42": "GIVENNAME", "2.5.4.43": "INITIALS",
    "2.5.4.44": "GENERATION", "2.5.4.46": "DNQ", "1.2.840.113549.1.9.1": "EMAILADDRESS",
}
"""What X500Principal.toString() has names for."""


def name(*attributes: tuple[str, str | bytes, Type]) -> x509.Name:
    """In the order of the DER; nothing about the values is checked."""
    return x509.Name([x509.NameAttribute(ObjectIdentifier(oid), value, kind, _validate=False) for oid, value, kind in attributes])


def several(*attributes: tuple[str, str]) -> x509.RelativeDistinguishedName:
    """Attributes of one relative name."""
    return x509.RelativeDistinguishedName([x509.NameAttribute(ObjectIdentifier(oid), value) for oid, value in attributes])


CN, OU, UTF8 = "2.5.4.3", "2.5.4.11", Type.UTF8String
VALUES: dict[str, x509.Name] = {
    "empty": name((ORGANIZATION, "", UTF8), (OU, "", UTF8), (CN, "x", UTF8)),
    "special": name((ORGANIZATION, "Example, Inc.", UTF8), (CN, ' a "q" +x=y;<z>\\# ', UTF8)),
    "hash": name((CN, "#x", UTF8), (OU, "a  b", UTF8)),
    "umlaut": name((ORGANIZATION, "Müller & Söhne", UTF8), (CN, "日本 😀", UTF8)),
    "control": name((OU, "a\nb\tc\x7f", UTF8)),
    "bmp": name((ORGANIZATION, "Mü", Type.BMPString)),
    "universal": name((CN, "Mü😀", Type.UniversalString)),
    "teletex": name((CN, "acme", Type.T61String)),
    "ia5": name(("1.2.840.113549.1.9.1", "a@b.example", Type.IA5String)),
    "bits": name(("2.5.4.45", b"\0ab", Type.BitString)),
    "multi-valued": x509.Name([several((CN, "b"), (OU, "a"), (ORGANIZATION, "c")), several((CN, "z"))]),
    "several Common Names": name((ORGANIZATION, "x", UTF8), (CN, "Users", UTF8), (CN, "svc", UTF8)),
}
"""Subjects whose values are written in one way or another."""


@dataclass(frozen=True)
class Subject:
    """A certificate and the texts that tools print for its subject."""

    leaf: Credential
    envoy: str

    @property
    def openssl(self) -> str:
        """As the documentation tells users to print it."""
        return openssl(self.leaf, "RFC2253")


def openssl(leaf: Credential, option: str) -> str:
    """The subject as OpenSSL prints it."""
    command = ["openssl", "x509", "-noout", "-subject", "-nameopt", option]
    return subprocess.run(command, input=leaf.pem, check=True, capture_output=True, text=True).stdout[:-1].removeprefix("subject=")


def java(oid: str, der: bytes) -> str:
    """As X500Principal.getName() prints an attribute of this type with the value `De`."""
    return f"{JAVA[oid]}=De" if oid in JAVA else f"{oid}=#{der.hex()}"


def java_to_string(oid: str) -> str:
    """As X500Principal.toString() does."""
    return f"{JAVA_TO_STRING.get(oid, f'OID.{oid}')}=De"


@pytest.fixture(scope="module")
def subjects(start_envoy: StartEnvoy, issuer: Authority) -> dict[str, Subject]:
    """One of each type and each kind of value, by name, with what Envoy prints."""
    envoy = start_envoy(probe.listener("probe", ("property", "connection", "subject_peer_certificate")))
    made = {oid: name((ORGANIZATION, "Ex", UTF8), (oid, "De", UTF8)) for oid in OIDS} | VALUES
    found = {}
    for key, subject in made.items():
        leaf = issuer.issue(subject)
        with Http1(envoy.port("probe"), ClientTls(leaf)) as client:
            (answer,) = probe.ask(client, ("property", "connection", "subject_peer_certificate"))
        found[key] = Subject(leaf, answer.text())
    return found


def policy(texts: dict[str, str], **certificate: str) -> Config:
    """Each text is the only name of a client."""
    clients = {f"c{number}": {"identities": [f"subject:{text}"], "profiles": ["p"]} for number, text in enumerate(texts.values())}
    return {
        "mode": "mtls", "certificate": certificate, "clients": clients,
        "profiles": {"p": {"allow": [{"paths": ["/**"]}]}},
    }


Texts = Callable[[dict[str, Subject]], dict[str, str]]
SPELLINGS: dict[str, Texts] = {
    "envoy": lambda all: {key: each.envoy for key, each in all.items() if key not in UNPRINTABLE},
    # OpenSSL 3 has the name `uid` for another type than everybody else.
    "openssl": lambda all: {key: each.openssl for key, each in all.items() if key != UNIQUE_IDENTIFIER},
    "openssl_utf8": lambda all: {key: openssl(all[key].leaf, "RFC2253,-esc_msb,utf8") for key in VALUES},
    "java": lambda all: {key: java(key, der_of_last(each)) + ",O=Ex" for key, each in all.items() if key in OIDS},
    "java_to_string": lambda all: {key: java_to_string(key) + ", O=Ex" for key in all if key in OIDS and ends_plainly(key)},
}


def der_of_last(subject: Subject) -> bytes:
    """The value of the last attribute."""
    (attribute,) = subject.leaf.certificate.subject.rdns[-1]
    kind = {Type.UTF8String: 0x0C, Type.PrintableString: 0x13, Type.IA5String: 0x16}[attribute._type]
    return bytes([kind, 2]) + b"De"


def ends_plainly(oid: str) -> bool:
    """Is the first attribute, in the order of Java, none that names begin with in OpenSSL's default order?"""
    return JAVA.get(oid) not in ("C", "DC", "L", "O", "OU", "ST")


@dataclass(frozen=True)
class World:
    """An Envoy with a listener for each spelling, and two that add their own header, in each of its forms."""

    envoy: Envoy
    texts: dict[str, dict[str, str]]
    """For each listener, what its clients are registered by."""


@pytest.fixture(scope="module")
def world(start_envoy: StartEnvoy, subjects: dict[str, Subject], every_envoy: Path, newest: bool) -> World:
    """The old Envoy shows the digest, the subject and the first names of a certificate, and no more."""
    # What is not printed cannot be compared.
    known = {key: subject for key, subject in subjects.items() if newest or key not in UNPRINTABLE}
    texts = {spelling: of(known) for spelling, of in SPELLINGS.items()}
    details: Config = {"subject": True, "uri": True, **({"issuer": True, "chain": True} if newest else {})}
    forms = ["TEXT", "JSON"] if newest else ["TEXT"]
    texts |= {form: texts["openssl"] for form in forms}
    validation = "attribute" if newest else "listener"
    own: Config = {"forward_client_cert_details": "SANITIZE_SET"}
    envoy = start_envoy(
        *(Listener(spelling, policy(texts[spelling], validation=validation)) for spelling in SPELLINGS),
        *(Listener(form, policy(texts[form], validation=validation), **own,
                   set_current_client_cert_details=details | ({"format": form} if newest else {})) for form in forms),
        binary=every_envoy,
    )
    return World(envoy, texts)


@pytest.mark.parametrize("listener", [*SPELLINGS, "TEXT", "JSON"])
def test_a_subject_is_one_name_to_envoy_openssl_java_and_the_filter(
    world: World, subjects: dict[str, Subject], listener: str
) -> None:
    """Behind the listeners that add their own header, it reaches the upstream with that subject in it."""
    found = {}
    for number, (key, text) in enumerate(world.texts.get(listener, {}).items()):
        with Http1(world.envoy.port(listener), ClientTls(subjects[key].leaf)) as client:
            answer = client.request()
        if answer.header("x-upstream") is None:
            found[key] = f"{text}: {verdicts.reason_of(answer)}"
        elif answer.echo().values("x-client-id") != [f"c{number}"]:
            found[key] = f"{text}: another client"
        elif listener.isupper() and len(answer.echo().values(NAME)) != 1:
            found[key] = f"{text}: without the header"
    assert found == {}
