#!/usr/bin/env python3
"""Tokens for trying things out: JWTs signed with ES256, made with Python's standard library and openssl.

    mint.py keys                                            the issuers' keys, jwks.json and login-jwks.json, which jwt_authn reads
    mint.py token CLIENT [--cert FILE] [--scope "a b"]      a token, bound to that certificate; --issuer login: the app's issuer

Keys are in the folder $CERTS (default: certs beside this script). A real issuer authenticates the client with its
certificate and binds the token to it by itself (RFC 8705).
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import os
import ssl
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

AUDIENCE = "https://api.example"
KEY_ID = "demo-1"


@dataclass(frozen=True)
class Issuer:
    """One of the issuers that envoy.yaml knows, and its files."""

    url: str
    key: str
    jwks: str


ISSUERS = {
    "auth": Issuer("https://auth.example", "issuer.key", "jwks.json"),
    "login": Issuer("https://login.example", "login.key", "login-jwks.json"),
}


def base64url(data: bytes) -> str:
    """Unpadded base64url, the only base64 that JOSE knows."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def thumbprint(certificate: Path) -> str:
    """`x5t#S256` of the first certificate in a PEM file."""
    return base64url(thumbprint_bytes(certificate))


def thumbprint_bytes(certificate: Path) -> bytes:
    """SHA-256 over its DER."""
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    text = certificate.read_text()
    if begin not in text or end not in text:
        raise SystemExit(f"mint.py: {certificate} is not a PEM certificate")
    leaf = begin + text.split(begin)[1].split(end)[0] + end
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(leaf)).digest()


def make_keys(folder: Path) -> None:
    """The P-256 key of each issuer, unless there is one, and the public half as a JSON Web Key Set."""
    folder.mkdir(parents=True, exist_ok=True)
    for issuer in ISSUERS.values():
        _make_key(folder / issuer.key, folder / issuer.jwks)


def _make_key(key: Path, jwks: Path) -> None:
    if not key.exists():
        private = _openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
        key.touch(mode=0o600)
        key.write_bytes(private)
    # A P-256 key in DER ends with the uncompressed point: 0x04, x, y.
    point = _openssl("pkey", "-in", str(key), "-pubout", "-outform", "DER")[-64:]
    jwk = {"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": KEY_ID,
           "x": base64url(point[:32]), "y": base64url(point[32:])}
    jwks.write_text(json.dumps({"keys": [jwk]}, indent=2) + "\n")


def token(folder: Path, claims: dict[str, Any], issuer: str = "auth") -> str:
    """A compact JWS of these claims, signed with the key of an issuer, whatever they say of theirs."""
    header = {"alg": "ES256", "typ": "JWT", "kid": KEY_ID}
    text = f"{_part(header)}.{_part(claims)}"
    signature = _openssl("dgst", "-sha256", "-sign", str(folder / ISSUERS[issuer].key), stdin=text.encode())
    return f"{text}.{base64url(_raw_signature(signature))}"


def claims(client: str, *, scope: str = "", lifetime: int = 3600, **more: Any) -> dict[str, Any]:
    """The claims of a token as envoy.yaml demands them; `more` adds to them, `None` leaves one out."""
    now = int(time.time())
    usual = {"iss": ISSUERS["auth"].url, "aud": AUDIENCE, "sub": client, "client_id": client, "scope": scope,
             "iat": min(now, now + lifetime - 1), "exp": now + lifetime, "jti": str(uuid.uuid4())}
    return {name: value for name, value in {**usual, **more}.items() if value is not None and value != ""}


def _part(value: dict[str, Any]) -> str:
    return base64url(json.dumps(value, separators=(",", ":")).encode())


def _raw_signature(der: bytes) -> bytes:
    """JOSE wants r and s, 32 bytes each; openssl writes a SEQUENCE of two INTEGERs."""
    length_of_r = der[3]
    r = der[4:4 + length_of_r]
    s = der[6 + length_of_r:]
    return b"".join(number.lstrip(b"\0").rjust(32, b"\0") for number in (r, s))


def _openssl(*arguments: str, stdin: bytes | None = None) -> bytes:
    done = subprocess.run(["openssl", *arguments], input=stdin, capture_output=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"mint.py: openssl {arguments[0]} failed: {done.stderr.decode().strip()}")
    return done.stdout


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    folder = Path(os.environ.get("CERTS", Path(__file__).resolve().parent / "certs"))
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("keys", help="make the issuers' keys and key sets")
    make = commands.add_parser("token", help="print a token")
    make.add_argument("client", help="client_id and sub")
    make.add_argument("--cert", type=Path, help="bind the token to this certificate (cnf.x5t#S256)")
    make.add_argument("--issuer", choices=ISSUERS, default="auth", help="who signs it: auth (default) or login")
    make.add_argument("--scope", default="", help='scopes, such as "payments:read payments:write"')
    make.add_argument("--lifetime", type=int, default=3600, metavar="SECONDS", help="default: 3600; negative: expired")
    make.add_argument("--claims", type=json.loads, default={}, metavar="JSON", help="further claims, or null to drop one")
    chosen = parser.parse_args()

    if chosen.command == "keys":
        make_keys(folder)
        for issuer in ISSUERS.values():
            print(folder / issuer.jwks)
        return
    issuer = ISSUERS[chosen.issuer]
    if not (folder / issuer.key).exists():
        sys.exit(f"mint.py: there is no issuer's key in {folder}; start with: mint.py keys")
    binding = {"cnf": {"x5t#S256": thumbprint(chosen.cert)}} if chosen.cert else {}
    more = {"iss": issuer.url, **binding, **chosen.claims}
    print(token(folder, claims(chosen.client, scope=chosen.scope, lifetime=chosen.lifetime, **more), chosen.issuer))


if __name__ == "__main__":
    main()
