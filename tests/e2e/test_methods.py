"""Methods in other letters: some upstreams write them in capitals before they look at them."""

from __future__ import annotations

import pytest

from conftest import StartEnvoy, Streams
from harness import verdicts
from harness.envoy import Envoy
from harness.filters import Config
from harness.listener import Listener
from harness.pki import Credential
from harness.tls import ClientTls

POLICY: Config = {
    "mode": "mtls",
    "methods": {"additional": ["PURGE"]},
    "clients": {"acme": {"identities": ["cn:acme"], "profiles": ["partner"]}},
    "profiles": {"partner": {
        "allow": [{"paths": ["/payments/**"]}],
        "deny": [{"paths": ["/payments/**"], "methods": ["DELETE", "PURGE"]}],
    }},
    "bypass": [{"path": "/health"}],
}


@pytest.fixture(scope="module")
def envoy(start_envoy: StartEnvoy) -> Envoy:
    return start_envoy(Listener("main", POLICY), Listener("shadow", POLICY | {"enforcement": "shadow"}))


# Over HTTP/1.1 Envoy's codec refuses such methods itself.
@pytest.mark.parametrize("method", ["delete", "Delete", "dELETE", "get", "Post", "connect", "mkcol", "version-Control",
                                    "purge", "Purge"])
def test_a_registered_method_in_other_letters_is_malformed(
    envoy: Envoy, acme: Credential, streams: Streams, method: str
) -> None:
    with streams(envoy.port("main"), ClientTls(acme)) as client:
        verdicts.refused(client.request(method, "/payments/1"), "request_malformed")
    # Nor is one bypassed.
    with streams(envoy.port("main"), ClientTls()) as client:
        verdicts.refused(client.request(method, "/health"), "request_malformed")


def test_a_method_that_no_policy_knows_may_have_any_letters(envoy: Envoy, acme: Credential, streams: Streams) -> None:
    with streams(envoy.port("main"), ClientTls(acme)) as client:
        verdicts.refused(client.request("PURGE", "/payments/1"), "path_denied")
        verdicts.passed(client.request("COPY", "/payments/1"))
        verdicts.passed(client.request("brew", "/payments/1"))
