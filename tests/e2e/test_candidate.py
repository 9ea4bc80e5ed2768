"""A candidate is decided beside the policy in force: it is recorded and counted, and has no effect at all."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from conftest import Bearer, Client, StartEnvoy
from harness import verdicts
from harness.envoy import Envoy
from harness.filters import Config, JwtAuthn
from harness.http1 import Http1
from harness.listener import Listener
from harness.pki import Authority, Credential
from harness.tls import ClientTls
from harness.tokens import Signer

RULES: Config = {"allow": [{"paths": ["/open", "/old"], "methods": ["GET"]}]}
POLICY: Config = {
    "policy_id": "v1",
    "clients": {"acme": {"identities": ["cn:acme"], "profiles": ["partner"]}},
    "profiles": {"partner": RULES},
}
CANDIDATE: Config = POLICY | {
    "policy_id": "v2",
    "profiles": {"partner": {"allow": [{"paths": ["/open", "/new"], "methods": ["GET"]}]}},
}
UNREADABLE: Config = POLICY | {"profiles": {"partner": {"allows": []}}}


@pytest.fixture(scope="module")
def envoy(start_envoy: StartEnvoy, signer: Signer) -> Envoy:
    jwt = JwtAuthn((signer,))
    return start_envoy(
        Listener("beside", {**POLICY, "candidate": CANDIDATE}, jwt=jwt),
        Listener("struct", {**POLICY, "candidate": CANDIDATE}, jwt=jwt, struct=True),
        Listener("unreadable", {**POLICY, "candidate": UNREADABLE}, jwt=jwt),
        Listener("alone", POLICY, jwt=jwt),
    )


@pytest.mark.parametrize("listener", ["beside", "struct"])
@pytest.mark.parametrize(("path", "reason", "candidate"), [
    ("/open", None, None),
    ("/old", None, {"outcome": "would_deny", "status": 403, "reason": "path_denied"}),
    ("/new", "path_denied", {"outcome": "would_allow", "status": None, "reason": None}),
    ("/elsewhere", "path_denied", None),
])
def test_a_candidate_changes_nothing_and_says_what_it_would_have_done(
    envoy: Envoy, acme: Credential, bearer: Bearer, http: Client,
    listener: str, path: str, reason: str | None, candidate: dict[str, Any] | None,
) -> None:
    for name in (listener, "alone"):
        request_id = str(uuid.uuid4())
        with http(envoy.port(name), ClientTls(acme)) as client:
            response = client.request("GET", path, [bearer("acme", acme), ("x-request-id", request_id)])
        if reason is None:
            verdicts.passed(response)
        else:
            verdicts.refused(response, reason)
        decision = envoy.record(name, request_id)["decision"]
        assert (decision["reason"], decision["policy_id"]) == (reason, "v1")
        expected = candidate and {**candidate, "policy_id": "v2", "client_id": "acme", "profile_id": "partner"}
        assert decision["candidate"] == (expected if name == listener else None)


def test_what_a_candidate_would_have_done_is_counted(envoy: Envoy, acme: Credential, bearer: Bearer) -> None:
    before = envoy.admin.prometheus()
    with Http1(envoy.port("beside"), ClientTls(acme)) as client:
        for path in ("/open", "/open", "/old", "/new", "/elsewhere"):
            client.request("GET", path, [bearer("acme", acme)])
    with Http1(envoy.port("beside"), ClientTls()) as client:
        client.request("GET", "/open")
    after = envoy.admin.prometheus()
    counted = {}
    for outcome in ("same", "would_deny", "would_allow", "other_reason"):
        name = f'mtls_auth_candidate_total{{outcome="{outcome}"}}'
        counted[outcome] = after.get(name, 0) - before.get(name, 0)
    assert counted == {"same": 4, "would_deny": 1, "would_allow": 1, "other_reason": 0}


def test_a_candidate_that_cannot_be_read_is_reported_and_harms_nothing(
    envoy: Envoy, issuer: Authority, acme: Credential, bearer: Bearer, http: Client
) -> None:
    with http(envoy.port("unreadable"), ClientTls(acme)) as client:
        verdicts.passed(client.request("GET", "/open", [bearer("acme", acme)]))
        verdicts.refused(client.request("GET", "/new", [bearer("acme", acme)]), "path_denied")
    assert "no candidate is decided beside the policy in force: candidate.profiles.partner.allows" in envoy.log()
