"""Who takes part: a client with its certificate, an issuer with its key, and policies that know both."""

from __future__ import annotations

import functools
import json
import tempfile
import time
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from harness import artifacts, protobuf, tokens
from harness.pki import Authority, Credential
from harness.tokens import Signer

from host import Header, Vm, compiled

Config = dict[str, Any]

NOTED = [
    "get_shared_data mtls_authz.certificate",
    "set_shared_data mtls_authz.certificate",
    "define_metric mtls_cert_days_until_expiry.client.acme",
    "record_metric mtls_cert_days_until_expiry.client.acme",
    "clock_time_get",
    "log info",
]
"""What it costs that a worker sees `acme`'s certificate before any other worker."""

USER_AGENT = f"mtls-authz/{artifacts.version()}".encode()
"""What every fetch says of itself."""

TOKEN_METADATA = ("envoy.filters.http.jwt_authn", "payload")


@functools.cache
def credential(name: str) -> Credential:
    """The certificate of `cn:<name>`."""
    with tempfile.TemporaryDirectory() as directory:
        issuer = Authority.create(Path(directory))
        end = datetime.now(timezone.utc) + timedelta(days=90, hours=1)
        return issuer.issue([("CN", name)], not_after=end)


@functools.cache
def signer() -> Signer:
    """The issuer's key."""
    return Signer()


@functools.cache
def stranger() -> Signer:
    """A key by the same name that is nobody's."""
    return Signer()


def policy(**more: Any) -> Config:
    """`acme` may read payments with a token that is bound to its certificate; `more` are further settings."""
    return {
        "policy_id": "1",
        "clients": {"acme": {"identities": ["cn:acme"], "profiles": ["partner"]}},
        "profiles": {"partner": {"allow": [{"paths": ["/payments/*"], "methods": ["GET"]}]}},
        "bypass": [{"path": "/health", "methods": ["GET"]}],
        "token": {"source": "jwks", "jwks": {"keys": [signer().jwk()]}},
        "audit": {"log": "none"},
    } | more


def load(config: Mapping[str, Any] | None = None) -> Vm:
    """A machine that has not been configured yet, with this policy at hand."""
    return Vm(compiled(artifacts.module()), json.dumps(policy() if config is None else config).encode())


def start(config: Mapping[str, Any] | None = None) -> Vm:
    """A machine that has accepted this policy, and a list of calls that begins with the first request."""
    vm = load(config)
    assert vm.configure(), vm.log
    forget(vm)
    return vm


def forget(vm: Vm) -> None:
    """Empties the lists of what was called so far."""
    vm.calls.clear()
    vm.marks.clear()
    vm.entries.clear()


def token(client: str = "acme", *, by: Signer | None = None, **claims: Any) -> str:
    """A token that is bound to this client's certificate."""
    return (by or signer()).sign(tokens.claims(client, credential(client), **claims))


def headers(path: str = "/payments/1", bearer: str | None = None, method: str = "GET", *more: Header) -> list[Header]:
    """A request as Envoy shows it, with what browsers and proxies add."""
    found: list[Header] = [
        (b":authority", b"api.example"), (b":path", path.encode()), (b":method", method.encode()),
        (b":scheme", b"https"), (b"user-agent", b"curl/8.5.0"), (b"accept", b"*/*"),
        (b"x-forwarded-proto", b"https"), (b"x-request-id", b"2f6d6a1c-6d7e-4b0c-9e5a-0d9a5d3c2b1f"),
    ]
    if bearer is not None:
        found.append((b"authorization", b"Bearer " + bearer.encode()))
    return found + list(more)


def connection(client: str | None = "acme", number: int = 1) -> dict[str, bytes]:
    """What Envoy 1.39 tells about a connection, with this client's certificate or none."""
    found = {"connection.id": number.to_bytes(8, "little"), "source.address": b"192.0.2.1:1234",
             "request.protocol": b"HTTP/2"}
    if client is not None:
        certificate = credential(client)
        found |= {
            "connection.peer_certificate": certificate.pem.encode(),
            "connection.peer_certificate_valid": b"\x01",
            "connection.sha256_peer_certificate_digest": certificate.thumbprint_hex.encode(),
            "connection.subject_peer_certificate": f"CN={client}".encode(),
        }
    return found


def metadata(claims: Mapping[str, Any]) -> dict[str, bytes]:
    """The property in which `jwt_authn` left these claims."""
    namespace, key = TOKEN_METADATA
    return {"metadata": protobuf.serialized_metadata({namespace: {key: claims}})}


def claims(client: str = "acme") -> dict[str, Any]:
    """What a good token of this client claims."""
    return tokens.claims(client, credential(client))


def seconds_from_now(seconds: int) -> int:
    """A time as tokens write it."""
    return int(time.time()) + seconds
