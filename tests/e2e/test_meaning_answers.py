"""Small words of a policy and of a refusal: `Allow`, `any`, and what of a query is a token."""

from __future__ import annotations

import pytest

from conftest import Bearer, Client, StartEnvoy
from harness import verdicts
from harness.envoy import Envoy
from harness.filters import Config, JwtAuthn
from harness.listener import Listener
from harness.pki import Credential
from harness.tls import ClientTls
from harness.tokens import Signer
from harness.upstream import Upstream

ACME: Config = {"clients": {"acme": {"identities": ["cn:acme"], "profiles": ["partner"]}}}
RULES: Config = {
    **ACME,
    "mode": "mtls",
    "methods": {"additional": ["PURGE"]},
    "profiles": {"partner": {
        "allow": [
            {"paths": ["/orders/*"], "methods": ["GET", "PUT", "DELETE", "PURGE"]},
            {"paths": ["/orders/*"], "methods": ["PATCH"], "hosts": ["other.example"]},
            {"paths": ["/orders/*"], "methods": ["OPTIONS"], "upgrades": ["websocket"]},
            {"paths": ["/heads"], "methods": ["GET", "POST"]},
            {"paths": ["/read"], "methods": ["GET", "POST"]},
            {"paths": ["/gone"], "methods": ["DELETE"]},
            {"paths": ["/all/*"]},
        ],
        "deny": [
            {"paths": ["/orders/*"], "methods": ["DELETE", "PURGE"]},
            {"paths": ["/orders/closed"], "methods": ["PUT"]},
            {"paths": ["/heads"], "methods": ["HEAD"]},
            {"paths": ["/read"], "methods": ["GET"]},
            {"paths": ["/gone"], "methods": ["DELETE"]},
            {"paths": ["/all/*"], "methods": ["DELETE"]},
        ],
    }},
}
SCOPED: Config = {**ACME, "profiles": {"partner": {"allow": [
    {"paths": ["/a"], "methods": ["GET"]}, {"paths": ["/a"], "methods": ["PATCH"], "scopes": ["admin"]}]}}}
QUERY: Config = {**ACME, "profiles": {"partner": {"allow": [{"paths": ["/**"]}]}}, "bypass": [{"path": "/health"}]}


def near(*cidrs: str) -> Config:
    return {**ACME, "mode": "mtls", "source_address": "envoy",
            "profiles": {"partner": {"allow": [{"paths": ["/**"]}], "source_cidrs": list(cidrs)}}}


@pytest.fixture(scope="module")
def envoy(start_envoy: StartEnvoy, signer: Signer) -> Envoy:
    return start_envoy(
        Listener("rules", RULES),
        Listener("scoped", SCOPED, jwt=JwtAuthn((signer,))),
        Listener("query", QUERY, jwt=JwtAuthn((signer,))),
        Listener("any", near("any")),
        Listener("first", near("0.0.0.0/0")),
        Listener("second", near("::/0")),
        Listener("direct", {**near("any"), "source_address": "direct"}),
        Listener("blind", {**near("any"), "source_address": "direct"}, direct_remote_address=False),
    )


@pytest.mark.parametrize(("method", "path", "verdict", "allow"), [
    ("POST", "/orders/1", "method_not_allowed", "GET, HEAD, PUT"),
    ("PATCH", "/orders/1", "method_not_allowed", "GET, HEAD, PUT"),
    ("OPTIONS", "/orders/1", "method_not_allowed", "GET, HEAD, PUT"),
    ("POST", "/orders/closed", "method_not_allowed", "GET, HEAD"),
    ("DELETE", "/orders/1", "path_denied", None),
    ("PUT", "/heads", "method_not_allowed", "GET, POST"),
    ("PUT", "/read", "method_not_allowed", "POST"),
    # There is no method to name.
    ("GET", "/gone", "path_denied", None),
    ("POST", "/gone", "path_denied", None),
    ("DELETE", "/all/1", "path_denied", None),
])
def test_allow_names_what_would_really_be_allowed(
    envoy: Envoy, acme: Credential, http: Client, method: str, path: str, verdict: str, allow: str | None
) -> None:
    with http(envoy.port("rules"), ClientTls(acme)) as client:
        response = client.request(method, path)
        assert (verdicts.reason_of(response), response.header("allow")) == (verdict, allow)
        # And each of them is.
        for named in (allow or "").split(", "):
            assert not named or client.request(named, path).status == 200, named


@pytest.mark.parametrize(("scope", "allow"), [("", "GET, HEAD"), ("admin", "GET, HEAD, PATCH")])
def test_allow_names_what_the_scopes_of_this_caller_allow(
    envoy: Envoy, acme: Credential, bearer: Bearer, http: Client, scope: str, allow: str
) -> None:
    with http(envoy.port("scoped"), ClientTls(acme)) as client:
        response = client.request("POST", "/a", [bearer("acme", acme, scope=scope)])
    assert (verdicts.reason_of(response), response.header("allow")) == ("method_not_allowed", allow)


ADDRESSES = [("192.0.2.1", 4), ("2001:db8::1", 6), ("::ffff:192.0.2.1", 4), ("127.0.0.1", 4), ("::1", 6)]


@pytest.mark.parametrize(("address", "family"), ADDRESSES)
def test_any_is_every_address_of_both_families_and_a_network_only_of_its_own(
    envoy: Envoy, acme: Credential, http_over_tcp: Client, address: str, family: int
) -> None:
    found = {}
    for listener in ("any", "first", "second"):
        with http_over_tcp(envoy.port(listener), ClientTls(acme)) as client:
            found[listener] = verdicts.reason_of(client.request("GET", "/a", [("x-forwarded-for", address)]))
    assert found["any"] == "allowed"
    assert sorted(found.values()) == ["allowed", "allowed", "source_ip_denied"], found
    if not address.startswith("::ffff"):
        assert found["first" if family == 4 else "second"] == "allowed"


def test_any_still_needs_an_address(envoy: Envoy, acme: Credential, http_over_tcp: Client) -> None:
    with http_over_tcp(envoy.port("direct"), ClientTls(acme)) as client:
        verdicts.passed(client.request("GET", "/a"))
    with http_over_tcp(envoy.port("blind"), ClientTls(acme)) as client:
        verdicts.refused(client.request("GET", "/a"), "source_ip_denied")


@pytest.mark.parametrize(("query", "verdict"), [
    # What no reader takes for the parameter is none.
    ("100%=x", "allowed"),
    ("%", "allowed"),
    ("a=%zz&b=1", "allowed"),
    ("%zzaccess_token=x", "allowed"),
    ("q=access_token", "allowed"),
    ("access_tokens=x", "allowed"),
    ("x_access_token=x", "allowed"),
    # What one of them may take for it is.
    ("access_token=x", "authorization_malformed"),
    ("%61ccess_token=x", "authorization_malformed"),
    ("%61%63%63%65%73%73%5f%74%6f%6b%65%6E=x", "authorization_malformed"),
    ("a=%&access_token=x", "authorization_malformed"),
    ("100%=x&%61ccess_token=x", "authorization_malformed"),
    ("access_token", "authorization_malformed"),
    ("a=1;access_token=x", "authorization_malformed"),
])
def test_a_token_in_the_query_is_refused_in_any_spelling_and_nothing_else_is_one(
    envoy: Envoy, acme: Credential, bearer: Bearer, upstream: Upstream, http: Client, query: str, verdict: str
) -> None:
    mark = upstream.mark()
    with http(envoy.port("query"), ClientTls(acme)) as client:
        assert verdicts.reason_of(client.request("GET", f"/a?{query}", [bearer("acme", acme)])) == verdict
    assert [echo.path for echo in upstream.since(mark)] == ([f"/a?{query}"] if verdict == "allowed" else [])
