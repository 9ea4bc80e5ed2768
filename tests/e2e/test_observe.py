"""What an operator sees: `make observe` with a real Prometheus; every panel has data, and alerts fire for what happened."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import artifacts
from harness.artifacts import REPOSITORY
from harness.envoy import DEADLINE_SECONDS
from harness.shipped import ENVOY

OBSERVE = ENVOY / "observe"
sys.path.insert(0, str(OBSERVE))

from panels import DASHBOARD, VARIABLES, Panel, Prometheus, panels  # noqa: E402

# `envoy_listener_address` is a label.
METRIC = re.compile(r"\b(?!envoy_listener_address\b)(?:mtls|envoy)_\w+(?=[{\[)])")
INTERVAL, WINDOW = "1m", "5m"
REFUSED = {
    "authorization_malformed", "certificate_missing", "client_mismatch", "client_profile_mismatch", "collection_denied",
    "identity_not_mapped", "insufficient_scope", "method_not_allowed", "path_denied", "path_malformed", "profile_required",
    "rate_limited", "sender_binding_malformed", "sender_binding_mismatch", "sender_binding_missing", "token_expired",
    "token_issuer_mismatch", "token_missing",
}
"""The reasons of the demonstration's requests, but for the one that only its second Envoy gives."""


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """`make observe` with a Prometheus that measures every second; it must end as it is told to."""
    folder = tmp_path_factory.mktemp("observe")
    environment = {
        **os.environ, "DEMO_OUT": str(folder / "out"), "ENVOY": str(artifacts.envoy()), "MODULE": str(artifacts.module()),
        "PROMETHEUS": str(artifacts.prometheus().parent),
    }
    output = folder / "output"
    command = [sys.executable, "-B", str(OBSERVE / "observe.py"), "--scrape-interval", "1s"]
    with output.open("wb") as stream:
        process = subprocess.Popen(command, env=environment, stdout=stream, stderr=stream)
    try:
        until(lambda: "Ctrl-C ends everything" in output.read_text() or process.poll() is not None)
        found = re.search(r"^Prometheus +(\S+)", output.read_text(), re.MULTILINE)
        assert found, output.read_text()
        yield Prometheus(found[1])
    finally:
        process.send_signal(signal.SIGINT)
        code = process.wait(DEADLINE_SECONDS)
    assert code == 0, output.read_text()


def until(condition: Callable[[], bool]) -> bool:
    """Whether it comes to hold, within a minute."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def values(prometheus: Prometheus, query: str, label: str) -> dict[str, float]:
    """What a query gives, by one of its labels."""
    found = prometheus.get("query", query=query)["result"]
    return {each["metric"][label]: float(each["value"][1]) for each in found}


def rules(prometheus: Prometheus) -> list[dict[str, Any]]:
    """The alert rules as Prometheus has read them."""
    [group] = prometheus.get("rules")["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def promtool(*arguments: str) -> str:
    """Runs it in the folder with the shipped files."""
    tool = artifacts.prometheus() / "usr" / "bin" / "promtool"
    done = subprocess.run([tool, *arguments], cwd=OBSERVE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# What Prometheus stores of what the Envoys have done.


def test_a_refusal_is_counted_by_its_reason(prometheus: Prometheus) -> None:
    # The first of the two Envoys, which enforces, has never counted as shadowed, and the second nothing as refused.
    assert until(lambda: set(values(prometheus, "mtls_auth_failure_total > 0", "reason")) == REFUSED)
    # Of two issuers' keys under one name, the Envoy that verifies tokens itself says that the signature is wrong.
    shadow = REFUSED - {"rate_limited", "token_issuer_mismatch"} | {"token_signature_invalid"}
    assert until(lambda: set(values(prometheus, "mtls_auth_shadow_denied_total > 0", "reason")) >= shadow)
    refusing = set(values(prometheus, "sum by (instance) (mtls_auth_failure_total) > 0", "instance"))
    shadowing = set(values(prometheus, "sum by (instance) (mtls_auth_shadow_denied_total) > 0", "instance"))
    assert len(refusing) == len(shadowing) == 1 and refusing.isdisjoint(shadowing)


@pytest.mark.parametrize("metric", ["mtls_auth_success_total", "mtls_auth_bypassed_total", "mtls_pop_mismatch_total"])
def test_both_envoys_count_what_they_have_in_common(prometheus: Prometheus, metric: str) -> None:
    assert until(lambda: len(values(prometheus, f"{metric} > 0", "instance")) == 2)


def test_the_candidate_of_the_enforcing_envoy_would_decide_differently_in_both_directions(prometheus: Prometheus) -> None:
    counted = 'mtls_auth_candidate_total{outcome=~"same|would_deny|would_allow"} > 0'
    assert until(lambda: set(values(prometheus, counted, "outcome")) == {"same", "would_deny", "would_allow"})
    tries = set(values(prometheus, "sum by (instance) (mtls_auth_candidate_total)", "instance"))
    assert tries == set(values(prometheus, "sum by (instance) (mtls_auth_failure_total) > 0", "instance"))


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: panel.title)
def test_every_query_of_a_panel_has_data(prometheus: Prometheus, panel: Panel) -> None:
    def answered() -> bool:
        return all(prometheus.now(query, INTERVAL, WINDOW) for query in panel.queries)

    assert until(answered), [query.filled(INTERVAL, WINDOW) for query in panel.queries]


def test_an_unknown_label_leaves_a_panel_empty(prometheus: Prometheus) -> None:
    assert prometheus.get("query", query='mtls_auth_failure_total{no_such_label="x"}')["result"] == []
    with pytest.raises(urllib.error.HTTPError):
        prometheus.get("query", query="sum(")


def test_alerts_fire_for_what_has_happened_and_for_nothing_else(prometheus: Prometheus) -> None:
    def firing() -> dict[str, str]:
        alerts = prometheus.get("alerts")["alerts"]
        return {each["labels"]["alertname"]: each["annotations"]["summary"] for each in alerts if each["state"] == "firing"}

    happened = {"MtlsAuthzCertificateExpiresThisWeek", "MtlsAuthzBindingMismatch"}
    # Sooner or later, as chance mixes the requests.
    perhaps = {"MtlsAuthzRefusalsSpike", "MtlsAuthzHandshakesRefused"}
    assert until(lambda: happened <= firing().keys())
    found = firing()
    assert found.keys() - perhaps == happened
    assert found["MtlsAuthzCertificateExpiresThisWeek"] == "A certificate of initech-erp ends in 4 days"
    assert re.fullmatch(r"A token came to localhost:\d+ with another client's certificate", found["MtlsAuthzBindingMismatch"])


# The rules.


def test_the_rules_and_the_configuration_of_prometheus_are_valid() -> None:
    assert "rules found" in promtool("check", "rules", "alerts.yaml")
    assert "SUCCESS" in promtool("check", "config", "prometheus.yaml")


def test_the_alerts_fire_and_do_not_fire_where_their_tests_say() -> None:
    assert "SUCCESS" in promtool("test", "rules", "alerts_test.yaml")


def test_every_alert_is_tested_to_fire_and_not_to_fire(prometheus: Prometheus) -> None:
    # A case is from `eval_time` to the next; one that fires has samples, one that does not has none.
    cases = re.split(r"eval_time:", (OBSERVE / "alerts_test.yaml").read_text())[1:]
    fires, is_quiet = set[str](), set[str]()
    for case in cases:
        [name] = re.findall(r'ALERTS\{alertname="(\w+)"', case)
        (is_quiet if "exp_samples: []" in case else fires).add(name)
    assert fires == is_quiet == {rule["name"] for rule in rules(prometheus)}


def test_every_alert_says_what_to_do_and_where_to_read_on(prometheus: Prometheus) -> None:
    for rule in rules(prometheus):
        assert rule["labels"]["severity"] in ("warning", "critical"), rule["name"]
        said = rule["annotations"]
        assert said.keys() == {"summary", "description", "runbook_url"}, rule["name"]
        # `make observe` has put this folder in the place of where the repository is published.
        file, _, section = said["runbook_url"].removeprefix(f"{REPOSITORY.as_uri()}/").partition("#")
        headings = re.findall(r"^#+ (.*)$", (REPOSITORY / file).read_text(), re.MULTILINE)
        assert section in {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}, rule["name"]


def test_every_alert_and_panel_is_explained(prometheus: Prometheus) -> None:
    text = (REPOSITORY / "docs" / "dashboard.md").read_text()
    for title in [*(panel.title for panel in panels()), *(rule["name"] for rule in rules(prometheus))]:
        assert title in text, title


# The names.


def documented() -> set[str]:
    """The metrics of the table in docs/configuration/observe.md."""
    section = (REPOSITORY / "docs" / "configuration" / "observe.md").read_text().partition("\n## Metrics\n")[2].partition("\n## ")[0]
    return set(re.findall(r"^\| `(mtls_\w+)", section, re.MULTILINE))


def test_every_metric_that_is_asked_for_is_exported(prometheus: Prometheus) -> None:
    asked = [query.expr for panel in panels() for query in panel.queries] + [rule["query"] for rule in rules(prometheus)]
    names = {name for expr in asked for name in METRIC.findall(expr)}
    # The observed Envoy has no feed of type crl.
    assert names - set(prometheus.get("label/__name__/values")) == {"mtls_fetch_issuer_days_until_expiry"}
    assert {name for name in names if name.startswith("mtls_")} == documented()


# The dashboard's file.


def test_the_dashboard_is_one_that_grafana_imports() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    assert dashboard["title"] and dashboard["uid"] and dashboard["schemaVersion"] >= 36
    variables = dashboard["templating"]["list"]
    assert [(variables[0]["name"], variables[0]["type"])] == [("datasource", "datasource")]
    assert {each["name"] for each in variables[1:]} == VARIABLES.keys()
    shown = dashboard["panels"]
    assert len({panel["id"] for panel in shown}) == len({panel["title"] for panel in shown}) == len(shown) > 0
    for panel in [*shown, *variables[1:]]:
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    for panel in shown:
        assert panel["description"] and panel["type"] in ("timeseries", "bargauge", "stat")
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references) > 0
        for target in panel["targets"]:
            used = set(re.findall(r"\$(\w+)", target["expr"]))
            assert used <= VARIABLES.keys() | {"__rate_interval", "__range"}, target["expr"]


def test_no_panel_lies_over_another() -> None:
    def cells(panel: Panel) -> set[tuple[int, int]]:
        place = panel.place
        assert place["x"] + place["w"] <= 24
        return {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}

    for one, other in itertools.combinations(panels(), 2):
        assert cells(one).isdisjoint(cells(other)), (one.title, other.title)


def test_the_picture_is_drawn_from_what_prometheus_answers(prometheus: Prometheus, tmp_path: Path) -> None:
    file = tmp_path / "dashboard.svg"
    command = [sys.executable, "-B", str(OBSERVE / "picture.py"), prometheus.url, str(file), "--minutes", "2"]
    subprocess.run(command, check=True, capture_output=True)
    for drawn in (file, REPOSITORY / "docs" / "dashboard.svg"):
        texts = {element.text for element in ElementTree.parse(drawn).iter() if element.tag.endswith("text")}
        assert {panel.title for panel in panels()} | {"allowed", "token_expired", "initech-erp"} <= texts, drawn
        assert drawn.stat().st_size < 150_000


def test_compose_pins_its_images_and_mounts_what_is_there() -> None:
    text = (ENVOY / "docker-compose.yaml").read_text()
    images = re.findall(r"^ +image: (\S+)$", text, re.MULTILINE)
    assert {image.partition(":")[0] for image in images} >= {"prom/prometheus", "grafana/grafana"}
    assert all(re.search(r":v?\d+\.\d+", image) for image in images)
    mounted = re.findall(r"^ +- (\./\S+?):/", text, re.MULTILINE)
    assert "./observe" in mounted
    assert all((ENVOY / path).exists() for path in mounted if path != "./certs")


def test_grafana_is_told_what_its_provisioning_asks_for() -> None:
    asked = {name for file in OBSERVE.glob("grafana/*/*.yaml") for name in re.findall(r"\$(\w+)", file.read_text())}
    assert asked == {"PROMETHEUS_URL", "DASHBOARDS"}
    for starter in (ENVOY / "docker-compose.yaml", OBSERVE / "observe.py"):
        assert asked <= set(re.findall(r"\b([A-Z_]+)[:=]", starter.read_text())), starter
