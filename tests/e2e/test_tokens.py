"""Tokens that `jwt_authn` verified: what the filter checks besides, and where it takes them from."""

from __future__ import annotations

import hashlib
import json
import time
from typing import Any

import pytest

from conftest import Bearer, Client, StartEnvoy
from harness import http3, tokens, verdicts
from harness.envoy import Envoy
from harness.filters import Config, JwtAuthn, set_metadata
from harness.http1 import Http1
from harness.listener import Listener
from harness.pki import Credential, base64url
from harness.tls import ClientTls
from harness.tokens import AUDIENCE, ISSUER, Signer

POLICY: Config = {
    "clients": {"acme": {"identities": ["cn:acme"], "profiles": ["partner"]},
                "other": {"identities": ["cn:other"], "profiles": ["partner"]}},
    "profiles": {"partner": {"allow": [{"paths": ["/open"]}, {"paths": ["/scoped"], "scopes": ["read"]}]}},
}
OPTIONAL: Config = {"mode": "bearer_plus_mtls_optional", "token": {"audiences": [AUDIENCE]}}
NAMES: Config = {"client_id_claims": ["sub", "client"]}


@pytest.fixture(scope="module")
def envoy(start_envoy: StartEnvoy, signer: Signer) -> Envoy:
    jwt = JwtAuthn((signer,))

    def token(name: str, settings: Config, jwt: JwtAuthn | None = jwt, **options: Any) -> Listener:
        return Listener(name, {**POLICY, "token": settings}, jwt=jwt, **options)

    return start_envoy(
        Listener("main", POLICY, jwt=jwt),
        Listener("unverified", POLICY),
        Listener("optional_unverified", {**POLICY, **OPTIONAL}),
        token("issuers", {"providers": [{"issuer": "https://other.example"}, {"issuer": ISSUER}],
                          "metadata": {"issuers_bound": True}}),
        token("other_issuers", {"issuers": [ISSUER + "/"]}),
        token("audiences", {"audiences": [AUDIENCE, "https://second.example"]}),
        token("leeway", {"leeway_seconds": 0}),
        token("claims", NAMES),
        token("no_claims", {"client_id_claims": []}),
        token("hidden", {}, JwtAuthn((signer,), forward=False)),
        token("elsewhere", {}, JwtAuthn((signer,), options={"from_headers": [{"name": "x-token"}],
                                                            "from_params": ["token"]})),
        token("key", {"metadata": {"namespace": "envoy.filters.http.jwt_authn", "key": "verified"}},
              JwtAuthn((signer,), payload_in_metadata="verified")),
        token("wrong_key", {"metadata": {"key": "other"}}),
        token("stated", {"metadata": {"namespace": "stated", "key": "payload"}}, None,
              before=[set_metadata("stated", {"payload": {"client_id": "acme"}})]),
    )


def test_the_raw_header_is_never_believed(
    envoy: Envoy, acme: Credential, bearer: Bearer, http: Client
) -> None:
    for listener in ("unverified", "optional_unverified", "wrong_key"):
        with http(envoy.port(listener), ClientTls(acme)) as client:
            verdicts.refused(client.request("GET", "/open", [bearer("acme", acme)]), "token_missing")


def test_a_token_that_does_not_verify_is_no_token(
    envoy: Envoy, acme: Credential, signer: Signer, http: Client
) -> None:
    claims = tokens.claims("acme", acme)
    good = signer.sign(claims)
    head, _, signature = good.split(".")
    other = base64url(json.dumps(tokens.claims("acme", acme, scope="all")).encode())
    none = base64url(b'{"alg":"none"}')
    forged = [
        Signer().sign(claims),
        signer.sign(claims, {"alg": "HS256", "kid": signer.key_id}),
        f"{head}.{other}.{signature}",
        good[:-4],
        good.rpartition(".")[0] + ".",
        f"{none}.{good.split('.')[1]}.",
        "." * 10_000,
        "x",
        "eyJhbGciOiJub25lIn0.e30.",
    ]
    for token in forged:
        with http(envoy.port("main"), ClientTls(acme)) as client:
            verdicts.refused(client.request("GET", "/open", [("authorization", f"Bearer {token}")]), "token_missing")


@pytest.mark.parametrize(("listener", "claims", "verdict"), [
    ("main", {"exp": 3600}, "allowed"),
    ("main", {"exp": -15}, "allowed"),
    ("main", {"exp": -45}, "token_expired"),
    ("main", {"nbf": 15}, "allowed"),
    ("main", {"nbf": 45}, "token_not_yet_valid"),
    ("leeway", {"exp": -15}, "token_expired"),
    ("leeway", {"nbf": 15}, "token_not_yet_valid"),
    ("leeway", {"nbf": 0, "exp": 60}, "allowed"),
])
def test_times_are_checked_with_the_filters_own_leeway(
    envoy: Envoy, acme: Credential, bearer: Bearer, http: Client, listener: str, claims: dict[str, int], verdict: str
) -> None:
    now = int(time.time())
    token = bearer("acme", acme, **{name: now + value for name, value in claims.items()})
    with http(envoy.port(listener), ClientTls(acme)) as client:
        assert verdicts.reason_of(client.request("GET", "/open", [token])) == verdict


@pytest.mark.parametrize("value", ["soon", True, None, [], {}, -1, 1e300, -1e300, "1700000000"], ids=str)
@pytest.mark.parametrize("claim", ["exp", "nbf", "iat"])
def test_a_time_that_is_no_good_number_is_refused_and_not_taken_for_absent(
    envoy: Envoy, acme: Credential, bearer: Bearer, claim: str, value: Any
) -> None:
    with Http1(envoy.port("main"), ClientTls(acme)) as client:
        response = client.request("GET", "/open", [bearer("acme", acme, **{claim: value})])
    # jwt_authn refuses most of these before the filter does, and then there is no token.
    assert verdicts.reason_of(response) in ("token_claims_invalid", "token_missing", "token_expired",
                                            "token_not_yet_valid", "token_malformed")


def test_a_token_issued_in_the_future_is_refused(envoy: Envoy, acme: Credential, bearer: Bearer) -> None:
    with Http1(envoy.port("main"), ClientTls(acme)) as client:
        response = client.request("GET", "/open", [bearer("acme", acme, iat=int(time.time()) + 600)])
    assert verdicts.reason_of(response) in ("token_not_yet_valid", "token_claims_invalid")


def test_a_token_without_an_end_is_refused(envoy: Envoy, acme: Credential, signer: Signer, http: Client) -> None:
    claims = tokens.claims("acme", acme)
    del claims["exp"]
    with http(envoy.port("main"), ClientTls(acme)) as client:
        response = client.request("GET", "/open", [("authorization", f"Bearer {signer.sign(claims)}")])
    verdicts.refused(response, "token_claims_invalid")


@pytest.mark.parametrize(("listener", "claims", "verdict"), [
    ("issuers", {}, "allowed"),
    ("other_issuers", {}, "token_issuer_mismatch"),
    ("audiences", {}, "allowed"),
    ("audiences", {"aud": ["https://x.example", "https://second.example"]}, "allowed"),
    ("audiences", {"aud": "https://x.example"}, "token_audience_mismatch"),
    ("audiences", {"aud": ["https://x.example"]}, "token_audience_mismatch"),
    ("audiences", {"aud": AUDIENCE + "/"}, "token_audience_mismatch"),
    ("audiences", {"aud": AUDIENCE.upper()}, "token_audience_mismatch"),
    ("audiences", {"aud": ""}, "token_audience_mismatch"),
])
def test_issuer_and_audience_must_be_of_the_lists(
    envoy: Envoy, acme: Credential, bearer: Bearer, http: Client, listener: str, claims: Config, verdict: str
) -> None:
    with http(envoy.port(listener), ClientTls(acme)) as client:
        assert verdicts.reason_of(client.request("GET", "/open", [bearer("acme", acme, **claims)])) == verdict


@pytest.mark.parametrize("audience", [[], None, {}, 12, [12], [AUDIENCE, 12], [[AUDIENCE]], {"a": AUDIENCE}], ids=str)
def test_an_audience_of_the_wrong_type_is_refused(
    envoy: Envoy, acme: Credential, bearer: Bearer, audience: Any
) -> None:
    with Http1(envoy.port("audiences"), ClientTls(acme)) as client:
        response = client.request("GET", "/open", [bearer("acme", acme, aud=audience)])
    assert verdicts.reason_of(response) in ("token_audience_mismatch", "token_claims_invalid", "token_missing")


def test_the_thumbprint_is_compared_as_unpadded_base64url_and_the_answer_names_the_mistake(
    envoy: Envoy, acme: Credential, bearer: Bearer, http: Client
) -> None:
    def mistake(value: str, member: str = "x5t#S256") -> str:
        with http(envoy.port("main"), ClientTls(acme)) as client:
            response = client.request("GET", "/open", [bearer("acme", cnf={member: value})])
        detail: str = verdicts.refused(response, "sender_binding_malformed")["detail"]
        return detail.lower()

    sha1 = base64url(hashlib.sha1(acme.der).digest())
    assert "hexadecimal" in mistake(acme.thumbprint_hex)
    assert "hexadecimal" in mistake(acme.thumbprint_hex.upper())
    assert "hexadecimal" in mistake(":".join(acme.thumbprint_hex[i:i + 2] for i in range(0, 64, 2)))
    assert "pad" in mistake(acme.thumbprint + "=")
    assert "sha-1" in mistake(sha1)
    for value in (" " + acme.thumbprint, acme.thumbprint[:-1], acme.thumbprint + "A", "", "\u00e9" * 43):
        assert mistake(value)


def test_the_last_character_of_a_thumbprint_has_one_spelling(
    envoy: Envoy, acme: Credential, bearer: Bearer, http: Client
) -> None:
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    # 43 characters are 258 bits: the last two carry nothing and must be zero.
    last = alphabet.index(acme.thumbprint[-1])
    for bits in (1, 2, 3):
        value = acme.thumbprint[:-1] + alphabet[last | bits]
        with http(envoy.port("main"), ClientTls(acme)) as client:
            reason = verdicts.reason_of(client.request("GET", "/open", [bearer("acme", cnf={"x5t#S256": value})]))
        assert reason in ("sender_binding_malformed", "sender_binding_mismatch")


@pytest.mark.parametrize(("listener", "claims", "verdict"), [
    ("claims", {"sub": "acme"}, "allowed"),
    ("claims", {"sub": "other"}, "client_profile_mismatch"),
    ("claims", {"sub": "acme", "client": "other"}, "client_profile_mismatch"),
    ("claims", {"sub": "acme", "client_id": "other"}, "allowed"),
    ("no_claims", {"client_id": "other", "azp": "other", "sub": "other"}, "allowed"),
])
def test_the_claims_that_name_the_client_are_the_policys(
    envoy: Envoy, acme: Credential, bearer: Bearer, http: Client, listener: str, claims: Config, verdict: str
) -> None:
    with http(envoy.port(listener), ClientTls(acme)) as client:
        assert verdicts.reason_of(client.request("GET", "/open", [bearer("acme", acme, **claims)])) == verdict


@pytest.mark.parametrize(("claims", "verdict"), [
    ({"scope": "read"}, "allowed"),
    ({"scope": "write read"}, "allowed"),
    ({"scp": ["write", "read"]}, "allowed"),
    ({"scp": "read write"}, "allowed"),
    ({"scope": "write", "scp": ["read"]}, "allowed"),
    ({}, "insufficient_scope"),
    ({"scope": ""}, "insufficient_scope"),
    ({"scope": "READ"}, "insufficient_scope"),
    ({"scope": "reader"}, "insufficient_scope"),
    ({"scope": "read,write"}, "insufficient_scope"),
    ({"scope": "read:all"}, "insufficient_scope"),
])
def test_scopes_are_whole_words(
    envoy: Envoy, acme: Credential, bearer: Bearer, http: Client, claims: Config, verdict: str
) -> None:
    with http(envoy.port("main"), ClientTls(acme)) as client:
        assert verdicts.reason_of(client.request("GET", "/scoped", [bearer("acme", acme, **claims)])) == verdict


@pytest.mark.parametrize("scope", [12, True, {"read": True}, [["read"]], ["read", 12]], ids=str)
@pytest.mark.parametrize("claim", ["scope", "scp"])
def test_a_scope_of_the_wrong_type_gives_no_rights(
    envoy: Envoy, acme: Credential, bearer: Bearer, claim: str, scope: Any
) -> None:
    with Http1(envoy.port("main"), ClientTls(acme)) as client:
        response = client.request("GET", "/scoped", [bearer("acme", acme, **{claim: scope})])
    assert verdicts.reason_of(response) in ("insufficient_scope", "token_claims_invalid")


def test_the_metadata_key_is_the_policys(envoy: Envoy, acme: Credential, bearer: Bearer, http: Client) -> None:
    with http(envoy.port("key"), ClientTls(acme)) as client:
        verdicts.passed(client.request("GET", "/open", [bearer("acme", acme)]))


def test_a_token_that_jwt_authn_does_not_forward_is_as_good(
    envoy: Envoy, acme: Credential, bearer: Bearer, http: Client
) -> None:
    with http(envoy.port("hidden"), ClientTls(acme)) as client:
        verdicts.passed(client.request("GET", "/open", [bearer("acme", acme)]))


def test_a_token_from_another_place_does_not_vouch_for_the_one_in_the_header(
    envoy: Envoy, acme: Credential, bearer: Bearer, http: Client
) -> None:
    good, other = bearer("acme", acme)[1].removeprefix("Bearer "), bearer("other")
    cases = [
        ("/open", [("x-token", good), other], "authorization_malformed"),
        (f"/open?token={good}", [other], "authorization_malformed"),
        ("/open", [("x-token", good)], "allowed"),
        (f"/open?token={good}", [], "allowed"),
    ]
    for path, headers, verdict in cases:
        with http(envoy.port("elsewhere"), ClientTls(acme)) as client:
            assert verdicts.reason_of(client.request("GET", path, headers)) == verdict


def test_a_payload_without_the_claims_of_a_token_is_refused(
    envoy: Envoy, acme: Credential, http: Client
) -> None:
    with http(envoy.port("stated"), ClientTls(acme)) as client:
        assert client.request("GET", "/open").status == 401


@pytest.mark.parametrize("value", [
    "Bearer {token}, Bearer {token}",
    "Bearer {token},Bearer {token}",
    "Bearer {token}, Bearer other",
    "Bearer other, Bearer {token}",
    "Bearer {token}, Basic YTpi",
    "Basic YTpi, Bearer {token}",
])
def test_a_joined_pair_of_authorizations_is_malformed(
    envoy: Envoy, acme: Credential, bearer: Bearer, http: Client, value: str
) -> None:
    token = bearer("acme", acme)[1].removeprefix("Bearer ")
    with http(envoy.port("main"), ClientTls(acme)) as client:
        response = client.request("GET", "/open", [("authorization", value.format(token=token))])
    verdicts.refused(response, "authorization_malformed")


@pytest.mark.parametrize("value", [
    "bearer {token}", "BEARER {token}", "Bearer {token},", "Bearer ,{token}", "Bearer {token}\xa1",
    "Bearer \xa1{token}",
    "Bearer {token} {token}", "Bearer", "Bearer ", "Bearer  {token}", "Bearer\t{token}", "Bearer\xa0{token}", "Bearer Bearer {token}",
    "{token}", "Basic YTpi", "DPoP {token}", "", "\xff",
])
def test_what_jwt_authn_does_not_take_for_a_token_gives_no_rights(
    envoy: Envoy, acme: Credential, bearer: Bearer, http: Client, value: str
) -> None:
    token = bearer("acme", acme)[1].removeprefix("Bearer ")
    with http(envoy.port("main"), ClientTls(acme)) as client:
        response = client.request("GET", "/open", [("authorization", http3.taken(http, value.format(token=token)))])
    assert verdicts.reason_of(response) in ("authorization_malformed", "token_missing")


def test_a_token_of_more_than_sixteen_kibibytes_is_malformed(
    envoy: Envoy, acme: Credential, bearer: Bearer, http: Client
) -> None:
    def token(size: int) -> tuple[str, str]:
        empty = len(bearer("acme", acme, padding="")[1])
        return bearer("acme", acme, padding="x" * ((size - empty) * 3 // 4))

    malformed = "authorization_malformed"
    for size, verdict in ((15_000, "allowed"), (18_000, malformed), (50_000, malformed)):
        with http(envoy.port("main"), ClientTls(acme)) as client:
            assert verdicts.reason_of(client.request("GET", "/open", [token(size)])) == verdict


@pytest.mark.parametrize(("header", "verdict"), [
    ({"typ": "JWT"}, "allowed"),
    ({"typ": "at+jwt"}, "allowed"),
    ({}, "allowed"),
    ({"typ": "dpop+jwt"}, "token_malformed"),
    ({"typ": "secevent+jwt"}, "token_malformed"),
    ({"typ": 12}, "token_malformed"),
    ({"crit": ["b64"], "b64": False}, "token_malformed"),
    ({"crit": ["exp"]}, "token_malformed"),
    ({"crit": []}, "token_malformed"),
])
def test_the_header_of_a_token_holds_nothing_that_is_not_understood(
    envoy: Envoy, acme: Credential, signer: Signer, http: Client, header: Config, verdict: str
) -> None:
    token = signer.sign(tokens.claims("acme", acme), {"alg": signer.algorithm, "kid": signer.key_id, **header})
    with http(envoy.port("main"), ClientTls(acme)) as client:
        response = client.request("GET", "/open", [("authorization", f"Bearer {token}")])
    assert verdicts.reason_of(response) == verdict


@pytest.mark.parametrize("query", [
    "access_token={token}", "a=b&access_token={token}", "access_token=x", "access_token=",
])
def test_a_token_in_the_query_is_malformed(
    envoy: Envoy, acme: Credential, bearer: Bearer, http: Client, query: str
) -> None:
    header = bearer("acme", acme)
    path = "/open?" + query.format(token=header[1].removeprefix("Bearer "))
    for headers in ([], [header]):
        with http(envoy.port("main"), ClientTls(acme)) as client:
            verdicts.refused(client.request("GET", path, headers), "authorization_malformed")


@pytest.mark.parametrize("depth", [50, 90, 5_000])
def test_claims_of_any_depth_are_survived(
    envoy: Envoy, acme: Credential, signer: Signer, depth: int
) -> None:
    claims = json.dumps(tokens.claims("acme", acme))[:-1].encode()
    deep = claims + b',"deep":' + b"[" * depth + b"]" * depth + b"}"
    with Http1(envoy.port("main"), ClientTls(acme)) as client:
        verdicts.reason_of(client.request("GET", "/open", [("authorization", f"Bearer {signer.sign(deep)}")]))
        verdicts.passed(client.request("GET", "/open", [("authorization", f"Bearer {signer.sign(claims + b'}')}")]))


@pytest.mark.parametrize("claim", ["cnf", "client_id", "exp", "scope"])
def test_a_claim_that_stands_twice_gives_nobody_rights(
    envoy: Envoy, acme: Credential, signer: Signer, claim: str
) -> None:
    bad: Config = {"cnf": {"x5t#S256": "A" * 43}, "client_id": "other", "exp": 1, "scope": "none"}
    good = tokens.claims("acme", acme, scope="read")
    doubled = json.dumps(good)[:-1] + f', "{claim}": {json.dumps(bad[claim])}}}'
    with Http1(envoy.port("main"), ClientTls(acme)) as client:
        response = client.request("GET", "/scoped", [("authorization", f"Bearer {signer.sign(doubled.encode())}")])
    # Envoy hands over its own reading of the payload, in which the last one counts.
    assert response.status in (401, 403)
