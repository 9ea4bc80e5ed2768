"""What long runs and large requests bring: nothing grows, and what Envoy cannot take is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from conftest import StartEnvoy
from harness import verdicts
from harness.envoy import Envoy
from harness.filters import Config
from harness.http1 import Http1
from harness.http2 import Http2
from harness.listener import Listener
from harness.pki import Authority, Credential
from harness.tls import ClientTls

POLICY: Config = {
    "mode": "mtls",
    "clients": {"acme": {"identities": ["cn:acme"], "profiles": ["partner"]}},
    "profiles": {"partner": {"allow": [{"paths": ["/open"]}]}},
}
CLIENTS = 200
"""Clients of which the inventory has a certificate, and a gauge each."""
WARM_UP, UPDATES = 10, 40
GROWTH = 5_000
"""Bytes an update with two workers, of which Envoy itself keeps a half for each plugin. It was 20,000, and 100 more for each client and worker, when
each update defined all metrics anew."""


@pytest.fixture(scope="module")
def envoy(start_envoy: StartEnvoy) -> Envoy:
    manager: Config = {
        "max_request_headers_kb": 4096,
        "common_http_protocol_options": {"max_headers_count": 4000},
        "http_protocol_options": {"enable_trailers": True},
    }
    return start_envoy(Listener("large", POLICY, manager=manager))


LARGE = {
    "fields that fit": (Http1, 900, 10, "allowed"),
    "fields that fit, over HTTP/2": (Http2, 900, 10, "allowed"),
    "too many fields": (Http1, 1_100, 10, "request_malformed"),
    "too many fields, over HTTP/2": (Http2, 1_100, 10, "request_malformed"),
    "thousands of fields": (Http1, 3_000, 10, "request_malformed"),
    "more than a mebibyte in three fields": (Http1, 3, 400_000, "request_malformed"),
}


@pytest.mark.parametrize(("client_type", "count", "size", "expected"), LARGE.values(), ids=LARGE)
def test_a_request_that_cannot_be_written_to_envoy_is_refused(
    envoy: Envoy, acme: Credential, client_type: type[Http1] | type[Http2], count: int, size: int, expected: str
) -> None:
    fields = [(f"x-large-{number}", "v" * size) for number in range(count)]
    seen = len(envoy.records("large"))
    with client_type(envoy.port("large"), ClientTls(acme)) as client:
        answer = client.request("GET", "/open", [*fields, ("x-client-cert", "to be removed")])
    assert verdicts.reason_of(answer) == expected
    envoy.wait("the record", lambda: len(envoy.records("large")) > seen)
    last = envoy.records("large")[-1]
    assert (last["decision"]["decision"], last["status"]) == (("allow", 200) if expected == "allowed" else ("deny", 400))


def test_trailers_that_cannot_be_written_to_envoy_end_the_request_and_the_record_says_so(envoy: Envoy, acme: Credential) -> None:
    trailers = [(f"x-large-{number}", "v") for number in range(1_100)]
    for removed, expected in (([], "allow"), ([("x-client-id", "other")], "deny")):
        seen = len(envoy.records("large"))
        with Http1(envoy.port("large"), ClientTls(acme)) as client:
            client.request("POST", "/open", body=b"x", trailers=[*trailers, *removed])
        envoy.wait("the record", lambda: len(envoy.records("large")) > seen)
        assert envoy.records("large")[-1]["decision"]["decision"] == expected


@pytest.fixture
def changing(start_envoy: StartEnvoy) -> Iterator[Envoy]:
    yield start_envoy(Listener("changing", versioned(0)), dynamic=True, concurrency=2, arguments=["--drain-strategy", "immediate", "--drain-time-s", "1"])


def versioned(number: int) -> Config:
    clients = {f"client-{each}": {"identities": [f"cn:client-{each}"], "profiles": ["partner"]} for each in range(CLIENTS)}
    return {**POLICY, "policy_id": f"v{number}", "clients": clients}


def test_updates_of_the_policy_leave_nothing_in_memory(changing: Envoy, issuer: Authority) -> None:
    for number in range(CLIENTS):
        with Http1(changing.port("changing"), ClientTls(issuer.issue([("CN", f"client-{number}")]))) as client:
            verdicts.passed(client.request("GET", "/open"))

    def update(number: int) -> None:
        before = changing.update_count(accepted=True)
        changing.replace_listeners(Listener("changing", versioned(number)))
        changing.wait_for_listener_update(accepted=True, before=before)

    def allocated() -> int:
        return int(json.loads(changing.admin.get("/memory"))["allocated"])

    for number in range(1, WARM_UP):
        update(number)
    before = allocated()
    for number in range(WARM_UP, WARM_UP + UPDATES):
        update(number)
    # What was replaced is freed a little later.
    changing.wait("the end of what was replaced", lambda: (allocated() - before) / UPDATES < GROWTH)
