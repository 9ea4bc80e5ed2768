"""envoy/records.py reads what a real Envoy writes with the shipped configuration: its log and its access log in one stream."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import artifacts, record, shipped, verdicts
from harness.http1 import Http1
from harness.listener import ACCESS_LOG
from harness.pki import Credential
from harness.response import Header
from harness.shipped import Folder, Shipped
from harness.tls import ClientTls
from harness.upstream import Upstream

SENT: list[tuple[str | None, str, int, str]] = [
    # certificate, path, how often, verdict
    ("acme-mobile", "/payments/42", 2, "allowed"),
    ("acme-mobile", "/admin/users/7/password", 3, "path_denied"),
    ("acme-mobile", "/reports/1", 1, "collection_denied"),
    (None, "/payments/42", 2, "certificate_missing"),
    (None, "/health", 1, "allowed"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return Folder(tmp_path_factory.mktemp("records"))


@pytest.fixture(scope="module")
def acme(folder: Folder) -> Credential:
    return folder.credential("acme-mobile")


@pytest.fixture(scope="module")
def envoy(folder: Folder, acme: Credential, upstream: Upstream) -> Iterator[Shipped]:
    """An Envoy that has answered everything of the table, and one request without asking the filter."""
    config = folder.directory / "envoy.yaml"
    text = (shipped.ENVOY / "envoy.yaml").read_text()
    config.write_text(folder.localize(text, artifacts.module(), upstream.port, shipped.free_port()))
    token = folder.token("acme-mobile", "acme-mobile", "payments:read")
    with Shipped(artifacts.envoy(), config) as running:
        for who, path, times, verdict in SENT:
            for _ in range(times):
                assert verdicts.reason_of(ask(running, acme if who else None, path, [token] if who else [])) == verdict
        assert ask(running, acme, "/payments/%00").status == 400
        running.wait("all records", lambda: len(running.records()) == sum(times for _, _, times, _ in SENT) + 1)
        yield running


def ask(envoy: Shipped, credential: Credential | None, path: str, headers: list[Header] | None = None) -> Any:
    with Http1(envoy.port("mtls"), ClientTls(credential)) as client:
        return client.request("GET", path, headers or [])


def test_who_was_refused_and_why_is_one_command(envoy: Shipped) -> None:
    told = json.loads(record.report("refused", "--json", envoy.output_file))
    rows = {(row["client"], row["peer"], row["reason"], row["status"], row["path"], row["requests"]) for row in told["rows"]}
    assert rows == {
        ("acme-mobile", None, "path_denied", 403, "/admin/users/...", 3),
        ("acme-mobile", None, "collection_denied", 403, "/reports/1", 1),
        (None, "127.0.0.1", "certificate_missing", 401, "/payments/42", 2),
    }
    assert (told["refused"], told["requests"]) == (6, 9)
    assert "6 of 9 requests were refused" in record.report("refused", envoy.output_file)


def test_which_policy_decided_is_one_command(envoy: Shipped) -> None:
    [row] = json.loads(record.report("policies", "--json", envoy.output_file))["rows"]
    assert (row["policy"], row["allowed"], row["refused"], row["would_be_refused"]) == ("example-1", 3, 6, 0)


def test_a_refusal_is_found_by_the_request_id_that_the_caller_was_told(envoy: Shipped) -> None:
    request_id = verdicts.refused(ask(envoy, None, "/shown"), "certificate_missing")["request_id"]
    envoy.wait("the record", lambda: request_id in envoy.output())
    told = record.report("show", request_id, envoy.output_file)
    assert "refused: 401 certificate_missing" in told and "GET /shown" in told and "127.0.0.1" in told


def test_a_refusal_is_shown_from_the_log_of_envoy_with_its_remedy(envoy: Shipped, tmp_path: Path) -> None:
    request_id = verdicts.refused(ask(envoy, None, "/logged"), "certificate_missing")["request_id"]
    envoy.wait("the line", lambda: any(request_id in line for line in lines(envoy)))
    alone = tmp_path / "envoy.log"
    alone.write_text("\n".join(lines(envoy)))
    told = record.report("show", request_id, alone)
    assert "refused: 401 certificate_missing" in told and "GET /logged" in told and "Give the client its certificate." in told


def test_every_line_of_the_filter_has_each_name_once(envoy: Shipped) -> None:
    written = lines(envoy)
    assert len(written) > 5
    for line in written:
        names = line.partition(" wasm log ")[2]
        assert re.match(r'(mtls_authz edge: \{"|edge: mtls_authz: [a-z])', names), line
    assert {line.partition(" wasm log ")[2][0] for line in written} == {"m", "e"}, "about requests and about the plugin"


def lines(envoy: Shipped) -> list[str]:
    """What the filter has written into Envoy's log."""
    return [line for line in envoy.output().splitlines() if " wasm log" in line]


def test_whose_certificate_ends_when_is_read_from_the_log_and_from_the_metrics(envoy: Shipped, acme: Credential) -> None:
    metrics = f"http://127.0.0.1:{envoy.port('metrics')}/stats/prometheus"
    for arguments in ([envoy.output_file], [envoy.output_file, "--metrics", metrics]):
        [row] = json.loads(record.report("certificates", "--json", *arguments))
        assert (row["client"], row["thumbprint"]) == ("acme-mobile", acme.thumbprint)
        assert row["not_after"] == acme.certificate.not_valid_after_utc.isoformat().replace("+00:00", "Z")
    days = row["days_left"]
    [gauge] = json.loads(record.report("certificates", "--json", "--metrics", metrics))
    assert gauge["client"] == "acme-mobile" and abs(gauge["days_left"] - days) <= 1
    within = [len(json.loads(record.report("certificates", "--json", "--within", limit, envoy.output_file)))
              for limit in (days - 1, days)]
    assert within == [0, 1]


def test_the_suite_writes_its_access_logs_as_the_shipped_configuration_does() -> None:
    # That of requests; the listener has one of its own for refused handshakes.
    manager = (shipped.ENVOY / "envoy.yaml").read_text().partition("stat_prefix: mtls\n")[2]
    lines = manager.partition("json_format:\n")[2].partition("\n\n")[0].splitlines()
    written = dict(line.strip().split(": ", 1) for line in lines if not line.strip().startswith("#"))
    assert {name: value.strip('"') for name, value in written.items()}.items() <= ACCESS_LOG.items()
    assert len(written) >= 5
