"""No caller tells the upstream who it is in another proxy's words, or that it asks for something else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from conftest import Bearer, Client, StartEnvoy
from harness import verdicts
from harness.envoy import Envoy, http2_cluster
from harness.filters import Config, JwtAuthn
from harness.http2_upstream import Http2Upstream
from harness.listener import Listener
from harness.pki import Credential
from harness.response import Echo, Header, Response
from harness.tls import ClientTls
from harness.tokens import Signer

CLUSTER = "foreign_headers"
POLICY: Config = {
    "clients": {"acme": {"identities": ["cn:acme"], "profiles": ["partner"]}},
    "profiles": {"partner": {"allow": [{"paths": ["/open"]}]}},
    "bypass": [{"path": "/health"}],
    "strip_headers": ["X-Forwarded-User", "X-Tenant-*"],
}

CLIENTS = (
    "xfcc", "x-forwarded-client-cert-chain", "x-forwarded-tls-client-cert-info", "x-client-cert", "x-client-cert-cn",
    "x-client-cert-subject", "x-client-cert-serial", "x-client-certificate", "x-client-dn", "x-client-verify", "x-ssl",
    "x-ssl-cert", "x-ssl-subject", "x-ssl-client-s-dn", "ssl-client-s-dn", "ssl-cipher", "sslclientcertsubject",
    "client-cert-subject", "cf-client-cert-sha256", "cf-cert-subject-dn", "cloudfront-viewer-cert-subject", "x-arr-ssl",
    "x-wso2-client-certificate", "akamai-cc-der", "wl-proxy-client-cert", "$wscc", "l5d-client-id", "x-consumer-username",
    "x-rhsm-ssl-client-cert", "cert", "x-forwarded-dn", "x-cn", "mtls-client", "x-tls-subject", "client-subject", "x-rh-certauth-cn",
)
"""Headers in which other proxies and their guides tell of clients."""

TARGETS = (
    "x-original-url", "x-rewrite-url", "x-original-uri", "x-original-path", "x-forwarded-uri", "x-forwarded-method",
    "x-waws-unencoded-url", "x-request-uri", "x-envoy-original-path", "x-script-name", "script-name", "path-info", "request-uri",
)
STRIPPED = ("x-forwarded-user", "x-tenant-id", "x-tenant-")
METHODS = ("x-http-method-override", "x-http-method", "x-method-override")
OTHERS: list[Header] = [("x-tenant", "v"), ("x-client", "v"), ("x-real-ip", "v"), ("x-requested-with", "v")]


def halves(sent: list[Header]) -> tuple[list[Header], list[Header]]:
    """Envoy takes a hundred headers."""
    return sent[::2], sent[1::2]


def spellings(*names: str) -> list[Header]:
    """Each name as it is, and as CGI and its descendants take it for the same."""
    spelled = {text for name in names for text in (name, name.replace("-", "_"), name.replace("-", "."), name.replace("-", "~"))}
    return [(name, "spoofed") for name in sorted(spelled)]


@pytest.fixture(scope="module")
def http2_upstream() -> Iterator[Http2Upstream]:
    with Http2Upstream() as running:
        yield running


@pytest.fixture(scope="module")
def envoy(start_envoy: StartEnvoy, http2_upstream: Http2Upstream, signer: Signer) -> Envoy:
    def listener(name: str, **members: Config | str) -> Listener:
        manager: Config = {"http_protocol_options": {"enable_trailers": True}}
        return Listener(name, {**POLICY, **members}, jwt=JwtAuthn((signer,)), cluster=CLUSTER, manager=manager)

    return start_envoy(
        listener("main"), listener("shadow", enforcement="shadow"), listener("keep", override_headers="keep"),
        clusters=[http2_cluster(http2_upstream.port, CLUSTER)],
    )


class Sender:
    """Sends a request over either protocol, with credentials or, where none are needed, without."""

    def __init__(self, envoy: Envoy, acme: Credential, bearer: Bearer, http: Client) -> None:
        self._envoy, self._acme, self._http = envoy, acme, http
        self._token = bearer("acme", acme)

    def __call__(
        self, listener: str, path: str, sent: Sequence[Header], *, method: str = "POST",
        trailers: Sequence[Header] | None = None,
    ) -> Response:
        known = path == "/open"
        headers = [self._token, *sent] if known else [*sent]
        with self._http(self._envoy.port(listener), ClientTls(self._acme if known else None)) as client:
            return client.request(method, path, headers, b"body", trailers=trailers)


@pytest.fixture
def send(envoy: Envoy, acme: Credential, bearer: Bearer, http: Client) -> Sender:
    return Sender(envoy, acme, bearer, http)


WAYS = [("main", "/open"), ("main", "/health"), ("shadow", "/open"), ("shadow", "/elsewhere"), ("keep", "/health")]
"""Allowed, bypassed, allowed in shadow mode, let through by shadow mode alone, and where overrides are kept."""


def _spoofed(echo: Echo) -> list[str]:
    return [name for name, value in [*echo.headers, *(echo.trailers or [])] if value == "spoofed"]


@pytest.mark.parametrize(("listener", "path"), WAYS)
@pytest.mark.parametrize("names", [CLIENTS, STRIPPED], ids=["clients", "strip_headers"])
def test_what_other_proxies_say_of_clients_never_reaches_the_upstream(
    send: Sender, listener: str, path: str, names: tuple[str, ...]
) -> None:
    first, second = halves(spellings(*names))
    for headers, trailers in ((first, None), (second, None), ([], first), ([], second)):
        echo = verdicts.passed(send(listener, path, [*headers, *OTHERS], trailers=trailers))
        assert _spoofed(echo) == []
        assert [header for header in echo.headers if header in OTHERS] == OTHERS


@pytest.mark.parametrize(("listener", "path"), WAYS)
def test_a_header_that_names_another_target_reaches_the_upstream_only_where_the_policy_keeps_it(
    send: Sender, listener: str, path: str
) -> None:
    sent = spellings(*TARGETS)
    for headers, trailers in ((sent, None), ([], sent)):
        arrived = _spoofed(verdicts.passed(send(listener, path, headers, trailers=trailers)))
        # Envoy itself removes some of its own headers.
        assert len(arrived) > len(sent) - 5 if listener == "keep" else arrived == []


@pytest.mark.parametrize("path", ["/open", "/health"])
@pytest.mark.parametrize("header", METHODS)
def test_a_header_that_names_another_method_refuses_the_request(send: Sender, header: str, path: str) -> None:
    for name, _ in spellings(header):
        for values in (["DELETE"], ["POST", "DELETE"], ["DELETE", "POST"], ["POST, DELETE"], [""]):
            problem = verdicts.refused(send("main", path, [(name, value) for value in values]), "request_malformed")
            assert "method of the request itself" in problem["detail"]
        for values in (["POST"], ["post"], ["POST", "POST"]):
            verdicts.passed(send("main", path, [(name, value) for value in values]))


@pytest.mark.parametrize("name", METHODS)
def test_shadow_mode_and_keep_change_no_request_into_another_one(send: Sender, name: str) -> None:
    for listener, path in (("shadow", "/open"), ("shadow", "/elsewhere"), ("shadow", "/health"), ("keep", "/open")):
        echo = verdicts.passed(send(listener, path, [(name, "DELETE")]))
        assert (echo.method, echo.values(name)) == ("POST", ["DELETE"])


@pytest.mark.parametrize(("listener", "path"), WAYS)
def test_no_trailer_names_a_method(send: Sender, listener: str, path: str) -> None:
    sent = [(name, "DELETE") for name, _ in spellings(*METHODS)]
    echo = verdicts.passed(send(listener, path, [], trailers=[*sent, ("x-checksum", "1")]))
    assert echo.trailers is not None and ("x-checksum", "1") in echo.trailers
    assert len(echo.trailers) == (len(sent) + 1 if listener == "keep" else 1)
