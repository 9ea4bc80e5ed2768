"""JSON Web Tokens with arbitrary headers and claims, and the key sets that verify them.

Signing is written out here and not left to a JWT library, because a library refuses to
make most of the tokens that a test of refusals needs.
"""

from __future__ import annotations

import hmac
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from .pki import Credential, PrivateKey, base64url, new_key

Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
ALGORITHMS: tuple[Algorithm, ...] = get_args(Algorithm)
SigningKey = PrivateKey | ed25519.Ed25519PrivateKey

ISSUER = "https://issuer.example"
AUDIENCE = "https://api.example"


@dataclass(frozen=True)
class Signer:
    """One signing key of an issuer."""

    algorithm: Algorithm = "ES256"
    key_id: str = "key-1"
    key: SigningKey = field(default=None)  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if self.key is None:
            object.__setattr__(self, "key", _new_key(self.algorithm))

    def sign(self, claims: Mapping[str, Any] | bytes, header: Mapping[str, Any] | bytes | None = None) -> str:
        """A compact JWS; bytes are taken as they are, so that broken JSON can be signed too."""
        if header is None:
            header = {"alg": self.algorithm, "kid": self.key_id, "typ": "JWT"}
        signed = f"{base64url(_json(header))}.{base64url(_json(claims))}"
        return f"{signed}.{base64url(self._signature(signed.encode()))}"

    def jwk(self, **more: Any) -> dict[str, Any]:
        """The public half as a JSON Web Key; `more` overrides members, `None` leaves one out."""
        common = {"kid": self.key_id, "alg": self.algorithm, "use": "sig"}
        members = {**common, **_public_members(self.key), **more}
        return {name: value for name, value in members.items() if value is not None}

    def public_pem(self) -> bytes:
        """The public half as PEM, which some libraries once took for a shared secret."""
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return self.key.public_key().public_bytes(serialization.Encoding.PEM, form)

    def _signature(self, data: bytes) -> bytes:
        if isinstance(self.key, ed25519.Ed25519PrivateKey):
            return self.key.sign(data)
        digest = _HASHES[self.algorithm[2:]]
        if isinstance(self.key, rsa.RSAPrivateKey):
            scheme: padding.AsymmetricPadding = padding.PKCS1v15()
            if self.algorithm.startswith("PS"):
                scheme = padding.PSS(padding.MGF1(digest), digest.digest_size)
            return self.key.sign(data, scheme, digest)
        size = (self.key.key_size + 7) // 8
        r, s = decode_dss_signature(self.key.sign(data, ec.ECDSA(digest)))
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")


_HASHES = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}


def sign_with_secret(secret: bytes, claims: Mapping[str, Any], key_id: str) -> str:
    """A token with the HMAC of a shared secret, `HS256`, which nobody should take."""
    header = {"alg": "HS256", "kid": key_id, "typ": "JWT"}
    signed = f"{base64url(_json(header))}.{base64url(_json(claims))}"
    return f"{signed}.{base64url(hmac.digest(secret, signed.encode(), 'sha256'))}"


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


def _new_key(algorithm: Algorithm) -> SigningKey:
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    if algorithm in ("ES384", "ES512"):
        return ec.generate_private_key(ec.SECP384R1() if algorithm == "ES384" else ec.SECP521R1())
    return new_key("ec" if algorithm == "ES256" else "rsa")


def _public_members(key: SigningKey) -> dict[str, str]:
    public = key.public_key()
    if isinstance(public, ed25519.Ed25519PublicKey):
        return {"kty": "OKP", "crv": "Ed25519", "x": base64url(public.public_bytes_raw())}
    if isinstance(public, ec.EllipticCurvePublicKey):
        point, size = public.public_numbers(), (public.key_size + 7) // 8
        return {"kty": "EC", "crv": f"P-{public.key_size}",
                "x": base64url(point.x.to_bytes(size, "big")), "y": base64url(point.y.to_bytes(size, "big"))}
    numbers = public.public_numbers()
    return {"kty": "RSA", "n": base64url(_integer(numbers.n)), "e": base64url(_integer(numbers.e))}


def _json(value: Mapping[str, Any] | bytes) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode()


def _integer(value: int) -> bytes:
    return value.to_bytes((value.bit_length() + 7) // 8, "big")
