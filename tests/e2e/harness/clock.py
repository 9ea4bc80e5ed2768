"""A clock that a test sets forward and back while an Envoy runs."""

from __future__ import annotations

import functools
import struct
import subprocess
import tempfile
from datetime import datetime, timezone
from pathlib import Path

from .envoy import Envoy

HOUR = 3600
_SOURCE = Path(__file__).resolve().parents[2] / "fixtures/clock/clock.c"


class Clock:
    """The time of day that a process sees, so many seconds off, for `Envoy(environment=clock.environment)`.

    Its monotonic clock is left alone.
    """

    def __init__(self, seconds: int = 0) -> None:
        self._file = tempfile.NamedTemporaryFile(prefix="clock-")
        self.set(seconds)
        self.environment = {"LD_PRELOAD": str(_library()), "CLOCK_FILE": self._file.name}

    def set(self, seconds: int) -> None:
        """Sets it so many seconds forward, or back, from the true time."""
        self._file.seek(0)
        # One write, so that no process sees half of it.
        self._file.write(struct.pack("=q", seconds))
        self._file.flush()
        self._seconds = seconds

    def check(self, envoy: Envoy, listener: str, request_id: str) -> None:
        """Envoy must have seen this clock when it took the request."""
        seen = datetime.fromisoformat(envoy.record(listener, request_id)["time"].replace("Z", "+00:00"))
        off = (seen - datetime.now(timezone.utc)).total_seconds()
        assert abs(off - self._seconds) < HOUR / 2, f"{off} instead of {self._seconds}"


@functools.cache
def _library() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="clock-"))
    library = folder / "clock.so"
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(library), str(_SOURCE)], check=True
    )
    return library
