"""HAProxy as people configure it: with quotes around the certificate, and for certificates of servers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta, timezone

import pytest

from conftest import StartEnvoy
from harness import front, verdicts
from harness.envoy import Envoy
from harness.filters import Config
from harness.front import HOST, KINDS, Proxy
from harness.http1 import Http1
from harness.listener import Listener
from harness.pki import SERVER_AUTH, Authority, Credential
from harness.response import ConnectionEnded
from harness.tls import ClientTls

HAPROXY = KINDS["haproxy"]
QUOTED = {"%[ssl_c_der,base64] if { ssl_c_used }": "%{+Q}[ssl_c_der,base64]", **dict([HAPROXY.optional])}
FOR_SERVERS = {HAPROXY.optional[0]: f"{HAPROXY.optional[0]} crt-ignore-err 26"}


def policy(format: str, **certificate: str) -> Config:
    forwarded = {"format": format, "header": HAPROXY.header, "trusted_proxies": {"cidrs": ["127.0.0.1/32"]}}
    return {
        "mode": "mtls",
        "certificate": {"source": "forwarded", "forwarded": forwarded, **certificate},
        "clients": {"acme": {"identities": ["cn:acme"], "profiles": ["partner"]}},
        "profiles": {"partner": {"allow": [{"paths": ["/**"]}]}},
    }


@pytest.fixture(scope="module")
def envoy(start_envoy: StartEnvoy) -> Envoy:
    return start_envoy(
        Listener("haproxy", policy("haproxy")), Listener("base64_der", policy("base64_der")),
        Listener("servers", policy("haproxy", extended_key_usage="client_or_server_auth")),
    )


Behind = Callable[[str, dict[str, str]], int]


@pytest.fixture(scope="module")
def behind(
    tmp_path_factory: pytest.TempPathFactory, envoy: Envoy, root: Authority, server: Credential
) -> Iterator[Behind]:
    """Starts HAProxy with changes of its shipped configuration in front of a listener, `behind("haproxy", {…})`."""
    certificates = front.write_certificates(tmp_path_factory.mktemp("front"), root, server, root.issue([("CN", "edge")]))
    with ExitStack() as running:
        def start(listener: str, change: dict[str, str]) -> int:
            directory = tmp_path_factory.mktemp(listener)
            return running.enter_context(Proxy(HAPROXY, directory, certificates, envoy.port(listener), change)).port

        yield start


@pytest.mark.parametrize("format", ["haproxy", "base64_der"])
def test_quotes_around_the_certificate_are_taken_off_and_quotes_around_nothing_are_no_certificate(
    behind: Behind, acme: Credential, format: str
) -> None:
    port = behind(format, QUOTED)
    with Http1(port, ClientTls(acme)) as client:
        assert verdicts.passed(client.request("GET", "/", host=HOST)).values("x-client-cert-thumbprint") == [acme.thumbprint]
    with Http1(port, ClientTls()) as client:
        verdicts.refused(client.request("GET", "/", host=HOST), "certificate_missing")


def test_a_certificate_for_servers_is_taken_behind_a_haproxy_that_takes_it(
    behind: Behind, issuer: Authority, acme: Credential
) -> None:
    now = datetime.now(timezone.utc)
    leaf = issuer.issue([("CN", "acme")], extended_key_usage=[SERVER_AUTH])
    for listener, verdict in (("servers", "allowed"), ("haproxy", "certificate_unsuitable")):
        port = behind(listener, FOR_SERVERS)
        for credential, expected in ((leaf, verdict), (acme, "allowed")):
            with Http1(port, ClientTls(credential)) as client:
                assert verdicts.reason_of(client.request("GET", "/", host=HOST)) == expected
        # It ignores that and nothing else.
        old = issuer.issue([("CN", "acme")], extended_key_usage=[SERVER_AUTH], not_after=now - timedelta(minutes=1))
        with pytest.raises((ConnectionEnded, OSError)), Http1(port, ClientTls(old)) as client:
            client.request("GET", "/", host=HOST)
    with pytest.raises((ConnectionEnded, OSError)), Http1(behind("servers", {}), ClientTls(leaf)) as client:
        client.request("GET", "/", host=HOST)
