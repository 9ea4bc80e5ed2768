"""What a caller receives when a filter answers in place of the upstream."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest

from conftest import Client, StartEnvoy
from harness import grpc_client, probe
from harness.envoy import Envoy
from harness.grpc_upstream import GrpcUpstream
from harness.http1 import Http1
from harness.http2 import Http2
from harness.pki import Authority, Credential
from harness.probe import Call, pack
from harness.tls import ClientTls
from harness.upstream import Upstream

BODY = '{"status": 401}'
HEADERS = [("content-type", "application/problem+json"), ("www-authenticate", 'Bearer realm="a"'),
           ("x-two", "1"), ("x-two", "2")]


def reply(status: int, grpc_status: int, body: str) -> Call:
    return ("reply", str(status), str(grpc_status), body, pack(HEADERS))


@pytest.fixture(scope="module")
def envoy(start_envoy: StartEnvoy, every_envoy: Path) -> Envoy:
    return start_envoy(
        probe.listener("derived", reply(401, -1, BODY)),
        probe.listener("explicit", reply(403, 16, BODY)),
        probe.listener("escaped", reply(403, 7, "50% of €\nnext")),
        binary=every_envoy,
    )


@pytest.fixture(scope="module")
def leaf(issuer: Authority) -> Credential:
    return issuer.issue()


@pytest.mark.parametrize("body", [b"", b"x" * 200_000], ids=["no body", "body"])
def test_a_local_reply_is_complete_and_the_request_goes_nowhere(
    envoy: Envoy, leaf: Credential, http: Client, body: bytes, upstream: Upstream
) -> None:
    mark = upstream.mark()
    with http(envoy.port("derived"), ClientTls(leaf)) as client:
        response = client.request("POST", "/", [], body)
    assert (response.status, response.body.decode()) == (401, BODY)
    assert response.header("content-type") == "application/problem+json"
    assert response.header("www-authenticate") == 'Bearer realm="a"'
    assert response.values("x-two") == ["1", "2"]
    assert upstream.since(mark) == []


def test_a_reply_to_head_has_the_headers_and_no_body(envoy: Envoy, leaf: Credential, http: Client) -> None:
    with http(envoy.port("derived"), ClientTls(leaf)) as client:
        response = client.request("HEAD")
        assert client.request("GET").status == 401
    assert (response.status, response.body) == (401, b"")
    assert response.header("content-length") == str(len(BODY))


def test_a_plain_caller_never_sees_the_grpc_status(envoy: Envoy, leaf: Credential, http: Client) -> None:
    with http(envoy.port("explicit"), ClientTls(leaf)) as client:
        response = client.request("GET")
    assert (response.status, response.body.decode()) == (403, BODY)
    assert response.header("grpc-status") is None


@pytest.mark.parametrize(("listener", "code"), [
    ("derived", grpc.StatusCode.UNAUTHENTICATED),
    ("explicit", grpc.StatusCode.UNAUTHENTICATED),
    ("escaped", grpc.StatusCode.PERMISSION_DENIED),
])
def test_a_grpc_caller_sees_the_given_status_or_the_one_that_follows_from_the_http_status(
    envoy: Envoy, root: Authority, leaf: Credential, grpc_upstream: GrpcUpstream, listener: str, code: grpc.StatusCode
) -> None:
    mark = grpc_upstream.mark()
    result = grpc_client.call(envoy.port(listener), root, leaf)
    assert (result.code, result.message) == (code, None)
    assert grpc_upstream.since(mark) == []


def test_the_message_of_a_grpc_caller_is_the_body_and_the_headers_are_its_trailers(
    envoy: Envoy, root: Authority, leaf: Credential
) -> None:
    result = grpc_client.call(envoy.port("derived"), root, leaf)
    assert result.details == BODY
    assert ("www-authenticate", 'Bearer realm="a"') in result.trailing_metadata
    assert [value for name, value in result.trailing_metadata if name == "x-two"] == ["1", "2"]
    assert grpc_client.call(envoy.port("escaped"), root, leaf).details == "50% of €\nnext"


@pytest.mark.parametrize(("content_type", "is_grpc"), [
    ("application/grpc", True), ("application/grpc+proto", True),
    ("application/grpc-web", False), ("application/json", False),
])
def test_the_content_type_of_the_request_decides_who_is_a_grpc_caller(
    envoy: Envoy, leaf: Credential, http: Client, content_type: str, is_grpc: bool
) -> None:
    with http(envoy.port("explicit"), ClientTls(leaf)) as client:
        response = client.request("POST", "/", [("content-type", content_type)], b"message")
    assert response.status == (200 if is_grpc else 403)
    assert response.header("grpc-status") == ("16" if is_grpc else None)
    assert response.header("content-type") == ("application/grpc" if is_grpc else "application/problem+json")


def test_the_connection_serves_on_after_a_reply(envoy: Envoy, leaf: Credential) -> None:
    with Http1(envoy.port("derived"), ClientTls(leaf)) as client:
        assert [client.request("GET").status for _ in range(3)] == [401] * 3
    with Http2(envoy.port("derived"), ClientTls(leaf)) as client:
        assert [client.request("POST", "/", [], b"x" * 1000).status for _ in range(3)] == [401] * 3
