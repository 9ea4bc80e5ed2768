"""The panels of dashboard.json with their queries, and a Prometheus that answers them."""

from __future__ import annotations

import json
import re
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DASHBOARD = Path(__file__).with_name("dashboard.json")
VARIABLES = {"instance": ".*", "listener": "mtls", "upstream": "echo"}
"""What the dashboard's variables are set to when it is opened."""

UNITS = {"reqps": "/s", "ms": " ms", "s": " s", "d": " d", "percent": " %", "short": ""}
"""What stands behind a number, by Grafana's name of the unit."""


@dataclass(frozen=True)
class Query:
    """One query of a panel."""

    expr: str
    legend: str

    def filled(self, interval: str, window: str) -> str:
        """The PromQL that Grafana sends, with `$__rate_interval` and `$__range` as given."""
        values = {**VARIABLES, "__rate_interval": interval, "__range": window}
        return re.sub(r"\$(\w+)", lambda found: values[found[1]], self.expr)


@dataclass(frozen=True)
class Panel:
    """What a panel asks, and how and where it shows the answer."""

    title: str
    kind: str
    suffix: str
    stacked: bool
    thresholds: list[dict[str, Any]]
    colours: list[tuple[str, str]]
    """A regular expression for names of series, and the colour of these."""
    place: dict[str, int]
    queries: list[Query]


@dataclass(frozen=True)
class Series:
    """A line: its name in the legend, and values with their times."""

    name: str
    points: list[tuple[float, float]]

    @property
    def last(self) -> float:
        """The newest value."""
        return self.points[-1][1]


def panels() -> list[Panel]:
    """All of them, in the dashboard's order."""
    return [_panel(each) for each in json.loads(DASHBOARD.read_text())["panels"]]


class Prometheus:
    """Prometheus' HTTP API, <https://prometheus.io/docs/prometheus/latest/querying/api/>."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def get(self, path: str, **parameters: Any) -> Any:
        """The `data` of an answer; an error is an `HTTPError`."""
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters, doseq=True)}"
        with self._opener.open(url, timeout=20) as answer:
            return json.loads(answer.read())["data"]

    def now(self, query: Query, interval: str, window: str) -> list[Series]:
        """What a query gives now."""
        found = self.get("query", query=query.filled(interval, window))["result"]
        return _lines(query, [(each["metric"], [each["value"]]) for each in found])

    def between(self, query: Query, interval: str, window: str, start: float, end: float, step: float) -> list[Series]:
        """What a query gave over a time, in steps of so many seconds."""
        expr = query.filled(interval, window)
        found = self.get("query_range", query=expr, start=start, end=end, step=step)["result"]
        return _lines(query, [(each["metric"], each["values"]) for each in found])


def _panel(panel: dict[str, Any]) -> Panel:
    defaults = panel["fieldConfig"]["defaults"]
    return Panel(
        title=panel["title"], kind=panel["type"], suffix=UNITS[defaults["unit"]],
        stacked="stacking" in defaults.get("custom", {}),
        thresholds=defaults.get("thresholds", {}).get("steps", []),
        colours=[_colour(each) for each in panel["fieldConfig"]["overrides"]],
        place=panel["gridPos"],
        queries=[Query(each["expr"], each["legendFormat"]) for each in panel["targets"]],
    )


def _colour(override: dict[str, Any]) -> tuple[str, str]:
    [colour] = [each["value"]["fixedColor"] for each in override["properties"] if each["id"] == "color"]
    return override["matcher"]["options"].strip("/"), colour


def _lines(query: Query, found: list[tuple[dict[str, str], list[tuple[float, str]]]]) -> list[Series]:
    """With their names; a quantile of nothing is no number and left out."""
    lines = []
    for labels, values in found:
        name = re.sub(r"\{\{(\w+)\}\}", lambda label: labels.get(label[1], ""), query.legend)
        points = [(at, float(value)) for at, value in values if value != "NaN"]
        if points:
            lines.append(Series(name, points))
    return lines
