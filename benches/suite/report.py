"""The measured part of docs/performance.md."""

from __future__ import annotations

import re
import statistics
from pathlib import Path

from . import variants
from .figures import Spread
from .footprint import Footprint
from .goals import Comparison, Goal
from .parties import CALLERS
from .rounds import Results

BEGIN = "<!-- measured: written by `make bench` -->"
END = "<!-- /measured -->"
_DISTURBED = 0.02


def markdown(
    results: Results, loads: dict[str, Footprint], compared: list[Comparison], goals: list[Goal], envoy: str, module_size: int
) -> str:
    """Everything that was measured."""
    return "\n\n".join([
        f"{machine()}. {envoy}, one worker. {results.rounds} rounds, {CALLERS} connections.",
        *_disturbance(results),
        "### Beside the alternatives\n\n" + comparison_table(compared),
        "### Goals\n\n" + goal_table(goals),
        "### Requests\n\n" + _requests(results),
        "![Added CPU of each variant, as a multiple of an empty Wasm filter's](performance.svg)",
        "### Before the first request\n\n" + _footprints(loads, module_size),
    ])


def replace_measured(document: Path, measured: str) -> None:
    """Writes it between the markers and leaves the rest as it is."""
    text = document.read_text()
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{document} has no place for the figures: {BEGIN} … {END}")
    document.write_text(f"{before}{BEGIN}\n\n{measured}\n\n{END}{after}")


def machine() -> str:
    """The processor's name and the number of cores."""
    text = Path("/proc/cpuinfo").read_text()
    name = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    count = len(re.findall(r"^processor\s*:", text, re.MULTILINE))
    return f"{name[1] if name else 'unknown processor'}, {count} cores"


def _disturbance(results: Results) -> list[str]:
    if results.waited <= _DISTURBED:
        return []
    return [
        f"**Not a quiet machine:** Envoy waited for its core {results.waited:.0%} of the time, so other processes were "
        "running and the figures are noisy."
    ]


def comparison_table(compared: list[Comparison]) -> str:
    """What a request adds in CPU, as multiples of what the alternatives add."""
    return "\n".join(["| added CPU of a request | measured |", "|---|---|", *(each.row() for each in compared)])


def goal_table(goals: list[Goal]) -> str:
    """The goals and whether they are reached."""
    return "\n".join(["| | at most | measured | |", "|---|---|---|---|", *(goal.row() for goal in goals)])


def _requests(results: Results) -> str:
    rows = [
        "| variant | added CPU, to the empty Wasm filter's | added CPU, µs | requests/s | p50, µs | p99, µs |",
        "|---|---|---|---|---|---|",
    ]
    for each in results.variants:
        series = results.series[each.name]
        if each.name == variants.NO_FILTER:
            ratio, added = "", f"0 (of {statistics.median(series.cpu_us):.1f})"
        else:
            ratio = results.ratio(each.name, variants.EMPTY).show(2) if each.name != variants.EMPTY else "1"
            added = Spread.of(results.added(each.name)).show(1)
        if each.name == variants.EXT_AUTHZ:
            added += f", and {statistics.median(results.server_us):.1f} of the server's"
        speed = [f"{statistics.median(values):,.0f}" for values in (series.per_second, series.p50_us, series.p99_us)]
        rows.append(f"| {each.title} | {ratio} | {added} | {' | '.join(speed)} |")
    return "\n".join(rows)


def _footprints(loads: dict[str, Footprint], module_size: int) -> str:
    rows = [
        f"Size of the module: {module_size / 1024:.0f} KiB.", "",
        "| configuration | JSON | a worker's time to read it, ms | Envoy's in all, ms | linear memory of a VM | Envoy's growth |",
        "|---|---|---|---|---|---|",
    ]
    for title, each in loads.items():
        rows.append(
            f"| {title} | {_size(each.json)} | {each.worker_ms.show(1)} | {each.process_ms.show(0)} "
            f"| {_size(each.linear)} | {_size(each.resident)} |"
        )
    return "\n".join(rows)


def _size(count: int) -> str:
    return f"{count / 1024:.1f} KiB" if count < 1 << 20 else f"{count / (1 << 20):.1f} MiB"
