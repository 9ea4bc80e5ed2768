"""What the upstream is told about the caller, and that nobody but the filter can say it."""

from __future__ import annotations

import base64
import itertools

import pytest

from conftest import Bearer, Client, StartEnvoy
from harness import grpc_client, http3, pki, verdicts
from harness.envoy import Envoy
from harness.filters import Config, JwtAuthn
from harness.grpc_upstream import GrpcUpstream
from harness.http1 import Http1
from harness.listener import Listener
from harness.pki import Authority, Credential
from harness.response import Echo, Header
from harness.tls import ClientTls
from harness.tokens import AUDIENCE, Signer

SPIFFE = "spiffe://example.org/ns/pay/sa/acme"
PRINCIPAL = "arn:example:clients:eu::client/acme"
POLICY: Config = {
    "clients": {
        "acme": {"identities": [SPIFFE], "profiles": ["partner"], "principal": PRINCIPAL},
        "plain": {"identities": ["cn:plain"], "profiles": ["partner"]},
    },
    "profiles": {"partner": {"allow": [{"paths": ["/open", "/echo.Echo/Say"]}]}},
    "bypass": [{"path": "/health"}],
}
RENAMED: Config = {
    "client_id": "x-caller", "profile_id": False, "principal": None, "identity": "X-Caller-Identity",
    "thumbprint": "x-caller-thumbprint",
}

OURS = ("x-client-id", "x-profile-id", "x-client-principal", "x-client-identity", "x-client-cert-thumbprint")
"""The default names of the headers in which the upstream learns who calls."""

CERTIFICATES = (
    "client-cert", "client-cert-chain", "x-forwarded-tls-client-cert", "x-forwarded-tls-client-cert-info",
    "ssl-client-cert", "x-amzn-mtls-clientcert", "x-amzn-mtls-clientcert-leaf", "x-arr-clientcert",
    "x-forwarded-client-cert",
)
"""Headers in which proxies are known to forward certificates."""

# A claim to be a client or to have a profile is checked where it is made, so these cannot be spoofed there.
CLAIMS = ("x-client-id", "x-profile-id")


def spellings(name: str) -> set[str]:
    """A name and the spellings with underscores and dots that some upstreams take for the same."""
    return {name, name.replace("-", "_"), name.replace("-", "_", 1), name.replace("-", ".")}


SPOOFED = sorted(set(itertools.chain.from_iterable(map(spellings, OURS + CERTIFICATES))) - set(CLAIMS))


@pytest.fixture(scope="module")
def envoy(start_envoy: StartEnvoy, signer: Signer) -> Envoy:
    jwt = JwtAuthn((signer,))
    certificates: Config = {"forward_client_cert_details": "ALWAYS_FORWARD_ONLY"}
    return start_envoy(
        Listener("main", POLICY, jwt=jwt, **certificates),
        Listener("renamed", {**POLICY, "upstream_headers": RENAMED}, jwt=jwt, **certificates),
        Listener("certificate", {**POLICY, "upstream_headers": {"client_cert": True}}, jwt=jwt, **certificates),
        Listener("custom", {**POLICY, "upstream_headers": {"client_cert": "x-cert"}}, jwt=jwt, **certificates),
        Listener("shadow", {**POLICY, "enforcement": "shadow"}, jwt=jwt, **certificates),
        Listener("optional", {**POLICY, "mode": "bearer_plus_mtls_optional", "token": {"audiences": [AUDIENCE]}}, jwt=jwt,
                 **certificates),
    )


@pytest.fixture(scope="module")
def leaf(issuer: Authority) -> Credential:
    return issuer.issue([("CN", "somebody")], sans=[pki.uri(SPIFFE)])


@pytest.fixture
def token(bearer: Bearer, leaf: Credential) -> Header:
    return bearer("acme", leaf)


def shown(echo: Echo, *further: str) -> dict[str, list[str]]:
    """Every header of the upstream's request that could tell it who calls."""
    prefixes = ("x-client", "x_client", "x.client", "x-profile", "x_profile", "x.profile", "x-caller")
    known = {spelling for name in (*OURS, *CERTIFICATES, *further) for spelling in spellings(name)}
    return {name: echo.values(name) for name, _ in echo.headers if name in known or name.startswith(prefixes)}


def test_an_allowed_request_names_client_profile_principal_identity_and_thumbprint(
    envoy: Envoy, leaf: Credential, token: Header, http: Client
) -> None:
    with http(envoy.port("main"), ClientTls(leaf)) as client:
        echo = verdicts.passed(client.request("GET", "/open", [token]))
    assert shown(echo) == {
        "x-client-id": ["acme"],
        "x-profile-id": ["partner"],
        "x-client-principal": [PRINCIPAL],
        "x-client-identity": [SPIFFE],
        "x-client-cert-thumbprint": [leaf.thumbprint],
    }


def test_a_client_without_a_principal_gets_no_principal(
    envoy: Envoy, issuer: Authority, bearer: Bearer, http: Client
) -> None:
    plain = issuer.issue([("CN", "plain")])
    with http(envoy.port("main"), ClientTls(plain)) as client:
        echo = verdicts.passed(client.request("GET", "/open", [bearer("plain", plain)]))
    assert shown(echo) == {
        "x-client-id": ["plain"],
        "x-profile-id": ["partner"],
        "x-client-identity": ["cn:plain"],
        "x-client-cert-thumbprint": [plain.thumbprint],
    }


def test_the_rest_of_the_request_is_left_as_it_is(
    envoy: Envoy, leaf: Credential, token: Header, http: Client
) -> None:
    own = [("x-own", "one"), ("x-own", "two"), ("x-bytes", http3.taken(http, "\xa1\xff")), ("x-empty", ""), ("accept", "a/b")]
    with http(envoy.port("main"), ClientTls(leaf)) as client:
        echo = verdicts.passed(client.request("POST", "/open?a=b;c&d=%2F", [token, *own], b"body"))
    assert (echo.method, echo.path, echo.body_length) == ("POST", "/open?a=b;c&d=%2F", 4)
    assert [header for header in echo.headers if header in own] == own
    assert echo.values("authorization") == [token[1]]


@pytest.mark.parametrize("name", SPOOFED)
def test_a_spoofed_header_never_reaches_the_upstream(
    envoy: Envoy, leaf: Credential, token: Header, http: Client, name: str
) -> None:
    spoofed = [(name, "spoofed"), (name.upper() if http is Http1 else name, "spoofed")]
    cases: list[tuple[str, ClientTls, str, list[Header]]] = [
        ("main", ClientTls(leaf), "/open", [*spoofed, token]),
        ("main", ClientTls(leaf), "/open", [token, *spoofed]),
        ("main", ClientTls(), "/health", spoofed),
        ("shadow", ClientTls(leaf), "/open", [token, *spoofed]),
        ("shadow", ClientTls(), "/elsewhere", spoofed),
        ("certificate", ClientTls(leaf), "/open", [token, *spoofed]),
        ("optional", ClientTls(leaf), "/open", [token, *spoofed]),
    ]
    for listener, tls, path, headers in cases:
        with http(envoy.port(listener), tls) as client:
            echo = verdicts.passed(client.request("GET", path, headers))
        told = [value for values in shown(echo).values() for value in values]
        assert "spoofed" not in str(told), (listener, path, told)


@pytest.mark.parametrize("name", SPOOFED)
def test_a_spoofed_header_of_an_optional_request_without_a_certificate_never_reaches_the_upstream(
    envoy: Envoy, bearer: Bearer, http: Client, name: str
) -> None:
    with http(envoy.port("optional"), ClientTls()) as client:
        echo = verdicts.passed(client.request("GET", "/open", [bearer("acme"), (name, "spoofed")]))
    assert shown(echo) == {
        "x-client-id": ["acme"], "x-profile-id": ["partner"], "x-client-principal": [PRINCIPAL],
    }


@pytest.mark.parametrize("name", CLAIMS)
def test_claims_of_the_caller_are_removed_where_nothing_is_decided(
    envoy: Envoy, http: Client, name: str
) -> None:
    for listener, path in (("main", "/health"), ("shadow", "/health"), ("shadow", "/elsewhere")):
        for spelling in spellings(name):
            for lines in ([(spelling, "acme")], [(spelling, "acme"), (spelling, "other")]):
                with http(envoy.port(listener), ClientTls()) as client:
                    echo = verdicts.passed(client.request("GET", path, lines))
                assert shown(echo) == {}, (listener, path, lines)


@pytest.mark.parametrize("name", CLAIMS)
def test_claims_spelt_with_underscores_are_not_read_and_not_passed_on(
    envoy: Envoy, leaf: Credential, token: Header, http: Client, name: str
) -> None:
    with http(envoy.port("main"), ClientTls(leaf)) as client:
        echo = verdicts.passed(client.request("GET", "/open", [token, (name.replace("-", "_"), "somebody-else")]))
    assert "somebody-else" not in str(shown(echo))


def test_a_connection_header_strips_nothing_that_the_upstream_relies_on(
    envoy: Envoy, leaf: Credential, token: Header
) -> None:
    named = ("connection", ", ".join([*OURS, "client-cert", "x-cert"]))
    for listener, certificate in (("main", None), ("certificate", "client-cert"), ("custom", "x-cert")):
        with Http1(envoy.port(listener), ClientTls(leaf)) as client:
            echo = verdicts.passed(client.request("GET", "/open", [token, named, ("x-client-id", "acme")]))
        told = shown(echo, "x-cert")
        assert set(told) == {*OURS, *([certificate] if certificate else [])}
        assert told["x-client-id"] == ["acme"]


def test_headers_can_be_renamed_and_left_out(envoy: Envoy, leaf: Credential, token: Header, http: Client) -> None:
    with http(envoy.port("renamed"), ClientTls(leaf)) as client:
        echo = verdicts.passed(client.request("GET", "/open", [token]))
    assert shown(echo) == {
        "x-caller": ["acme"], "x-caller-identity": [SPIFFE], "x-caller-thumbprint": [leaf.thumbprint],
    }


@pytest.mark.parametrize("name", ["x-caller", "X-CALLER-IDENTITY", "x_caller_thumbprint", "x_caller"])
def test_a_spoofed_copy_of_a_renamed_header_never_reaches_the_upstream(
    envoy: Envoy, leaf: Credential, token: Header, http: Client, name: str
) -> None:
    line = (name if http is Http1 else name.lower(), "spoofed")
    for tls, path, headers in ((ClientTls(leaf), "/open", [token, line]), (ClientTls(), "/health", [line])):
        with http(envoy.port("renamed"), tls) as client:
            echo = verdicts.passed(client.request("GET", path, headers))
        assert "spoofed" not in str(echo.headers)


@pytest.mark.parametrize("name", ["x-profile-id", "x-client-principal", "x-client-id"])
def test_an_inbound_copy_of_a_header_that_is_left_out_or_renamed_does_not_take_its_place(
    envoy: Envoy, leaf: Credential, token: Header, http: Client, name: str
) -> None:
    good = {"x-profile-id": "partner", "x-client-principal": "spoofed", "x-client-id": "acme"}[name]
    with http(envoy.port("renamed"), ClientTls(leaf)) as client:
        echo = verdicts.passed(client.request("GET", "/open", [token, (name, good)]))
    assert echo.values(name) == []


@pytest.mark.parametrize(("listener", "name"), [("certificate", "client-cert"), ("custom", "x-cert")])
def test_the_certificate_is_passed_on_as_rfc_9440_writes_it(
    envoy: Envoy, leaf: Credential, token: Header, http: Client, listener: str, name: str
) -> None:
    with http(envoy.port(listener), ClientTls(leaf)) as client:
        echo = verdicts.passed(client.request("GET", "/open", [token, ("client-cert", "spoofed"), (name, "spoofed")]))
    assert shown(echo, name)[name] == [f":{base64.b64encode(leaf.der).decode()}:"]
    assert "spoofed" not in str(echo.headers)


def test_a_request_that_is_only_let_through_by_shadow_mode_carries_no_identity(
    envoy: Envoy, leaf: Credential, token: Header, http: Client
) -> None:
    with http(envoy.port("shadow"), ClientTls(leaf)) as client:
        refused = verdicts.passed(client.request("GET", "/elsewhere", [token]))
        allowed = verdicts.passed(client.request("GET", "/open", [token]))
    assert shown(refused) == {}
    assert set(shown(allowed)) == set(OURS)


def test_a_bypassed_request_carries_no_identity_even_with_good_credentials(
    envoy: Envoy, leaf: Credential, token: Header, http: Client
) -> None:
    with http(envoy.port("main"), ClientTls(leaf)) as client:
        echo = verdicts.passed(client.request("GET", "/health", [token]))
    assert shown(echo) == {}


def test_a_grpc_upstream_is_told_the_same(
    envoy: Envoy, root: Authority, leaf: Credential, token: Header, grpc_upstream: GrpcUpstream
) -> None:
    mark = grpc_upstream.mark()
    spoofed = [(name, "spoofed") for name in ("x-client-principal", "x_client_id", "client-cert")]
    result = grpc_client.call(envoy.port("main"), root, leaf, metadata=[token, *spoofed])
    assert result.message == b"hello"
    (metadata,) = grpc_upstream.since(mark)
    told = {name: value for name, value in metadata if name.startswith(("x-client", "x_client", "x-prof", "client"))}
    assert told == {
        "x-client-id": "acme", "x-profile-id": "partner", "x-client-principal": PRINCIPAL,
        "x-client-identity": SPIFFE, "x-client-cert-thumbprint": leaf.thumbprint,
    }
