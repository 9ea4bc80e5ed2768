"""The rounds: every variant in each, in an order of its own, so that what drifts meets all alike."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.envoy import http2_cluster

from .figures import Spread
from .parties import CALLERS, Callers
from .processes import BenchFailed, Cpu, ExtAuthzServer, Load, PinnedEnvoy, cores, cpu, pinned
from .variants import EXT_AUTHZ, EXT_AUTHZ_CLUSTER, NO_FILTER, Variant

SETTLE = 20
"""Requests on each connection before a measurement: a connection's first ones are not what is asked for."""
Say = Callable[[str], None]


@dataclass
class Series:
    """The figures of one variant, one of each a round."""

    cpu_us: list[float] = field(default_factory=list)
    per_second: list[float] = field(default_factory=list)
    p50_us: list[float] = field(default_factory=list)
    p99_us: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)


@dataclass
class Results:
    """What the rounds came to."""

    variants: list[Variant]
    series: dict[str, Series]
    server_us: list[float]
    rounds: int
    waited: float
    """The share of its time that Envoy waited for its core because something else was on it."""

    def added(self, name: str) -> list[float]:
        """Microseconds of CPU a request over the listener without a filter, by round."""
        base = self.series[NO_FILTER].cpu_us
        return [value - none for value, none in zip(self.series[name].cpu_us, base, strict=True)]

    def ratio(self, name: str, to: str) -> Spread:
        """What one adds to what the other adds, by round."""
        return Spread.of(one / other for one, other in zip(self.added(name), self.added(to), strict=True))


@dataclass
class _Run:
    cpu_us: float
    per_second: float
    p50_us: float
    p99_us: float
    busy: float
    server_us: float
    cpu: Cpu


def measure(
    binary: Path, directory: Path, callers: Callers, variants: Sequence[Variant], rounds: int, seed: int, say: Say
) -> Results:
    """Runs all of it on one Envoy."""
    with ExtAuthzServer() as server:
        cluster = http2_cluster(server.port, EXT_AUTHZ_CLUSTER)
        listeners = [each.listener for each in variants]
        directory.mkdir()
        with PinnedEnvoy(
            binary, directory, listeners, authority=callers.authority, server=callers.server, clusters=[cluster],
            log_level="warning",
        ) as envoy, pinned(cores()[1]):
            bench = _Bench(envoy, server, callers)
            say(f"warming up {len(variants)} listeners")
            for each in variants:
                bench.run(each, settle=each.warm_up, requests=1)
            envoy.wait_until_idle()
            return bench.rounds(variants, rounds, random.Random(seed), say)


class _Bench:
    def __init__(self, envoy: PinnedEnvoy, server: ExtAuthzServer, callers: Callers) -> None:
        self._envoy = envoy
        self._server = server
        self._callers = callers

    def rounds(self, variants: Sequence[Variant], rounds: int, shuffle: random.Random, say: Say) -> Results:
        series = {each.name: Series() for each in variants}
        server_us, total = [], Cpu(0, 0)
        started = time.monotonic()
        for number in range(rounds):
            order = [each for each in variants for _ in range(each.in_round)]
            shuffle.shuffle(order)
            runs: dict[str, list[_Run]] = {each.name: [] for each in variants}
            for each in order:
                run = self.run(each, SETTLE, each.requests)
                runs[each.name].append(run)
                total = Cpu(total.used + run.cpu.used, total.waited + run.cpu.waited)
                if each.name == EXT_AUTHZ:
                    server_us.append(run.server_us)
            for name, figures in series.items():
                for key, values in vars(figures).items():
                    values.append(statistics.fmean(getattr(run, key) for run in runs[name]))
            left = (time.monotonic() - started) / (number + 1) * (rounds - number - 1)
            say(f"round {number + 1} of {rounds}, {left / 60:.1f} minutes left")
        return Results(list(variants), series, server_us, rounds, total.waited / max(1, total.used + total.waited))

    def run(self, variant: Variant, settle: int, requests: int) -> _Run:
        tokens = self._callers.tokens(settle + requests if variant.fresh else 1)
        try:
            with Load(self._callers, self._envoy.port(variant.name), tokens, settle, requests) as load:
                server = cpu(self._server.pid)
                before = cpu(self._envoy.pid)
                figures = load.run()
                used = cpu(self._envoy.pid) - before
                served = cpu(self._server.pid) - server
        except BenchFailed as error:
            raise BenchFailed(f"{variant.title}: {error}\n{self._envoy.log()[-3000:]}") from error
        count = requests * CALLERS
        return _Run(
            used.used / count / 1e3, count / figures["seconds"], figures["p50_us"], figures["p99_us"],
            used.used / 1e9 / figures["seconds"], served.used / count / 1e3, used,
        )
