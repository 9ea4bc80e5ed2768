"""One decision record a request in the access log, the counters and the log; what none of them holds is in `test_secrets.py`."""

from __future__ import annotations

import math
import time
import uuid
from typing import Any

import pytest

from conftest import Bearer, Client, StartEnvoy
from harness import verdicts
from harness.envoy import Envoy
from harness.filters import Config, JwtAuthn
from harness.http1 import Http1
from harness.http2 import Http2
from harness.http3 import Http3
from harness.listener import Listener
from harness.pki import Authority, Credential
from harness.response import Header
from harness.tls import ClientTls
from harness.tokens import AUDIENCE, Signer

PRINCIPAL = "arn:example:client/acme"
POLICY: Config = {
    "policy_id": "2026-11-24.1",
    "clients": {
        "acme": {"identities": ["cn:acme"], "profiles": ["partner"], "principal": PRINCIPAL},
        "bare": {"identities": ["cn:bare"], "profiles": ["bare"]},
    },
    "profiles": {
        "partner": {"allow": [{"paths": ["/first"]}, {"paths": ["/open/**"], "methods": ["GET"]}]},
        "bare": {"allow": [{"paths": ["/open/**"]}], "mode": "mtls"},
    },
    "bypass": [{"path": "/live"}, {"path": "/health"}],
}
MEMBERS = {"decision", "status", "reason", "note", "enforcement", "policy_id", "client_id", "profile_id", "principal",
           "identity", "thumbprint", "token_thumbprint", "binding", "rule", "method", "path", "request_id", "candidate"}


@pytest.fixture(scope="module")
def envoy(start_envoy: StartEnvoy, signer: Signer) -> Envoy:
    jwt = JwtAuthn((signer,))
    unlabelled = {key: value for key, value in POLICY.items() if key != "policy_id"}
    return start_envoy(
        Listener("main", POLICY, jwt=jwt, normalize=False),
        Listener("optional", {**unlabelled, "mode": "bearer_plus_mtls_optional", "token": {"audiences": [AUDIENCE]}}, jwt=jwt),
        Listener("none", {**POLICY, "audit": {"log": "none"}}, jwt=jwt),
        Listener("all", {**POLICY, "audit": {"log": "all"}}, jwt=jwt),
        Listener("counted", POLICY, jwt=jwt),
        log_level="debug",
    )


@pytest.fixture(scope="module")
def bare(issuer: Authority) -> Credential:
    return issuer.issue([("CN", "bare")])


def decision(envoy: Envoy, listener: str, request_id: str) -> dict[str, Any]:
    """The record of one request, whole."""
    record = envoy.record(listener, request_id)["decision"]
    assert isinstance(record, dict) and set(record) == MEMBERS
    return record


def test_an_allowed_request_is_recorded_with_all_that_is_known(
    envoy: Envoy, acme: Credential, bearer: Bearer, http: Client
) -> None:
    request_id = str(uuid.uuid4())
    with http(envoy.port("main"), ClientTls(acme)) as client:
        headers = [bearer("acme", acme), ("x-request-id", request_id)]
        verdicts.passed(client.request("GET", "/open/./x/%61?secret=query", headers))
    assert decision(envoy, "main", request_id) == {
        "decision": "allow", "status": None, "reason": None, "note": None, "enforcement": "enforce", "policy_id": "2026-11-24.1",
        "client_id": "acme", "profile_id": "partner", "principal": PRINCIPAL, "identity": "cn:acme",
        "thumbprint": acme.thumbprint, "token_thumbprint": acme.thumbprint,
        "binding": "bound", "rule": "profiles.partner.allow[1]", "method": "GET", "path": "/open/x/a",
        "request_id": request_id, "candidate": None,
    }
    assert envoy.record("main", request_id)["verdict"] == "allow"


def test_a_refused_request_is_recorded_with_what_was_found_out(
    envoy: Envoy, acme: Credential, bearer: Bearer, http: Client
) -> None:
    request_id = str(uuid.uuid4())
    with http(envoy.port("main"), ClientTls(acme)) as client:
        response = client.request("PUT", "/open/x?secret", [bearer("acme", acme), ("x-request-id", request_id)])
    verdicts.refused(response, "method_not_allowed")
    record = decision(envoy, "main", request_id)
    expected = {
        "decision": "deny", "status": 405, "reason": "method_not_allowed", "enforcement": "enforce",
        "policy_id": "2026-11-24.1", "client_id": "acme", "profile_id": "partner", "principal": PRINCIPAL,
        "thumbprint": acme.thumbprint, "rule": None, "method": "PUT", "path": "/open/x", "request_id": request_id,
    }
    assert {name: record[name] for name in expected} == expected
    assert envoy.record("main", request_id)["verdict"] != "allow"


def test_what_was_not_found_out_is_null(envoy: Envoy, http: Client) -> None:
    request_id = str(uuid.uuid4())
    with http(envoy.port("main"), ClientTls()) as client:
        verdicts.refused(client.request("GET", "/open/x", [("x-request-id", request_id)]), "certificate_missing")
    record = decision(envoy, "main", request_id)
    nothing = ("client_id", "profile_id", "principal", "thumbprint", "binding", "rule")
    assert [record[name] for name in nothing] == [None] * len(nothing)
    assert (record["status"], record["reason"]) == (401, "certificate_missing")


@pytest.mark.parametrize(("listener", "who", "token", "path", "binding", "rule"), [
    ("main", "acme", "bound", "/first", "bound", "profiles.partner.allow[0]"),
    ("main", "bare", None, "/open/x", "certificate", "profiles.bare.allow[0]"),
    ("main", None, None, "/live", None, "bypass[0]"),
    ("main", None, None, "/health", None, "bypass[1]"),
    ("optional", "acme", "bearer", "/first", "bearer", "profiles.partner.allow[0]"),
    ("optional", None, "bearer", "/first", "bearer", "profiles.partner.allow[0]"),
])
def test_the_record_says_how_the_caller_was_bound_and_what_allowed_it(
    envoy: Envoy, acme: Credential, bare: Credential, bearer: Bearer, http: Client, listener: str,
    who: str | None, token: str | None, path: str, binding: str | None, rule: str,
) -> None:
    request_id = str(uuid.uuid4())
    credential = {"acme": acme, "bare": bare}[who] if who else None
    headers: list[Header] = [("x-request-id", request_id)]
    if token:
        headers.append(bearer("acme", acme if token == "bound" else None))
    with http(envoy.port(listener), ClientTls(credential)) as client:
        verdicts.passed(client.request("GET", path, headers))
    record = decision(envoy, listener, request_id)
    assert (record["decision"], record["binding"], record["rule"]) == ("allow", binding, rule)
    assert record["policy_id"] == (POLICY["policy_id"] if listener == "main" else None)


def test_a_request_id_that_is_no_short_text_is_left_out(envoy: Envoy, acme: Credential, http: Client) -> None:
    mark = len(envoy.records("main"))
    # Over HTTP/3 Envoy takes ASCII alone.
    odd = ["x" * 129, "a b", *(["a\xa1", "\u00e9"] if http is not Http3 else [])]
    for value in odd:
        with http(envoy.port("main"), ClientTls(acme)) as client:
            response = client.request("GET", "/open/x", [("x-request-id", value)])
        verdicts.refused(response, "token_missing")
        assert value not in response.body.decode("latin-1")
    for record in envoy.records("main", at_least=mark + len(odd))[mark:]:
        assert record["decision"]["request_id"] is None


@pytest.mark.parametrize(("method", "path"), [
    ("GET", "/open/\xa1\xff"), ("G'T|`", "/open/x"), ("GET", '/open/"x"'), ("GET", '/open/%00"'),
    ("GET", "/open/{}%22"),
])
def test_odd_bytes_in_path_and_method_leave_a_record_that_is_json(
    envoy: Envoy, acme: Credential, method: str, path: str
) -> None:
    request_id = str(uuid.uuid4())
    with Http2(envoy.port("main"), ClientTls(acme)) as client:
        assert client.request(method, path, [("x-request-id", request_id)]).status in (400, 401)
    assert decision(envoy, "main", request_id)["decision"] == "deny"


def test_denials_are_logged_once_at_warn_with_their_reason_unless_the_policy_says_none(
    envoy: Envoy, acme: Credential, bearer: Bearer
) -> None:
    def lines(request_id: str) -> list[str]:
        return [line for line in envoy.log().splitlines() if "wasm log" in line and request_id in line]

    ids: dict[tuple[str, str], str] = {}
    for listener in ("none", "counted", "all"):
        for path in ("/elsewhere", "/first"):
            ids[listener, path] = str(uuid.uuid4())
            with Http1(envoy.port(listener), ClientTls(acme)) as client:
                client.request("GET", path, [bearer("acme", acme), ("x-request-id", ids[listener, path])])
    # The log is written in the order of the requests, so the last line ends the wait for all.
    envoy.wait_for_log(ids["all", "/first"])
    counts = {key: len(lines(request_id)) for key, request_id in ids.items()}
    assert counts == {
        ("none", "/elsewhere"): 0, ("none", "/first"): 0, ("counted", "/elsewhere"): 1, ("counted", "/first"): 0,
        ("all", "/elsewhere"): 1, ("all", "/first"): 1,
    }
    (denied,), (allowed,) = lines(ids["counted", "/elsewhere"]), lines(ids["all", "/first"])
    assert "[warning]" in denied and "path_denied" in denied
    assert "[info]" in allowed


def test_log_lines_are_bounded_in_a_flood_of_denials_and_records_are_not(envoy: Envoy, http: Client) -> None:
    def logged() -> int:
        return sum("wasm log" in line and "certificate_missing" in line for line in envoy.log().splitlines())

    mark, before, begin = len(envoy.records("main")), logged(), time.monotonic()
    with http(envoy.port("main"), ClientTls()) as client:
        for _ in range(500):
            verdicts.refused(client.request("GET", "/flood"), "certificate_missing")
    seconds = math.ceil(time.monotonic() - begin) + 1
    assert len(envoy.records("main", at_least=mark + 500)) == mark + 500
    assert logged() - before <= 100 * seconds


def test_every_decision_is_counted_with_its_reason_as_a_label(
    envoy: Envoy, acme: Credential, issuer: Authority, bearer: Bearer, http: Client
) -> None:
    def count() -> dict[str, float]:
        return {name: value for name, value in envoy.admin.prometheus().items() if name.startswith("mtls_")}

    other = issuer.issue([("CN", "acme")])
    before = count()
    with http(envoy.port("counted"), ClientTls(acme)) as client:
        for _ in range(3):
            verdicts.passed(client.request("GET", "/first", [bearer("acme", acme)]))
        for _ in range(2):
            verdicts.refused(client.request("GET", "/elsewhere", [bearer("acme", acme)]), "path_denied")
        verdicts.refused(client.request("GET", "/first", [bearer("acme", other)]), "sender_binding_mismatch")
        verdicts.passed(client.request("GET", "/health"))
    after = count()
    assert {name: value - before.get(name, 0) for name, value in after.items() if value != before.get(name, 0)} == {
        "mtls_auth_success_total{}": 3,
        "mtls_auth_bypassed_total{}": 1,
        'mtls_auth_failure_total{reason="path_denied"}': 2,
        'mtls_auth_failure_total{reason="sender_binding_mismatch"}': 1,
        "mtls_pop_mismatch_total{}": 1,
    }


def test_requests_from_which_a_forwarded_certificate_was_removed_are_counted(
    envoy: Envoy, acme: Credential, bearer: Bearer, http: Client
) -> None:
    name = "mtls_forwarded_cert_stripped_total{}"
    before = envoy.admin.prometheus().get(name, 0)
    with http(envoy.port("counted"), ClientTls(acme)) as client:
        for headers in ([("client-cert", "x")], [("ssl-client-cert", "x"), ("x-arr-clientcert", "y")], []):
            verdicts.passed(client.request("GET", "/first", [bearer("acme", acme), *headers]))
    assert envoy.admin.prometheus()[name] == before + 2


def test_callers_cannot_make_new_labels(envoy: Envoy, acme: Credential, bearer: Bearer, http: Client) -> None:
    def names() -> set[str]:
        return {name for name in envoy.admin.prometheus() if name.startswith("mtls_")}

    with http(envoy.port("counted"), ClientTls(acme)) as client:
        verdicts.refused(client.request("GET", "/a", [bearer("acme", acme)]), "path_denied")
        before = names()
        for number in range(20):
            headers = [bearer("acme", acme), ("x-profile-id", f"p{number}") if number % 2 else ("x-o", "a")]
            client.request("GET", f"/{number}", headers)
    assert len(names() - before) <= 1
