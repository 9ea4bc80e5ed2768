"""The published schema of the decision record: what it lists is what the filter has, and every request has one record of it.

That every record of every other test is of the schema, too, is seen to where the suite reads them: `harness/record.py`.
"""

from __future__ import annotations

import re
import uuid
from collections import Counter
from typing import Any

import pytest
from jsonschema import Draft202012Validator, ValidationError

from conftest import Bearer, Client, StartEnvoy
from harness import record, verdicts
from harness.envoy import Envoy
from harness.filters import Config, JwtAuthn
from harness.listener import Listener
from harness.pki import Credential
from harness.response import Header
from harness.tls import ClientTls
from harness.tokens import Signer

POLICY: Config = {
    "policy_id": "one",
    "clients": {"acme": {"identities": ["cn:acme"], "profiles": ["partner"]}},
    "profiles": {"partner": {
        "allow": [{"paths": ["/open"], "methods": ["GET"]}, {"paths": ["/scoped"], "scopes": ["read"]}],
        "deny": ["/open/closed"],
    }},
    "bypass": [{"path": "/health"}],
}

KINDS: list[tuple[str, str, str | None, str, str, list[Header], str]] = [
    # listener, certificate, token (of the certificate, of another, none), method, path, further headers, reason
    ("main", "acme", "own", "GET", "/open", [], "allowed"),
    ("main", "acme", "own", "GET", "/open?query", [], "allowed"),
    ("main", "none", None, "GET", "/health", [], "bypassed"),
    ("main", "none", None, "GET", "/open", [], "certificate_missing"),
    ("main", "acme", None, "GET", "/open", [], "token_missing"),
    ("main", "acme", "other", "GET", "/open", [], "sender_binding_mismatch"),
    ("main", "acme", "own", "GET", "/open;x", [], "path_malformed"),
    ("main", "acme", "own", "GET", "/open", [("authorization", "Bearer x")], "authorization_malformed"),
    ("main", "acme", "own", "GET", "/open", [("x-client-id", "globex")], "client_mismatch"),
    ("main", "acme", "own", "GET", "/open/closed", [], "path_denied"),
    ("main", "acme", "own", "GET", "/scoped", [], "insufficient_scope"),
    ("main", "acme", "own", "POST", "/open", [], "method_not_allowed"),
    ("shadow", "acme", "own", "GET", "/open", [], "allowed"),
    ("shadow", "none", None, "GET", "/health", [], "bypassed"),
    ("shadow", "none", None, "GET", "/open", [], "certificate_missing"),
    ("shadow", "acme", "other", "POST", "/open", [], "sender_binding_mismatch"),
    ("shadow", "acme", "own", "GET", "/elsewhere", [], "path_denied"),
]


@pytest.fixture(scope="module")
def envoy(start_envoy: StartEnvoy, signer: Signer) -> Envoy:
    jwt = JwtAuthn((signer,))
    return start_envoy(Listener("main", POLICY, jwt=jwt), Listener("shadow", {**POLICY, "enforcement": "shadow"}, jwt=jwt))


def test_the_schema_is_one_of_its_draft_and_closed() -> None:
    Draft202012Validator.check_schema(record.SCHEMA)
    assert record.SCHEMA["$schema"] == Draft202012Validator.META_SCHEMA["$id"]
    assert record.SCHEMA["additionalProperties"] is False
    assert set(record.SCHEMA["required"]) == set(record.SCHEMA["properties"])


def test_the_schema_lists_the_reasons_that_the_filter_has_and_no_others(envoy: Envoy) -> None:
    # The filter makes a counter of every reason of its one list when it is loaded.
    names = (re.search(r"mtls_auth_failure_total\.reason\.(\w+)$", name) for name in envoy.admin.stats())
    counted = [found[1] for found in names if found]
    assert sorted(map(str, record.SCHEMA["properties"]["reason"]["enum"])) == sorted([*counted, "None"])
    assert set(counted) == verdicts.EVERY_STATUS.keys()


def test_the_schema_lists_the_statuses_of_these_reasons_and_no_others() -> None:
    assert set(record.SCHEMA["properties"]["status"]["enum"]) == {*verdicts.EVERY_STATUS.values(), None}


def test_every_request_of_every_kind_has_one_record_of_the_schema(
    envoy: Envoy, acme: Credential, bearer: Bearer, http: Client
) -> None:
    tokens = {"own": bearer("acme", acme), "other": bearer("acme", "A" * 43)}
    before = {listener: len(envoy.records(listener)) for listener in ("main", "shadow")}
    expected: dict[str, tuple[str, str]] = {}
    for listener, who, token, method, path, headers, reason in KINDS:
        request_id = str(uuid.uuid4())
        expected[request_id] = (listener, reason)
        sent = [("x-request-id", request_id), *([tokens[token]] if token else []), *headers]
        with http(envoy.port(listener), ClientTls(acme if who == "acme" else None)) as client:
            answer = client.request(method, path, sent)
        passes = listener == "shadow" or reason in ("allowed", "bypassed")
        assert (verdicts.reason_of(answer) == "allowed") is passes, (listener, path, reason)

    found = []
    for listener, count in Counter(listener for listener, _ in expected.values()).items():
        lines = envoy.records(listener, at_least=before[listener] + count)[before[listener]:]
        assert len(lines) == count, "one for each request and no more"
        found += [(line["request_id"], (listener, kind(line["decision"]))) for line in lines]
        assert {line["decision"]["enforcement"] for line in lines} == {"shadow" if listener == "shadow" else "enforce"}
        assert all(line["decision"]["request_id"] == line["request_id"] for line in lines)
    assert sorted(found) == sorted(expected.items())


def kind(decision: dict[str, Any]) -> str:
    """The last column of the table, from a record."""
    reason: str | None = decision["reason"]
    return reason or ("bypassed" if decision["rule"].startswith("bypass[") else "allowed")


GOOD = {
    "decision": "deny", "status": 403, "reason": "path_denied", "note": "no rule", "enforcement": "enforce", "policy_id": None,
    "client_id": "acme", "profile_id": "partner", "principal": None, "identity": "cn:acme", "thumbprint": "A" * 43,
    "token_thumbprint": "A" * 43, "binding": "bound", "rule": None, "method": "GET", "path": "/open", "request_id": "id",
    "candidate": None,
}
CANDIDATE = {"outcome": "would_allow", "status": None, "reason": None, "policy_id": "v2", "client_id": "acme", "profile_id": None}
REVOKED = {**GOOD, "status": 401, "reason": "certificate_revoked", "rule": "revocation.feeds[0].serials", "client_id": None}
ALLOWED = {**GOOD, "decision": "allow", "status": None, "reason": None, "note": None, "rule": "profiles.partner.allow[0]"}


@pytest.mark.parametrize("good", [GOOD, ALLOWED, {**ALLOWED, "rule": "bypass[12]"}, {**GOOD, "client_id": None},
                                  {**GOOD, "candidate": CANDIDATE}, REVOKED, {**REVOKED, "rule": "revocation.identities"}])
def test_the_schema_takes_a_record(good: dict[str, Any]) -> None:
    Draft202012Validator(record.SCHEMA).validate(good)


@pytest.mark.parametrize("wrong", [
    {**GOOD, "token": "x"},
    {name: value for name, value in GOOD.items() if name != "reason"},
    {**GOOD, "reason": "some_reason"},
    {**GOOD, "status": 404},
    {**GOOD, "status": None},
    {**GOOD, "rule": "bypass[0]"},
    {**GOOD, "path": "/a b"},
    {**GOOD, "path": "open"},
    {**GOOD, "thumbprint": "ab" * 32},
    {**GOOD, "token_thumbprint": "ab" * 32},
    {**GOOD, "note": "x" * 1025},
    {**GOOD, "identity": "x" * 513},
    {**ALLOWED, "note": "why"},
    {**GOOD, "request_id": "x" * 129},
    {**GOOD, "decision": "bypass"},
    {**GOOD, "candidate": {**CANDIDATE, "outcome": "same"}},
    {**GOOD, "candidate": {"outcome": "would_allow"}},
    {**GOOD, "candidate": "would_allow"},
    {**ALLOWED, "reason": "path_denied"},
    {**ALLOWED, "rule": None},
    {**ALLOWED, "rule": "allow[0]"},
    {**ALLOWED, "rule": "revocation.sha256"},
    {**REVOKED, "rule": None},
    {**REVOKED, "rule": "revocation.feeds[0]"},
    {**GOOD, "rule": "revocation.sha256"},
])
def test_the_schema_refuses_what_is_no_record(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Draft202012Validator(record.SCHEMA).validate(wrong)
