"""A trusted proxy's header that stands twice is refused: nobody chooses between two certificates."""

from __future__ import annotations

import base64
from collections.abc import Callable
from urllib.parse import quote

import pytest

from conftest import Client, StartEnvoy
from harness import verdicts
from harness.envoy import Envoy
from harness.filters import Config
from harness.listener import Listener
from harness.pki import Authority, Credential
from harness.tls import ClientTls
from harness.upstream import Upstream


def _base64(leaf: Credential) -> str:
    return base64.b64encode(leaf.der).decode()


FORMATS: dict[str, tuple[str, Callable[[Credential], str]]] = {
    "rfc9440": ("client-cert", lambda leaf: f":{_base64(leaf)}:"),
    "traefik": ("x-forwarded-tls-client-cert", _base64),
    "nginx": ("ssl-client-cert", lambda leaf: quote(leaf.pem, safe="")),
    "aws_alb": ("x-amzn-mtls-clientcert-leaf", lambda leaf: quote(leaf.pem, safe="+=/")),
    "azure": ("x-arr-clientcert", _base64),
    "haproxy": ("x-own-cert", _base64),
    "url_encoded_pem": ("x-own-cert", lambda leaf: quote(leaf.pem, safe="")),
    "base64_der": ("x-own-cert", _base64),
}


@pytest.fixture(scope="module")
def envoy(start_envoy: StartEnvoy, acme: Credential) -> Envoy:
    def listener(name: str, header: str) -> Listener:
        known = f"sha256:{acme.thumbprint}" if name == "azure" else "cn:acme"
        policy: Config = {
            "mode": "mtls",
            "certificate": {"source": "forwarded", "forwarded": {
                "format": name, "header": header, "trusted_proxies": {"identities": ["cn:proxy"]},
            }},
            "clients": {"acme": {"identities": [known], "profiles": ["partner"]}},
            "profiles": {"partner": {"allow": [{"paths": ["/open"]}]}},
        }
        return Listener(name, policy)

    return start_envoy(*(listener(name, header) for name, (header, _) in FORMATS.items()))


@pytest.mark.parametrize("name", FORMATS)
def test_a_forwarded_certificate_that_stands_twice_is_malformed_in_either_order(
    envoy: Envoy, acme: Credential, issuer: Authority, upstream: Upstream, http: Client, name: str
) -> None:
    header, written = FORMATS[name]
    good, other = (header, written(acme)), (header, written(issuer.issue([("CN", "other")])))
    proxy = ClientTls(issuer.issue([("CN", "proxy")]))
    with http(envoy.port(name), proxy) as client:
        verdicts.passed(client.request("GET", "/open", [good]))
    mark = upstream.mark()
    for lines in ([good, other], [other, good], [good, good], [good, (header, "")], [(header, ""), good]):
        with http(envoy.port(name), proxy) as client:
            verdicts.refused(client.request("GET", "/open", lines), "certificate_malformed")
    assert upstream.since(mark) == []
