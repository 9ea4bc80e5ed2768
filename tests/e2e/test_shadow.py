"""Shadow mode decides, records and counts everything, and refuses nothing."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from conftest import Bearer, Client, StartEnvoy
from harness import grpc_client, verdicts
from harness.envoy import Envoy
from harness.filters import Config, JwtAuthn
from harness.http1 import Http1
from harness.listener import Listener
from harness.pki import Authority, Credential
from harness.response import Header
from harness.tls import ClientTls
from harness.tokens import Signer

POLICY: Config = {
    "clients": {
        "acme": {"identities": ["cn:acme"], "profiles": ["partner"]},
        "trial": {"identities": ["cn:trial"], "profiles": ["trial"]},
        "firm": {"identities": ["cn:firm"], "profiles": ["partner"]},
    },
    "profiles": {
        "partner": {"allow": [{"paths": ["/open"], "methods": ["GET"]}]},
        "trial": {"allow": [{"paths": ["/open"], "methods": ["GET"]}], "enforcement": "shadow"},
    },
}


@pytest.fixture(scope="module")
def envoy(start_envoy: StartEnvoy, signer: Signer) -> Envoy:
    jwt = JwtAuthn((signer,))
    return start_envoy(
        Listener("shadow", {**POLICY, "enforcement": "shadow"}, jwt=jwt, upgrades=["websocket"]),
        Listener("enforce", POLICY, jwt=jwt),
    )


@pytest.fixture(scope="module")
def people(issuer: Authority, acme: Credential) -> dict[str, Credential]:
    return {"acme": acme, **{name: issuer.issue([("CN", name)]) for name in ("trial", "firm", "unknown")}}


CASES: list[tuple[str | None, str | None, str, str, list[Header], str]] = [
    # certificate, token, method, path, further headers, reason
    (None, None, "GET", "/open", [], "certificate_missing"),
    ("acme", None, "GET", "/open", [], "token_missing"),
    ("unknown", "unknown", "GET", "/open", [], "identity_not_mapped"),
    ("acme", "acme", "GET", "/elsewhere", [], "path_denied"),
    ("acme", "acme", "POST", "/open", [], "method_not_allowed"),
    ("acme", "acme", "GET", "/open", [("x-client-id", "trial")], "client_mismatch"),
    ("acme", "acme", "GET", "/open;a", [], "path_malformed"),
    ("acme", "acme", "GET", "/open", [("authorization", "Bearer second")], "authorization_malformed"),
    ("trial", "trial", "GET", "/elsewhere", [], "path_denied"),
]


@pytest.mark.parametrize(("who", "token", "method", "path", "headers", "reason"), CASES)
def test_what_would_be_refused_passes_and_is_recorded(
    envoy: Envoy, people: dict[str, Credential], bearer: Bearer, http: Client,
    who: str | None, token: str | None, method: str, path: str, headers: list[Header], reason: str,
) -> None:
    request_id = str(uuid.uuid4())
    credential = people[who] if who else None
    sent = [("x-request-id", request_id), *headers, *([bearer(token, credential)] if token else [])]
    with http(envoy.port("shadow"), ClientTls(credential)) as client:
        verdicts.passed(client.request(method, path, sent, b"body" if method == "POST" else b""))
    record = envoy.record("shadow", request_id)
    decision = record["decision"]
    assert (decision["decision"], decision["enforcement"], decision["reason"]) == ("deny", "shadow", reason)
    assert decision["status"] == verdicts.STATUS[reason]
    # The guard lets through what the filter lets through.
    assert record["verdict"] == "allow"


def test_what_would_be_allowed_is_recorded_as_allowed(
    envoy: Envoy, acme: Credential, bearer: Bearer, http: Client
) -> None:
    request_id = str(uuid.uuid4())
    with http(envoy.port("shadow"), ClientTls(acme)) as client:
        verdicts.passed(client.request("GET", "/open", [bearer("acme", acme), ("x-request-id", request_id)]))
    decision: dict[str, Any] = envoy.record("shadow", request_id)["decision"]
    assert (decision["decision"], decision["enforcement"]) == ("allow", "shadow")


def test_a_profile_is_shadowed_from_where_it_is_known(
    envoy: Envoy, people: dict[str, Credential], bearer: Bearer, http: Client
) -> None:
    trial, acme = people["trial"], people["acme"]
    with http(envoy.port("enforce"), ClientTls(trial)) as client:
        verdicts.passed(client.request("GET", "/elsewhere", [bearer("trial", trial)]))
        verdicts.passed(client.request("POST", "/open", [bearer("trial", trial)]))
    with http(envoy.port("enforce"), ClientTls(acme)) as client:
        verdicts.refused(client.request("GET", "/elsewhere", [bearer("acme", acme)]), "path_denied")


def test_a_shadowed_profile_still_asks_for_the_certificate_and_lets_everything_else_pass(
    envoy: Envoy, people: dict[str, Credential], bearer: Bearer, http: Client
) -> None:
    with http(envoy.port("enforce"), ClientTls(people["trial"])) as client:
        verdicts.passed(client.request("GET", "/open"))
        verdicts.passed(client.request("GET", "/open", [bearer("trial", people["firm"])]))
        verdicts.passed(client.request("GET", "/open", [bearer("firm", people["trial"])]))
    for credential, reason in ((None, "certificate_missing"), (people["unknown"], "identity_not_mapped")):
        with http(envoy.port("enforce"), ClientTls(credential)) as client:
            response = client.request("GET", "/open", [bearer("trial", people["trial"] if credential is None else credential)])
        verdicts.refused(response, reason)


def test_a_grpc_call_that_would_be_refused_passes(envoy: Envoy, root: Authority, acme: Credential) -> None:
    assert grpc_client.call(envoy.port("shadow"), root, acme).message == b"hello"


def test_shadowed_refusals_have_a_counter_of_their_own(envoy: Envoy, acme: Credential) -> None:
    shadowed, refused = (f'mtls_auth_{name}_total{{reason="token_missing"}}' for name in ("shadow_denied", "failure"))
    before = envoy.admin.prometheus()
    with Http1(envoy.port("shadow"), ClientTls(acme)) as client:
        verdicts.passed(client.request("GET", "/open"))
    after = envoy.admin.prometheus()
    assert after[shadowed] == before.get(shadowed, 0) + 1
    assert after.get(refused, 0) == before.get(refused, 0)
