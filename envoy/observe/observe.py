#!/usr/bin/env python3
"""The demonstration's Envoy with a Prometheus that measures it, mixed traffic, and Grafana where there is one: `make observe`.

Two Envoys are up: one with envoy.yaml as it is shipped and a candidate beside its policy, and one with the same policy in shadow
mode, which fetches the keys of tokens by itself, so that every panel of the dashboard has something to show. Ctrl-C ends everything.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "demo"))

import demo  # noqa: E402
from cases import Case, cases  # noqa: E402
from panels import Prometheus, panels  # noqa: E402
from stack import (  # noqa: E402
    DEADLINE_SECONDS,
    OUT,
    DemoFailed,
    Stack,
    config,
    end_on_signals,
    free_port,
    mint,
    replaced,
    wait_until_ready,
)

REQUESTS_PER_SECOND = 12
SHARE_IN_SHADOW = 0.2
WEIGHTS = {"": 40, "token_expired": 4, "path_denied": 3, "insufficient_scope": 3, "token_missing": 2,
           "sender_binding_mismatch": 0.2}
"""How often a request with this outcome is sent; 1 for all others."""
SHORT = "initech-erp"
"""The client whose certificate ends soon."""
SUMMARY_AFTER_SECONDS = 60


class Keys(BaseHTTPRequestHandler):
    """The key sets of the token issuers."""

    def do_GET(self) -> None:  # noqa: N802
        """Answers with the one that the path names."""
        body = (OUT / "certs" / Path(self.path).name).read_bytes()
        self.send_response(200)
        self.send_header("content-type", "application/jwk-set+json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


class Observed(Stack):
    """The demonstration's stack, an Envoy in shadow mode, Prometheus and perhaps Grafana."""

    def __init__(self, scrape_interval: str) -> None:
        super().__init__()
        self._scrape_interval = scrape_interval
        packages = Path(os.environ.get("PROMETHEUS", ""))
        self._prometheus = packages / "prometheus" / "usr"
        if not (self._prometheus / "bin" / "prometheus").is_file():
            raise DemoFailed("PROMETHEUS must name a folder with Debian's package; `make observe` sees to that")
        self.shadow = dataclasses.replace(
            self.ports, mtls=free_port(8445), admin=free_port(), metrics=free_port(9903), revoked=free_port()
        )
        self.prometheus = f"http://127.0.0.1:{free_port(9090)}"
        self.grafana: str | None = None

    @property
    def promtool(self) -> Path:
        """Prometheus' tool for the command line."""
        return self._prometheus / "bin" / "promtool"

    def _start(self) -> None:
        super()._start()
        self._shorten()
        self._start_shadow()
        self._start_prometheus()
        self._start_grafana()
        self._wait_until_measured()

    def _envoy(self, name: str, text: str) -> subprocess.Popen[bytes]:
        return super()._envoy(name, with_candidate(text) if name == "envoy" else text)

    def _shorten(self) -> None:
        """Lets one certificate end this week; no token is bound to it."""
        script = str(HERE.parent / "certs.sh")
        command = [script, "issue", SHORT, "--o", "ExampleCorp", "--ou", "internal", "--days", "5"]
        subprocess.run(command, env={**os.environ, "CERTS": str(OUT / "certs")}, capture_output=True, check=True)

    def _start_shadow(self) -> None:
        issuer = ThreadingHTTPServer(("127.0.0.1", 0), Keys)
        threading.Thread(target=issuer.serve_forever, daemon=True).start()
        text = config(self.shadow, self._echo)
        uri = '"jwks_uri": {{"cluster": "issuer", "authority": "auth.example", "path": "/{}", "refresh_seconds": 20}}'
        endpoint = f"endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {issuer.server_port} }} }} }}"
        for old, new in (
            ('"policy_id": "example-1",', '"policy_id": "example-2", "enforcement": "shadow",'),
            ('"token": {', '"token": {"source": "jwks",'),
            *((f'"metadata_key": "{name}"', uri.format(issuer.jwks)) for name, issuer in mint.ISSUERS.items()),
            ("  clusters:\n", f"""  clusters:
    - name: issuer
      type: STATIC
      load_assignment: {{ cluster_name: issuer, endpoints: [{{ lb_endpoints: [{{ {endpoint} }}] }}] }}
"""),
        ):
            text = replaced(text, old, new)
        process = self._envoy("shadow", text)
        wait_until_ready(process, f"http://127.0.0.1:{self.shadow.admin}/ready", OUT / "shadow.log")

    def _start_prometheus(self) -> None:
        targets = ", ".join(f'"localhost:{ports.metrics}"' for ports in (self.ports, self.shadow))
        text = (HERE / "prometheus.yaml").read_text()
        for old, new in (
            ('"envoy:9905"', targets),
            ("interval: 15s", f"interval: {self._scrape_interval}"),
            ("[alerts.yaml]", f"[{OUT / 'alerts.yaml'}]"),
        ):
            text = replaced(text, old, new)
        # The links of the alerts lead to the files that are here.
        links = (HERE / "alerts.yaml").read_text().replace("https://docs.example/mtls-authz", HERE.parents[1].as_uri())
        (OUT / "alerts.yaml").write_text(links)
        file, log = OUT / "prometheus.yaml", OUT / "prometheus.log"
        file.write_text(text)
        process = self._run([
            self._prometheus / "bin" / "prometheus", f"--config.file={file}", f"--storage.tsdb.path={OUT / 'prometheus'}",
            f"--web.listen-address={self.prometheus.removeprefix('http://')}",
            f"--web.local-assets={self._prometheus / 'share/prometheus/web'}",
        ], log, log)
        wait_until_ready(process, f"{self.prometheus}/-/ready", log)

    def _wait_until_measured(self) -> None:
        """Until Prometheus has seen every counter at 0, so that it sees each of them rise."""
        prometheus, deadline = Prometheus(self.prometheus), time.monotonic() + DEADLINE_SECONDS
        while len(prometheus.get("query", query="mtls_auth_success_total")["result"]) < 2:
            if time.monotonic() > deadline:
                raise DemoFailed(f"Prometheus does not read the metrics of both Envoys; see {OUT / 'prometheus.log'}")
            time.sleep(0.1)

    def _start_grafana(self) -> None:
        program = shutil.which("grafana") or shutil.which("grafana-server")
        if program is None:
            return
        home, port, log = Path("/usr/share/grafana"), free_port(3000), OUT / "grafana.log"
        if not home.is_dir():
            home = Path(program).resolve().parent.parent
        command = [program, *(["server"] if Path(program).name == "grafana" else []), "--homepath", home]
        process = self._run(
            command, log, log, PROMETHEUS_URL=self.prometheus, DASHBOARDS=str(HERE),
            GF_PATHS_PROVISIONING=str(HERE / "grafana"), GF_PATHS_DATA=str(OUT / "grafana"),
            GF_PATHS_LOGS=str(OUT / "grafana"), GF_SERVER_HTTP_ADDR="127.0.0.1", GF_SERVER_HTTP_PORT=str(port),
            GF_AUTH_ANONYMOUS_ENABLED="true", GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH=str(HERE / "dashboard.json"),
        )
        wait_until_ready(process, f"http://127.0.0.1:{port}/api/health", log)
        self.grafana = f"http://localhost:{port}"


def with_candidate(text: str) -> str:
    """A shipped configuration with a candidate in its policy: partners may read reports, and a balance needs a certificate."""
    candidate: dict[str, Any] = json.JSONDecoder().raw_decode(text.partition("value: |\n")[2].lstrip())[0]
    candidate["policy_id"] = "example-3"
    candidate["profiles"]["partner"]["allow"].append({"collection": "reports", "methods": ["GET"]})
    candidate["binding"]["required_paths"].append("/balance")
    label = '"policy_id": "example-1",'
    return replaced(text, label, f'{label} "candidate": {json.dumps(candidate)},')


def traffic(stack: Observed) -> Iterator[Case]:
    """First every request of the demonstration, to both Envoys, then a mix of them for ever."""
    enforced, shadowed = cases(stack.ports), cases(stack.shadow)
    yield from enforced
    yield from shadowed
    chance = random.Random(1)
    while True:
        weights = dict(WEIGHTS)
        if time.monotonic() % 240 < 60:
            # Now and then a client tries again and again with a token that has expired.
            weights["token_expired"] *= 10
        chosen = shadowed if chance.random() < SHARE_IN_SHADOW else enforced
        yield chance.choices(chosen, [weights.get(case.expected.reason, 1) for case in chosen])[0]


def announce(stack: Observed) -> None:
    """Where to look."""
    url, promtool = stack.prometheus.replace("127.0.0.1", "localhost"), os.path.relpath(stack.promtool)
    grafana = stack.grafana or "not on PATH; import envoy/observe/dashboard.json into yours, or use Docker (docs/dashboard.md)"
    top = "topk(3, sum by (reason) (increase(mtls_auth_failure_total[5m])))"
    print(f"""
Envoy        https://localhost:{stack.ports.mtls}    metrics http://localhost:{stack.ports.metrics}/stats/prometheus
in shadow    https://localhost:{stack.shadow.mtls}    metrics http://localhost:{stack.shadow.metrics}/stats/prometheus
Prometheus   {url}    alerts {url}/classic/alerts
Grafana      {grafana}

    {promtool} query instant {url} '{top}'
    {promtool} query instant {url} 'min by (client) (mtls_cert_days_until_expiry)'
    curl -s {url}/api/v1/query --data-urlencode 'query=sum(increase(mtls_pop_mismatch_total[5m]))'
    curl -s {url}/api/v1/alerts
    {os.path.relpath(HERE / "picture.py")} {url} dashboard.svg
    {os.path.relpath(HERE.parent / "records.py")} candidate {os.path.relpath(OUT / "access.log")}

Mixed traffic is on its way; in a minute follows what the dashboard shows. Ctrl-C ends everything.""", flush=True)


def summarize(prometheus: Prometheus) -> None:
    """Every panel in words, with its greatest values now, and the alerts."""
    print("\nThe dashboard's panels, now:\n")
    for panel in panels():
        found = [series for query in panel.queries for series in prometheus.now(query, "1m", "5m")]
        if panel.kind != "stat":
            found.sort(key=lambda series: series.last, reverse=True)
        shown = ", ".join(f"{series.name} {series.last:.3g}{panel.suffix}" for series in found[:4])
        print(f"    {panel.title}\n        {shown}{', …' if len(found) > 4 else ''}")
    print("\nAlerts that fire:\n")
    for alert in prometheus.get("alerts")["alerts"]:
        if alert["state"] == "firing":
            print(f"    {alert['labels']['alertname']}: {alert['annotations']['summary']}")
    sys.stdout.flush()


def drive(stack: Observed) -> None:
    """Sends requests until something ends; tells once what the dashboard shows."""
    summary_at: float | None = time.monotonic() + SUMMARY_AFTER_SECONDS
    for case in traffic(stack):
        if not stack.runs():
            raise DemoFailed(f"a process has ended; see the logs in {OUT}")
        began = time.monotonic()
        for _ in range(case.times):
            demo.curl(case.curl)
        if summary_at is not None and time.monotonic() > summary_at:
            summarize(Prometheus(stack.prometheus))
            summary_at = None
        time.sleep(max(0.0, case.times / REQUESTS_PER_SECOND - (time.monotonic() - began)))


def main() -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scrape-interval", default="5s", help="how often Prometheus reads the metrics; default: 5s")
    chosen = parser.parse_args()
    end_on_signals()
    try:
        with Observed(chosen.scrape_interval) as stack:
            announce(stack)
            drive(stack)
        return 1
    except DemoFailed as failure:
        print(f"error: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print()
        return 0


if __name__ == "__main__":
    sys.exit(main())
