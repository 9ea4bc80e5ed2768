"""Envoy's own signature verification, as a filter can call it."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from conftest import StartEnvoy
from harness import probe, protobuf
from harness.envoy import Envoy
from harness.http1 import Http1
from harness.pki import Authority
from harness.probe import BAD_ARGUMENT, OK, Answer
from harness.tls import ClientTls

TEXT = b"header.payload"
VERIFIED = Answer(OK, b"\x08\x01")
HASHES: dict[str, hashes.HashAlgorithm] = {
    "sha1": hashes.SHA1(), "sha224": hashes.SHA224(), "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(), "sha512": hashes.SHA512(),
}
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
CURVES = [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()]
P256 = ec.generate_private_key(ec.SECP256R1())
GOOD = P256.sign(TEXT, ec.ECDSA(hashes.SHA256()))


@pytest.fixture(scope="module")
def envoy(start_envoy: StartEnvoy, every_envoy: Path) -> Envoy:
    return start_envoy(probe.listener("verify"), binary=every_envoy)


@pytest.fixture(scope="module")
def tls(issuer: Authority) -> ClientTls:
    return ClientTls(issuer.issue())


@pytest.mark.parametrize("name", HASHES)
def test_rsa_pkcs1_and_ecdsa_are_verified_with_every_hash(envoy: Envoy, tls: ClientTls, name: str) -> None:
    signature = RSA.sign(TEXT, padding.PKCS1v15(), HASHES[name])
    assert verify(envoy, tls, spki(RSA), name, signature) == VERIFIED
    for curve in CURVES:
        key = ec.generate_private_key(curve)
        assert verify(envoy, tls, spki(key), name, key.sign(TEXT, ec.ECDSA(HASHES[name]))) == VERIFIED


def test_a_bad_signature_is_an_answer_and_not_an_error(envoy: Envoy, tls: ClientTls) -> None:
    for signature in (P256.sign(b"other", ec.ECDSA(hashes.SHA256())), b"", b"junk", encode_dss_signature(0, 0)):
        answer = verify(envoy, tls, spki(P256), "sha256", signature)
        assert rejected(answer, b"Failed to verify digest")


def test_the_two_numbers_of_a_jose_signature_are_not_understood(envoy: Envoy, tls: ClientTls) -> None:
    r, s = decode_dss_signature(GOOD)
    jose = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    assert rejected(verify(envoy, tls, spki(P256), "sha256", jose), b"Failed to verify digest")


def test_pss_is_not_verified(envoy: Envoy, tls: ClientTls) -> None:
    scheme = padding.PSS(padding.MGF1(hashes.SHA256()), hashes.SHA256.digest_size)
    signature = RSA.sign(TEXT, scheme, hashes.SHA256())
    assert rejected(verify(envoy, tls, spki(RSA), "sha256", signature), b"Failed to verify digest")


def test_eddsa_and_other_curves_are_not_served(envoy: Envoy, tls: ClientTls) -> None:
    edwards = ed25519.Ed25519PrivateKey.generate()
    koblitz = ec.generate_private_key(ec.SECP256K1())
    reason = b"Failed to initialize digest verify"
    assert rejected(verify(envoy, tls, spki(edwards), "sha256", edwards.sign(TEXT)), reason)
    signature = koblitz.sign(TEXT, ec.ECDSA(hashes.SHA256()))
    assert rejected(verify(envoy, tls, spki(koblitz), "sha256", signature), reason)


def test_an_unknown_hash_or_key_is_an_answer_and_a_missing_key_an_error(envoy: Envoy, tls: ClientTls) -> None:
    assert rejected(verify(envoy, tls, spki(P256), "md5", GOOD), b"md5 is not supported")
    assert rejected(verify(envoy, tls, b"junk", "sha256", GOOD), b"Failed to initialize digest verify")
    assert verify(envoy, tls, b"", "sha256", GOOD) == Answer(BAD_ARGUMENT)


def test_neither_the_length_of_an_rsa_key_nor_bytes_behind_a_key_are_checked(envoy: Envoy, tls: ClientTls) -> None:
    short = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    signature = short.sign(TEXT, padding.PKCS1v15(), hashes.SHA256())
    assert verify(envoy, tls, spki(short), "sha256", signature) == VERIFIED
    assert verify(envoy, tls, spki(P256) + b"behind", "sha256", GOOD) == VERIFIED


def verify(envoy: Envoy, tls: ClientTls, key: bytes, hash_name: str, signature: bytes) -> Answer:
    """Calls the foreign function; its argument is a message of hash, key, signature and text."""
    arguments = protobuf.message((1, hash_name.encode()), (2, key), (3, signature), (4, TEXT))
    with Http1(envoy.port("verify"), tls) as client:
        (answer,) = probe.ask(client, ("foreign", "verify_signature", arguments))
    return answer


def rejected(answer: Answer, reason: bytes) -> bool:
    """Whether the answer is a result that says no, and why: the field `result` is absent."""
    said = answer.value or b""
    return answer.status == OK and said.startswith(b"\x12") and reason in said


def spki(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    """The public half as SubjectPublicKeyInfo DER."""
    encoding, form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(encoding, form)
