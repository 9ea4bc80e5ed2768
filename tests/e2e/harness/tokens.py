"""JSON Web Tokens with arbitrary headers and claims, and the key sets that verify them.

Signing is written out here and not left to a JWT library, because a library refuses to
make most of the tokens that a test of refusals needs.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from .pki import Credential, PrivateKey, base64url, new_key

Algorithm = Literal["ES256", "RS256"]

ISSUER = "https://issuer.example"
AUDIENCE = "https://api.example"


@dataclass(frozen=True)
class Signer:
    """One signing key of an issuer."""

    algorithm: Algorithm = "ES256"
    key_id: str = "key-1"
    key: PrivateKey = field(default=None)  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if self.key is None:
            object.__setattr__(self, "key", new_key("ec" if self.algorithm == "ES256" else "rsa"))

    def sign(self, claims: Mapping[str, Any] | bytes, header: Mapping[str, Any] | bytes | None = None) -> str:
        """A compact JWS; bytes are taken as they are, so that broken JSON can be signed too."""
        if header is None:
            header = {"alg": self.algorithm, "kid": self.key_id, "typ": "JWT"}
        signed = f"{base64url(_json(header))}.{base64url(_json(claims))}"
        return f"{signed}.{base64url(self._signature(signed.encode()))}"

    def jwk(self) -> dict[str, str]:
        """The public half as a JSON Web Key."""
        common = {"kid": self.key_id, "alg": self.algorithm, "use": "sig"}
        public = self.key.public_key()
        if isinstance(public, ec.EllipticCurvePublicKey):
            point = public.public_numbers()
            return {**common, "kty": "EC", "crv": "P-256",
                    "x": base64url(point.x.to_bytes(32, "big")), "y": base64url(point.y.to_bytes(32, "big"))}
        numbers = public.public_numbers()
        return {**common, "kty": "RSA", "n": base64url(_integer(numbers.n)), "e": base64url(_integer(numbers.e))}

    def _signature(self, data: bytes) -> bytes:
        if isinstance(self.key, rsa.RSAPrivateKey):
            return self.key.sign(data, padding.PKCS1v15(), hashes.SHA256())
        r, s = decode_dss_signature(self.key.sign(data, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def jwks(*signers: Signer) -> str:
    """A JSON Web Key Set, for `local_jwks`."""
    return json.dumps({"keys": [signer.jwk() for signer in signers]})


def claims(client_id: str, bound_to: Credential | str | None = None, /, **more: Any) -> dict[str, Any]:
    """A good set of claims; `bound_to` is a certificate or a literal `x5t#S256`, `more` overrides."""
    now = int(time.time())
    result: dict[str, Any] = {
        "iss": ISSUER, "aud": AUDIENCE, "sub": client_id, "client_id": client_id,
        "iat": now, "nbf": now - 5, "exp": now + 3600,
    }
    if bound_to is not None:
        thumbprint = bound_to if isinstance(bound_to, str) else bound_to.thumbprint
        result["cnf"] = {"x5t#S256": thumbprint}
    return result | more


def _json(value: Mapping[str, Any] | bytes) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode()


def _integer(value: int) -> bytes:
    return value.to_bytes((value.bit_length() + 7) // 8, "big")
