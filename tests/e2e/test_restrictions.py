"""What restricts by path holds for every spelling of it that an upstream may take for the same resource."""

from __future__ import annotations

import pytest

from conftest import Bearer, Client, StartEnvoy
from harness import verdicts
from harness.envoy import Envoy
from harness.filters import Config, JwtAuthn
from harness.listener import CLOSE_AT_ONCE, Listener
from harness.pki import Credential
from harness.tls import ClientTls
from harness.tokens import AUDIENCE, Signer
from harness.upstream import Upstream

DENY = ["/v1/orders:purge", "/v1/a%2Ab", "/secret/**", "/caf%C3%A9"]


def denying(**path: Config) -> Config:
    return {
        "mode": "mtls",
        "clients": {"acme": {"identities": ["cn:acme"], "profiles": ["partner"]}},
        "profiles": {"partner": {"allow": [{"paths": ["/**"]}], "deny": DENY}},
        "path": path,
    }


OPTIONAL: Config = {
    "mode": "bearer_plus_mtls_optional",
    "token": {"audiences": [AUDIENCE]},
    "clients": {"acme": {"identities": ["cn:acme"], "profiles": ["partner"]}},
    "profiles": {"partner": {"allow": [{"paths": ["/v1/**"]}]}},
    "binding": {"required_paths": ["/v1/orders:execute"]},
}


@pytest.fixture(scope="module")
def envoy(start_envoy: StartEnvoy, signer: Signer) -> Envoy:
    return start_envoy(
        Listener("normalized", denying(), manager=CLOSE_AT_ONCE),
        Listener("raw", denying(), normalize=False, manager=CLOSE_AT_ONCE),
        Listener("slashes", denying(encoded_slashes="keep"), normalize=False, manager=CLOSE_AT_ONCE),
        Listener("semicolons", denying(semicolons="keep"), normalize=False, manager=CLOSE_AT_ONCE),
        Listener("ignore_case", denying(restrictions="ignore_case"), manager=CLOSE_AT_ONCE),
        Listener("optional", OPTIONAL, jwt=JwtAuthn((signer,)), manager=CLOSE_AT_ONCE),
    )


@pytest.mark.parametrize("listener", ["normalized", "raw"])
@pytest.mark.parametrize(("path", "verdict"), [
    ("/v1/orders:purge", "path_denied"),
    ("/v1/orders%3Apurge", "path_denied"),
    ("/v1/orders%3apurge/", "path_denied"),
    ("/v1/%6Frders%3a%70urge?x=y", "path_denied"),
    ("/v1/x/../orders%3Apurge", "path_denied"),
    ("/v1/a*b", "path_denied"),
    ("/v1/a%2Ab", "path_denied"),
    ("/v1/a%2ab/", "path_denied"),
    ("/caf%c3%a9", "path_denied"),
    ("/v1/orders%253Apurge", "allowed"),
    ("/v1/orders", "allowed"),
    ("/v1/axb", "allowed"),
    ("/SECRET/x", "allowed"),
])
def test_no_escape_takes_a_path_past_a_deny(
    envoy: Envoy, acme: Credential, http: Client, listener: str, path: str, verdict: str
) -> None:
    with http(envoy.port(listener), ClientTls(acme)) as client:
        assert verdicts.reason_of(client.request("GET", path)) == verdict


@pytest.mark.parametrize(("listener", "path", "verdict"), [
    ("slashes", "/secret%2Fx", "path_denied"),
    ("slashes", "/%2Fsecret%2f", "path_denied"),
    ("slashes", "/secret%5Cx", "path_denied"),
    ("slashes", "/v1%2Forders%3Apurge", "path_denied"),
    ("slashes", "/secrets%2Fx", "allowed"),
    ("semicolons", "/secret;x=1", "path_denied"),
    ("semicolons", "/;x/secret/y", "path_denied"),
    ("semicolons", "/secret%3Bx", "path_denied"),
    ("semicolons", "/v1;a/orders:purge;b", "path_denied"),
    ("semicolons", "/secrets;x", "allowed"),
    ("ignore_case", "/SECRET/x", "path_denied"),
    ("ignore_case", "/v1/Orders%3APURGE", "path_denied"),
    ("ignore_case", "/CAF%C3%89", "path_denied"),
    ("ignore_case", "/SECRETS", "allowed"),
])
def test_no_separator_that_is_kept_and_no_letter_case_takes_a_path_past_a_deny(
    envoy: Envoy, acme: Credential, http: Client, listener: str, path: str, verdict: str
) -> None:
    with http(envoy.port(listener), ClientTls(acme)) as client:
        assert verdicts.reason_of(client.request("GET", path)) == verdict


@pytest.mark.parametrize("path", [
    "/v1/orders:execute", "/v1/orders%3Aexecute", "/v1/orders%3aexecute", "/v1/orders%3A%65xecute/", "/v1/orders%3Aexecute?x",
])
def test_no_escape_takes_an_unbound_token_past_a_required_path(
    envoy: Envoy, acme: Credential, bearer: Bearer, upstream: Upstream, http: Client, path: str
) -> None:
    mark = upstream.mark()
    with http(envoy.port("optional"), ClientTls()) as client:
        verdicts.refused(client.request("POST", path, [bearer("acme")]), "certificate_missing")
    with http(envoy.port("optional"), ClientTls(acme)) as client:
        verdicts.refused(client.request("POST", path, [bearer("acme")]), "sender_binding_missing")
    assert upstream.since(mark) == []
    with http(envoy.port("optional"), ClientTls()) as client:
        verdicts.passed(client.request("POST", "/v1/orders", [bearer("acme")]))
