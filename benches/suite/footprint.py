"""What a configuration costs before the first request: memory, and the time until a worker has read it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness import artifacts
from harness.listener import Listener

from .figures import Spread
from .parties import Callers, policy
from .processes import PinnedEnvoy, cpu
from .variants import listener, module

OURS_10 = "ours, 10 clients"
OURS_100000 = "ours, 100,000 clients"
PLAIN_100000 = "`serde_json` into plain structs, 100,000 clients"
EMPTY = "empty Wasm filter"


@dataclass(frozen=True)
class Footprint:
    """Of one configuration; times in milliseconds of CPU, sizes in bytes."""

    worker_ms: Spread
    process_ms: Spread
    linear: int
    resident: int
    json: int


def measure(binary: Path, directory: Path, callers: Callers, times: int) -> dict[str, Footprint]:
    """Gives each configuration to a running Envoy, a fresh one each time."""
    few, many = (policy(callers.signer, "jwks", clients) for clients in (10, 100_000))
    configurations = {
        EMPTY: (module("empty"), ""),
        OURS_10: (artifacts.module(), few),
        OURS_100000: (artifacts.module(), many),
        PLAIN_100000: (module("registry"), many),
    }
    return {
        title: _measure(
            [
                _load(binary, directory / f"load-{number}-{repetition}", callers,
                      listener("loaded", module=file, policy=configuration))
                for repetition in range(times)
            ],
            len(json.dumps(configuration)),
        )
        for number, (title, (file, configuration)) in enumerate(configurations.items())
    }


@dataclass(frozen=True)
class _Loaded:
    worker_ms: float
    process_ms: float
    linear: int
    resident: int


def _load(binary: Path, directory: Path, callers: Callers, loaded: Listener) -> _Loaded:
    directory.mkdir()
    plain = listener("plain")
    with PinnedEnvoy(
        binary, directory, [plain], authority=callers.authority, server=callers.server, clusters=[], dynamic=True,
        log_level="warning",
    ) as envoy:
        envoy.wait_until_idle()
        resident, process, worker = envoy.resident(), cpu(envoy.pid), cpu(envoy.pid, envoy.WORKER)
        updates = envoy.update_count(accepted=True)
        envoy.replace_listeners(plain, loaded)
        envoy.wait_for_listener_update(accepted=True, before=updates)
        envoy.wait_until_idle()
        return _Loaded(
            (cpu(envoy.pid, envoy.WORKER) - worker).used / 1e6,
            (cpu(envoy.pid) - process).used / 1e6,
            # One VM is the main thread's, the other the worker's.
            max(envoy.linear_memories(), default=0),
            envoy.resident() - resident,
        )


def _measure(loads: list[_Loaded], size: int) -> Footprint:
    def spread(value: Callable[[_Loaded], float]) -> Spread:
        return Spread.of(value(each) for each in loads)

    return Footprint(
        spread(lambda each: each.worker_ms), spread(lambda each: each.process_ms),
        round(spread(lambda each: each.linear).median), round(spread(lambda each: each.resident).median), size,
    )
