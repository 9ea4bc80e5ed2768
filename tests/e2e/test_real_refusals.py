"""A refusal on a real Envoy carries the fact: record and log line name what was found and what was expected, and the remedy.

The requests are those of `test_reasons.py`, which bends one good request in one way for each reason, and further ones here.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from conftest import Bearer, StartEnvoy
from harness import tokens, verdicts
from harness.artifacts import REPOSITORY
from harness.envoy import Envoy
from harness.filters import Config, JwtAuthn
from harness.http1 import Http1
from harness.listener import Listener
from harness.pki import Credential
from harness.tls import ClientTls
from harness.tokens import AUDIENCE, Signer
from test_reasons import CASES, POLICY, Caller, caller, envoy, people

__all__ = ["caller", "envoy", "people"]

FACTS = {
    # reason: what the note names
    "authorization_malformed": ["a comma is byte", "Envoy joins several Authorization headers"],
    "certificate_malformed": ["too many names"],
    "certificate_oversized": ["max_bytes"],
    "path_malformed": ["semicolon", '"/open;a=b"'],
    "request_malformed": ['X-Client-ID occurs 2 times: "acme", "acme"; expected it once'],
    "certificate_unsuitable": ["clientAuth"],
    "certificate_untrusted": ["resumed"],
    "sender_binding_malformed": ["hexadecimal"],
    "token_claims_invalid": ["client_id"],
    "token_malformed": ["token.metadata.key"],
    "client_profile_mismatch": ["X-Profile-ID"],
    "collection_denied": ['"/reports/2026" belongs to collections.reports', "profiles.partner.allow"],
    "insufficient_scope": ["profiles.partner.allow[2] needs the scopes payments:read, payments:write", "the token has none"],
    "path_denied": ['profiles.partner.deny[0] has GET "/open/denied"'],
    "source_ip_denied": ["the caller's address is 127.0.0.1, expected one of source_cidrs: 127.0.0.2/32"],
    "upgrade_denied": ['the upgrade is "websocket"', "list none"],
    "method_not_allowed": ["the method is DELETE", "have GET, HEAD"],
    "rate_limited": ["one request in 86400000 ms", 'client "limited"'],
}
README = (REPOSITORY / "README.md").read_text()
JWKS_URI = {"cluster": "nowhere", "authority": "auth.example", "path": "/jwks", "timeout_ms": 300}
FEED = {"type": "json", "cluster": "nowhere", "authority": "lists.example", "path": "/", "timeout_ms": 300}


def lines(envoy: Envoy, request_id: str) -> list[str]:
    """What the filter has logged about a request."""
    return [line for line in envoy.log().splitlines() if " wasm log" in line and request_id in line]


def check(envoy: Envoy, listener: str, request_id: str, reason: str, facts: list[str]) -> None:
    """The record and the one line of the log say the same, and what to do."""
    record = envoy.record(listener, request_id)["decision"]
    assert record["reason"] == reason
    note = record["note"] or ""
    assert [fact for fact in facts if fact not in note] == [], note
    envoy.wait("the line", lambda: lines(envoy, request_id) != [])
    (line,) = lines(envoy, request_id)
    logged, _, remedy = line[line.index(': {"decision":') + 2:].rpartition(" Remedy: ")
    assert json.loads(logged) == record
    assert f'| `{reason}` |' in README and f"| {remedy} |" in README


@pytest.mark.parametrize("reason", CASES)
def test_a_refusal_names_the_fact_and_the_remedy(envoy: Envoy, caller: Caller, reason: str) -> None:
    case = CASES[reason]
    with Http1(caller.port(case), ClientTls(caller.credential(case))) as client:
        answer = client.request(case.method or "GET", case.path, caller.headers(case))
    request_id = verdicts.refused(answer, reason)["request_id"]
    check(envoy, case.listener, request_id, reason, FACTS.get(reason, []))


POLICIES: dict[str, tuple[str, Config, list[str]]] = {
    "revocation_unavailable": ("revocation_unavailable", {"revocation": {"feeds": [FEED]}},
                               ['revocation.feeds[0] (cluster "nowhere") has not come since the start']),
    "keys_unavailable": ("keys_unavailable", {"token": {"source": "jwks", "jwks_uri": JWKS_URI}},
                         ["no keys of token.jwks_uri are in force", "max_stale_seconds"]),
    "hosts": ("path_denied", {"profiles": {**POLICY["profiles"], "partner": {"allow": [{"paths": ["/open"], "hosts": ["a.example"]}]}}},
              ["are for a.example, and the host is"]),
    "no rule": ("path_denied", {"profiles": {**POLICY["profiles"], "partner": {"allow": [{"paths": ["/other"]}]}}},
                ['no rule of profiles.partner.allow has "/open"']),
    "certificate_revoked": ("certificate_revoked", {"revocation": {"identities": ["cn:acme"]}}, ["revocation.identities"]),
}


@pytest.fixture(scope="module")
def others(start_envoy: StartEnvoy, signer: Signer) -> Envoy:
    jwt = JwtAuthn((signer,))
    return start_envoy(*(
        Listener(name.replace(" ", "_"), {**POLICY, **changes}, jwt=None if "jwks_uri" in str(changes) else jwt)
        for name, (_, changes, _) in POLICIES.items()))


@pytest.mark.parametrize("name", POLICIES)
def test_a_refusal_of_another_policy_names_the_fact_and_the_remedy(
    others: Envoy, acme: Credential, bearer: Bearer, name: str
) -> None:
    (reason, _, facts), listener = POLICIES[name], name.replace(" ", "_")
    with Http1(others.port(listener), ClientTls(acme)) as client:
        answer = client.request("GET", "/open", [bearer("acme", acme)])
    check(others, listener, verdicts.refused(answer, reason)["request_id"], reason, facts)


@pytest.fixture(scope="module")
def optional(start_envoy: StartEnvoy, signer: Signer) -> Envoy:
    mode = {"mode": "bearer_plus_mtls_optional", "token": {"audiences": [AUDIENCE]}}
    jwt = JwtAuthn((signer,))
    return start_envoy(Listener("optional", {**POLICY, **mode}, jwt=jwt), Listener("required", POLICY, jwt=jwt))


@pytest.mark.parametrize(("listener", "token", "reason"), [
    ("optional", {"exp": 1}, "token_missing"), ("optional", {}, None), ("required", {"exp": 1}, "certificate_missing"),
    ("optional", {"typ": "logout+jwt"}, "token_malformed"), ("required", {"typ": "logout+jwt"}, "certificate_missing"),
    ("optional", {"client_id": 12}, "token_claims_invalid"), ("required", {"client_id": 12}, "certificate_missing"),
])
def test_without_a_certificate_the_documented_fault_is_answered(
    optional: Envoy, signer: Signer, listener: str, token: dict[str, Any], reason: str | None
) -> None:
    """The token first where it may be enough, and the certificate first where it never is."""
    changes = dict(token)
    typ = {"typ": changes.pop("typ")} if "typ" in changes else {}
    text = signer.sign(tokens.claims("acme", None, **changes), {"alg": signer.algorithm, "kid": signer.key_id, **typ})
    with Http1(optional.port(listener), ClientTls()) as client:
        answer = client.request("GET", "/open", [("authorization", f"Bearer {text}")])
    if reason is None:
        verdicts.passed(answer)
    else:
        verdicts.refused(answer, reason)
