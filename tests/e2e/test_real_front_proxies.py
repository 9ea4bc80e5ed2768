"""What real callers send through the proxies in front: WebSocket, gRPC, long tokens, large bodies; and the files of README.md."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import grpc
import pytest

from conftest import Bearer, Client, StartEnvoy
from harness import front, grpc_client, pki, shipped, verdicts
from harness.artifacts import REPOSITORY
from harness.certs import Certs
from harness.envoy import Envoy
from harness.filters import Config, JwtAuthn
from harness.front import HOST, KINDS, Kind, Proxy
from harness.http1 import Http1
from harness.listener import Listener
from harness.pki import Authority, Credential
from harness.response import Header
from harness.tls import ClientTls
from harness.tokens import Signer
from harness.upstream import Upstream
from test_front_proxies import EDGE, TRUST_DOMAIN

README = REPOSITORY / "envoy" / "front-proxies" / "README.md"
# RFC 6455 section 4.1; HAProxy asks for the key.
UPGRADE: list[Header] = [
    ("connection", "Upgrade"), ("upgrade", "websocket"), ("sec-websocket-version", "13"), ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
]
BODY = bytes(2 * 1024 * 1024)


def listener(kind: Kind, signer: Signer, **options: object) -> Listener:
    """The filter behind a proxy that it trusts by its certificate."""
    forwarded = {**kind.forwarded, "trusted_proxies": {"identities": [EDGE]}}
    policy: Config = {
        "certificate": {"source": "forwarded", "forwarded": forwarded},
        "identity": {"trust_domains": [TRUST_DOMAIN]},
        "clients": {"acme": {"identities": ["cn:acme"], "profiles": ["partner"]}},
        "profiles": {"partner": {"allow": [
            {"paths": ["/api/**", "/echo.Echo/*"]}, {"paths": ["/ws"], "methods": ["GET"], "upgrades": ["websocket"]},
        ]}},
    }
    return Listener(kind.name, policy, jwt=JwtAuthn((signer,)), upgrades=["websocket"],  # type: ignore[arg-type]
                    forward_client_cert_details="FORWARD_ONLY", **options)


@pytest.fixture(scope="module")
def envoy(start_envoy: StartEnvoy, signer: Signer) -> Envoy:
    return start_envoy(*(listener(kind, signer) for kind in KINDS.values()))


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory, root: Authority, issuer: Authority, server: Credential) -> Path:
    edge = issuer.issue([("CN", "edge")], sans=[pki.uri(EDGE)])
    return front.write_certificates(tmp_path_factory.mktemp("front"), root, server, edge)


@pytest.fixture(scope="module", params=KINDS)
def port(
    request: pytest.FixtureRequest, envoy: Envoy, certificates: Path
) -> Iterator[int]:
    """Where callers of each kind of proxy connect."""
    kind = KINDS[request.param]
    # nginx writes large bodies into it as www-data, which cannot enter pytest's own folders.
    with tempfile.TemporaryDirectory(prefix=f"{kind.name}-") as name:
        Path(name).chmod(0o755)
        with Proxy(kind, Path(name), certificates, envoy.port(kind.name)) as running:
            yield running.port


def test_a_websocket_goes_through(port: int, acme: Credential, bearer: Bearer) -> None:
    with Http1(port, ClientTls(acme)) as client:
        assert client.request("GET", "/ws", [*UPGRADE, bearer("acme", acme)], host=HOST).status == 101
        client.send(b"over there")
        assert client.receive() == b"over there"


def test_a_websocket_that_the_filter_refuses_is_refused(port: int, acme: Credential, bearer: Bearer) -> None:
    with Http1(port, ClientTls(acme)) as client:
        verdicts.refused(client.request("GET", "/api/v1", [*UPGRADE, bearer("acme", acme)], host=HOST), "upgrade_denied")


@pytest.mark.parametrize("upgrade", ["h2c", "websocket, h2c", "tls/1.0"])
def test_another_upgrade_reaches_no_upstream(
    port: int, acme: Credential, bearer: Bearer, upstream: Upstream, upgrade: str
) -> None:
    mark = upstream.mark()
    with Http1(port, ClientTls(acme)) as client:
        headers = [("connection", "Upgrade"), ("upgrade", upgrade), bearer("acme", acme)]
        answer = client.request("GET", "/ws", headers, host=HOST)
        # A proxy that drops the header asks for the page, which no rule allows without the upgrade.
        assert answer.status in (400, 403, 405, 502)
    assert upstream.since(mark) == []


@pytest.mark.parametrize("kibibytes", [9, 12, 16])
def test_a_long_token_goes_through(port: int, acme: Credential, bearer: Bearer, http_over_tcp: Client, kibibytes: int) -> None:
    size = kibibytes * 1024
    name, value = next(
        header for padding in range(size) if len((header := bearer("acme", acme, more="x" * (size * 3 // 4 - 600 + padding)))[1]) > size - 8
    )
    assert size - 8 < len(value) - len("Bearer ") + 7 <= size + 8
    with http_over_tcp(port, ClientTls(acme)) as client:
        received = verdicts.passed(client.request("GET", "/api/v1", [(name, value)], host=HOST))
    assert received.values("x-client-id") == ["acme"]


def test_a_large_body_goes_through(port: int, acme: Credential, bearer: Bearer, http_over_tcp: Client) -> None:
    with http_over_tcp(port, ClientTls(acme)) as client:
        assert verdicts.passed(client.request("POST", "/api/v1", [bearer("acme", acme)], BODY, host=HOST)).body_length == len(BODY)


def test_the_upstream_gets_the_host_that_the_caller_named(port: int, acme: Credential, bearer: Bearer) -> None:
    with Http1(port, ClientTls(acme)) as client:
        received = verdicts.passed(client.request("GET", "/api/v1", [bearer("acme", acme)], host=HOST))
    assert received.values("host") == [HOST]


@pytest.mark.parametrize("port", ["envoy"], indirect=True)
def test_grpc_goes_through_envoy_with_its_trailers(port: int, root: Authority, acme: Credential, bearer: Bearer) -> None:
    answered = grpc_client.call(port, root, acme, metadata=[bearer("acme", acme)])
    assert (answered.code, answered.message) == (grpc.StatusCode.OK, b"hello")
    refused = grpc_client.call(port, root, acme)
    assert refused.code == grpc.StatusCode.UNAUTHENTICATED


# The files.


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the commands of README.md were run as they are written there."""
    folder = tmp_path_factory.mktemp("readme")
    [script] = re.findall(r"(?m)^(    export CERTS=.*\n(?:    .*\n)+)", README.read_text())
    (folder / "envoy").symlink_to(shipped.ENVOY)
    command = ["bash", "-euo", "pipefail", "-c", re.sub(r"(?m)^    ", "", script)]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    return folder


@pytest.fixture(scope="module")
def behind(start_envoy: StartEnvoy, signer: Signer, made: Path) -> Envoy:
    """The filter's Envoy with the server's certificate and the authority of that folder."""
    secrets = shipped.secrets(made)
    return start_envoy(*(listener(kind, signer, secrets=secrets, http3=False) for kind in KINDS.values()))


def test_every_proxy_starts_with_the_files_that_the_commands_make(
    behind: Envoy, made: Path, bearer: Bearer, tmp_path: Path
) -> None:
    certs = Certs(made / "certs")
    certs.run("issue", "acme")
    acme = certs.credential("acme")
    with ExitStack() as running:
        for kind in KINDS.values():
            folder = tmp_path / kind.name
            folder.mkdir()
            port = running.enter_context(Proxy(kind, folder, made / "certs", behind.port(kind.name))).port
            with Http1(port, ClientTls(acme)) as client:
                received = verdicts.passed(client.request("GET", "/api/v1", [bearer("acme", acme)], host=HOST))
            assert received.values("x-client-cert-thumbprint") == [acme.thumbprint], kind.name
