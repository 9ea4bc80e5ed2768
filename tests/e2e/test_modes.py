"""What a caller must present in each mode, and that a bound token is always checked."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from conftest import Bearer, Client, StartEnvoy
from harness import pki, verdicts
from harness.envoy import Envoy
from harness.filters import Config, JwtAuthn
from harness.http1 import Http1
from harness.http2 import Http2
from harness.listener import Listener
from harness.pki import Authority, Credential
from harness.response import Header, Response
from harness.tls import ClientTls
from harness.tokens import AUDIENCE, Signer

REQUIRED, OPTIONAL, MTLS = "bearer_plus_mtls_required", "bearer_plus_mtls_optional", "mtls"
ANYTHING: Config = {"allow": [{"paths": ["/**"], "upgrades": ["websocket"], "plain": True}]}
POLICY: Config = {
    "token": {"audiences": [AUDIENCE]},
    "clients": {
        "acme": {"identities": ["cn:acme"], "profiles": ["partner"]},
        "other": {"identities": ["cn:other"], "profiles": ["partner"]},
        "strict": {"identities": ["cn:strict"], "profiles": ["strict"]},
        "lax": {"identities": ["cn:lax"], "profiles": ["lax"]},
        "silent": {"identities": ["cn:silent"], "profiles": ["silent"]},
        "mixed": {"identities": ["cn:mixed"], "profiles": ["strict", "silent"]},
    },
    "profiles": {
        "partner": ANYTHING,
        "strict": {**ANYTHING, "mode": REQUIRED},
        "lax": {**ANYTHING, "mode": OPTIONAL},
        "silent": {**ANYTHING, "mode": MTLS},
    },
}
BYPASS: Config = {
    "clients": {"acme": {"identities": ["cn:acme"], "profiles": ["partner"]}},
    "profiles": {"partner": ANYTHING},
    "bypass": [
        {"path": "/health", "methods": ["GET"]},
        {"path": "/public/**"},
        {"path": "/files/*", "methods": ["GET", "HEAD"]},
    ],
}
BINDING: Config = {"binding": {"required_paths": ["/payments/**", "/exact"]}}


@pytest.fixture(scope="module")
def envoy(start_envoy: StartEnvoy, signer: Signer) -> Envoy:
    jwt = JwtAuthn((signer,))
    return start_envoy(
        Listener("required", {**POLICY, "mode": REQUIRED}, jwt=jwt),
        Listener("mtls", {**POLICY, "mode": MTLS}, jwt=jwt),
        Listener("optional", {**POLICY, **BINDING, "mode": OPTIONAL}, jwt=jwt),
        Listener("optional_lax", {**POLICY, **BINDING, "mode": OPTIONAL}, jwt=jwt, trust="ACCEPT_UNTRUSTED"),
        Listener("bypass", BYPASS, jwt=jwt, upgrades=["websocket"]),
    )


@pytest.fixture(scope="module")
def other(issuer: Authority) -> Credential:
    return issuer.issue([("CN", "other")])


def test_both_are_required_by_default(envoy: Envoy, acme: Credential, bearer: Bearer, http: Client) -> None:
    token = bearer("acme", acme)
    cases: list[tuple[Credential | None, Sequence[Header], str]] = [
        (acme, [token], "allowed"),
        (acme, [], "token_missing"),
        (None, [token], "certificate_missing"),
        (None, [], "certificate_missing"),
    ]
    for listener in ("bypass", "required"):
        for credential, headers, verdict in cases:
            with http(envoy.port(listener), ClientTls(credential)) as client:
                assert verdicts.reason_of(client.request("GET", "/", headers)) == verdict


def test_a_token_must_be_bound_to_this_certificate(
    envoy: Envoy, acme: Credential, other: Credential, bearer: Bearer, http: Client
) -> None:
    cases = [
        (bearer("acme", acme), "allowed"),
        (bearer("acme"), "sender_binding_missing"),
        (bearer("acme", other), "sender_binding_mismatch"),
        (bearer("other", other), "sender_binding_mismatch"),
        (bearer("acme", cnf={"jkt": acme.thumbprint}), "sender_binding_missing"),
    ]
    for token, verdict in cases:
        with http(envoy.port("required"), ClientTls(acme)) as client:
            assert verdicts.reason_of(client.request("GET", "/", [token])) == verdict


def test_no_token_is_looked_at_in_mode_mtls(
    envoy: Envoy, acme: Credential, other: Credential, bearer: Bearer, http: Client
) -> None:
    for headers in ([], [bearer("acme", acme)], [bearer("other", other)], [("authorization", "Basic YTpi")]):
        with http(envoy.port("mtls"), ClientTls(acme)) as client:
            verdicts.passed(client.request("GET", "/", headers))


OPTIONAL_CASES = [
    # certificate, the token's client, what it is bound to, path, verdict
    (None, "acme", None, "/open", "allowed"),
    (None, None, None, "/open", "token_missing"),
    (None, "no-such-client", None, "/open", "identity_not_mapped"),
    (None, "acme", "acme", "/open", "certificate_missing"),
    (None, "acme", None, "/payments/1", "certificate_missing"),
    (None, "acme", None, "/payments", "certificate_missing"),
    (None, "acme", None, "/exact", "certificate_missing"),
    (None, "acme", None, "/exact/", "certificate_missing"),
    (None, "acme", None, "/exactly", "allowed"),
    (None, "acme", None, "/payments-admin", "allowed"),
    ("acme", "acme", None, "/open", "allowed"),
    ("acme", "acme", "acme", "/open", "allowed"),
    ("acme", "acme", "other", "/open", "sender_binding_mismatch"),
    ("acme", None, None, "/open", "token_missing"),
    ("acme", "other", None, "/open", "client_profile_mismatch"),
    ("unknown", "acme", None, "/open", "identity_not_mapped"),
    ("acme", "acme", "acme", "/payments/1", "allowed"),
    ("acme", "acme", None, "/payments/1", "sender_binding_missing"),
    ("acme", "acme", "other", "/payments/1", "sender_binding_mismatch"),
]


@pytest.mark.parametrize(("who", "token_of", "bound_to", "path", "verdict"), OPTIONAL_CASES)
def test_a_bearer_token_alone_is_enough_in_optional_mode_except_where_binding_is_required(
    envoy: Envoy, acme: Credential, other: Credential, issuer: Authority, bearer: Bearer, http: Client,
    who: str | None, token_of: str | None, bound_to: str | None, path: str, verdict: str,
) -> None:
    people = {"acme": acme, "other": other, "unknown": issuer.issue([("CN", "unknown")])}
    headers = [bearer(token_of, people[bound_to] if bound_to else None)] if token_of else []
    with http(envoy.port("optional"), ClientTls(people[who] if who else None)) as client:
        assert verdicts.reason_of(client.request("GET", path, headers)) == verdict


@pytest.mark.parametrize("path", [
    "/payments/1", "/payments/./1", "/x/../payments/1", "/%70ayments/1", "/payments/1?x=/open", "/payments/%31",
])
def test_another_spelling_of_a_path_does_not_lose_its_required_binding(
    envoy: Envoy, bearer: Bearer, http: Client, path: str
) -> None:
    with http(envoy.port("optional"), ClientTls()) as client:
        verdicts.refused(client.request("GET", path, [bearer("acme")]), "certificate_missing")


def test_an_untrusted_certificate_is_not_the_same_as_none_in_optional_mode(
    envoy: Envoy, bearer: Bearer, http: Client, tmp_path_factory: pytest.TempPathFactory
) -> None:
    stranger = pki.self_signed(tmp_path_factory.mktemp("stranger"), [("CN", "acme")])
    with http(envoy.port("optional_lax"), ClientTls(stranger)) as client:
        verdicts.refused(client.request("GET", "/open", [bearer("acme")]), "certificate_untrusted")


def test_the_upstream_is_told_only_what_the_token_says_where_there_is_no_certificate(
    envoy: Envoy, bearer: Bearer, http: Client
) -> None:
    with http(envoy.port("optional"), ClientTls()) as client:
        echo = verdicts.passed(client.request("GET", "/open", [bearer("acme"), ("x-client-id", "acme")]))
        other = [bearer("acme"), ("x-client-id", "other")]
        verdicts.refused(client.request("GET", "/open", other), "client_mismatch")
    assert (echo.values("x-client-id"), echo.values("x-profile-id")) == (["acme"], ["partner"])
    assert echo.values("x-client-identity") == echo.values("x-client-cert-thumbprint") == []


@pytest.mark.parametrize("claims", [
    {"cnf": {"x5t#S256": ""}}, {"cnf": {"x5t#S256": 12}}, {"cnf": {"x5t#S256": None}},
    {"cnf": {"x5t#S256": ["A" * 43]}}, {"cnf": {"jkt": "A" * 43}}, {"cnf": {"x5t": "A" * 27}},
    {"cnf": {"x5t#s256": "A" * 43}}, {"cnf": {}}, {"cnf": []}, {"cnf": "A" * 43}, {"cnf": None}, {"cnf": True},
], ids=str)
def test_a_confirmation_that_is_there_is_checked_even_where_none_is_required(
    envoy: Envoy, acme: Credential, bearer: Bearer, claims: Config
) -> None:
    for tls in (ClientTls(), ClientTls(acme)):
        for path in ("/open", "/payments/1"):
            with Http1(envoy.port("optional"), tls) as client:
                reason = verdicts.reason_of(client.request("GET", path, [bearer("acme", **claims)]))
            assert reason in ("sender_binding_missing", "sender_binding_malformed", "certificate_missing")


def test_a_profile_has_its_own_mode(envoy: Envoy, issuer: Authority, bearer: Bearer, http: Client) -> None:
    people = {name: issuer.issue([("CN", name)]) for name in ("strict", "lax", "silent", "mixed")}
    cases: list[tuple[str, str, bool, Sequence[Header], str]] = [
        # The profile "strict" is as strict as "required" wherever it is used.
        ("optional", "strict", False, [bearer("strict")], "certificate_missing"),
        ("optional", "strict", True, [bearer("strict")], "sender_binding_missing"),
        ("optional", "strict", True, [bearer("strict", people["strict"])], "allowed"),
        ("required", "lax", True, [bearer("lax")], "allowed"),
        ("required", "lax", False, [bearer("lax")], "allowed"),
        ("required", "strict", False, [bearer("strict")], "certificate_missing"),
        ("required", "silent", True, [], "allowed"),
        ("mtls", "strict", True, [], "token_missing"),
        ("mtls", "strict", True, [bearer("strict", people["strict"])], "allowed"),
        ("required", "mixed", True, [("x-profile-id", "silent")], "allowed"),
        ("required", "mixed", True, [("x-profile-id", "strict")], "token_missing"),
    ]
    for listener, name, with_certificate, headers, verdict in cases:
        with http(envoy.port(listener), ClientTls(people[name] if with_certificate else None)) as client:
            assert verdicts.reason_of(client.request("GET", "/", headers)) == verdict, (listener, name)


@pytest.mark.parametrize(("method", "path", "verdict"), [
    ("GET", "/health", "allowed"),
    ("GET", "/health?full=1", "allowed"),
    ("GET", "/x/../health", "allowed"),
    ("GET", "/%68ealth", "allowed"),
    ("POST", "/health", "certificate_missing"),
    ("HEAD", "/health", "allowed"),
    ("GET", "/health/", "certificate_missing"),
    ("GET", "/health/more", "certificate_missing"),
    ("GET", "/healthy", "certificate_missing"),
    ("GET", "/Health", "certificate_missing"),
    ("GET", "/health;x", "path_malformed"),
    ("GET", "/public/a;x", "path_malformed"),
    ("GET", "/public", "allowed"),
    ("DELETE", "/public/a/b", "allowed"),
    ("GET", "/public/../private", "certificate_missing"),
    ("GET", "/public/%2e%2e/private", "certificate_missing"),
    ("GET", "/files/one", "allowed"),
    ("GET", "/files/one/two", "certificate_missing"),
    ("GET", "/files", "certificate_missing"),
])
def test_a_bypassed_path_needs_nothing_and_no_other_path_is_bypassed(
    envoy: Envoy, http: Client, method: str, path: str, verdict: str
) -> None:
    with http(envoy.port("bypass"), ClientTls()) as client:
        response = client.request(method, path)
    assert response.status == {"allowed": 200, "path_malformed": 400, "certificate_missing": 401}[verdict]
    if method != "HEAD":
        assert verdicts.reason_of(response) == verdict


def test_bad_credentials_do_not_matter_where_none_are_needed(
    envoy: Envoy, acme: Credential, other: Credential, issuer: Authority, bearer: Bearer, http: Client
) -> None:
    unknown = issuer.issue([("CN", "unknown")])
    odd: Sequence[tuple[Credential, list[Header]]] = [
        (unknown, []), (acme, [bearer("other", other)]), (acme, [("x-client-id", "other")]),
        (acme, [("x-client-id", "a"), ("x-client-id", "b")]),
    ]
    for credential, headers in odd:
        with http(envoy.port("bypass"), ClientTls(credential)) as client:
            assert client.request("GET", "/health", headers).status == 200


def test_an_upgrade_and_connect_are_never_bypassed(envoy: Envoy) -> None:
    upgrade = [("connection", "Upgrade"), ("upgrade", "websocket")]
    with Http1(envoy.port("bypass"), ClientTls()) as client:
        verdicts.refused(client.request("GET", "/health", upgrade), "certificate_missing")
    pseudo = [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "https"),
              (":path", "/public/a"), (":authority", "api.example")]
    with Http2(envoy.port("bypass"), ClientTls()) as h2:
        verdicts.refused(h2.response(h2.open(pseudo)), "certificate_missing")


def test_both_headers_twice_give_nobody_rights(
    envoy: Envoy, acme: Credential, other: Credential, bearer: Bearer, http: Client
) -> None:
    one, two = bearer("acme", acme), bearer("other", other)
    for listener in ("required", "optional"):
        for lines in ([one, two], [two, one], [one, one], [(one[0], f"{one[1]}, {two[1]}")],
                      [(one[0], f"{one[1]},{one[1]}")]):
            with http(envoy.port(listener), ClientTls(acme)) as client:
                response: Response = client.request("GET", "/open", lines)
            assert verdicts.reason_of(response) == "authorization_malformed"
