"""`make bench`: what the filter costs beside its alternatives, on a real Envoy.

Settings, from the environment: QUICK=1 a smoke run of about a minute that writes nothing; ROUNDS; SEED.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1] / "tests"
sys.path[:0] = [str(TESTS / "e2e"), str(TESTS / "module")]

import fuel
from harness import artifacts
from harness.envoy import EnvoyFailed

from suite import footprint, plot, report, rounds
from suite.goals import comparisons, goals
from suite.parties import Callers
from suite.processes import BenchFailed, cores
from suite.variants import all_variants, quick

DOCUMENT = artifacts.REPOSITORY / "docs" / "performance.md"
PLOT = DOCUMENT.with_suffix(".svg")
ROUNDS = 80


def main() -> None:
    """The whole benchmark."""
    # Ended by a signal, it ends what it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    is_quick = os.environ.get("QUICK") == "1"
    count = int(os.environ.get("ROUNDS") or (2 if is_quick else ROUNDS))
    seed = int(os.environ.get("SEED") or 1)
    started = time.monotonic()
    cores()
    binary, size = artifacts.envoy(), artifacts.module().stat().st_size
    with tempfile.TemporaryDirectory(prefix="mtls-authz-bench-") as folder:
        directory = Path(folder)
        callers = Callers(directory / "pki")
        chosen = all_variants(callers)
        say("reading configurations of 10 and 100,000 clients")
        loads = footprint.measure(binary, directory, callers, 1 if is_quick else 7)
        variants = [quick(each) for each in chosen] if is_quick else chosen
        results = rounds.measure(binary, directory / "requests", callers, variants, count, seed, say)
    known = next(cost for cost in fuel.costs() if cost.name.startswith("hot: "))
    reached = goals(results, loads, size, {"fuel": known.fuel, "host calls": known.host_calls})
    measured = report.markdown(results, loads, comparisons(results), reached, version(binary), size)
    print(f"\n{measured}\n")
    for goal in reached:
        print(f"goal: {goal.line()}")
    if not is_quick:
        report.replace_measured(DOCUMENT, measured)
        PLOT.write_text(plot.svg(results))
        say(f"written: {DOCUMENT.relative_to(artifacts.REPOSITORY)}, {PLOT.relative_to(artifacts.REPOSITORY)}")
    say(f"{(time.monotonic() - started) / 60:.1f} minutes")


def version(binary: Path) -> str:
    """`Envoy 1.40.0`."""
    line = subprocess.run([binary, "--version"], check=True, capture_output=True, text=True).stdout
    found = re.search(r"version: [0-9a-f]+/([^/]+)/", line)
    return f"Envoy {found[1]}" if found else line.strip()


def say(what: str) -> None:
    """Progress, beside the figures."""
    print(f"bench: {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        main()
    except (BenchFailed, EnvoyFailed, artifacts.MissingArtifact) as error:
        sys.exit(f"error: {error}")
