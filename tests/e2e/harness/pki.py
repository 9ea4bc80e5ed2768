"""Certificates made in the test, so that every defect is visible where it is tested.

Nothing here is read from disk and nothing outlives the test run. `Authority.issue` makes
good leaf certificates by default; each argument bends one property.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
KeyType = Literal["ec", "ec384", "ec521", "rsa", "ed25519"]

CLIENT_AUTH = ExtendedKeyUsageOID.CLIENT_AUTH
SERVER_AUTH = ExtendedKeyUsageOID.SERVER_AUTH

_ATTRIBUTES = {
    "C": NameOID.COUNTRY_NAME,
    "CN": NameOID.COMMON_NAME,
    "O": NameOID.ORGANIZATION_NAME,
    "OU": NameOID.ORGANIZATIONAL_UNIT_NAME,
    "L": NameOID.LOCALITY_NAME,
    "ST": NameOID.STATE_OR_PROVINCE_NAME,
    "DC": NameOID.DOMAIN_COMPONENT,
    "serialNumber": NameOID.SERIAL_NUMBER,
    "emailAddress": NameOID.EMAIL_ADDRESS,
}
_file_numbers = itertools.count()


@dataclass(frozen=True)
class Signing:
    """How an authority signs, apart from its key."""

    hash: hashes.HashAlgorithm = field(default_factory=hashes.SHA256)
    pss: bool = False
    """RSASSA-PSS, with a salt as long as the hash, in the place of RSASSA-PKCS1-v1_5."""

    def sign(self, builder: x509.CertificateBuilder, key: PrivateKey) -> x509.Certificate:
        """The certificate."""
        if isinstance(key, ed25519.Ed25519PrivateKey):
            return builder.sign(key, None)
        scheme = padding.PSS(padding.MGF1(self.hash), padding.PSS.DIGEST_LENGTH) if self.pss else None
        return builder.sign(key, self.hash, rsa_padding=scheme)


def distinguished_name(attributes: Sequence[tuple[str, str]] | x509.Name) -> x509.Name:
    """A name from `[("CN", "acme"), ("OU", "prod")]`, in that order, repetitions kept; or the name itself."""
    if isinstance(attributes, x509.Name):
        return attributes
    return x509.Name([x509.NameAttribute(_ATTRIBUTES[key], value) for key, value in attributes])


def uri(value: str) -> x509.GeneralName:
    """A URI subject alternative name; nothing about the value is checked."""
    return x509.UniformResourceIdentifier(value)


def dns(value: str) -> x509.GeneralName:
    """A DNS subject alternative name; nothing about the value is checked."""
    return x509.DNSName(value)


def email(value: str) -> x509.GeneralName:
    """An e-mail subject alternative name."""
    return x509.RFC822Name(value)


def ip(value: str) -> x509.GeneralName:
    """An IP address among the subject alternative names."""
    return x509.IPAddress(ipaddress.ip_address(value))


@dataclass(frozen=True)
class Credential:
    """A certificate, its key and the chain a client or server sends, also as files."""

    certificate: x509.Certificate
    key: PrivateKey
    issuers: tuple[x509.Certificate, ...]
    directory: Path
    chain_file: Path = field(init=False)
    key_file: Path = field(init=False)

    def __post_init__(self) -> None:
        number = next(_file_numbers)
        chain_file = self.directory / f"{number}.pem"
        key_file = self.directory / f"{number}.key"
        chain_file.write_bytes(self.chain_pem)
        key_file.write_bytes(self.key_pem)
        object.__setattr__(self, "chain_file", chain_file)
        object.__setattr__(self, "key_file", key_file)

    @property
    def der(self) -> bytes:
        """The leaf as DER."""
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def pem(self) -> str:
        """The leaf as PEM, without its chain."""
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def chain_pem(self) -> bytes:
        """The leaf followed by its intermediates, as a TLS peer sends it."""
        chain = (self.certificate, *self.issuers)
        return b"".join(c.public_bytes(serialization.Encoding.PEM) for c in chain)

    @property
    def key_pem(self) -> bytes:
        """The private key as unencrypted PKCS#8 PEM."""
        return self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    @property
    def thumbprint(self) -> str:
        """`x5t#S256`: unpadded base64url of SHA-256 over the DER."""
        return base64url(hashlib.sha256(self.der).digest())

    @property
    def thumbprint_hex(self) -> str:
        """SHA-256 over the DER as 64 lowercase hex digits, as Envoy prints it."""
        return hashlib.sha256(self.der).hexdigest()


@dataclass(frozen=True)
class Authority:
    """A certification authority: a root, or an intermediate below one."""

    credential: Credential
    root: x509.Certificate
    signing: Signing = Signing()

    @classmethod
    def create(cls, directory: Path, name: str = "Example Root") -> Authority:
        """A self-signed root."""
        directory.mkdir(parents=True, exist_ok=True)
        key = new_key("ec")
        certificate = _sign(_ca_builder(name, None), key.public_key(), distinguished_name([("CN", name)]), key)
        return cls(Credential(certificate, key, (), directory), certificate)

    def intermediate(
        self, name: str | Sequence[tuple[str, str]] = "Example Intermediate", *, key_type: KeyType = "ec",
        signing: Signing = Signing(), imitates: Authority | None = None,
    ) -> Authority:
        """An authority below this one, of a Common Name or a whole name; its leaves send it along in their chain.

        `imitates` is an authority whose subject key identifier it takes; its key is its own.
        """
        key = new_key(key_type)
        issuer = self.credential
        certificate = _sign(
            _ca_builder(name, 0), key.public_key(), issuer.certificate.subject, issuer.key, self.signing, issuer.certificate,
            _key_identifier(imitates.credential.certificate) if imitates else None,
        )
        return Authority(Credential(certificate, key, self._chain(), issuer.directory), self.root, signing)

    @property
    def trust_file(self) -> Path:
        """The root alone, as the file that a verifier is given."""
        path = self.credential.directory / f"root-{self.root.serial_number:x}.pem"
        path.write_bytes(self.root.public_bytes(serialization.Encoding.PEM))
        return path

    def issue(
        self,
        subject: Sequence[tuple[str, str]] | x509.Name = (("CN", "client"),),
        *,
        sans: Sequence[x509.GeneralName] = (),
        extended_key_usage: Sequence[ObjectIdentifier] | None = (CLIENT_AUTH,),
        key_usage: x509.KeyUsage | None = None,
        basic_constraints: x509.BasicConstraints | None = x509.BasicConstraints(ca=False, path_length=None),
        not_before: datetime | None = None,
        not_after: datetime | None = None,
        serial: int | None = None,
        key_type: KeyType = "ec",
        extensions: Sequence[tuple[x509.ExtensionType, bool]] = (),
        issuer_name: x509.Name | None = None,
    ) -> Credential:
        """A leaf; `None` leaves the extension out, `extensions` adds (extension, critical) pairs.

        `issuer_name` spells this authority's name differently.
        """
        key = new_key(key_type)
        certificate = _sign(
            _leaf_builder(subject, sans, extended_key_usage, key_usage, basic_constraints,
                          not_before, not_after, serial, extensions),
            key.public_key(), issuer_name or self.credential.certificate.subject, self.credential.key, self.signing,
            self.credential.certificate,
        )
        return Credential(certificate, key, self._chain(), self.credential.directory)

    def issue_server(self, name: str = "localhost") -> Credential:
        """A certificate for a listener."""
        return self.issue([("CN", name)], sans=[dns(name)], extended_key_usage=[SERVER_AUTH])

    def _chain(self) -> tuple[x509.Certificate, ...]:
        if self.credential.certificate == self.root:
            return ()
        return (self.credential.certificate, *self.credential.issuers)


def self_signed(
    directory: Path,
    subject: Sequence[tuple[str, str]] = (("CN", "client"),),
    *,
    sans: Sequence[x509.GeneralName] = (),
) -> Credential:
    """A certificate that nobody vouches for, otherwise a good client certificate."""
    directory.mkdir(parents=True, exist_ok=True)
    key = new_key("ec")
    constraints = x509.BasicConstraints(ca=False, path_length=None)
    builder = _leaf_builder(subject, sans, (CLIENT_AUTH,), None, constraints, None, None, None, ())
    certificate = _sign(builder, key.public_key(), distinguished_name(subject), key)
    return Credential(certificate, key, (), directory)


def new_key(key_type: KeyType) -> PrivateKey:
    """A fresh key: on P-256, P-384, P-521 or Ed25519, or RSA-2048."""
    if key_type == "rsa":
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)
    if key_type == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    curves: dict[str, ec.EllipticCurve] = {"ec": ec.SECP256R1(), "ec384": ec.SECP384R1(), "ec521": ec.SECP521R1()}
    return ec.generate_private_key(curves[key_type])


def base64url(data: bytes) -> str:
    """Unpadded base64url, the only base64 that JOSE knows."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _sign(
    builder: x509.CertificateBuilder,
    public_key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey,
    issuer: x509.Name,
    issuer_key: PrivateKey,
    signing: Signing = Signing(),
    issuer_certificate: x509.Certificate | None = None,
    key_identifier: x509.SubjectKeyIdentifier | None = None,
) -> x509.Certificate:
    """With the identifier that its issuer has; `key_identifier` is that of another key than its own."""
    builder = builder.public_key(public_key).issuer_name(issuer)
    own = x509.SubjectKeyIdentifier.from_public_key(public_key)
    builder = builder.add_extension(key_identifier or own, critical=False)
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    if issuer_certificate is not None:
        authority = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(_key_identifier(issuer_certificate))
    return signing.sign(builder.add_extension(authority, critical=False), issuer_key)


def _key_identifier(certificate: x509.Certificate) -> x509.SubjectKeyIdentifier:
    return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value


def _leaf_builder(
    subject: Sequence[tuple[str, str]] | x509.Name,
    sans: Sequence[x509.GeneralName],
    extended_key_usage: Sequence[ObjectIdentifier] | None,
    key_usage: x509.KeyUsage | None,
    basic_constraints: x509.BasicConstraints | None,
    not_before: datetime | None,
    not_after: datetime | None,
    serial: int | None,
    extensions: Sequence[tuple[x509.ExtensionType, bool]],
) -> x509.CertificateBuilder:
    builder = _builder(distinguished_name(subject), not_before, not_after, serial)
    if sans:
        builder = builder.add_extension(x509.SubjectAlternativeName(sans), critical=False)
    if extended_key_usage is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage(extended_key_usage), critical=False)
    if key_usage is not None:
        builder = builder.add_extension(key_usage, critical=True)
    if basic_constraints is not None:
        builder = builder.add_extension(basic_constraints, critical=True)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return builder


def _ca_builder(name: str | Sequence[tuple[str, str]], path_length: int | None) -> x509.CertificateBuilder:
    attributes = [("CN", name)] if isinstance(name, str) else name
    builder = _builder(distinguished_name(attributes), None, None, None)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
    return builder.add_extension(key_usage(key_cert_sign=True, crl_sign=True), critical=True)


def key_usage(**set_bits: bool) -> x509.KeyUsage:
    """A key usage extension with only the named bits set."""
    bits = dict.fromkeys(
        ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment",
         "key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
        False,
    )
    return x509.KeyUsage(**(bits | set_bits))


def _builder(
    subject: x509.Name, not_before: datetime | None, not_after: datetime | None, serial: int | None
) -> x509.CertificateBuilder:
    now = datetime.now(timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .serial_number(serial if serial is not None else x509.random_serial_number())
        .not_valid_before(not_before or now - timedelta(hours=1))
        .not_valid_after(not_after or now + timedelta(days=30))
    )
