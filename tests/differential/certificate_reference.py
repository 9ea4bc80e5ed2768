"""What a certificate says, by Python's `cryptography`, and whose it then is, by the contract written plainly."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
import unicodedata
import urllib.parse
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import ExtendedKeyUsageOID

Attribute = tuple[str, str | bytes | None]
"""A dotted OID and its value; `None` where that is no text."""

TABLE = Path(__file__).parents[2] / "src/certificate/attribute_names.txt"


def _names() -> dict[str, str]:
    """The object identifier of each name that the filter prints. That they are the names of OpenSSL is tested end to end."""
    found, beginning = {}, ""
    for line in TABLE.read_text().splitlines():
        number, _, names = line.partition(" ")
        if names:
            found[names.split()[0]] = beginning + number
        else:
            beginning = line
    return found


NAMES = _names()

MAY_BE_CRITICAL = {
    "2.5.29.15", "2.5.29.17", "2.5.29.19", "2.5.29.30", "2.5.29.31", "2.5.29.32", "2.5.29.33", "2.5.29.36", "2.5.29.37", "2.5.29.54",
    "2.16.840.1.113730.1.1",
}  # fmt: skip
"""What a TLS stack heeds when it verifies a chain: the extensions of RFC 5280 section 6, names, usages and Netscape's."""


UNICODE = {_ASN1Type.UTF8String, _ASN1Type.BMPString, _ASN1Type.UniversalString}
ASCII = {
    _ASN1Type.PrintableString, _ASN1Type.IA5String, _ASN1Type.NumericString, _ASN1Type.VisibleString, _ASN1Type.T61String,
}  # fmt: skip
"""Types of characters, and those of which everybody reads the same ones only as far as they are ASCII."""


class Refused(Exception):
    """It is not taken, for this reason."""


@dataclass
class Facts:
    """What decisions are based on. Names as lists of relative names, the most specific first."""

    subject: list[Counter[Attribute]]
    issuer: list[Counter[Attribute]]
    not_before: int
    not_after: int
    uri: list[str]
    dns: list[str]
    email: list[str]
    ip: list[str]
    unsuitable: str | None
    signs: bool
    """Is there no key usage, or does it include digitalSignature?"""


def facts(data: bytes) -> Facts:
    """Everything that `cryptography` reads, and it must be able to read everything but the public key."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            certificate = x509.load_der_x509_certificate(data)
            _ = certificate.version, certificate.serial_number, certificate.signature_algorithm_oid
            if certificate.public_bytes(serialization.Encoding.DER) != data:
                raise Refused("it is written otherwise")
            return Facts(
                subject=_name(certificate.subject),
                issuer=_name(certificate.issuer),
                not_before=int(certificate.not_valid_before_utc.timestamp()),
                not_after=int(certificate.not_valid_after_utc.timestamp()),
                uri=_alternative(certificate, x509.UniformResourceIdentifier),
                dns=[name.encode().lower().decode() for name in _alternative(certificate, x509.DNSName)],
                email=_alternative(certificate, x509.RFC822Name),
                ip=[_address(each) for each in _alternative(certificate, x509.IPAddress)],
                unsuitable=_unsuitable(certificate),
                signs=_signs(certificate),
            )
    except Refused:
        raise
    except Exception as problem:  # whatever it raises: it cannot read this
        raise Refused(f"{type(problem).__name__}: {problem}") from problem


def key_problem(data: bytes) -> str | None:
    """Why `cryptography` cannot use the public key, if it cannot."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            x509.load_der_x509_certificate(data).public_key()
    except Exception as problem:  # whatever it raises: it cannot use this
        return type(problem).__name__
    return None


def _name(name: x509.Name) -> list[Counter[Attribute]]:
    rdns = [Counter((each.oid.dotted_string, _text(each)) for each in rdn) for rdn in name.rdns]
    return rdns[::-1]


def _text(attribute: x509.NameAttribute) -> str | None:
    """Its text, where its type is one of characters and everybody reads the same ones."""
    kind, value = attribute._type, attribute.value
    is_text = isinstance(value, str) and (kind in UNICODE or (kind in ASCII and value.isascii()))
    return value if is_text else None


def _extension(certificate: x509.Certificate, kind: type[Any]) -> Any:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _alternative(certificate: x509.Certificate, kind: type[Any]) -> list[Any]:
    names = _extension(certificate, x509.SubjectAlternativeName)
    return list(names.get_values_for_type(kind)) if names is not None else []


def _address(found: Any) -> str:
    """Its text. Eight or 32 bytes are a network, which is the name of no certificate."""
    if not isinstance(found, ipaddress.IPv4Address | ipaddress.IPv6Address):
        raise Refused("a network")
    inside = found.ipv4_mapped if found.version == 6 else None
    return f"::ffff:{inside}" if inside else str(found)


def _signs(certificate: x509.Certificate) -> bool:
    usage = _extension(certificate, x509.KeyUsage)
    return usage is None or usage.digital_signature


def _unsuitable(certificate: x509.Certificate) -> str | None:
    constraints = _extension(certificate, x509.BasicConstraints)
    usage = _extension(certificate, x509.KeyUsage)
    if (constraints and constraints.ca) or (usage and (usage.key_cert_sign or usage.crl_sign)):
        return "Authority"
    purposes = _extension(certificate, x509.ExtendedKeyUsage)
    if purposes is not None and ExtendedKeyUsageOID.CLIENT_AUTH not in purposes:
        return "NoClientAuth"
    for extension in certificate.extensions:
        if extension.critical and extension.oid.dotted_string not in MAY_BE_CRITICAL:
            return "UnknownCriticalExtension"
    return None


# --- names as the filter prints them ----------------------------------------------------------------------------------


def parse_name(text: str) -> list[Counter[Attribute]]:
    """RFC 4514, read back. A value in hexadecimal is one that the filter does not take for text."""
    rdns: list[Counter[Attribute]] = []
    if not text:
        return rdns
    rest, joined = text, False
    while True:
        kind, rest = rest.split("=", 1)
        value, rest = _value(rest)
        attribute = (NAMES.get(kind, kind), value)
        if joined:
            rdns[-1][attribute] += 1
        else:
            rdns.append(Counter([attribute]))
        if not rest:
            return rdns
        joined, rest = rest[0] == "+", rest[1:]


def _value(text: str) -> tuple[str | None, str]:
    if text.startswith("#"):
        match = re.match(r"#[0-9a-f]*", text)
        assert match
        return None, text[match.end() :]
    octets = bytearray()
    at = 0
    while at < len(text) and text[at] not in ",+":
        if text[at] != "\\":
            octets += text[at].encode()
            at += 1
        elif re.match(r"[0-9A-F]{2}", text[at + 1 : at + 3]):
            octets.append(int(text[at + 1 : at + 3], 16))
            at += 3
        else:
            octets += text[at + 1].encode()
            at += 2
    return octets.decode(), text[at:]


def names_differ(ours: list[Counter[Attribute]], theirs: list[Counter[Attribute]]) -> str | None:
    """`"otherwise"` where we read a text that is not there, `"less"` where we read no text and there is one."""
    if ours == theirs:
        return None
    if len(ours) != len(theirs):
        return "otherwise"
    for mine, other in zip(ours, theirs):
        # What is no text for us may be anything, but it must be there.
        left = other - mine
        missing = mine - other
        if sum(left.values()) != sum(missing.values()) or any(value is not None for _, value in missing):
            return "otherwise"
        if Counter(kind for kind, _ in left.elements()) != Counter(kind for kind, _ in missing.elements()):
            return "otherwise"
    return "less"


# --- whose it is ------------------------------------------------------------------------------------------------------

SPIFFE = re.compile(r"spiffe://([a-z0-9._-]{1,255})(?:/[A-Za-z0-9._-]+)+")

CLIENTS: dict[str, dict[str, Any]] = {
    name: {
        "identities": [
            f"spiffe://prod.example/ns/pay/sa/{name}", f"dns:{name}.example", f"cn:{name}", f"email:{name}@partner.example",
            f"subject:CN={name},O=ExampleCorp", f"uri:https://{name}.example/",
        ],
        "profiles": ["all"],
    }
    for name in ("acme", "globex")
}  # fmt: skip

POLICIES: dict[str, dict[str, Any]] = {
    "default": {},
    "cn first": {"precedence": ["subject_cn", "uri_san", "dns_san"]},
    "dns first": {"precedence": ["dns_san", "subject_cn", "uri_san"]},
    "one trust domain": {"trust_domains": ["prod.example"]},
}
"""Their `identity`; everything else is the same."""


def policy(identity: Mapping[str, Any]) -> dict[str, Any]:
    """The filter's configuration."""
    profiles = {"all": {"allow": [{"paths": ["/**"], "methods": ["GET"]}]}}
    return {"mode": "mtls", "clients": CLIENTS, "profiles": profiles, "identity": dict(identity)}


def identities(facts: Facts, rules: Mapping[str, Any]) -> tuple[set[str], str | None]:
    """Every typed name by which the certificate may be known, and the client that it belongs to."""
    common = [value for rdn in facts.subject for (kind, value) in rdn.elements() if kind == NAMES["CN"]]
    texts = [value for value in common if isinstance(value, str)]
    for text in [*texts, *facts.uri, *facts.dns, *facts.email]:
        if any(unicodedata.category(character) == "Cc" for character in text):
            raise Refused("a control character in a name")
    spiffe = []
    if any(uri[:9].lower() == "spiffe://" for uri in facts.uri):
        if len(facts.uri) != 1:
            raise Refused("several URIs")
        uri = facts.uri[0]
        match = SPIFFE.fullmatch(uri)
        if not match or len(uri) > 2048 or any(segment in (".", "..") for segment in uri.split("/")[3:]):
            raise Refused("not a SPIFFE ID")
        domains = rules.get("trust_domains", [])
        if domains and match[1] not in domains:
            raise Refused("another trust domain")
        if not facts.signs:
            raise Refused("the key of an X509-SVID is not for signatures")
        spiffe = [uri]
    typed: list[str] = []
    for kind in rules.get("precedence", ["uri_san", "dns_san", "subject_cn"]):
        if kind == "uri_san":
            typed = spiffe
        elif kind == "dns_san":
            typed = [f"dns:{name}" for name in facts.dns if name]
        elif len(common) > 1:
            break  # None of them identifies, and a weaker name does not step in.
        elif common == [None]:
            break  # It holds one that is no text, and a weaker name does not step in.
        else:
            typed = [f"cn:{name}" for name in texts if name]
        if typed:
            break
    others = [f"uri:{uri}" for uri in facts.uri if uri[:9].lower() != "spiffe://"]
    others += [f"ip:{address}" for address in facts.ip] + [f"email:{name}" for name in facts.email]
    listed = typed + others
    for client in CLIENTS:
        if facts.subject == [Counter([(NAMES["CN"], client)]), Counter([(NAMES["O"], "ExampleCorp")])]:
            listed.append(f"subject:CN={client},O=ExampleCorp")
    owners = {client for client, entry in CLIENTS.items() if set(entry["identities"]) & set(listed)}
    if len(owners) > 1:
        raise Refused("names of several clients")
    if not typed and not others and not owners:
        raise Refused("no name")
    return set(listed), next(iter(owners), None)


def is_good(facts: Facts, now: int) -> bool:
    """May it be used as a client's certificate at this time?"""
    return facts.unsuitable is None and facts.not_before <= now <= facts.not_after


# --- from texts -------------------------------------------------------------------------------------------------------

WHITE_SPACE = b" \t\n\r\x0c"


def decode(format: str, text: bytes, read: Callable[[bytes], Facts] = facts) -> bytes:
    """The DER that a proxy wrote in this format, if it holds exactly one leaf certificate. `read` reads the others."""
    if format == "rfc9440":
        if len(text) < 2 or not (text.startswith(b":") and text.endswith(b":")):
            raise Refused("not a byte sequence (RFC 8941)")
        return _base64(text[1:-1])
    if format == "haproxy":
        return _base64(text)
    if format == "traefik":
        leaf, *chain = [_base64(unquote(part)) for part in text.split(b",")]
        for data in chain:
            if read(data).unsuitable != "Authority":
                raise Refused("a second leaf")
        return leaf
    text = unquote(text)
    if format == "any" and not text.strip(WHITE_SPACE).startswith(b"-----"):
        return _base64(b"".join(text.split()))
    return _pem(text)


def unquote(text: bytes) -> bytes:
    if re.search(rb"%(?![0-9A-Fa-f]{2})", text):
        raise Refused("a stray percent sign")
    return urllib.parse.unquote_to_bytes(text)


def _base64(text: bytes) -> bytes:
    if not text:
        raise Refused("nothing")
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error as problem:
        raise Refused(str(problem)) from problem
    if base64.b64encode(data) != text:
        raise Refused("another spelling of the same bytes (RFC 4648 section 3.5)")
    return data


def _pem(text: bytes) -> bytes:
    """RFC 7468 section 3, the lax grammar, with nothing around the one certificate but white space."""
    block = re.fullmatch(
        rb"[ \t\n\r\x0c]*-----BEGIN CERTIFICATE-----([A-Za-z0-9+/= \t\n\r\x0c]*)-----END CERTIFICATE-----[ \t\n\r\x0c]*", text
    )
    if not block:
        raise Refused("not one certificate in PEM")
    return _base64(b"".join(block[1].split()))


def without_white_space(text: bytes) -> bytes:
    """PEM with each of its lines in one piece."""
    begin, body, end = re.fullmatch(rb"\s*(-+BEGIN CERTIFICATE-+)(.*?)(-+END CERTIFICATE-+)\s*", text, re.DOTALL).groups()
    return b"\n".join([begin, b"".join(body.split()), end])


def pem_as_read_elsewhere(text: bytes) -> bytes | None:
    """What `cryptography` finds in PEM, if it finds exactly one certificate."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = x509.load_pem_x509_certificates(text)
    except ValueError:
        return None
    return found[0].public_bytes(serialization.Encoding.DER) if len(found) == 1 else None
