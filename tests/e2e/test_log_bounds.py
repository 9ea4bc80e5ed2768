"""No caller writes more into Envoy's log than so many bytes, and no more of itself into a record."""

from __future__ import annotations

import json
import uuid

import pytest

from conftest import StartEnvoy
from harness import pki, verdicts
from harness.envoy import Envoy
from harness.filters import Config, JwtAuthn
from harness.http2 import Http2
from harness.listener import Listener
from harness.pki import Authority, Credential
from harness.tls import ClientTls
from harness.tokens import Signer

POLICY: Config = {
    "identity": {
        "allow_unregistered": True,
        "mappings": [
            {"match": {"uri_san": "https://family.example/{name}"}, "client_id": "{name}", "profile_id": "partner"},
        ],
    },
    "clients": {"acme": {"identities": ["cn:acme"], "profiles": ["partner"]}},
    "profiles": {"partner": {"mode": "mtls", "allow": [{"paths": ["/open"]}]}},
    "bypass": [{"path": "/health"}],
}
LONG = "M" * 50_000


@pytest.fixture(scope="module")
def envoy(start_envoy: StartEnvoy, signer: Signer) -> Envoy:
    return start_envoy(Listener("main", POLICY, jwt=JwtAuthn((signer,))), concurrency=1)


def _lines(envoy: Envoy, mark: int) -> list[str]:
    return [line for line in envoy.log()[mark:].splitlines() if "wasm log" in line]


def test_a_long_method_is_refused_and_written_cut(envoy: Envoy, acme: Credential) -> None:
    mark, last = len(envoy.log()), str(uuid.uuid4())
    requests = 20
    with Http2(envoy.port("main"), ClientTls(acme)) as client:
        for path in ["/open", "/health"] * (requests // 2):
            problem = verdicts.refused(client.request(LONG, path), "request_malformed")
            assert "64 bytes" in problem["detail"]
        verdicts.refused(client.request("M" * 65, "/open", [("x-request-id", last)]), "request_malformed")
        # One that is short enough is looked at.
        verdicts.passed(client.request("M" * 64, "/open"))
    envoy.wait_for_log(last)
    lines = [line for line in _lines(envoy, mark) if "request_malformed" in line]
    assert len(lines) == requests + 1
    assert max(map(len, lines)) < 2_000
    assert envoy.record("main", last)["decision"]["method"] == "M" * 61 + "…"


def test_a_long_path_is_written_cut_and_its_record_stays_json(envoy: Envoy, acme: Credential) -> None:
    mark, request_id, path = len(envoy.log()), str(uuid.uuid4()), "/" + 'a"' * 1_500
    with Http2(envoy.port("main"), ClientTls(acme)) as client:
        verdicts.refused(client.request("GET", path, [("x-request-id", request_id)]), "path_denied")
    recorded = envoy.record("main", request_id)["decision"]["path"]
    assert recorded.endswith("…") and path.startswith(recorded[:-1].replace("%22", '"').rstrip("%2"))
    assert len(json.dumps(recorded, ensure_ascii=False).encode()) <= 2_048 + 2
    envoy.wait_for_log(request_id)
    # The line about the certificate of the test before may come as late as this.
    (line,) = [line for line in _lines(envoy, mark) if request_id in line]
    assert len(line) < 4_000


def test_a_client_of_a_mapping_has_no_longer_name_than_a_configured_one(envoy: Envoy, issuer: Authority) -> None:
    for length, reason in ((256, None), (257, "identity_invalid"), (5_000, "identity_invalid")):
        name = "n" * length
        credential = issuer.issue([("CN", "family")], sans=[pki.uri(f"https://family.example/{name}")])
        with Http2(envoy.port("main"), ClientTls(credential)) as client:
            response = client.request("GET", "/open")
        if reason is None:
            assert verdicts.passed(response).values("x-client-id") == [name]
        else:
            verdicts.refused(response, reason)
    gauges = [name for name in envoy.admin.prometheus() if "days_until_expiry" in name]
    assert gauges and max(map(len, gauges)) < 400


def test_a_flood_of_long_paths_writes_no_more_than_its_bytes_a_second(envoy: Envoy, acme: Credential) -> None:
    mark, path = len(envoy.log()), "/" + "a" * 8_000
    with Http2(envoy.port("main"), ClientTls(acme)) as client:
        for _ in range(300):
            verdicts.refused(client.request("GET", path), "path_denied")
    lines = [line for line in _lines(envoy, mark) if "path_denied" in line]
    # Seconds of Envoy's time stamps; those of the budget begin at other moments, so there can be one more.
    seconds = {line[1:20] for line in lines}
    prefixes = 300 * len(lines)
    assert sum(map(len, lines)) <= (len(seconds) + 1) * 100 * 1024 + prefixes
