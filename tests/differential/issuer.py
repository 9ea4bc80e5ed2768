"""An issuer's keys, made out of numbers that are always the same, and signatures right and wrong."""

from __future__ import annotations

import base64
import functools
import hashlib
import random
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
ORDERS = {
    "ES256": 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    "ES384": int("F" * 48 + "C7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973", 16),
    "ES512": int("1" + "F" * 65 + "A51868783BF2F966B7FCC0148F709A5D03BB5C9B8899C47AEBB6FB71E91386409", 16),
    "EdDSA": 2**252 + 27742317777372353535851937790883648493,
}
SIZES = {"ES256": 32, "ES384": 48, "ES512": 66}
CURVES = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}
HASHES = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
DIGEST_INFO = {
    "sha1": bytes.fromhex("3021300906052b0e03021a05000414"),
    "sha256": bytes.fromhex("3031300d060960864801650304020105000420"),
    "sha384": bytes.fromhex("3041300d060960864801650304020205000430"),
    "sha512": bytes.fromhex("3051300d060960864801650304020305000440"),
}


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _number(value: int, size: int | None = None) -> str:
    return base64url(value.to_bytes(size or (value.bit_length() + 7) // 8, "big"))


@dataclass(frozen=True)
class Signer:
    """A private key that is used with the algorithms of its type."""

    name: str
    key: Any

    @property
    def algorithms(self) -> tuple[str, ...]:
        if isinstance(self.key, rsa.RSAPrivateKey):
            return ALGORITHMS[:6]
        if isinstance(self.key, ed25519.Ed25519PrivateKey):
            return ("EdDSA",)
        return ({"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}[self.key.curve.name],)

    @functools.cached_property
    def public(self) -> Any:
        return self.key.public_key()

    @functools.cached_property
    def jwk(self) -> dict[str, str]:
        """The public key, without `kid`, `alg` and `use`."""
        if isinstance(self.key, rsa.RSAPrivateKey):
            numbers = self.public.public_numbers()
            return {"kty": "RSA", "n": _number(numbers.n), "e": _number(numbers.e)}
        if isinstance(self.key, ed25519.Ed25519PrivateKey):
            return {"kty": "OKP", "crv": "Ed25519", "x": base64url(self.public.public_bytes_raw())}
        numbers, size = self.public.public_numbers(), SIZES[self.algorithms[0]]
        curve = {32: "P-256", 48: "P-384", 66: "P-521"}[size]
        return {"kty": "EC", "crv": curve, "x": _number(numbers.x, size), "y": _number(numbers.y, size)}

    def sign(self, algorithm: str, message: bytes, rng: random.Random) -> bytes:
        """A good signature. Everything that is random in it comes from `rng`."""
        if algorithm.startswith("RS"):
            return self.key.sign(message, padding.PKCS1v15(), HASHES[algorithm[2:]])
        if algorithm.startswith("PS"):
            hash = f"sha{algorithm[2:]}"
            return self.pss(message, rng.randbytes(int(algorithm[2:]) // 8), hash, hash)
        if algorithm == "EdDSA":
            return self.key.sign(message)
        r, s = self.dss(algorithm, message)
        return concatenated(algorithm, r, s)

    def dss(self, algorithm: str, message: bytes) -> tuple[int, int]:
        """The two numbers of an ECDSA signature."""
        hashed = ec.ECDSA(HASHES[algorithm[2:]], deterministic_signing=True)
        return decode_dss_signature(self.key.sign(message, hashed))

    def raw(self, block: bytes) -> bytes:
        """RSA itself, so that what is padded wrongly can be signed, too."""
        numbers = self.key.private_numbers()
        value = int.from_bytes(block, "big")
        one, other = pow(value, numbers.dmp1, numbers.p), pow(value, numbers.dmq1, numbers.q)
        signature = other + numbers.q * ((one - other) * numbers.iqmp % numbers.p)
        return signature.to_bytes(self.key.key_size // 8, "big")

    def pss(self, message: bytes, salt: bytes, hash: str = "sha256", mask: str = "sha256", trailer: int = 0xBC) -> bytes:
        """RFC 8017 section 9.1.1."""
        digest = lambda data: hashlib.new(hash, data).digest()  # noqa: E731
        size = self.key.key_size // 8
        salt = salt[: size - hashlib.new(hash).digest_size - 2]
        hashed = digest(bytes(8) + digest(message) + salt)
        block = bytes(size - len(hashed) - len(salt) - 2) + b"\x01" + salt
        stream, counter = b"", 0
        while len(stream) < len(block):
            stream += hashlib.new(mask, hashed + counter.to_bytes(4, "big")).digest()
            counter += 1
        masked = bytearray(one ^ other for one, other in zip(block, stream))
        masked[0] &= 0x7F
        return self.raw(bytes(masked) + hashed + bytes([trailer]))

    def pkcs1(self, message: bytes, hash: str, defect: str) -> bytes:
        """RFC 8017 section 9.2, but for one defect."""
        info = DIGEST_INFO[hash] + hashlib.new(hash, message).digest()
        size = self.key.key_size // 8
        kind, end = b"\x01", b"\0"
        if defect == "garbage":
            return self.raw(b"\0\x01" + b"\xff" * 8 + b"\0" + info + bytes(size - 11 - len(info)))
        if defect == "no null":
            info = _without_null(hash) + hashlib.new(hash, message).digest()
        elif defect == "bare digest":
            info = hashlib.new(hash, message).digest()
        elif defect == "block type 2":
            kind = b"\x02"
        elif defect == "no separator":
            end = b"\xff"
        filler = b"\xff" * (size - 3 - len(info))
        if defect == "odd filler":
            filler = filler[:20] + b"\xfe" + filler[21:]
        return self.raw(b"\0" + kind + filler + end + info)


def _without_null(hash: str) -> bytes:
    """A DigestInfo up to its digest, whose algorithm has no parameters."""
    prefix = DIGEST_INFO[hash]
    return bytes([0x30, prefix[1] - 2, 0x30, prefix[3] - 2]) + prefix[4:-4] + prefix[-2:]


def concatenated(algorithm: str, r: int, s: int) -> bytes:
    """RFC 7518 section 3.4."""
    size = SIZES[algorithm]
    return r.to_bytes(size, "big") + s.to_bytes(size, "big")


def _prime(rng: random.Random, bits: int) -> int:
    """A prime number p with p - 1 and 65537 coprime."""
    small = [number for number in range(3, 2000, 2) if all(number % other for other in range(3, int(number**0.5) + 1, 2))]
    while True:
        number = rng.getrandbits(bits) | 3 << bits - 2 | 1
        if all(number % prime for prime in small) and (number - 1) % 65537:
            if all(pow(base, number - 1, number) == 1 for base in (2, 3, 5, 7, 11)):
                return number


def _rsa(name: str, bits: int = 2048) -> Signer:
    rng = random.Random(name)
    p, q = _prime(rng, bits // 2), _prime(rng, bits // 2)
    d = pow(65537, -1, (p - 1) * (q - 1))
    public = rsa.RSAPublicNumbers(65537, p * q)
    numbers = rsa.RSAPrivateNumbers(
        p, q, d, rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q), public
    )
    return Signer(name, numbers.private_key())


def _ec(name: str, algorithm: str) -> Signer:
    secret = int.from_bytes(hashlib.sha256(name.encode()).digest(), "big") >> 1
    return Signer(name, ec.derive_private_key(secret, CURVES[algorithm]))


def _ed(name: str) -> Signer:
    return Signer(name, ed25519.Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest()))


@functools.cache
def signers() -> dict[str, Signer]:
    """Two issuers' keys of each type: `a` is the configured one's, `b` often somebody else's."""
    made = [_rsa("rsa-a"), _rsa("rsa-b"), _rsa("rsa-small", 1024)]
    for each in "ab":
        made += [_ec(f"p256-{each}", "ES256"), _ec(f"p384-{each}", "ES384"), _ec(f"p521-{each}", "ES512"), _ed(f"ed-{each}")]
    return {signer.name: signer for signer in made}
