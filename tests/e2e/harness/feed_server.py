"""A feed of revocations: what its server answers, and what Envoy and the filter are told about it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from typing import Any, Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from .envoy import Envoy, http1_cluster
from .fetched import Answer, FetchServer
from .filters import Config
from .pki import Authority, Credential

MINUTE = timedelta(minutes=1)
REFRESH_SECONDS = 1


def policy(*feeds: Feed, **members: Any) -> Config:
    """A policy under which every certificate is the client of its Common Name and may do everything."""
    return {
        "mode": "mtls",
        "clients": {},
        "identity": {"allow_unregistered": True, "mappings": [
            {"match": {"subject": {"CN": "{name}"}}, "client_id": "{name}", "profile_id": "partner"}]},
        "profiles": {"partner": {"allow": [{"paths": ["/**"]}]}},
        "revocation": {"feeds": [feed.config() for feed in feeds]},
        **members,
    }


Digest = hashes.SHA256 | hashes.SHA384 | hashes.SHA512


@dataclass
class Feed:
    """A server and the cluster and the settings by which the filter finds it.

    `issuer` is that of a CRL; without one the feed is JSON.
    """

    name: str
    answer: Answer
    issuer: Authority | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    server: FetchServer = field(init=False)

    def __post_init__(self) -> None:
        self.server = FetchServer(self.answer)

    def config(self) -> Config:
        """Its element of `revocation.feeds`."""
        place = {"cluster": f"feed-{self.name}", "authority": "feed.example", "path": "/revoked"}
        kind: Config = {"type": "json"}
        if self.issuer is not None:
            kind = {"type": "crl", "issuer_certificate": self.issuer.credential.pem}
        return {**kind, **place, "refresh_seconds": REFRESH_SECONDS, **self.settings}

    def cluster(self) -> Config:
        """Where Envoy finds the server."""
        return http1_cluster(self.server.port, f"feed-{self.name}")


def fetched(envoy: Envoy, feed: int, outcome: str) -> float:
    """How many fetches of the feed of this place have ended like this, in all listeners."""
    return envoy.admin.prometheus().get(f'mtls_fetch_total{{source="feed_{feed}",outcome="{outcome}"}}', 0.0)


# JSON.


def json_list(*revoked: Credential, others: int = 0, by: Literal["sha256", "serials"] = "sha256") -> Answer:
    """A good document with these certificates behind `others` that nobody has."""
    if by == "sha256":
        return json_answer(sha256=[*_other_thumbprints(others), *(each.thumbprint_hex for each in revoked)])
    issuer = "CN=Example Intermediate"
    serials = [*_other_serials(others), *(each.certificate.serial_number for each in revoked)]
    return json_answer(serials=[{"issuer": issuer, "serial": f"{serial:x}"} for serial in serials])


def json_answer(**lists: Any) -> Answer:
    """A document with these members."""
    return Answer(json.dumps(lists, separators=(",", ":")).encode())


# CRLs.


def crl(
    issuer: Authority,
    *revoked: Credential,
    number: int | None = 1,
    others: int = 0,
    this_update: timedelta = -MINUTE,
    next_update: timedelta = 60 * MINUTE,
    extensions: Sequence[tuple[x509.ExtensionType, bool]] = (),
    entry_extensions: Sequence[tuple[x509.ExtensionType, bool]] = (),
    name: x509.Name | None = None,
    key: Authority | None = None,
    digest: Digest | None = None,
    pem: bool = False,
) -> Answer:
    """A good list of the issuer with these certificates behind `others` that nobody has; each argument bends one property.

    Times are from now on; `extensions` adds (extension, critical) pairs, `entry_extensions` to every entry; `name` and `key`
    are another issuer's.
    """
    now = datetime.now(timezone.utc).replace(microsecond=0)
    entries = [_entry(each.certificate.serial_number, entry_extensions) for each in revoked]
    # `add_revoked_certificate` copies the list each time.
    builder = x509.CertificateRevocationListBuilder(
        name or issuer.credential.certificate.subject, now + this_update, now + next_update, [],
        [*_other_entries(others), *entries],
    )
    authority_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.credential.key.public_key())
    builder = builder.add_extension(authority_key, critical=False)
    if number is not None:
        builder = builder.add_extension(x509.CRLNumber(number), critical=False)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    made = builder.sign((key or issuer).credential.key, digest or hashes.SHA256())
    form = serialization.Encoding.PEM if pem else serialization.Encoding.DER
    return crl_answer(made.public_bytes(form))


def crl_answer(body: bytes) -> Answer:
    """Bytes as a list of revoked certificates."""
    return Answer(body, content_type="application/pkix-crl")


def _entry(serial: int, extensions: Sequence[tuple[x509.ExtensionType, bool]] = ()) -> x509.RevokedCertificate:
    builder = x509.RevokedCertificateBuilder().serial_number(serial)
    builder = builder.revocation_date(datetime.now(timezone.utc) - 2 * MINUTE)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return builder.build()


@lru_cache
def _other_entries(count: int) -> list[x509.RevokedCertificate]:
    return [_entry(serial) for serial in _other_serials(count)]


@lru_cache
def _other_serials(count: int) -> list[int]:
    """Of 127 bits, as many authorities make them."""
    return [int.from_bytes(_digest(number)[:16], "big") >> 1 | 1 for number in range(count)]


@lru_cache
def _other_thumbprints(count: int) -> list[str]:
    return [_digest(number).hex() for number in range(count)]


def _digest(number: int) -> bytes:
    return hashlib.sha256(number.to_bytes(4, "big")).digest()
