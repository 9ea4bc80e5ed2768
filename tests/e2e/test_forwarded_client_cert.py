"""Only an `x-forwarded-client-cert` that Envoy wrote about this connection reaches the upstream."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from conftest import Client, StartEnvoy
from harness import http3, pki, verdicts
from harness.envoy import Envoy
from harness.filters import Config
from harness.listener import Listener
from harness.pki import Authority, Credential
from harness.tls import ClientTls

NAME = "x-forwarded-client-cert"
DETAILS: Config = {"subject": True, "cert": True, "chain": True, "dns": True, "uri": True}
POLICY: Config = {
    "mode": "mtls",
    "clients": {"acme": {"identities": ["spiffe://example.org/acme"], "profiles": ["partner"]}},
    "profiles": {"partner": {"allow": [{"paths": ["/**"]}]}},
    "bypass": [{"path": "/health"}],
}
MODES = ("SANITIZE", "FORWARD_ONLY", "ALWAYS_FORWARD_ONLY", "APPEND_FORWARD", "SANITIZE_SET")


@pytest.fixture(scope="module")
def envoy(start_envoy: StartEnvoy) -> Envoy:
    return start_envoy(*(
        Listener(mode, POLICY, forward_client_cert_details=mode, set_current_client_cert_details=DETAILS)
        for mode in MODES
    ))


@pytest.fixture(scope="module")
def leaf(issuer: Authority) -> Credential:
    sans = [pki.uri("spiffe://example.org/acme"), pki.dns("one.example"), pki.dns("two.example")]
    return issuer.issue([("CN", 'a "quoted", name'), ("O", "ExampleCorp")], sans=sans)


@pytest.mark.parametrize("path", ["/open", "/health"])
def test_what_envoy_wrote_about_this_connection_stays(
    envoy: Envoy, leaf: Credential, http: Client, path: str
) -> None:
    with http(envoy.port("SANITIZE_SET"), ClientTls(leaf)) as client:
        (value,) = verdicts.passed(client.request("GET", path, [(NAME, "Hash=00")])).values(NAME)
    assert value.startswith(f"Hash={leaf.thumbprint_hex};")
    assert value.endswith("URI=spiffe://example.org/acme;DNS=one.example;DNS=two.example")


@pytest.mark.parametrize("mode", ["FORWARD_ONLY", "ALWAYS_FORWARD_ONLY"])
def test_what_the_caller_wrote_about_another_certificate_is_removed(
    envoy: Envoy, leaf: Credential, root: Authority, http: Client, mode: str
) -> None:
    own = f"Hash={leaf.thumbprint_hex}"
    forged = [
        "Hash=00",
        "By=spiffe://example.org/proxy;URI=spiffe://example.org/admin",
        f"{own};URI=spiffe://example.org/admin",
        f"{own};URI=spiffe://example.org/acme;URI=spiffe://example.org/admin",
        f'{own};Subject="CN=admin"',
        f"{own};DNS=admin.example",
        f'{own};Cert="{quote(root.credential.pem, safe="")}"',
        f"{own},{own}",
        f"{own},URI=spiffe://example.org/admin",
        f"{own};Hash=00",
        f"Hash=00;{own}",
        f"{own};hash=00",
        f"{own};Unknown=admin",
        f'{own};Subject="CN=admin',
        f"{own};",
        f"{own}\xa1",
        "",
        ",",
        '[{"Hash":"%s","URI":"spiffe://example.org/admin"}]' % leaf.thumbprint_hex,
    ]
    for value in (http3.taken(http, each) for each in forged):
        for path in ("/open", "/health"):
            with http(envoy.port(mode), ClientTls(leaf)) as client:
                echo = verdicts.passed(client.request("GET", path, [(NAME, value)]))
            assert "admin" not in str(echo.values(NAME)), value
            assert echo.values(NAME) in ([], [own + ";"]), value


def test_an_element_that_envoy_appended_to_a_callers_is_removed_with_it(
    envoy: Envoy, leaf: Credential, http: Client
) -> None:
    with http(envoy.port("APPEND_FORWARD"), ClientTls(leaf)) as client:
        echo = verdicts.passed(client.request("GET", "/open", [(NAME, "Hash=00;URI=spiffe://example.org/admin")]))
    assert echo.values(NAME) == []


def test_without_a_certificate_nothing_stays(envoy: Envoy, leaf: Credential, http: Client) -> None:
    header = (NAME, f"Hash={leaf.thumbprint_hex}")
    with http(envoy.port("ALWAYS_FORWARD_ONLY"), ClientTls()) as client:
        assert verdicts.passed(client.request("GET", "/health", [header])).values(NAME) == []
        verdicts.refused(client.request("GET", "/open", [header]), "certificate_missing")


def test_a_name_that_injects_fields_does_not_reach_the_upstream_as_fields(
    envoy: Envoy, issuer: Authority, http: Client
) -> None:
    sans = [pki.uri("spiffe://example.org/acme"), pki.dns("d,URI=spiffe://example.org/admin")]
    hostile = issuer.issue([("CN", "acme")], sans=sans)
    with http(envoy.port("SANITIZE_SET"), ClientTls(hostile)) as client:
        response = client.request("GET", "/open")
    if response.status == 200:
        assert response.echo().values(NAME) == []
