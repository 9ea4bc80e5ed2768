"""What a request came to: let through to the upstream, or refused with a reason."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc

from .grpc_client import GrpcResult
from .http1 import Http1
from .pki import Credential
from .response import Echo, Header, Response
from .tls import ClientTls

STATUS = {
    "authorization_malformed": 400,
    "certificate_malformed": 400,
    "certificate_oversized": 400,
    "path_malformed": 400,
    "request_malformed": 400,
    "certificate_expired": 401,
    "certificate_missing": 401,
    "certificate_not_yet_valid": 401,
    "certificate_unsuitable": 401,
    "certificate_untrusted": 401,
    "identity_invalid": 401,
    "identity_missing": 401,
    "sender_binding_malformed": 401,
    "sender_binding_mismatch": 401,
    "sender_binding_missing": 401,
    "token_audience_mismatch": 401,
    "token_claims_invalid": 401,
    "token_expired": 401,
    "token_issuer_mismatch": 401,
    "token_malformed": 401,
    "token_missing": 401,
    "token_not_yet_valid": 401,
    "client_header_missing": 403,
    "client_mismatch": 403,
    "client_profile_mismatch": 403,
    "collection_denied": 403,
    "identity_not_mapped": 403,
    "insufficient_scope": 403,
    "path_denied": 403,
    "profile_required": 403,
    "source_ip_denied": 403,
    "upgrade_denied": 403,
    "method_not_allowed": 405,
    "rate_limited": 429,
    "internal_error": 500,
}
"""Every reason and its status; a request alone meets all of them but `internal_error`."""

OWN_TOKENS = {
    "token_algorithm_not_allowed": 401,
    "token_key_unknown": 401,
    "token_signature_invalid": 401,
    "keys_unavailable": 503,
}
"""The further reasons that a token meets where the filter verifies it itself."""

REVOCATION = {"certificate_revoked": 401, "revocation_unavailable": 503}
"""The further reasons where certificates can be revoked."""

GRPC_STATUS = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    405: grpc.StatusCode.UNIMPLEMENTED,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
    500: grpc.StatusCode.INTERNAL,
}

EVERY_STATUS = {**STATUS, **OWN_TOKENS, **REVOCATION}

_MEMBERS = {"type", "title", "status", "detail", "code", "request_id"}


def ask(port: int, credential: Credential | None, path: str = "/", headers: Sequence[Header] = ()) -> str:
    """What a request on a new connection comes to, as `reason_of` says it."""
    with Http1(port, ClientTls(credential)) as client:
        return reason_of(client.request("GET", path, headers))


def passed(response: Response) -> Echo:
    """What the upstream received of a request that was let through."""
    assert response.status == 200, f"{response.status} {response.body!r}"
    return response.echo()


def refused(response: Response, reason: str) -> dict[str, Any]:
    """The problem document of a refusal for this reason."""
    assert response.header("x-upstream") is None, f"{reason} expected, but the upstream answered"
    assert response.header("content-type") == "application/problem+json", f"{response.status} {response.body!r}"
    problem: dict[str, Any] = response.json()
    assert (problem["code"], response.status) == (reason, EVERY_STATUS[reason]), problem
    assert set(problem) == _MEMBERS
    assert problem["status"] == response.status
    assert response.header("cache-control") == "no-store"
    return problem


def refused_grpc(result: GrpcResult, reason: str) -> None:
    """A gRPC caller's view of a refusal for this reason."""
    assert result.code is GRPC_STATUS[EVERY_STATUS[reason]], f"{result.code} {result.details}"
    assert result.message is None


def reason_of(response: Response) -> str:
    """`allowed`, or the reason of a refusal by the filter, for tables that hold both."""
    if response.header("x-upstream") == "echo":
        return "allowed"
    code: str = response.json()["code"]
    refused(response, code)
    return code
