"""A page of another origin in a real browser: what its script reads with `envoy/cors.yaml`, and without the CORS filter."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from chromium import Call, Pages
from harness import artifacts, shipped, verdicts
from harness.http1 import Http1
from harness.shipped import Folder, Shipped
from harness.tls import ClientTls
from harness.upstream import Upstream

ORIGIN = "https://app.example"
CORS_FILTER = """\
                  - name: envoy.filters.http.cors
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors
"""
# Opens metrics, which `Shipped` waits for.
METRICS = """\
    - name: metrics
      address:
        socket_address: { address: 127.0.0.1, port_value: 9902 }
      filter_chains: [{ filters: [] }]
"""


@pytest.fixture(scope="module")
def pages() -> Iterator[Pages]:
    served = Pages()
    yield served
    served.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return Folder(tmp_path_factory.mktemp("browser"))


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream() as running:
        yield running


def started(folder: Folder, pages: Pages, upstream: Upstream, name: str, removed: str = "") -> Shipped:
    text = (shipped.ENVOY / "cors.yaml").read_text()
    assert removed in text and text.count(ORIGIN) == 1
    text = text.replace(removed, "").replace(ORIGIN, f"http://localhost:{pages.port}")
    text = text.replace("\n  clusters:\n", f"\n{METRICS}\n  clusters:\n")
    config = folder.directory / f"{name}.yaml"
    config.write_text(folder.localize(text, artifacts.module(), upstream.port))
    return Shipped(artifacts.envoy(), config, arguments=["--config-yaml", "admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}"])


@pytest.fixture(scope="module")
def envoy(folder: Folder, pages: Pages, upstream: Upstream) -> Iterator[Shipped]:
    """cors.yaml for pages of `http://localhost`."""
    with started(folder, pages, upstream, "cors") as running:
        yield running


@pytest.fixture(scope="module")
def authorization(folder: Folder) -> str:
    """A token of the app, bound to nothing."""
    return folder.token("wallet-app", None, "", "--issuer", "login")[1]


def api(envoy: Shipped) -> str:
    return f"https://localhost:{envoy.port('mtls')}"


def test_a_page_of_the_origin_calls_with_a_token_and_reads_answers_and_refusals(
    envoy: Shipped, pages: Pages, upstream: Upstream, authorization: str
) -> None:
    mark = upstream.mark()
    calls: list[Call] = [
        ("GET", "/balance", {"authorization": authorization}),
        ("PUT", "/balance", {"authorization": authorization, "content-type": "application/json"}),
        ("DELETE", "/balance", {"authorization": authorization}),
        ("GET", "/balance", {"authorization": authorization[:-40] + "A" * 40}),
        # Without a header of its own the call has no preflight.
        ("GET", "/balance", {}),
    ]
    got, put, deleted, forged, bare = pages.open("localhost", api(envoy), calls)
    assert got["status"] == put["status"] == 200
    assert ["x-client-id", "wallet-app"] in json.loads(got["body"])["headers"]
    assert (deleted["status"], json.loads(deleted["body"])["code"]) == (405, "method_not_allowed")
    for refused in (forged, bare):
        assert (refused["status"], json.loads(refused["body"])["code"]) == (401, "token_missing")
    assert "www-authenticate" in forged["headers"]
    assert [echo.method for echo in upstream.since(mark)] == ["GET", "PUT"]


def test_a_page_of_another_origin_reads_nothing_and_its_preflight_is_refused(
    envoy: Shipped, pages: Pages, upstream: Upstream, authorization: str
) -> None:
    mark = upstream.mark()
    [seen] = pages.open("127.0.0.1", api(envoy), [("PUT", "/balance", {"authorization": authorization})])
    assert seen == {"error": "TypeError: Failed to fetch"}
    assert upstream.since(mark) == []


def test_without_the_cors_filter_the_browser_fails_to_fetch(
    folder: Folder, pages: Pages, upstream: Upstream, authorization: str
) -> None:
    with started(folder, pages, upstream, "without", CORS_FILTER) as envoy:
        [seen] = pages.open("localhost", api(envoy), [("GET", "/balance", {"authorization": authorization})])
    assert seen == {"error": "TypeError: Failed to fetch"}


@pytest.mark.parametrize("headers", [
    [], [("access-control-request-method", "GET")], [("origin", "https://evil.example"), ("access-control-request-method", "GET")],
], ids=["no_origin", "no_origin_but_a_method", "another_origin"])
def test_options_that_is_no_preflight_of_the_origin_needs_what_every_request_needs(
    envoy: Shipped, upstream: Upstream, headers: list[tuple[str, str]]
) -> None:
    mark = upstream.mark()
    with Http1(envoy.port("mtls"), ClientTls()) as client:
        verdicts.refused(client.request("OPTIONS", "/balance", headers), "token_missing")
    assert upstream.since(mark) == []


def test_a_preflight_reaches_no_upstream_and_grants_nothing(envoy: Shipped, pages: Pages, upstream: Upstream) -> None:
    mark = upstream.mark()
    headers = [("origin", f"http://localhost:{pages.port}"), ("access-control-request-method", "DELETE")]
    with Http1(envoy.port("mtls"), ClientTls()) as client:
        answer = client.request("OPTIONS", "/secret", headers)
        assert (answer.status, answer.body) == (200, b"")
        assert answer.header("access-control-allow-origin") == f"http://localhost:{pages.port}"
        verdicts.refused(client.request("DELETE", "/secret", headers[:1]), "token_missing")
    assert upstream.since(mark) == []
