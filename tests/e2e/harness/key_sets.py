"""Key sets as issuers publish them, with their oddities, each with a token that one of its keys has signed.

The shapes are those of public documentation and of key sets that can be read by everybody; the keys are made here.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, cast

from cryptography.hazmat.primitives.asymmetric import rsa

from .pki import Authority, base64url
from .tokens import Algorithm, Signer

Jwk = dict[str, Any]
_X5: Jwk = {"x5c": ["MIICnzCCAYcCBgF"], "x5t": "Zy-m7", "x5t#S256": "dl4OE"}


@dataclass(frozen=True)
class KeySet:
    """What an issuer's key server answers, and who signed a good token; the header of that token may be odd, too."""

    name: str
    body: bytes
    signer: Signer
    content_type: str = "application/json"
    header: Mapping[str, Any] = field(default_factory=dict)
    """Members over those of the token's header; `None` leaves one out."""

    def head(self) -> dict[str, Any]:
        """The header of its tokens."""
        members = {"alg": self.signer.algorithm, "kid": self.signer.key_id, "typ": "JWT", **self.header}
        return {name: value for name, value in members.items() if value is not None}


def signer(algorithm: Algorithm = "RS256", which: int = 0, *, bits: int = 2048) -> Signer:
    """A key of this kind; there is one RSA key for all of RSA's algorithms, whose tokens name it `one`, `two`, …"""
    return _signer(algorithm, which, bits)


@cache
def _signer(algorithm: Algorithm, which: int, bits: int) -> Signer:
    name = ("one", "two", "three")[which] if which < 3 else f"key-{which}"
    if algorithm[:2] in ("RS", "PS") and (algorithm, bits) != ("RS256", 2048):
        key = signer("RS256", which).key if bits == 2048 else rsa.generate_private_key(65537, bits)
        return Signer(algorithm, name, key)
    return Signer(algorithm, name)


def named(algorithm: Algorithm, key_id: str, which: int = 0) -> Signer:
    """The same key under another name."""
    return Signer(algorithm, key_id, signer(algorithm, which).key)


def encrypts(**more: Any) -> Jwk:
    """A key for encryption, such as Keycloak and others publish beside those for signatures."""
    return signer("RS256", 2).jwk(kid="enc", alg="RSA-OAEP", use="enc", **more)


def all_sets(authority: Authority) -> Iterator[KeySet]:
    """Every set. `authority` issues the certificates that some are made of."""
    yield from _of_issuers()
    yield from _of_one_kid()
    yield from _with_empty_members()
    yield from _of_other_keys()
    yield from _of_numbers()
    yield from _of_answers(authority)


def _set(name: str, who: Signer, *keys: Jwk, **more: Any) -> KeySet:
    return KeySet(name, json.dumps({"keys": keys}).encode(), who, **more)


def _of_issuers() -> Iterator[KeySet]:
    one, two, es, ed = signer(), signer("RS256", 1), signer("ES256"), signer("EdDSA")
    yield _set("Keycloak", one, encrypts(**_X5), one.jwk(**_X5))
    yield _set("Keycloak with further algorithms", ed, one.jwk(**_X5), es.jwk(), ed.jwk(), encrypts(), signer("ES512").jwk())
    yield _set("Auth0", one, one.jwk(**_X5), two.jwk(**_X5))
    yield _set("Okta", two, one.jwk(), two.jwk())
    yield _set("Entra ID", one, one.jwk(alg=None, x5c=["MII"], x5t="one", issuer="https://login.example/{tenantid}/v2.0"),
               two.jwk(alg=None, x5c=["MII"], cloud_instance_name="login.example"))
    yield _set("Azure AD B2C", one, one.jwk(alg=None, nbf=1493763266))
    yield _set("PingFederate", signer("ES384"), one.jwk(alg=None), es.jwk(alg=None), signer("ES384").jwk(alg=None), signer("ES512").jwk(alg=None))
    yield _set("PingOne", one, one.jwk(**_X5, nbf=1, exp=4_000_000_000))
    yield _set("Curity", signer("PS256"), signer("PS256").jwk(**_X5), es.jwk())
    yield _set("Duende", one, one.jwk(x5c=[], x5t=""), es.jwk(x5t=None))
    yield _set("Ory Hydra", named("RS256", "public:hydra.openid.id-token"), named("RS256", "public:hydra.openid.id-token").jwk())
    yield _set("OpenAM", named("RS256", "wU3ifIIaLOUAReRB/FG6eM1P1QM="), *(
        signer(cast(Algorithm, alg)).jwk(kid="wU3ifIIaLOUAReRB/FG6eM1P1QM=", x5t="x") for alg in ("RS512", "RS384", "RS256")), es.jwk())
    yield _set("WSO2", named("RS256", "a_RS256"), one.jwk(kid="a_RS256", **_X5), signer("RS512").jwk(kid="a_RS512", **_X5))
    yield _set("Google", two, one.jwk(), two.jwk())
    yield _set("AWS Cognito", two, one.jwk(), two.jwk())
    yield _set("Apple", two, one.jwk(), two.jwk(), signer("RS256", 2).jwk())
    yield _set("GitHub Actions", one, one.jwk(**_X5), two.jwk(**_X5))
    yield _set("Kubernetes", one, one.jwk())
    yield _set("Vault", one, *(signer("RS256", which).jwk() for which in range(3)))
    yield _set("SPIFFE bundle", es, {"kty": "EC", "use": "x509-svid", **_point("ES256", 1), "x5c": ["MII"]},
               es.jwk(use="jwt-svid", alg=None))
    yield KeySet("SPIFFE bundle with its sequence", json.dumps({
        "keys": [es.jwk(use="jwt-svid")], "spiffe_sequence": 1, "spiffe_refresh_hint": 10}).encode(), es)
    yield _set("oidc-provider", signer("PS256"), signer("PS256").jwk(), ed.jwk(), encrypts())
    yield _set("authentik", one, one.jwk(**_X5))
    yield _set("Connect2id", signer("PS512"), one.jwk(alg=None), signer("ES512").jwk())
    for algorithm in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"):
        yield _set(f"a lone {algorithm} key", signer(cast(Algorithm, algorithm)), signer(cast(Algorithm, algorithm)).jwk())
    yield _set("an Ed25519 key of RFC 9864", ed, ed.jwk(alg="Ed25519"), header={"alg": "Ed25519"})


def _of_one_kid() -> Iterator[KeySet]:
    one, two, es = signer(), signer("RS256", 1), signer("ES256")
    same = "key"
    for number, who in enumerate((one, two)):
        yield _set(f"two keys under one kid, signed with number {number}", named("RS256", same, number), one.jwk(kid=same), two.jwk(kid=same))
    yield _set("keys of two kinds under one kid", named("ES256", same), one.jwk(kid=same), es.jwk(kid=same))
    yield _set("one key twice", one, one.jwk(), one.jwk())
    yield _set("a key for encryption under the same kid", one, encrypts() | {"kid": "one"}, one.jwk())
    yield _set("eight keys under one kid", named("ES256", same, 7), *(signer("ES256", which).jwk(kid=same) for which in range(8)))
    yield _set("nine keys under one kid", named("ES256", same, 8), *(signer("ES256", which).jwk(kid=same) for which in range(9)))
    yield _set("a lone key without kid", one, one.jwk(kid=None))
    yield _set("a lone key without kid, and a token without", one, one.jwk(kid=None), header={"kid": None})
    yield _set("a lone key with kid, and a token without", one, one.jwk(), header={"kid": None})
    yield _set("several keys, and a token without kid", two, one.jwk(), two.jwk(), header={"kid": None})
    yield _set("several keys without kid", two, one.jwk(kid=None), two.jwk(kid=None), es.jwk(kid=None))
    yield _set("a key without kid beside one of another name", two, one.jwk(), two.jwk(kid=None))
    yield _set("a key without kid beside one of the same name", two, one.jwk(kid="two"), two.jwk(kid=None))
    yield _set("an empty kid in the token", one, one.jwk(), header={"kid": ""})
    yield _set("a kid of 200 characters", named("RS256", "k" * 200), one.jwk(kid="k" * 200))
    yield _set("a hundred keys", one, *(two.jwk(kid=f"key-{which}") for which in range(99)), one.jwk())
    yield _set("101 keys", one, *(two.jwk(kid=f"key-{which}") for which in range(100)), one.jwk())


def _with_empty_members() -> Iterator[KeySet]:
    one, es, ed = signer(), signer("ES256"), signer("EdDSA")
    empty: list[tuple[str, Signer, Jwk]] = [
        ("crv of an RSA key", one, {"crv": ""}), ("x and y of an RSA key", one, {"x": "", "y": ""}), ("alg", one, {"alg": ""}),
        ("use", one, {"use": ""}), ("kid", one, {"kid": ""}), ("crv", es, {"crv": ""}), ("crv of ES384", signer("ES384"), {"crv": ""}),
        ("y of an OKP key", ed, {"y": ""}), ("d", es, {"d": ""}),
    ]
    for name, who, members in empty:
        yield _set(f"an empty {name}", who, who.jwk(**members))
    yield _set("an empty key_ops", one, one.jwk(key_ops=[]))
    yield _set("an empty x5c", one, one.jwk(x5c=[]))
    for name in ("use", "alg", "kid", "key_ops", "x5c", "x5t", "crv", "d", "foreign"):
        yield _set(f"a null {name}", one, {**one.jwk(), name: None})
    yield _set("neither alg nor crv", es, {name: value for name, value in es.jwk().items() if name not in ("alg", "crv")})
    yield _set("foreign members", one, one.jwk(foreign={"deep": [1, None]}, iat=1.5, revoked=False, ext=True))
    yield _set("key_ops with verify", one, one.jwk(key_ops=["verify"]))
    yield _set("key_ops with sign", one, one.jwk(key_ops=["sign"]))
    yield _set("use in capital letters", one, one.jwk(use="SIG"))
    yield _set("a kid that is a number", one, one.jwk(kid=1))
    yield _set("an alg that is a number", one, one.jwk(alg=1))


def _of_other_keys() -> Iterator[KeySet]:
    one, es = signer(), signer("ES256")
    private = one.key.private_numbers().d if isinstance(one.key, rsa.RSAPrivateKey) else 0
    beside: dict[str, Any] = {
        "a symmetric key": {"kty": "oct", "kid": "secret", "k": "AAAA", "alg": "HS256"},
        "another's private key": signer("RS256", 1).jwk(d="AAAA"),
        "an unknown kty": {"kty": "AKP", "kid": "pq", "alg": "ML-DSA-44", "pub": "AAAA"},
        "no kty": {"kid": "none"},
        "a null kty": {"kid": "none", "kty": None},
        "a null": None, "a text": "key", "a number": 1, "a list": [],
        "secp256k1": {"kty": "EC", "crv": "secp256k1", "kid": "k1", "x": "AA", "y": "AA"},
        "X25519": {"kty": "OKP", "crv": "X25519", "kid": "x", "x": base64url(bytes(32)), "use": "enc"},
        "Ed448": {"kty": "OKP", "crv": "Ed448", "kid": "448", "x": base64url(bytes(57))},
        "a key without numbers": {"kty": "RSA", "kid": "bare"},
        "a point off the curve": es.jwk(x=base64url(bytes(32))),
        "an RSA key of 512 bits": {"kty": "RSA", "kid": "small", "n": base64url(b"\xff" * 64), "e": "AQAB"},
        "RSA for encryption without use": one.jwk(kid="enc", alg="RSA-OAEP-256", use=None),
    }
    for name, key in beside.items():
        yield KeySet(f"{name} before the key", json.dumps({"keys": [key, one.jwk()]}).encode(), one)
    yield _set("use: enc on the key itself", one, one.jwk(use="enc"))
    yield _set("the key itself is private", one, one.jwk(d=base64url(private.to_bytes(256, "big"))))


def _of_numbers() -> Iterator[KeySet]:
    one, es = signer(), signer("ES256")
    n, e = one.jwk()["n"], one.jwk()["e"]
    yield _set("padded base64url", one, one.jwk(n=n + "=" * (-len(n) % 4)))
    yield _set("padded coordinates", es, es.jwk(x=es.jwk()["x"] + "=", y=es.jwk()["y"] + "="))
    yield _set("a modulus with the zero of DER", one, one.jwk(n=base64url(b"\0" + _bytes(n))))
    yield _set("an exponent of four bytes", one, one.jwk(e=base64url(b"\0" + _bytes(e))))
    yield _set("a coordinate with a zero in front", es, es.jwk(x=base64url(b"\0" + _bytes(es.jwk()["x"]))))
    short = next(who for who in (Signer("ES256", "short") for _ in iter(int, 1)) if _bytes(who.jwk()["x"])[0] == 0)
    yield _set("a coordinate without its zeros", short, short.jwk(x=base64url(_bytes(short.jwk()["x"]).lstrip(b"\0"))))
    yield _set("plain base64", one, one.jwk(n=base64.b64encode(_bytes(n)).decode()))
    yield _set("a line break in the modulus", one, one.jwk(n=n[:76] + "\n" + n[76:]))
    yield _set("RSA of 3072 bits", signer(bits=3072), signer(bits=3072).jwk())
    yield _set("RSA of 4096 bits", signer(bits=4096), signer(bits=4096).jwk())
    yield _set("RSA of 1024 bits", signer(bits=1024), signer(bits=1024).jwk())
    yield _set("RSA of 4104 bits", signer(bits=4104), signer(bits=4104).jwk())
    odd = Signer("RS256", "odd", rsa.generate_private_key(3, 2048))
    yield _set("an exponent of 3", odd, odd.jwk())


def _of_answers(authority: Authority) -> Iterator[KeySet]:
    one, keys = signer(), authority.issue([("CN", "keys")], key_type="rsa")
    good = json.dumps({"keys": [one.jwk()]}).encode()
    for kind in ("application/jwk-set+json", "text/plain; charset=utf-8", "application/octet-stream", "text/html", ""):
        yield KeySet(f"content type {kind!r}", good, one, content_type=kind)
    yield KeySet("a byte order mark", b"\xef\xbb\xbf" + good, one)
    yield KeySet("white space around it", b"\r\n\t " + good + b" \n\n", one)
    yield KeySet("members beside keys", good[:-1] + b', "iss": "x", "keys_url": null}', one)
    yield KeySet("a member twice", b'{"keys": [], ' + good[1:], one)
    yield KeySet("a member of a key twice", good.replace(b'"kty"', b'"kty": "RSA", "kty"', 1), one)
    yield KeySet("certificates by kid", json.dumps({"one": keys.pem}).encode(), Signer("RS256", "one", keys.key))


def _bytes(number: str) -> bytes:
    return base64.urlsafe_b64decode(number + "==")


def _point(algorithm: Algorithm, which: int) -> Jwk:
    jwk = signer(algorithm, which).jwk()
    return {name: jwk[name] for name in ("crv", "x", "y")}
