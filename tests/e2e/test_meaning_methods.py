"""A policy's methods mean what they say also to an upstream that writes them in capitals before it acts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from conftest import Client, StartEnvoy, Streams
from harness import verdicts
from harness.envoy import Envoy, http1_cluster
from harness.filters import Config
from harness.folding import FoldingUpstream
from harness.http1 import Http1
from harness.listener import Listener
from harness.pki import Credential
from harness.response import Response
from harness.tls import ClientTls

CLUSTER = "folding"
POLICY: Config = {
    "mode": "mtls",
    "methods": {"additional": ["PURGE"]},
    "clients": {"acme": {"identities": ["cn:acme"], "profiles": ["partner"]}},
    "profiles": {"partner": {
        "allow": [
            {"paths": ["/things/**"]},
            {"paths": ["/read"], "methods": ["GET"]},
            {"paths": ["/heads"], "methods": ["HEAD"]},
            {"paths": ["/post"], "methods": ["POST"]},
            {"paths": ["/cache"], "methods": ["PURGE"]},
            {"paths": ["/shop"], "methods": ["DELETE"]},
        ],
        "deny": [
            {"paths": ["/things/kept/**"], "methods": ["DELETE", "PURGE"]},
            {"paths": ["/things/hidden"], "methods": ["GET"]},
            {"paths": ["/things/heads"], "methods": ["HEAD"]},
        ],
    }},
    "bypass": [{"path": "/health", "methods": ["GET"]}, {"path": "/flush", "methods": ["PURGE"]}],
}
# The same without a word about PURGE.
PLAIN: Config = POLICY | {"profiles": {"partner": {"allow": [{"paths": ["/things/**"]}]}}, "bypass": []}
del PLAIN["methods"]


@pytest.fixture(scope="module")
def folding() -> Iterator[FoldingUpstream]:
    with FoldingUpstream() as running:
        yield running


@pytest.fixture(scope="module")
def envoy(start_envoy: StartEnvoy, folding: FoldingUpstream) -> Envoy:
    return start_envoy(
        Listener("main", POLICY, cluster=CLUSTER), Listener("plain", PLAIN, cluster=CLUSTER),
        clusters=[http1_cluster(folding.port, CLUSTER)],
    )


def outcome(response: Response) -> str:
    """`allowed`, or the reason of the refusal; an answer to HEAD has none but its status."""
    if response.header("x-upstream") or response.body:
        return verdicts.reason_of(response)
    return str(response.status)


@pytest.mark.parametrize(("method", "path", "expected"), [
    # A restriction holds in every spelling.
    ("DELETE", "/things/kept/1", "path_denied"),
    ("delete", "/things/kept/1", "request_malformed"),
    ("Delete", "/things/kept/1", "request_malformed"),
    ("dELETE", "/things/kept/1", "request_malformed"),
    ("PURGE", "/things/kept/1", "path_denied"),
    ("purge", "/things/kept/1", "request_malformed"),
    ("Purge", "/things/kept/1", "request_malformed"),
    # Nor does another spelling get what its method would get.
    ("delete", "/things/1", "request_malformed"),
    ("get", "/read", "request_malformed"),
    ("Get", "/read", "request_malformed"),
    ("head", "/read", "request_malformed"),
    ("purge", "/cache", "request_malformed"),
    ("post", "/post", "request_malformed"),
    ("delete", "/shop", "request_malformed"),
])
def test_no_spelling_of_a_method_makes_an_upstream_act_that_folds_it(
    envoy: Envoy, acme: Credential, folding: FoldingUpstream, streams: Streams, method: str, path: str, expected: str
) -> None:
    mark = len(folding.done)
    with streams(envoy.port("main"), ClientTls(acme)) as client:
        assert outcome(client.request(method, path)) == expected
    assert folding.since(mark) == []


@pytest.mark.parametrize("method", ["delete", "Delete", "purge", "get"])
def test_over_http1_envoy_itself_refuses_a_method_in_other_letters(
    envoy: Envoy, acme: Credential, folding: FoldingUpstream, method: str
) -> None:
    mark = len(folding.done)
    for path in ("/things/kept/1", "/things/1", "/health"):
        with Http1(envoy.port("main"), ClientTls(acme)) as client:
            assert client.request(method, path).status == 400
    assert folding.since(mark) == []


@pytest.mark.parametrize(("method", "path", "expected"), [
    # What allows or denies GET allows or denies HEAD, and not the other way round.
    ("GET", "/read", "allowed"),
    ("HEAD", "/read", "allowed"),
    ("POST", "/read", "method_not_allowed"),
    ("HEAD", "/heads", "allowed"),
    ("GET", "/heads", "method_not_allowed"),
    ("HEAD", "/post", "405"),
    ("GET", "/things/hidden", "path_denied"),
    ("HEAD", "/things/hidden", "403"),
    ("POST", "/things/hidden", "allowed"),
    ("HEAD", "/things/heads", "403"),
    ("GET", "/things/heads", "allowed"),
    ("DELETE", "/things/1", "allowed"),
    ("DELETE", "/shop", "allowed"),
    ("GET", "/shop", "method_not_allowed"),
    ("GET", "/cache", "method_not_allowed"),
])
def test_get_covers_head_and_no_other_method_covers_another(
    envoy: Envoy, acme: Credential, folding: FoldingUpstream, http: Client, method: str, path: str, expected: str
) -> None:
    mark = len(folding.done)
    with http(envoy.port("main"), ClientTls(acme)) as client:
        assert outcome(client.request(method, path)) == expected
    assert folding.since(mark) == ([(method.lower(), path)] if expected == "allowed" else [])


@pytest.mark.parametrize(("method", "path", "expected"), [
    ("GET", "/health", "allowed"),
    ("HEAD", "/health", "allowed"),
    ("POST", "/health", "certificate_missing"),
    ("GET", "/flush", "certificate_missing"),
])
def test_a_bypass_of_get_covers_head(
    envoy: Envoy, folding: FoldingUpstream, http: Client, method: str, path: str, expected: str
) -> None:
    mark = len(folding.done)
    with http(envoy.port("main"), ClientTls()) as client:
        assert outcome(client.request(method, path)) == expected
    assert folding.since(mark) == ([(method.lower(), path)] if expected == "allowed" else [])


@pytest.mark.parametrize(("method", "path", "expected"), [
    ("PURGE", "/flush", "allowed"),
    ("purge", "/flush", "request_malformed"),
    ("pURGE", "/flush", "request_malformed"),
    ("get", "/health", "request_malformed"),
    ("hEAD", "/health", "request_malformed"),
])
def test_no_spelling_of_a_method_is_bypassed(
    envoy: Envoy, folding: FoldingUpstream, streams: Streams, method: str, path: str, expected: str
) -> None:
    mark = len(folding.done)
    with streams(envoy.port("main"), ClientTls()) as client:
        assert outcome(client.request(method, path)) == expected
    assert folding.since(mark) == ([(method.lower(), path)] if expected == "allowed" else [])


def test_an_additional_method_is_allowed_where_a_rule_lists_it(
    envoy: Envoy, acme: Credential, folding: FoldingUpstream, http: Client
) -> None:
    mark = len(folding.done)
    with http(envoy.port("main"), ClientTls(acme)) as client:
        assert outcome(client.request("PURGE", "/cache")) == "allowed"
        refusal = client.request("DELETE", "/cache")
    assert (outcome(refusal), refusal.header("allow")) == ("method_not_allowed", "PURGE")
    assert folding.since(mark) == [("purge", "/cache")]


@pytest.mark.parametrize("method", ["PURGE", "purge"])
def test_a_method_that_the_policy_does_not_know_gets_what_every_method_gets(
    envoy: Envoy, acme: Credential, folding: FoldingUpstream, streams: Streams, method: str
) -> None:
    mark = len(folding.done)
    with streams(envoy.port("plain"), ClientTls(acme)) as client:
        assert outcome(client.request(method, "/things/1")) == "allowed"
    assert folding.since(mark) == [("purge", "/things/1")]


@pytest.mark.parametrize("header", ["x-http-method-override", "x-http-method", "x-method-override"])
def test_no_override_header_names_a_denied_method_in_any_letters(
    envoy: Envoy, acme: Credential, folding: FoldingUpstream, http: Client, header: str
) -> None:
    mark = len(folding.done)
    for value in ("DELETE", "delete", "PURGE", "purge"):
        with http(envoy.port("main"), ClientTls(acme)) as client:
            assert outcome(client.request("POST", "/things/kept/1", [(header, value)])) == "request_malformed"
    assert folding.since(mark) == []
