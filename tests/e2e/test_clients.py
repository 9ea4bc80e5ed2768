"""What a caller may claim about itself in `X-Client-ID` and `X-Profile-ID`."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from conftest import Bearer, Client, StartEnvoy
from harness import http3, tokens, verdicts
from harness.envoy import Envoy
from harness.filters import Config, JwtAuthn
from harness.http1 import Http1
from harness.listener import Listener
from harness.pki import Authority, Credential
from harness.response import Header, Response
from harness.tls import ClientTls
from harness.tokens import Signer

ANYTHING: Config = {"allow": [{"paths": ["/**"]}]}
POLICY: Config = {
    "mode": "mtls",
    "clients": {
        "acme": {"identities": ["cn:acme"], "profiles": ["partner"]},
        "several": {"identities": ["cn:several"], "profiles": ["partner", "reporter"]},
        "hushed": {"identities": ["cn:hushed"], "profiles": ["secret"]},
        "disabled": {"identities": ["cn:disabled"], "profiles": []},
    },
    "profiles": {"partner": ANYTHING, "reporter": ANYTHING, "secret": ANYTHING},
}
CLIENT, PROFILE = "x-client-id", "x-profile-id"


@pytest.fixture(scope="module")
def envoy(start_envoy: StartEnvoy, signer: Signer) -> Envoy:
    required: Config = {**POLICY, "require_client_headers": True}
    return start_envoy(
        Listener("main", POLICY),
        Listener("required", required),
        Listener("bearer", {**POLICY, "mode": "bearer_plus_mtls_required"}, jwt=JwtAuthn((signer,))),
        Listener("bearer_required", {**required, "mode": "bearer_plus_mtls_required"}, jwt=JwtAuthn((signer,))),
    )


@pytest.fixture(scope="module")
def several(issuer: Authority) -> Credential:
    return issuer.issue([("CN", "several")])


def who(response: Response) -> str:
    """`client/profile` as the upstream was told, or the reason of the refusal."""
    if response.header("x-upstream") is None:
        return verdicts.reason_of(response)
    echo = response.echo()
    (client,), (profile,) = echo.values(CLIENT), echo.values(PROFILE)
    return f"{client}/{profile}"


@pytest.mark.parametrize(("headers", "verdict"), [
    ([], "acme/partner"),
    ([(CLIENT, "acme")], "acme/partner"),
    ([(PROFILE, "partner")], "acme/partner"),
    ([(CLIENT, "acme"), (PROFILE, "partner")], "acme/partner"),
    ([(CLIENT, "several")], "client_mismatch"),
    ([(CLIENT, "no-such-client")], "client_mismatch"),
    ([(CLIENT, "")], "client_mismatch"),
    ([(CLIENT, "ACME")], "client_mismatch"),
    ([(CLIENT, "acme,several")], "client_mismatch"),
    ([(CLIENT, "acme, acme")], "client_mismatch"),
    ([(CLIENT, "acme\xa1")], "client_mismatch"),
    ([(CLIENT, "acm\xc3\xa9")], "client_mismatch"),
    ([(PROFILE, "reporter")], "client_profile_mismatch"),
    ([(PROFILE, "secret")], "client_profile_mismatch"),
    ([(PROFILE, "no-such-profile")], "client_profile_mismatch"),
    ([(PROFILE, "Partner")], "client_profile_mismatch"),
    ([(PROFILE, "partner\xa1")], "client_profile_mismatch"),
    ([(PROFILE, "partner,reporter")], "client_profile_mismatch"),
    ([(CLIENT, "several"), (PROFILE, "secret")], "client_mismatch"),
    ([(CLIENT, "acme"), (CLIENT, "acme")], "request_malformed"),
    ([(CLIENT, "acme"), (CLIENT, "several")], "request_malformed"),
    ([(CLIENT, "several"), (CLIENT, "acme")], "request_malformed"),
    ([(PROFILE, "partner"), (PROFILE, "partner")], "request_malformed"),
    ([(PROFILE, "partner"), (PROFILE, "reporter")], "request_malformed"),
    ([(PROFILE, "reporter"), (PROFILE, "partner")], "request_malformed"),
])
def test_a_claim_must_be_the_certificates_client_and_one_of_its_profiles(
    envoy: Envoy, acme: Credential, http: Client, headers: Sequence[Header], verdict: str
) -> None:
    sent = [(name, http3.taken(http, value)) for name, value in headers]
    with http(envoy.port("main"), ClientTls(acme)) as client:
        assert who(client.request("GET", "/", sent)) == verdict


@pytest.mark.parametrize(("headers", "verdict"), [
    ([], "profile_required"),
    ([(CLIENT, "several")], "profile_required"),
    ([(PROFILE, "partner")], "several/partner"),
    ([(PROFILE, "reporter")], "several/reporter"),
    ([(PROFILE, "secret")], "client_profile_mismatch"),
])
def test_a_client_of_several_profiles_must_name_one(
    envoy: Envoy, several: Credential, http: Client, headers: Sequence[Header], verdict: str
) -> None:
    with http(envoy.port("main"), ClientTls(several)) as client:
        assert who(client.request("GET", "/", headers)) == verdict


@pytest.mark.parametrize(("headers", "verdict"), [
    ([], "profile_required"),
    ([(CLIENT, "disabled")], "profile_required"),
    ([(PROFILE, "partner")], "client_profile_mismatch"),
])
def test_a_client_with_an_empty_list_of_profiles_may_do_nothing(
    envoy: Envoy, issuer: Authority, http: Client, headers: Sequence[Header], verdict: str
) -> None:
    with http(envoy.port("main"), ClientTls(issuer.issue([("CN", "disabled")]))) as client:
        assert who(client.request("GET", "/", headers)) == verdict


def test_an_empty_profile_names_no_profile(envoy: Envoy, several: Credential, http: Client) -> None:
    with http(envoy.port("main"), ClientTls(several)) as client:
        verdict = who(client.request("GET", "/", [(PROFILE, "")]))
    assert verdict in ("profile_required", "client_profile_mismatch")


@pytest.mark.parametrize(("headers", "verdict"), [
    ([], "client_header_missing"),
    ([(CLIENT, "acme")], "client_header_missing"),
    ([(PROFILE, "partner")], "client_header_missing"),
    ([(CLIENT, "acme"), (PROFILE, "partner")], "acme/partner"),
    ([(CLIENT, "several"), (PROFILE, "partner")], "client_mismatch"),
    ([("x_client_id", "acme"), ("x_profile_id", "partner")], "client_header_missing"),
])
def test_both_claims_are_mandatory_where_the_policy_says_so(
    envoy: Envoy, acme: Credential, http: Client, headers: Sequence[Header], verdict: str
) -> None:
    with http(envoy.port("required"), ClientTls(acme)) as client:
        assert who(client.request("GET", "/", headers)) == verdict


def test_claims_are_checked_only_after_certificate_and_token(
    envoy: Envoy, acme: Credential, http: Client
) -> None:
    for headers in ([(CLIENT, "several")], [(PROFILE, "secret")], []):
        with http(envoy.port("bearer_required"), ClientTls(acme)) as client:
            verdicts.refused(client.request("GET", "/", headers), "token_missing")
        with http(envoy.port("required"), ClientTls()) as client:
            verdicts.refused(client.request("GET", "/", headers), "certificate_missing")


def test_a_claim_never_stands_in_for_a_name(envoy: Envoy, issuer: Authority, http: Client) -> None:
    stranger = issuer.issue([("CN", "stranger")])
    with http(envoy.port("main"), ClientTls(stranger)) as client:
        response = client.request("GET", "/", [(CLIENT, "acme"), (PROFILE, "partner")])
    verdicts.refused(response, "identity_not_mapped")


@pytest.mark.parametrize(("claims", "verdict"), [
    ({}, "acme/partner"),
    ({"client_id": "acme", "azp": "acme"}, "acme/partner"),
    ({"client_id": "several"}, "client_profile_mismatch"),
    ({"client_id": "no-such-client"}, "client_profile_mismatch"),
    ({"client_id": "ACME"}, "client_profile_mismatch"),
    ({"client_id": ""}, "token_claims_invalid"),
    ({"client_id": "acme", "azp": "several"}, "client_profile_mismatch"),
    ({"client_id": "several", "azp": "acme"}, "client_profile_mismatch"),
    ({"client_id": ["acme"]}, "token_claims_invalid"),
    ({"client_id": None}, "client_profile_mismatch"),
    ({"client_id": True}, "token_claims_invalid"),
    ({"azp": 1}, "token_claims_invalid"),
])
def test_the_token_must_name_the_certificates_client(
    envoy: Envoy, acme: Credential, bearer: Bearer, http: Client, claims: Config, verdict: str
) -> None:
    with http(envoy.port("bearer"), ClientTls(acme)) as client:
        assert who(client.request("GET", "/", [bearer("acme", acme, **claims)])) == verdict


def test_a_token_that_names_no_client_is_refused(envoy: Envoy, acme: Credential, signer: Signer) -> None:
    claims = tokens.claims("acme", acme)
    del claims["client_id"]
    with Http1(envoy.port("bearer"), ClientTls(acme)) as client:
        verdict = who(client.request("GET", "/", [("authorization", f"Bearer {signer.sign(claims)}")]))
    assert verdict in ("client_profile_mismatch", "token_claims_invalid")
