"""What was answered, beside what had to be answered, and which fault may have changed it."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from types import TracebackType

from .faults import Fault

PAUSE_MS = 4
GRACE_SECONDS = 3
"""So much longer than a fault may its traces be seen: lists and keys are looked for once a second."""


@dataclass(frozen=True)
class Window:
    """When a fault was there, in seconds since 1970."""

    fault: Fault
    begun: float
    ended: float

    def permits(self, second: int, name: str, answer: str) -> bool:
        """Whether the fault explains that answer."""
        is_then = self.begun - 1 <= second <= self.ended + GRACE_SECONDS
        return is_then and any(re.fullmatch(each, name) and re.fullmatch(what, answer) for each, what in self.fault.permits)


@dataclass
class Verdicts:
    """How often each request was answered how, by second."""

    expected: Mapping[str, str]
    windows: list[Window] = field(default_factory=list)
    counts: Counter[tuple[int, str, str]] = field(default_factory=Counter)

    def wrong(self) -> Iterator[str]:
        """Answers that no fault explains, and requests that were never answered as they should be."""
        for (second, name, answer), count in sorted(self.counts.items()):
            if answer != self.expected[name] and not any(window.permits(second, name, answer) for window in self.windows):
                around = [window.fault.name for window in self.windows if window.begun - 1 <= second <= window.ended + GRACE_SECONDS]
                yield f"{time.strftime('%H:%M:%S', time.gmtime(second))} {name}: {count} × {answer!r}, expected {self.expected[name]!r}, during: {', '.join(around) or 'no fault'}"
        answered = {name for (_, name, answer) in self.counts if answer == self.expected[name]}
        yield from (f"{name}: never answered {expected!r}" for name, expected in self.expected.items() if name not in answered)

    def unseen(self) -> Iterator[str]:
        """Faults that must change an answer, and have not: then they were no faults."""
        for fault in {window.fault for window in self.windows if window.fault.shows}:
            assert fault.shows is not None
            name, what = fault.shows
            windows = [window for window in self.windows if window.fault is fault]
            seen = any(
                known == name and re.fullmatch(what, answer) and any(window.permits(second, known, answer) for window in windows)
                for second, known, answer in self.counts
            )
            if not seen:
                yield f"{fault.name}: {name} was never answered {what!r}"

    def total(self) -> int:
        """How many requests there were."""
        return self.counts.total()


class Load:
    """The load client, whose answers are collected while it runs. `with Load(port, trust, plan, verdicts): ...`"""

    def __init__(self, port: int, trust: Path, plan: Path, verdicts: Verdicts) -> None:
        self._verdicts = verdicts
        command = [os.environ["LOAD"], "judge", str(port), str(trust), str(plan), str(PAUSE_MS)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._reader = Thread(target=self._collect, daemon=True)

    def __enter__(self) -> Load:
        self._reader.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._process.stdin is not None
        ended_early = self._process.poll() is not None
        self._process.stdin.close()
        self._process.wait()
        self._reader.join()
        if error is None:
            assert not ended_early and self._process.returncode == 0, "the load client did not last"

    def _collect(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            second, name, answer, count = line.rstrip("\n").split("\t")
            self._verdicts.counts[int(second), name, answer] += int(count)
