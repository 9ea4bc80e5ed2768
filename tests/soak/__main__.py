"""`make soak`: requests whose answers are known, while one thing after another is broken.

The command fails where an answer is wrong that no fault explains, where a fault has left no trace that it must leave, where a worker's VM trapped, and where
Envoy's memory grows with updates of the policy.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from harness.response import ConnectionEnded

from .faults import FAULTS, Fault
from .judge import GRACE_SECONDS, Load, Verdicts, Window
from .world import World

UPDATES = 500
CROWD = 1_000
"""Clients of which Envoy has seen a certificate."""
GROWTH = 5_000
"""Bytes an update, with two workers. Envoy itself keeps about 2,000, for timers and contexts of plugins that are gone."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="make soak", description="requests whose answers are known, while things are broken")
    parser.add_argument("--minutes", type=float, default=5, help="rounds of all faults begin for so long; one round takes about three")
    parser.add_argument("--seed", type=int, default=1, help="of the order of faults")
    parser.add_argument("--updates", type=int, default=UPDATES, help="of the policy, at the end")
    parser.add_argument("--only", default="", help="faults with this text in their name")
    options = parser.parse_args()
    chosen = [fault for fault in FAULTS if options.only in fault.name]
    if not chosen:
        parser.error(f"no fault has {options.only!r} in its name")
    return run(chosen, options.minutes * 60, options.seed, options.updates)


def run(faults: list[Fault], seconds: float, seed: int, updates: int, crowd: int = CROWD) -> int:
    """Rounds of these faults, then updates; 0 where everything was as it should be."""
    with tempfile.TemporaryDirectory(prefix="soak-") as folder, World(Path(folder), crowd) as world:
        plan, expected = world.plan()
        verdicts = Verdicts(expected)
        order = random.Random(seed)
        started, rounds = time.monotonic(), 0
        failures: list[str] = []
        with Load(world.port, world.root.trust_file, plan, verdicts):
            time.sleep(GRACE_SECONDS)
            while rounds == 0 or time.monotonic() - started < seconds:
                rounds += 1
                for fault in order.sample(faults, len(faults)):
                    verdicts.windows.append(_break(world, fault, failures))
                print(f"round {rounds}: {verdicts.total():,} requests, {len(verdicts.windows)} faults, {world.allocated():,} bytes", flush=True)
            growth = _growth(world, verdicts, updates)
        failures += [*verdicts.wrong(), *verdicts.unseen(), *world.problems()]
    if growth is not None:
        print(f"{updates} updates of the policy: {growth:,.0f} bytes each")
        if growth > GROWTH:
            failures.append(f"Envoy's memory grows by {growth:,.0f} bytes with each update of the policy, expected at most {GROWTH:,}")
    for answer, count in sorted(Counter(_answers(verdicts)).items()):
        print(f"{count:>10,}  {answer}")
    for failure in failures[:40]:
        print(f"WRONG: {failure}")
    print(f"{verdicts.total():,} requests, {len(faults)} kinds of fault, {len(verdicts.windows)} faults: " + (f"{len(failures)} wrong" if failures else "all answered as they should be"))
    return 1 if failures else 0


def _answers(verdicts: Verdicts) -> Counter[str]:
    answers: Counter[str] = Counter()
    for (_, _, answer), count in verdicts.counts.items():
        answers[answer] += count
    return answers


def _break(world: World, fault: Fault, failures: list[str]) -> Window:
    begun = time.time()
    try:
        fault.run(world)
    except (AssertionError, OSError, ConnectionEnded) as failure:
        failures.append(f"{fault.name}: {failure!r}")
    window = Window(fault, begun, time.time())
    if fault.permits:
        # Its traces must not be laid to the next one.
        time.sleep(GRACE_SECONDS)
    return window


def _growth(world: World, verdicts: Verdicts, updates: int) -> float | None:
    """Bytes that an update of the policy leaves in Envoy's memory."""
    if updates == 0:
        return None
    begun = time.time()
    for _ in range(10):
        world.update()
    world.envoy.wait("the end of replaced listeners", lambda: world.envoy.admin.stat("listener_manager.total_listeners_draining") == 0)
    before = world.allocated()
    for _ in range(updates):
        world.update()
    world.envoy.wait("the end of replaced listeners", lambda: world.envoy.admin.stat("listener_manager.total_listeners_draining") == 0)
    time.sleep(GRACE_SECONDS)
    growth = (world.allocated() - before) / updates
    verdicts.windows.append(Window(next(fault for fault in FAULTS if fault.name.startswith("the policy is updated five")), begun, time.time()))
    return growth


if __name__ == "__main__":
    sys.exit(main())
