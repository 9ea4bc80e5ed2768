"""What a profile allows: paths, methods, scopes, collections, and what it denies."""

from __future__ import annotations

import pytest

from conftest import Bearer, Client, StartEnvoy
from harness import verdicts
from harness.envoy import Envoy
from harness.filters import Config, JwtAuthn
from harness.http1 import Http1
from harness.http2 import Http2
from harness.listener import Listener
from harness.pki import Authority, Credential
from harness.tls import ClientTls
from harness.tokens import Signer

POLICY: Config = {
    "clients": {
        "acme": {"identities": ["cn:acme"], "profiles": ["partner"]},
        "reporter": {"identities": ["cn:reporter"], "profiles": ["reporter"]},
        "nothing": {"identities": ["cn:nothing"], "profiles": ["nothing"]},
    },
    "profiles": {
        "partner": {
            "allow": [
                {"paths": ["/exact", "/payments/*", "/tree/**", "/a/*/c", "/x/**/z"]},
                {"paths": ["/read"], "methods": ["GET", "HEAD"]},
                {"paths": ["/read"], "methods": ["POST"], "scopes": ["write"]},
                {"paths": ["/both"], "scopes": ["one", "two"]},
                {"paths": ["/either"], "scopes": ["one"]},
                {"paths": ["/either"], "scopes": ["two"]},
                {"paths": ["/custom"], "methods": ["PURGE"]},
            ],
            "deny": ["/tree/secret/**", {"paths": ["/payments/*"], "methods": ["DELETE"]}, "/payments/locked",
                     "/tree/closed", "/tree/shut/"],
        },
        "reporter": {"allow": [{"collection": "reports", "methods": ["GET"]}]},
        "nothing": {},
    },
    "methods": {"additional": ["PURGE"]},
    "collections": {"reports": ["/reports/**"], "admin": ["/admin", "/admin/**"]},
}


@pytest.fixture(scope="module")
def envoy(start_envoy: StartEnvoy, signer: Signer) -> Envoy:
    return start_envoy(Listener("main", POLICY, jwt=JwtAuthn((signer,))))


@pytest.fixture(scope="module")
def people(issuer: Authority, acme: Credential) -> dict[str, Credential]:
    return {"acme": acme, **{name: issuer.issue([("CN", name)]) for name in ("reporter", "nothing")}}


@pytest.mark.parametrize(("who", "method", "path", "verdict"), [
    ("acme", "GET", "/exact", "allowed"),
    ("acme", "DELETE", "/exact", "allowed"),
    ("acme", "GET", "/exact/", "path_denied"),
    ("acme", "GET", "/exactly", "path_denied"),
    ("acme", "GET", "/Exact", "path_denied"),
    ("acme", "GET", "/", "path_denied"),
    ("acme", "GET", "/payments/1", "allowed"),
    ("acme", "GET", "/payments", "path_denied"),
    ("acme", "GET", "/payments/", "path_denied"),
    ("acme", "GET", "/payments/1/2", "path_denied"),
    ("acme", "GET", "/payments-admin", "path_denied"),
    ("acme", "GET", "/payments-admin/1", "path_denied"),
    ("acme", "GET", "/tree", "allowed"),
    ("acme", "GET", "/tree/a", "allowed"),
    ("acme", "GET", "/tree/a/b/c/", "allowed"),
    ("acme", "GET", "/treehouse", "path_denied"),
    ("acme", "GET", "/a/b/c", "allowed"),
    ("acme", "GET", "/a/b/b/c", "path_denied"),
    ("acme", "GET", "/x/z", "allowed"),
    ("acme", "GET", "/x/y/y/z", "allowed"),
    ("acme", "GET", "/x/y/y", "path_denied"),
    ("acme", "GET", "/tree/secret", "path_denied"),
    ("acme", "GET", "/tree/secret/a", "path_denied"),
    ("acme", "GET", "/tree/secrets", "allowed"),
    ("acme", "GET", "/payments/locked", "path_denied"),
    ("acme", "GET", "/payments/*", "allowed"),
    # Many upstreams serve a path with and without a slash at its end alike.
    ("acme", "GET", "/tree/closed", "path_denied"),
    ("acme", "GET", "/tree/closed/", "path_denied"),
    ("acme", "GET", "/tree/shut", "path_denied"),
    ("acme", "GET", "/tree/shut/", "path_denied"),
    ("acme", "GET", "/tree/closed/more", "allowed"),
    ("acme", "GET", "/exact?a=/tree/secret", "allowed"),
    ("acme", "GET", "/tree/secret?a=/exact", "path_denied"),
    ("acme", "GET", "/reports/1", "collection_denied"),
    ("acme", "GET", "/admin", "collection_denied"),
    ("acme", "GET", "/reporting", "path_denied"),
    ("reporter", "GET", "/reports", "allowed"),
    ("reporter", "GET", "/reports/2026/1", "allowed"),
    ("reporter", "POST", "/reports/2026", "method_not_allowed"),
    ("reporter", "GET", "/admin/users", "collection_denied"),
    ("reporter", "GET", "/exact", "path_denied"),
    ("nothing", "GET", "/exact", "path_denied"),
    ("nothing", "GET", "/reports/1", "collection_denied"),
])
def test_a_path_is_allowed_by_a_rule_and_by_nothing_else(
    envoy: Envoy, people: dict[str, Credential], bearer: Bearer, http: Client,
    who: str, method: str, path: str, verdict: str,
) -> None:
    with http(envoy.port("main"), ClientTls(people[who])) as client:
        assert verdicts.reason_of(client.request(method, path, [bearer(who, people[who])])) == verdict


@pytest.mark.parametrize(("method", "path", "scope", "verdict", "allow"), [
    ("GET", "/read", "", "allowed", None),
    ("HEAD", "/read", "", "allowed", None),
    ("POST", "/read", "write", "allowed", None),
    ("POST", "/read", "", "insufficient_scope", None),
    ("PUT", "/read", "write", "method_not_allowed", {"GET", "HEAD", "POST"}),
    ("PUT", "/read", "", "method_not_allowed", None),
    ("OPTIONS", "/read", "", "method_not_allowed", None),
    ("GET", "/both", "one", "insufficient_scope", None),
    ("GET", "/both", "two", "insufficient_scope", None),
    ("GET", "/both", "two three one", "allowed", None),
    ("GET", "/either", "one", "allowed", None),
    ("GET", "/either", "two", "allowed", None),
    ("GET", "/either", "three", "insufficient_scope", None),
    ("GET", "/custom", "", "method_not_allowed", {"PURGE"}),
])
def test_path_then_scope_then_method_of_the_same_rule_must_fit(
    envoy: Envoy, acme: Credential, bearer: Bearer, http: Client,
    method: str, path: str, scope: str, verdict: str, allow: set[str] | None,
) -> None:
    with http(envoy.port("main"), ClientTls(acme)) as client:
        response = client.request(method, path, [bearer("acme", acme, scope=scope)])
    if method == "HEAD":
        assert response.status == 200
        return
    assert verdicts.reason_of(response) == verdict
    if allow:
        assert set((response.header("allow") or "").split(", ")) == allow


def test_a_denied_method_stays_denied_and_the_others_stay_allowed(
    envoy: Envoy, acme: Credential, bearer: Bearer, http: Client
) -> None:
    with http(envoy.port("main"), ClientTls(acme)) as client:
        token = bearer("acme", acme)
        verdicts.passed(client.request("PATCH", "/payments/1", [token]))
        verdicts.refused(client.request("DELETE", "/payments/1", [token]), "path_denied")


@pytest.mark.parametrize("header", [
    "x-http-method-override", "x-http-method", "x-method-override", "x-original-url", "x-rewrite-url",
    "x-envoy-original-path", "x-forwarded-host", "x-forwarded-prefix",
])
def test_no_header_changes_the_method_or_the_path_that_is_decided_about(
    envoy: Envoy, acme: Credential, bearer: Bearer, http: Client, header: str
) -> None:
    for value in ("GET", "/read"):
        for method, path, reason in [("DELETE", "/read", "method_not_allowed"), ("GET", "/tree/secret", "path_denied")]:
            # Envoy ends an HTTP/1.1 connection after a 400.
            with http(envoy.port("main"), ClientTls(acme)) as client:
                response = client.request(method, path, [bearer("acme", acme), (header, value)])
            names_another = "-method" in header and value != method
            verdicts.refused(response, "request_malformed" if names_another else reason)


@pytest.mark.parametrize("method", ["FOO", "PRI", "G-T", "GET2", "foo", "!#$%&'*+.^_`|~"])
def test_an_unknown_method_is_allowed_only_where_all_are(
    envoy: Envoy, acme: Credential, bearer: Bearer, method: str
) -> None:
    # HTTP/1.1 never gets so far: Envoy's codec knows a list of methods.
    with Http2(envoy.port("main"), ClientTls(acme)) as client:
        token = bearer("acme", acme)
        verdicts.refused(client.request(method, "/read", [token]), "method_not_allowed")
        verdicts.refused(client.request(method, "/custom", [token]), "method_not_allowed")
        verdicts.refused(client.request(method, "/tree/secret", [token]), "path_denied")


@pytest.mark.parametrize("host", ["api.example.", "API.EXAMPLE", "api.example:443", "api.example.:8443", "127.0.0.1"])
def test_the_host_does_not_change_the_verdict(
    envoy: Envoy, acme: Credential, bearer: Bearer, http: Client, host: str
) -> None:
    token = bearer("acme", acme)
    with http(envoy.port("main"), ClientTls(acme)) as client:
        verdicts.passed(client.request("GET", "/exact", [token], host=host))
        verdicts.refused(client.request("GET", "/tree/secret", [token], host=host), "path_denied")
        verdicts.refused(client.request("DELETE", "/read", [token], host=host), "method_not_allowed")


def test_an_absolute_target_is_decided_by_its_path(envoy: Envoy, acme: Credential, bearer: Bearer) -> None:
    token = bearer("acme", acme)
    with Http1(envoy.port("main"), ClientTls(acme)) as client:
        verdicts.refused(client.request("GET", "https://other.example/tree/secret", [token]), "path_denied")
        verdicts.passed(client.request("GET", "https://other.example/exact", [token]))
