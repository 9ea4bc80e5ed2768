"""`make differential`: many certificates and tokens, judged by the filter and by independent implementations.

Wherever the filter is laxer for no known reason, the command fails and prints the case.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections import Counter
from typing import Any

from .batches import run
from .compare import Tally


SHOWN = 6
"""Kinds of cases that are named for each reason of being stricter."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="make differential")
    parser.add_argument("--cases", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    options = parser.parse_args()
    start = time.monotonic()
    tally = run(options.cases, options.seed)
    print(report(tally, options.seed, time.monotonic() - start))
    return 1 if tally.unexplained else 0


def _group(finding: dict[str, Any]) -> str:
    """What findings that are alike have in common."""
    reference = finding["reference"] if isinstance(finding["reference"], str) else "accepts"
    return f"{finding['what']}; the reference: {re.sub(r'[0-9]+', '#', reference)[:250]}"


def report(tally: Tally, seed: int, seconds: float) -> str:
    """The result, for people."""
    lines = [f"{'':<22}{'cases':>9}{'both accept':>13}{'both refuse':>13}"]
    for name in tally.cases:
        counts = (tally.cases[name], tally.both_accept[name], tally.both_refuse[name])
        lines.append(f"{name:<22}{counts[0]:>9}{counts[1]:>13}{counts[2]:>13}")
    lines += ["", f"the filter is stricter: {sum(tally.stricter.values())}"]
    reasons: dict[str, Counter[str]] = {}
    for (reason, kind), count in tally.stricter.items():
        reasons.setdefault(reason, Counter())[kind] += count
    for reason, kinds in sorted(reasons.items(), key=lambda entry: -entry[1].total()):
        examples = "; ".join(f"{kind} ({count})" for kind, count in kinds.most_common(SHOWN))
        lines.append(f"{kinds.total():>9}  {reason}: {examples}{'; …' if len(kinds) > SHOWN else ''}")
    lines += ["", f"the filter is laxer, explained: {sum(tally.explained.values())}"]
    lines += [f"{count:>9}  {name}" for name, count in tally.explained.most_common()]
    lines += ["", f"the filter is laxer, unexplained: {len(tally.unexplained)}"]
    groups: dict[str, list[dict[str, Any]]] = {}
    for finding in tally.unexplained:
        groups.setdefault(_group(finding), []).append(finding)
    for group, findings in sorted(groups.items(), key=lambda entry: -len(entry[1])):
        lines.append(f"{len(findings):>9}  {group}")
        shortest = min(findings, key=lambda finding: len(json.dumps(finding, default=str)))
        for name in ("kind", "case", "filter", "reference"):
            lines.append(f"{'':>11}{name}: {json.dumps(shortest[name], default=str)}")
    cases = sum(tally.cases[name] for name in ("certificate", "certificate as text", "token"))
    lines += ["", f"{cases} cases in {seconds:.0f} seconds; SEED={seed}"]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
