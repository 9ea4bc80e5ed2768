"""A header that Envoy's route adds is no caller's, and the filter does not remove it."""

from __future__ import annotations

from conftest import Client, StartEnvoy
from harness import verdicts
from harness.filters import Config
from harness.listener import ECHO_CLUSTER, Listener
from harness.pki import Credential
from harness.tls import ClientTls

NAME = "x-client-cert-cn"
POLICY: Config = {
    "mode": "mtls",
    "clients": {"acme": {"identities": ["cn:acme"], "profiles": ["partner"]}},
    "profiles": {"partner": {"allow": [{"paths": ["/open"]}]}},
    "bypass": [{"path": "/health"}],
}
ROUTES: Config = {"virtual_hosts": [{
    "name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": ECHO_CLUSTER}}],
    "request_headers_to_add": [{"header": {"key": NAME, "value": "of the route"}}],
}]}


def test_a_header_that_a_route_adds_stays_and_the_callers_copy_of_it_goes(
    start_envoy: StartEnvoy, acme: Credential, http: Client
) -> None:
    envoy = start_envoy(Listener("main", POLICY, manager={"route_config": ROUTES}))
    for path in ("/open", "/health"):
        with http(envoy.port("main"), ClientTls(acme)) as client:
            echo = verdicts.passed(client.request("GET", path, [(NAME, "of the caller")]))
        assert echo.values(NAME) == ["of the route"]
