"""Rate limits hold across all workers of an Envoy, for each client and profile by itself."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from conftest import Client, StartEnvoy
from harness import verdicts
from harness.envoy import Envoy
from harness.filters import Config
from harness.http1 import Http1
from harness.http2 import Http2
from harness.listener import Listener
from harness.pki import Authority, Credential
from harness.tls import ClientTls

DAY = 86400
CLIENTS = ("crowd", "one", "two", "both", "steady", "shadowed", "claimed", "spent")
ANYTHING: Config = {"allow": [{"paths": ["/open"], "methods": ["GET"]}]}


def limited(requests: int, per_seconds: int, burst: int | None = None, **more: str) -> Config:
    limit: Config = {"requests": requests, "per_seconds": per_seconds}
    return {**ANYTHING, "rate_limit": limit if burst is None else {**limit, "burst": burst}, **more}


POLICY: Config = {
    "mode": "mtls",
    "clients": {
        "crowd": {"identities": ["cn:crowd"], "profiles": ["crowd"]},
        "one": {"identities": ["cn:one"], "profiles": ["two"]},
        "two": {"identities": ["cn:two"], "profiles": ["two"]},
        "both": {"identities": ["cn:both"], "profiles": ["two", "three"]},
        "steady": {"identities": ["cn:steady"], "profiles": ["steady"]},
        "shadowed": {"identities": ["cn:shadowed"], "profiles": ["shadowed"]},
        "claimed": {"identities": ["cn:claimed"], "profiles": ["two"]},
        "spent": {"identities": ["cn:spent"], "profiles": ["burst"]},
    },
    "profiles": {
        "crowd": limited(20, DAY),
        "two": limited(2, DAY),
        "three": limited(3, DAY),
        "burst": limited(24, DAY, burst=2),
        "steady": limited(1, 1),
        "shadowed": limited(2, DAY, enforcement="shadow"),
    },
}


@pytest.fixture(scope="module")
def envoy(start_envoy: StartEnvoy) -> Envoy:
    return start_envoy(*(Listener(name, POLICY) for name in ("main", "apart", "third")), concurrency=2)


@pytest.fixture(scope="module")
def people(issuer: Authority) -> dict[str, Credential]:
    return {name: issuer.issue([("CN", name)]) for name in CLIENTS}


def test_exactly_the_burst_passes_through_two_workers(
    envoy: Envoy, people: dict[str, Credential], http: Client
) -> None:
    port = envoy.port({Http1: "main", Http2: "apart"}.get(http, "third"))

    def ask(_: int) -> int:
        with http(port, ClientTls(people["crowd"])) as client:
            return client.request("GET", "/open").status

    with ThreadPoolExecutor(8) as threads:
        statuses = list(threads.map(ask, range(60)))
        # Which worker takes a connection is chance, so there are more until each has had many.
        while min(requests_by_worker(envoy, port)) < 10:
            statuses += threads.map(ask, range(10))
    assert statuses.count(200) == 20
    assert statuses.count(429) == len(statuses) - 20


def test_each_client_has_its_own_rate(envoy: Envoy, people: dict[str, Credential]) -> None:
    for name in ("one", "two"):
        assert answers(envoy, people[name], 4) == ["allowed", "allowed", "rate_limited", "rate_limited"]


def test_each_profile_of_a_client_has_its_own_rate(envoy: Envoy, people: dict[str, Credential]) -> None:
    assert answers(envoy, people["both"], 4, "three") == ["allowed"] * 3 + ["rate_limited"]
    assert answers(envoy, people["both"], 4, "two") == ["allowed"] * 2 + ["rate_limited"] * 2


def test_retry_after_is_the_time_to_the_next_request_and_not_to_a_full_burst(
    envoy: Envoy, people: dict[str, Credential]
) -> None:
    assert answers(envoy, people["spent"], 3) == ["allowed", "allowed", "rate_limited"]
    with Http1(envoy.port("main"), ClientTls(people["spent"])) as client:
        response = client.request("GET", "/open")
    verdicts.refused(response, "rate_limited")
    # One request an hour, less what has passed since the first.
    assert 3600 - 120 <= int(response.header("retry-after") or "") <= 3600


def test_a_spent_rate_comes_back_with_time(envoy: Envoy, people: dict[str, Credential]) -> None:
    with Http1(envoy.port("main"), ClientTls(people["steady"])) as client:
        def ask() -> str:
            return verdicts.reason_of(client.request("GET", "/open"))

        envoy.wait("the rate to be spent", lambda: ask() == "rate_limited")
        envoy.wait("the rate to come back", lambda: ask() == "allowed")


def test_a_shadowed_rate_refuses_nothing(envoy: Envoy, people: dict[str, Credential]) -> None:
    assert answers(envoy, people["shadowed"], 5) == ["allowed"] * 5


def test_nobody_uses_up_the_rate_of_another(envoy: Envoy, people: dict[str, Credential]) -> None:
    claim = ("x-client-id", "claimed")
    for tls in (ClientTls(), ClientTls(people["crowd"])):
        for _ in range(3):
            with Http1(envoy.port("main"), tls) as client:
                assert client.request("GET", "/open", [claim]).status in (401, 403)
    assert answers(envoy, people["claimed"], 3) == ["allowed", "allowed", "rate_limited"]


def answers(envoy: Envoy, credential: Credential, count: int, profile: str | None = None) -> list[str]:
    """What so many requests on as many connections come to, one after another."""
    headers = [("x-profile-id", profile)] if profile else []
    verdict = []
    for _ in range(count):
        with Http1(envoy.port("main"), ClientTls(credential)) as client:
            verdict.append(verdicts.reason_of(client.request("GET", "/open", headers)))
    return verdict


def requests_by_worker(envoy: Envoy, port: int) -> list[int]:
    """How many connections each worker has taken on one listener."""
    counts = envoy.admin.stats(rf"^listener\.127\.0\.0\.1_(0|{port})\.worker_\d+\.downstream_cx_total$")
    assert len(counts) >= 2, counts
    return list(counts.values())
