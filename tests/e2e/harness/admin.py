"""Envoy's admin interface."""

from __future__ import annotations

import json
import re
import urllib.request
from typing import Any


class Admin:
    """Statistics and state of a running Envoy."""

    def __init__(self, port: int) -> None:
        self._base = f"http://127.0.0.1:{port}"

    def get(self, path: str) -> str:
        """Any admin page, as text."""
        with urllib.request.urlopen(self._base + path, timeout=20) as answer:
            text: str = answer.read().decode()
            return text

    def ready(self) -> bool:
        """Whether Envoy serves."""
        try:
            return self.get("/ready").strip() == "LIVE"
        except OSError:
            return False

    def listener_ports(self) -> dict[str, int]:
        """The port that each listener has been given."""
        listed = json.loads(self.get("/listeners?format=json")).get("listener_statuses", [])
        return {each["name"]: each["local_address"]["socket_address"]["port_value"] for each in listed}

    def config_dump(self) -> Any:
        """The configuration that is in force."""
        return json.loads(self.get("/config_dump"))

    def stats(self, pattern: str = "") -> dict[str, int]:
        """Counters and gauges whose names match a regular expression."""
        listed = json.loads(self.get("/stats?format=json"))["stats"]
        found = {each["name"]: each["value"] for each in listed if "name" in each}
        return {name: value for name, value in found.items() if re.search(pattern, name)}

    def stat(self, name: str) -> int:
        """One counter or gauge; 0 where it has never been touched."""
        return self.stats(f"^{re.escape(name)}$").get(name, 0)

    def prometheus(self) -> dict[str, float]:
        """`/stats/prometheus` as `{"name{label=\\"value\\"}": number}`, in Envoy's own order of labels."""
        samples = {}
        for line in self.get("/stats/prometheus").splitlines():
            if line and not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                samples[name] = float(value)
        return samples
