"""What real clients do and the shipped configuration has to cope with: the spelling of the scheme, `Expect: 100-continue`."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from conftest import Client, Streams
from harness import artifacts, shipped, verdicts
from harness.http1 import Http1
from harness.http3 import Http3
from harness.pki import Credential
from harness.response import Header
from harness.shipped import Folder, Shipped
from harness.tls import ClientTls
from test_authorization_readers import MIXED

POLICIES = {"envoy": lambda text: text, "istio": shipped.with_istio_policy}
BODY = bytes(2 * 1024 * 1024)


class Continuing(BaseHTTPRequestHandler):
    """An upstream that says 100 to a client that waits for it, and answers with the length of the body."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:  # noqa: N802
        """Reads it all."""
        length = int(self.headers["content-length"])
        self.rfile.read(length)
        self.send_response(200)
        self.send_header("content-length", str(len(str(length))))
        self.end_headers()
        self.wfile.write(str(length).encode())

    do_GET = do_POST

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return Folder(tmp_path_factory.mktemp("clients"))


@pytest.fixture(scope="module")
def acme(folder: Folder) -> Credential:
    return folder.credential("acme-mobile")


@pytest.fixture(scope="module", params=sorted(POLICIES))
def envoy(request: pytest.FixtureRequest, folder: Folder) -> Iterator[Shipped]:
    """http3.yaml, once with its own policy and once with Istio's, in front of an upstream that says 100."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Continuing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    text = POLICIES[request.param]((shipped.ENVOY / "http3.yaml").read_text())
    config = folder.directory / f"{request.param}.yaml"
    config.write_text(folder.localize(text, artifacts.module(), server.server_port, shipped.free_port()))
    with Shipped(artifacts.envoy(), config) as running:
        yield running
    server.shutdown()


@pytest.fixture(scope="module")
def token(folder: Folder) -> str:
    return folder.token("acme-mobile", "acme-mobile", "payments:read payments:write")[1].removeprefix("Bearer ")


def port(envoy: Shipped, http: Client) -> int:
    return envoy.port("mtls_http3" if http is Http3 else "mtls")


# The scheme of `Authorization` has no letter case (RFC 9110 section 11.1).


@pytest.mark.parametrize("issuer", ["auth", "login"])
@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_a_scheme_in_the_spelling_that_an_issuer_returned_is_taken(
    envoy: Shipped, folder: Folder, acme: Credential, http: Client, scheme: str, issuer: str
) -> None:
    _, value = folder.token("acme-mobile", "acme-mobile", "payments:read", "--issuer", issuer)
    sent = [("authorization", value.replace("Bearer", scheme)), ("content-length", "0")]
    with http(port(envoy, http), ClientTls(acme)) as client:
        response = client.request("GET", "/payments/42", sent)
    assert (response.status, response.body) == (200, b"0")


def test_another_spelling_is_no_token_to_jwt_authn(envoy: Shipped, acme: Credential, token: str, http: Client) -> None:
    with http(port(envoy, http), ClientTls(acme)) as client:
        verdicts.refused(client.request("GET", "/payments/42", [("authorization", f"BeArEr {token}")]), "token_missing")


OTHERS = ["bearer Bearer {token}", "BEARER bearer {token}", "Basic x bearer {token}", "Basic x BEARER {token}", "xbearer {token}",
          "bearer  {token}", "bearer {token},Bearer {token}", "Bearer x bearer {token}"]


@pytest.mark.parametrize("value", [*OTHERS, *(value for value, _ in MIXED if value.isascii())])
def test_a_token_that_two_readers_find_in_two_ways_is_malformed_in_every_spelling(
    envoy: Shipped, acme: Credential, token: str, http_over_tcp: Client, value: str
) -> None:
    for spelt in {value, value.replace("Bearer", "bearer"), value.replace("Bearer", "BEARER")}:
        with http_over_tcp(port(envoy, http_over_tcp), ClientTls(acme)) as client:
            response = client.request("GET", "/payments/42", [("authorization", spelt.format(token=token))])
        verdicts.refused(response, "authorization_malformed")


# `Expect: 100-continue`.


def expecting(*more: Header) -> list[Header]:
    return [("expect", "100-continue"), ("content-length", str(len(BODY))), *more]


def test_a_refusal_comes_before_100_continue(envoy: Shipped, acme: Credential) -> None:
    with Http1(envoy.port("mtls"), ClientTls(acme)) as client:
        head = "".join(f"{name}: {value}\r\n" for name, value in expecting())
        client.send(f"POST /payments HTTP/1.1\r\nhost: api.example\r\n{head}\r\n".encode())
        verdicts.refused(client.response(), "token_missing")


def test_a_refusal_over_streams_comes_before_the_body(envoy: Shipped, acme: Credential, streams: Streams) -> None:
    pseudo = [(":method", "POST"), (":scheme", "https"), (":authority", "api.example"), (":path", "/payments")]
    with streams(port(envoy, streams), ClientTls(acme)) as client:
        verdicts.refused(client.response(client.open([*pseudo, *expecting()], end=False)), "token_missing")


def test_an_allowed_request_gets_100_continue_from_the_upstream(envoy: Shipped, acme: Credential, token: str) -> None:
    with Http1(envoy.port("mtls"), ClientTls(acme)) as client:
        head = "".join(f"{name}: {value}\r\n" for name, value in expecting(("authorization", f"Bearer {token}")))
        client.send(f"POST /payments HTTP/1.1\r\nhost: api.example\r\n{head}\r\n".encode())
        assert client.receive().startswith(b"HTTP/1.1 100 Continue\r\n")
        client.send(BODY)
        assert (answer := client.response()).status == 200 and answer.body == str(len(BODY)).encode()


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_curl_sends_a_body_that_is_allowed(envoy: Shipped, folder: Folder, token: str, tmp_path: Path, version: str) -> None:
    assert curl(envoy, folder, tmp_path, version, "-H", f"authorization: bearer {token}") == f"200 {len(BODY)}"


def test_curl_reads_a_refusal_over_http1_and_sends_nothing_if_it_waited(envoy: Shipped, folder: Folder, tmp_path: Path) -> None:
    assert curl(envoy, folder, tmp_path, "--http1.1") == "401 0"


def curl(envoy: Shipped, folder: Folder, directory: Path, *more: str) -> str:
    """The status of a POST that waits for 100, and how much curl has sent."""
    (directory / "body").write_bytes(BODY)
    files = {name: str(folder.certs.file(*name.split("."))) for name in ("root.pem", "acme-mobile.pem", "acme-mobile.key")}
    command = [
        "curl", "-sS", "--expect100-timeout", "60", "-H", "expect: 100-continue", "--data-binary", f"@{directory / 'body'}",
        "--cacert", files["root.pem"], "--cert", files["acme-mobile.pem"], "--key", files["acme-mobile.key"], "--output", "/dev/null",
        "--write-out", "%{http_code} %{size_upload}", *more, f"https://localhost:{envoy.port('mtls')}/payments",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout
