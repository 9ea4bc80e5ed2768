"""What a token is worth, written plainly from RFC 7515, 7518, 7519, 8037, 8705 and 8725 and from the contract.

Signatures are `cryptography`'s, JSON is Python's. Where RFCs leave something open, the contract decides; where that is
silent, too, it is allowed here.
"""

from __future__ import annotations

import base64
import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from .issuer import ALGORITHMS, CURVES, HASHES, SIZES, Signer

sys.set_int_max_str_digits(0)

MAX_TOKEN = 16 * 1024
"""Of a token in a request."""

TYPES = {"jwt", "at+jwt", "application/jwt", "application/at+jwt"}


class Refused(Exception):
    """It is not taken, for this reason."""


@dataclass(frozen=True)
class Key:
    """A key of a set: who has its private half, and the members of its JWK that are more than the key."""

    signer: Signer
    kid: str | None = None
    alg: str | None = None
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def jwk(self) -> dict[str, Any]:
        named = {"kid": self.kid, "alg": self.alg}
        return {**self.signer.jwk, **{name: value for name, value in named.items() if value is not None}, **self.more}

    def serves(self, algorithm: str) -> bool:
        """RFC 7517 section 4, RFC 7518 section 3.3 (2048 bits)."""
        operations = self.more.get("key_ops") or ["verify"]
        for_signatures = self.more.get("use", "sig") == "sig" and bool({"verify", "sign"} & set(operations))
        large = getattr(self.signer.public, "key_size", 2048) >= 2048 or not algorithm[:2] in ("RS", "PS")
        return algorithm in self.signer.algorithms and self.alg in (None, algorithm) and for_signatures and large


def payload(token: str, keys: Sequence[Key], algorithms: Sequence[str]) -> dict[str, Any]:
    """The claims of a token that one of the keys signed (RFC 7515 section 5.2)."""
    parts = token.split(".")
    if len(parts) != 3:
        raise Refused("not three parts")
    header, claims = (_object(_decoded(part)) for part in parts[:2])
    signature = _decoded(parts[2])
    if "crit" in header:
        raise Refused("crit: no extension is understood")
    if "typ" in header and not (isinstance(header["typ"], str) and header["typ"].lower() in TYPES):
        raise Refused("typ")
    algorithm = header.get("alg")
    # RFC 9864 section 2.2: what EdDSA with a key of that curve is.
    algorithm = "EdDSA" if algorithm == "Ed25519" else algorithm
    if not isinstance(algorithm, str) or algorithm not in algorithms:
        raise Refused("alg")
    serving = [key for key in keys if key.serves(algorithm)]
    kid = header.get("kid", "")
    if not isinstance(kid, str):
        raise Refused("kid")
    if kid:
        serving = [key for key in serving if key.kid == kid] + [key for key in serving if not key.kid]
    # The contract: keys of one name, and those without a name, are tried, eight at most.
    problem = Refused("no key")
    for key in serving[:8]:
        try:
            _verify(key.signer, algorithm, signature, ".".join(parts[:2]).encode())
            return claims
        except Refused as refused:
            problem = refused
    raise problem


def _decoded(part: str) -> bytes:
    """RFC 7515 section 2: no padding, no white space, and one spelling of the same bytes (RFC 4648 section 3.5)."""
    if not re.fullmatch(r"[A-Za-z0-9_-]*", part, re.ASCII) or len(part) % 4 == 1:
        raise Refused("not base64url")
    data = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    if base64.urlsafe_b64encode(data).rstrip(b"=").decode() != part:
        raise Refused("stray bits")
    return data


def _object(data: bytes) -> dict[str, Any]:
    """RFC 7515 section 4, RFC 7519 section 4: UTF-8, an object, no member twice."""

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise Refused("a member twice")
        return found

    def constant(text: str) -> None:
        raise Refused(text)

    try:
        value = json.loads(data.decode(), object_pairs_hook=members, parse_constant=constant, parse_float=Decimal)
    except (ValueError, RecursionError) as problem:
        raise Refused(f"not JSON: {problem}") from problem
    if not isinstance(value, dict):
        raise Refused("not an object")
    return value


def _verify(signer: Signer, algorithm: str, signature: bytes, message: bytes) -> None:
    """RFC 7518 section 3, RFC 8037 section 3.1."""
    key = signer.public
    try:
        if algorithm == "EdDSA":
            key.verify(signature, message)
        elif algorithm in CURVES:
            size = SIZES[algorithm]
            if len(signature) != 2 * size:
                raise Refused("the signature's length")
            numbers = (int.from_bytes(half, "big") for half in (signature[:size], signature[size:]))
            key.verify(encode_dss_signature(*numbers), message, ec.ECDSA(HASHES[algorithm[2:]]))
        else:
            if len(signature) != (key.key_size + 7) // 8:
                raise Refused("the signature's length")
            hash = HASHES[algorithm[2:]]
            pss = padding.PSS(padding.MGF1(hash), hash.digest_size)
            key.verify(signature, message, pss if algorithm.startswith("PS") else padding.PKCS1v15(), hash)
    except InvalidSignature:
        raise Refused("the signature") from None


@dataclass(frozen=True)
class Rules:
    """What a policy says of tokens."""

    keys: Sequence[Key]
    optional: bool = False
    algorithms: Sequence[str] = ALGORITHMS
    issuers: Sequence[str] = ()
    audiences: Sequence[str] = ()
    leeway: int = 30
    client_claims: Sequence[str] = ("client_id", "azp")


@dataclass(frozen=True)
class Presented:
    """A certificate: whose it is, and its SHA-256 in base64url."""

    client: str
    thumbprint: str


SCOPES = {"/open": None, "/scope/read": "read", "/scope/admin": "admin"}
"""What the paths of the questions need."""


def decide(claims: Mapping[str, Any], rules: Rules, presented: Presented | None, now: int, path: str) -> tuple[str, str]:
    """The client and how it proved to be the token's holder, where the contract allows this."""
    # The contract: null is as good as absent, but for `cnf`.
    claims = {name: value for name, value in claims.items() if value is not None or name == "cnf"}
    _times(claims, now, rules.leeway)
    _parties(claims, rules)
    bound = _is_bound(claims, presented)
    if not bound and (not rules.optional or presented is None and not rules.client_claims):
        raise Refused("not bound")
    client = _client(claims, rules, presented)
    needed = SCOPES[path]
    if needed is not None and needed not in _scopes(claims):
        raise Refused("scope")
    return client, "bound" if bound else "bearer"


def _times(claims: Mapping[str, Any], now: int, leeway: int) -> None:
    """RFC 7519 section 4.1.4 to 4.1.6; `exp` is required."""
    for name in ("exp", "nbf", "iat"):
        if name in claims and (isinstance(claims[name], bool) or not isinstance(claims[name], int | Decimal)):
            raise Refused(f"{name} is no number")
        if name in claims and not 0 <= claims[name] < 253_402_300_800:
            raise Refused(f"{name} is not between 1970 and 9999")
    # The contract: numbers are doubles, as in metadata, and fractions are cut off.
    claims = {name: int(float(claims[name])) for name in ("exp", "nbf", "iat") if name in claims}
    if "exp" not in claims or now >= claims["exp"] + leeway:
        raise Refused("exp")
    for name in ("nbf", "iat"):
        if name in claims and now < claims[name] - leeway:
            raise Refused(name)


def _parties(claims: Mapping[str, Any], rules: Rules) -> None:
    """RFC 7519 section 4.1.1 and 4.1.3."""
    issuer, audience = claims.get("iss"), claims.get("aud")
    if "iss" in claims and not isinstance(issuer, str):
        raise Refused("iss is no text")
    if rules.issuers and issuer not in rules.issuers:
        raise Refused("iss")
    audiences = [audience] if isinstance(audience, str) else audience
    if "aud" in claims and not (isinstance(audiences, list) and all(isinstance(each, str) for each in audiences)):
        raise Refused("aud is neither a text nor a list of texts")
    if rules.audiences and not set(audiences or []) & set(rules.audiences):
        raise Refused("aud")


def _is_bound(claims: Mapping[str, Any], presented: Presented | None) -> bool:
    """RFC 8705 section 3.1. A `cnf` that cannot be checked is a refusal."""
    if "cnf" not in claims:
        return False
    confirmation = claims["cnf"]
    thumbprint = confirmation.get("x5t#S256") if isinstance(confirmation, dict) else None
    if presented is None or not isinstance(thumbprint, str) or thumbprint != presented.thumbprint:
        raise Refused("cnf")
    return True


def _client(claims: Mapping[str, Any], rules: Rules, presented: Presented | None) -> str:
    named = [claims[name] for name in rules.client_claims if name in claims]
    if any(not isinstance(name, str) for name in named):
        raise Refused("a client that is no text")
    if rules.client_claims and not named:
        raise Refused("no client")
    clients = {*named, *([presented.client] if presented else [])}
    if len(clients) != 1 or not clients <= {"acme", "globex"}:
        raise Refused("another client")
    return next(iter(clients))


def _scopes(claims: Mapping[str, Any]) -> list[str]:
    """RFC 6749 section 3.3: words between single spaces. `scp` may be a list of words, too."""
    scopes: list[str] = []
    for name in ("scope", "scp"):
        value = claims.get(name)
        if isinstance(value, str):
            scopes += value.split(" ")
        elif isinstance(value, list):
            scopes += [each for each in value if isinstance(each, str)]
    return scopes
