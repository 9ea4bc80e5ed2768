"""Every reason that the contract names is reached by a request, whatever the protocol, body or caller.

All but `internal_error`, which no request reaches by itself: `test_internal_error.py` does.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from conftest import Bearer, Client, StartEnvoy
from harness import grpc_client, pki, verdicts
from harness.envoy import Envoy
from harness.filters import Config, JwtAuthn, set_metadata
from harness.grpc_upstream import GrpcUpstream
from harness.http1 import Http1
from harness.http2 import Http2
from harness.listener import Listener
from harness.pki import Authority, Credential
from harness.response import Header
from harness.tls import ClientTls
from harness.tokens import Signer
from harness.upstream import Upstream

BODY = b"x" * 100_000
SAY = "/echo.Echo/Say"
EXTENDED_CONNECT = [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "https"),
                    (":path", "/open"), (":authority", "api.example")]

ANYTHING = {"allow": [{"paths": ["/**"]}]}
POLICY: Config = {
    "clients": {
        "acme": {"identities": ["cn:acme"], "profiles": ["partner"]},
        "several": {"identities": ["cn:several"], "profiles": ["partner", "reporter"]},
        "bound": {"identities": ["cn:bound"], "profiles": ["elsewhere"]},
        "limited": {"identities": ["cn:limited"], "profiles": ["limited"]},
        "local": {"identities": ["cn:local"], "profiles": ["local"]},
    },
    "profiles": {
        "partner": {"allow": [
            {"paths": ["/open", SAY]},
            {"paths": ["/read"], "methods": ["GET", "HEAD"]},
            {"paths": ["/scoped"], "scopes": ["payments:read", "payments:write"]},
        ], "deny": ["/open/denied"]},
        "reporter": {"allow": [{"collection": "reports"}]},
        "elsewhere": ANYTHING,
        "limited": {**ANYTHING, "rate_limit": {"requests": 1, "per_seconds": 86400}},
        "local": {**ANYTHING, "source_cidrs": ["127.0.0.2/32"]},
    },
    "collections": {"reports": ["/reports/**"]},
}


@dataclass(frozen=True)
class Case:
    """One way to be refused: by default a good request of `acme`, with one thing wrong."""

    listener: str = "main"
    who: str | None = "acme"
    claims: Mapping[str, Any] = field(default_factory=dict)
    """Claims that differ; `exp` and `nbf` in seconds from now."""
    with_token: bool = True
    bound: bool = True
    headers: Sequence[Header] = ()
    path: str = "/open"
    method: str | None = None


CASES: dict[str, Case] = {
    "authorization_malformed": Case(headers=[("authorization", "Bearer second")]),
    "certificate_malformed": Case(who="names"),
    "certificate_oversized": Case("forwarded", headers=[("x-own-cert", "A" * 11)]),
    "path_malformed": Case(path="/open;a=b"),
    "request_malformed": Case(headers=[("x-client-id", "acme"), ("x-client-id", "acme")]),
    "certificate_expired": Case("lax", who="expired"),
    "certificate_missing": Case(who=None),
    "certificate_not_yet_valid": Case("lax", who="early"),
    "certificate_unsuitable": Case("lax", who="server"),
    "certificate_untrusted": Case("attribute", who="untrusted"),
    "identity_invalid": Case(who="two_uris"),
    "identity_missing": Case(who="nameless"),
    "sender_binding_malformed": Case(claims={"cnf": {"x5t#S256": "ab" * 32}}),
    "sender_binding_mismatch": Case(claims={"cnf": {"x5t#S256": "A" * 43}}),
    "sender_binding_missing": Case(bound=False),
    "token_audience_mismatch": Case("audiences"),
    "token_claims_invalid": Case(claims={"client_id": 12}),
    # jwt_authn allows a minute of clock skew and the filter thirty seconds.
    "token_expired": Case(claims={"exp": -45}),
    "token_issuer_mismatch": Case("issuers"),
    "token_malformed": Case("text"),
    "token_missing": Case(with_token=False),
    "token_not_yet_valid": Case(claims={"nbf": 45}),
    "client_header_missing": Case("headers"),
    "client_mismatch": Case(headers=[("x-client-id", "several")]),
    "client_profile_mismatch": Case(headers=[("x-profile-id", "reporter")]),
    "collection_denied": Case(path="/reports/2026"),
    "identity_not_mapped": Case(who="unknown"),
    "insufficient_scope": Case(path="/scoped"),
    "path_denied": Case(path="/open/denied"),
    "profile_required": Case(who="several"),
    "source_ip_denied": Case(who="local"),
    "upgrade_denied": Case("upgrades", headers=[("connection", "Upgrade"), ("upgrade", "websocket")]),
    "method_not_allowed": Case(path="/read", method="DELETE"),
    "rate_limited": Case(who="limited"),
}


@pytest.fixture(scope="module")
def envoy(start_envoy: StartEnvoy, signer: Signer) -> Envoy:
    jwt = JwtAuthn((signer,))
    metadata = {"namespace": "text", "key": "payload"}
    return start_envoy(
        Listener("main", POLICY, jwt=jwt),
        Listener("lax", {**POLICY, "certificate": {"validation": "listener"}}, jwt=jwt, trust="ACCEPT_UNTRUSTED"),
        Listener("attribute", POLICY, jwt=jwt, trust="ACCEPT_UNTRUSTED"),
        Listener("issuers", {**POLICY, "token": {"issuers": ["https://other.example"]}}, jwt=jwt),
        Listener("audiences", {**POLICY, "token": {"audiences": ["https://other.example"]}}, jwt=jwt),
        Listener("text", {**POLICY, "token": {"metadata": metadata}},
                 before=[set_metadata("text", {"payload": "x"})]),
        Listener("headers", {**POLICY, "require_client_headers": True}, jwt=jwt),
        Listener("upgrades", POLICY, jwt=jwt, upgrades=["websocket"]),
        Listener("forwarded", {**POLICY, "source_address": "envoy", "certificate": {"source": "forwarded", "forwarded": {
            "format": "base64_der", "header": "x-own-cert", "max_bytes": 10,
            "trusted_proxies": {"identities": ["cn:acme"]},
        }}}, jwt=jwt),
    )


@pytest.fixture(scope="module")
def people(issuer: Authority, acme: Credential, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Credential]:
    now, day = datetime.now(timezone.utc), timedelta(days=1)
    name = [("CN", "acme")]
    return {
        "acme": acme,
        "several": issuer.issue([("CN", "several")]),
        "limited": issuer.issue([("CN", "limited")]),
        "local": issuer.issue([("CN", "local")]),
        "unknown": issuer.issue([("CN", "unknown")]),
        "nameless": issuer.issue([("O", "ExampleCorp")]),
        "two_uris": issuer.issue(name, sans=[pki.uri("spiffe://example.org/a"), pki.uri("spiffe://example.org/b")]),
        "names": issuer.issue(name, sans=[pki.dns(f"d{number}.example") for number in range(257)]),
        "untrusted": pki.self_signed(tmp_path_factory.mktemp("stranger"), name),
        "expired": issuer.issue(name, not_before=now - 2 * day, not_after=now - day),
        "early": issuer.issue(name, not_before=now + day, not_after=now + 2 * day),
        "server": issuer.issue(name, extended_key_usage=[pki.SERVER_AUTH]),
    }


class Caller:
    """Makes the request of a case."""

    def __init__(self, envoy: Envoy, people: dict[str, Credential], bearer: Bearer) -> None:
        self._envoy = envoy
        self._people = people
        self._bearer = bearer

    def port(self, case: Case) -> int:
        return self._envoy.port(case.listener)

    def credential(self, case: Case) -> Credential | None:
        return self._people[case.who] if case.who else None

    def token(self, case: Case) -> Header:
        now = int(time.time())
        claims = {name: now + value if name in ("exp", "nbf") else value for name, value in case.claims.items()}
        return self._bearer(case.who or "acme", self.credential(case) if case.bound else None, **claims)

    def headers(self, case: Case) -> list[Header]:
        return [*([self.token(case)] if case.with_token else []), *case.headers]


@pytest.fixture(scope="module")
def caller(envoy: Envoy, people: dict[str, Credential], bearer: Bearer) -> Caller:
    caller = Caller(envoy, people, bearer)
    # The one request that the rate limit grants.
    limited = CASES["rate_limited"]
    with Http1(envoy.port("main"), ClientTls(people["limited"])) as client:
        verdicts.passed(client.request("GET", "/open", caller.headers(limited)))
    return caller


@pytest.mark.parametrize("body", [b"", BODY], ids=["empty", "body"])
@pytest.mark.parametrize("reason", CASES)
def test_a_refusal_says_its_reason_and_nothing_reaches_the_upstream(
    caller: Caller, upstream: Upstream, http: Client, reason: str, body: bytes
) -> None:
    case, mark = CASES[reason], upstream.mark()
    method = case.method or ("POST" if body and reason != "upgrade_denied" else "GET")
    with http(caller.port(case), ClientTls(caller.credential(case))) as client:
        if reason == "upgrade_denied" and not isinstance(client, Http1):
            response = client.response(client.open([*EXTENDED_CONNECT, caller.token(case)]))
        else:
            response = client.request(method, case.path, caller.headers(case), body)
        verdicts.refused(response, reason)
    assert upstream.since(mark) == []


@pytest.mark.parametrize("reason", sorted(CASES.keys() - {"upgrade_denied"}))
def test_a_grpc_caller_is_told_by_its_status(
    caller: Caller, root: Authority, grpc_upstream: GrpcUpstream, reason: str
) -> None:
    case, mark = CASES[reason], grpc_upstream.mark()
    method = SAY if case.path == "/open" else case.path
    result = grpc_client.call(
        caller.port(case), root, caller.credential(case), method=method, metadata=caller.headers(case)
    )
    verdicts.refused_grpc(result, reason)
    assert grpc_upstream.since(mark) == []


def test_an_upgrade_that_calls_itself_grpc_is_told_by_its_status(caller: Caller) -> None:
    case = CASES["upgrade_denied"]
    headers = [*EXTENDED_CONNECT, caller.token(case), ("content-type", "application/grpc")]
    with Http2(caller.port(case), ClientTls(caller.credential(case))) as client:
        response = client.response(client.open(headers))
    assert response.header("grpc-status") == str(verdicts.GRPC_STATUS[403].value[0])


def test_every_reason_is_reached_and_counted(caller: Caller, envoy: Envoy) -> None:
    for reason, case in CASES.items():
        with Http1(caller.port(case), ClientTls(caller.credential(case))) as client:
            verdicts.refused(client.request(case.method or "GET", case.path, caller.headers(case)), reason)
    counted = {match[1] for name, count in envoy.admin.prometheus().items()
               if count and (match := re.fullmatch(r'mtls_auth_failure_total\{.*reason="([a-z_]+)".*\}', name))}
    assert counted == verdicts.STATUS.keys() - {"internal_error"}


def test_the_request_that_all_cases_bend_is_allowed(caller: Caller, root: Authority, http: Client) -> None:
    case = Case()
    for body in (b"", BODY):
        with http(caller.port(case), ClientTls(caller.credential(case))) as client:
            verdicts.passed(client.request("POST", case.path, caller.headers(case), body))
    result = grpc_client.call(
        caller.port(case), root, caller.credential(case), method=SAY, metadata=caller.headers(case)
    )
    assert result.message == b"hello"
