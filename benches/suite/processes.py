"""The processes of a measurement: Envoy on one core, what asks and answers it on another; and what they cost."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import IO

from harness import artifacts
from harness.envoy import Envoy
from harness.filters import Config

from .parties import PATH, Callers

BINARIES = artifacts.REPOSITORY / "target" / "release"


class BenchFailed(Exception):
    """The benchmark cannot give figures; the message says why."""


@cache
def cores() -> tuple[int, int]:
    """Envoy's core and the other one, of those that the benchmark was started with."""
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        raise BenchFailed("two cores are needed: one for Envoy, one for the load client")
    # The first core of a machine serves most of its interrupts.
    return allowed[-1], allowed[0]


@contextmanager
def pinned(core: int) -> Iterator[None]:
    """Processes that are started meanwhile run on this core only."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@dataclass(frozen=True)
class Cpu:
    """What a process has used: nanoseconds on a core, and waiting for one."""

    used: int
    waited: int

    def __sub__(self, other: Cpu) -> Cpu:
        return Cpu(self.used - other.used, self.waited - other.waited)


def cpu(pid: int, thread: str = "") -> Cpu:
    """The sum over a process's threads, or over those of one name, from the kernel's accounting of each."""
    used = waited = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        if thread and (task / "comm").read_text().strip() != thread:
            continue
        fields = (task / "schedstat").read_text().split()
        used, waited = used + int(fields[0]), waited + int(fields[1])
    return Cpu(used, waited)


class PinnedEnvoy(Envoy):
    """An Envoy with one worker, all of it on one core."""

    WORKER = "wrk:worker_0"

    def start(self) -> None:
        """Starts it, and waits until it serves."""
        with pinned(cores()[0]):
            super().start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.stop()
        else:
            # What went wrong is told by the error, not by how Envoy ends.
            self._kill()

    @property
    def pid(self) -> int:
        """The process."""
        assert self._process is not None
        return self._process.pid

    def resident(self) -> int:
        """Bytes of memory in use."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024  # type: ignore[index]

    def linear_memories(self) -> list[int]:
        """The sizes of its VMs' linear memories.

        V8 reserves gigabytes of addresses for each and makes the front of them accessible: what is accessible and
        followed by a reservation of more than a gigabyte is a linear memory.
        """
        found, previous = [], (0, 0, "")
        for line in Path(f"/proc/{self.pid}/maps").read_text().splitlines():
            span, access, *_ = line.split()
            start, end = (int(each, 16) for each in span.split("-"))
            if access == "---p" and end - start > 1 << 30 and previous[1] == start and previous[2] == "rw-p":
                found.append(previous[1] - previous[0])
            previous = (start, end, access)
        return sorted(found)

    def wait_until_idle(self, seconds: float = 30.0) -> None:
        """Waits for what V8 compiles in the background."""
        deadline = time.monotonic() + seconds
        before = cpu(self.pid)
        while time.monotonic() < deadline:
            time.sleep(0.3)
            now = cpu(self.pid)
            if (now - before).used < 3_000_000:
                return
            before = now

    def _bootstrap(self) -> Config:
        # The main thread is to do nothing while requests are counted.
        return {**super()._bootstrap(), "stats_flush_interval": "299s"}


class Load:
    """A run of the load client: connected and warm on entering, `run` sends what is measured."""

    def __init__(self, callers: Callers, port: int, tokens: Sequence[Path], warm_up: int, requests: int) -> None:
        command = [
            str(BINARIES / "load"), str(port), str(callers.authority.trust_file), PATH, str(warm_up), str(requests),
        ]
        for credential, file in zip(callers.credentials, tokens, strict=True):
            command += [str(credential.chain_file), str(credential.key_file), str(file)]
        with pinned(cores()[1]):
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )

    def __enter__(self) -> Load:
        try:
            self._line()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def run(self) -> dict[str, float]:
        """The client's own figures; its connections stay open until it is left."""
        _pipe(self._process.stdin).write("go\n")
        _pipe(self._process.stdin).flush()
        figures: dict[str, float] = json.loads(self._line())
        return figures

    def _line(self) -> str:
        line = _pipe(self._process.stdout).readline()
        if not line:
            raise BenchFailed(_pipe(self._process.stderr).read().strip() or "the load client ended without a word")
        return line

    def _end(self) -> None:
        _end(self._process)


class ExtAuthzServer:
    """The ext_authz server, on the load client's core."""

    def __enter__(self) -> ExtAuthzServer:
        with pinned(cores()[1]):
            self._process = subprocess.Popen(
                [str(BINARIES / "always_ok")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        self.pid = self._process.pid
        self.port = int(_pipe(self._process.stdout).readline())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _end(self._process)


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe
