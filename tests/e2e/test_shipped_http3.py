"""What `envoy/http3.yaml` ships: envoy.yaml, and beside its listener one over QUIC that decides alike but for addresses."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from conftest import Client
from harness import artifacts, shipped, verdicts
from harness.http3 import Http3
from harness.pki import Credential
from harness.response import ConnectionEnded, Header
from harness.shipped import Folder, Shipped
from harness.tls import ClientTls
from harness.upstream import Upstream
from test_shipped import CASES, SENT

BY_ADDRESS = "initech-erp"
"""The client whose profile has `source_cidrs`."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return Folder(tmp_path_factory.mktemp("shipped"))


@pytest.fixture(scope="module")
def people(folder: Folder) -> dict[str, Credential]:
    return {name: folder.credential(name) for name in SENT}


@pytest.fixture(scope="module")
def tokens(folder: Folder) -> dict[tuple[str, str | None, str], Header]:
    return {case[1]: folder.token(*case[1]) for case in CASES if case[1] is not None}


@pytest.fixture(scope="module")
def envoy(folder: Folder, upstream: Upstream) -> Iterator[Shipped]:
    config = folder.directory / "http3.yaml"
    text = (shipped.ENVOY / "http3.yaml").read_text()
    config.write_text(folder.localize(text, artifacts.module(), upstream.port, shipped.free_port()))
    with Shipped(artifacts.envoy(), config) as running:
        yield running
        assert set(running.admin.stats(r"^wasm\..*\.vm_reload").values()) <= {0}


@pytest.mark.parametrize(("who", "token", "method", "path", "headers", "verdict"), CASES)
def test_the_policy_decides_over_http3_as_over_tcp_but_takes_no_address(
    envoy: Shipped, people: dict[str, Credential], tokens: dict[tuple[str, str | None, str], Header],
    who: str | None, token: tuple[str, str | None, str] | None, method: str, path: str, headers: list[Header],
    verdict: str,
) -> None:
    sent = [*headers, *([tokens[token]] if token else [])]
    with Http3(envoy.port("mtls_http3"), ClientTls(people[who] if who else None)) as client:
        response = client.request(method, path, sent, b"body" if method == "POST" else b"")
    assert verdicts.reason_of(response) == ("source_ip_denied" if who == BY_ADDRESS else verdict)
    if verdict == "allowed" and path != "/health" and who != BY_ADDRESS:
        assert response.echo().values("x-client-id") == [who or "wallet-app"]
        assert response.echo().values("authorization") == []


def test_a_client_by_address_has_the_tcp_listener(
    envoy: Shipped, people: dict[str, Credential], http_over_tcp: Client
) -> None:
    with http_over_tcp(envoy.port("mtls"), ClientTls(people[BY_ADDRESS])) as client:
        verdicts.passed(client.request("GET", "/ledger/1"))


def test_every_answer_says_where_http3_is(envoy: Shipped, http_over_tcp: Client) -> None:
    with http_over_tcp(envoy.port("mtls"), ClientTls()) as client:
        for path, status in (("/health", 200), ("/payments", 401)):
            response = client.request("GET", path)
            assert (response.status, response.header("alt-svc")) == (status, 'h3=":8443"; ma=86400')


def test_a_certificate_that_nobody_vouches_for_ends_the_connection(
    envoy: Shipped, people: dict[str, Credential]
) -> None:
    with pytest.raises(ConnectionEnded):
        Http3(envoy.port("mtls_http3"), ClientTls(people["impostor"]))


@pytest.mark.parametrize("path", ["/payments%2F42", "/payments/..%5c42", "/payments/%00"])
def test_what_can_be_read_in_two_ways_is_refused(envoy: Shipped, path: str) -> None:
    with Http3(envoy.port("mtls_http3"), ClientTls()) as client:
        assert client.request("GET", path).status == 400


def test_a_header_with_an_underscore_never_gets_past_envoy(envoy: Shipped, upstream: Upstream) -> None:
    mark = upstream.mark()
    with pytest.raises(ConnectionEnded), Http3(envoy.port("mtls_http3"), ClientTls()) as client:
        client.request("GET", "/health", [("x_client_id", "acme-mobile")])
    assert upstream.since(mark) == []


def test_no_session_is_given_for_resumption(envoy: Shipped, people: dict[str, Credential]) -> None:
    with Http3(envoy.port("mtls_http3"), ClientTls(people["acme-mobile"])) as client:
        verdicts.passed(client.request("GET", "/health"))
        client.ping()
        assert client.tickets == 0


def test_a_decision_over_http3_stands_in_the_access_log(envoy: Shipped) -> None:
    with Http3(envoy.port("mtls_http3"), ClientTls()) as client:
        request_id = verdicts.refused(client.request("GET", "/recorded"), "certificate_missing")["request_id"]

    def lines() -> list[str]:
        return [line for line in envoy.output().splitlines() if line.startswith("{") and request_id in line]

    envoy.wait("the record", lambda: bool(lines()))
    assert '\\"policy_id\\":\\"example-1\\"' in lines()[0] and "certificate_missing" in lines()[0]
