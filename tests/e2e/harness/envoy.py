"""A real Envoy process, from its generated configuration to its exit code."""

from __future__ import annotations

import json
import os
import subprocess
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from . import artifacts, record
from .admin import Admin
from .filters import Config
from .listener import ECHO_CLUSTER, GRPC_CLUSTER, OVER_QUIC, STATS_TAGS, Listener
from .pki import Authority, Credential
from .tls import UDP_PORTS

DEADLINE_SECONDS = 60.0
"""When a wait counts as failed; every wait ends as soon as its condition holds."""
_POLL_SECONDS = 0.02


class EnvoyFailed(Exception):
    """Envoy did not start or did not end well; the message carries the end of its log."""


class Envoy:
    """One Envoy with any number of listeners. `with Envoy(...) as envoy: envoy.port("name")`

    With `dynamic=True` the listeners come from a file that `replace_listeners` rewrites, which is
    how a changed configuration reaches a running Envoy. With `http3=True` every listener has one beside it over QUIC.
    """

    def __init__(
        self,
        binary: Path,
        directory: Path,
        listeners: Sequence[Listener],
        *,
        authority: Authority,
        server: Credential,
        clusters: Sequence[Config],
        concurrency: int = 1,
        dynamic: bool = False,
        http3: bool = False,
        log_level: str = "info",
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._binary = binary
        self._directory = directory
        self._authority = authority
        self._server = server
        self._clusters = clusters
        self._concurrency = concurrency
        self._dynamic = dynamic
        self._log_level = log_level
        self._arguments = arguments
        self._environment = {**os.environ, **(environment or {})}
        # An older one does not ask for a client's certificate over QUIC.
        self._http3 = http3 and binary == artifacts.envoy()
        self._listeners = list(listeners)
        self._names = {each.name: each.module == artifacts.module() for each in listeners}
        """Every listener that there was, and whether our filter was in it."""
        self._ports: dict[str, int] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self.log_file = directory / "envoy.log"

    def __enter__(self) -> Envoy:
        try:
            self.start()
        except BaseException:
            self._kill()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Starts the process and waits until it serves, or raises `EnvoyFailed`."""
        config_file = self._directory / "envoy.json"
        config_file.write_text(json.dumps(self._bootstrap(), indent=1))
        admin_file = self._directory / "admin"
        command = [
            str(self._binary), "-c", str(config_file),
            "--concurrency", str(self._concurrency), "--disable-hot-restart",
            "--admin-address-path", str(admin_file),
            "--log-level", self._log_level, "--log-path", str(self.log_file),
            "--file-flush-interval-msec", "10", *self._arguments,
        ]
        with (self._directory / "output.log").open("wb") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=output, env=self._environment)
        self.wait("the admin address", lambda: admin_file.is_file() and admin_file.read_text() != "")
        self.admin = Admin(int(admin_file.read_text().rsplit(":", 1)[1]))
        self.wait("readiness", self.admin.ready)
        self.wait("its listeners", lambda: len(self.admin.listener_ports()) == len(self._listener_configs()))
        self._ports = self.admin.listener_ports()

    def stop(self) -> None:
        """Ends the process; an Envoy that had crashed or ends badly is an error."""
        process, self._process = self._process, None
        if process is None:
            return
        crashed = process.poll() is not None
        process.terminate()
        try:
            code = process.wait(DEADLINE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process = process
            self._kill()
            raise EnvoyFailed(self._report("did not stop")) from None
        if crashed or code != 0:
            raise EnvoyFailed(self._report(f"ended with {code}"))

    def port(self, listener: str) -> int:
        """The port of a listener."""
        port = self._ports[listener]
        UDP_PORTS[port] = self._ports.get(listener + OVER_QUIC, port)
        return port

    def resident_kib(self) -> int:
        """The memory of the process that is in use, which Envoy's own statistics do not know: V8 takes it for itself."""
        assert self._process is not None
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))

    def log(self) -> str:
        """What Envoy and the filter have logged; the last lines may still be on their way."""
        return self.log_file.read_text(errors="replace") if self.log_file.is_file() else ""

    def output(self) -> str:
        """What Envoy has written to its standard output, such as an access log that goes there."""
        return (self._directory / "output.log").read_text(errors="replace")

    def wait_for_log(self, text: str) -> str:
        """The first log line that contains `text`."""
        self.wait(f"a log line with {text!r}", lambda: text in self.log())
        return next(line for line in self.log().splitlines() if text in line)

    def records(self, listener: str, at_least: int = 0) -> list[dict[str, Any]]:
        """The access log of a listener; the filter's decisions are parsed, and held against their schema."""
        self.wait(f"{at_least} access log lines", lambda: len(self._lines(listener)) >= at_least)
        return self._parsed(listener, self._lines(listener))

    def record(self, listener: str, request_id: str) -> dict[str, Any]:
        """The access log line of one request, found by the `x-request-id` that it carried."""
        def lines() -> list[str]:
            return [line for line in self._lines(listener) if request_id in line]
        self.wait(f"an access log line of {request_id}", lambda: bool(lines()))
        return next(each for each in self._parsed(listener, lines()) if each["request_id"] == request_id)

    def check_records(self) -> None:
        """Holds every record that was written against the schema, also those that no test has asked for."""
        for name in self._names:
            self._parsed(name, self._lines(name))

    def replace_listeners(self, *listeners: Listener) -> None:
        """Gives a running Envoy (with `dynamic=True`) other listeners; does not wait for it."""
        self._listeners = list(listeners)
        self._names |= {each.name: each.module == artifacts.module() for each in listeners}
        target = self._directory / "lds.json"
        # Envoy watches for a rename; a file written in place could be read half.
        written = target.with_suffix(".new")
        written.write_text(json.dumps(self._discovery()))
        os.replace(written, target)

    def wait_for_listener_update(self, *, accepted: bool, before: int) -> None:
        """Waits until Envoy has accepted or rejected an update; `before` is the count before it.

        An accepted listener reaches the workers a moment later: `wait` for its first answer.
        """
        self.wait("the listener update", lambda: self.update_count(accepted=accepted) > before)
        self._ports = self.admin.listener_ports()

    def update_count(self, *, accepted: bool) -> int:
        """How many listener updates Envoy has accepted or rejected."""
        name = "update_success" if accepted else "update_rejected"
        return self.admin.stat(f"listener_manager.lds.{name}")

    def wait(self, what: str, condition: Callable[[], bool]) -> None:
        """Waits until `condition` holds; fails when Envoy ends or a minute has passed."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not condition():
            if self._process is None or self._process.poll() is not None:
                raise EnvoyFailed(self._report(f"ended while the test waited for {what}"))
            if time.monotonic() > deadline:
                raise EnvoyFailed(self._report(f"showed no sign of {what}"))
            time.sleep(_POLL_SECONDS)

    def _parsed(self, listener: str, lines: Sequence[str]) -> list[dict[str, Any]]:
        # Only our filter writes records; other modules leave there what they like.
        parse = record.parse_line if self._names[listener] else json.loads
        return [parse(line) for line in lines]

    def _lines(self, listener: str) -> list[str]:
        path = self.access_log(listener)
        if not path.is_file():
            return []
        return [line for line in path.read_text(errors="replace").split("\n")[:-1] if line]

    def access_log(self, listener: str) -> Path:
        """The file that a listener's access log is written to."""
        return self._directory / f"access-{listener}.jsonl"

    def _bootstrap(self) -> Config:
        resources: Config = {"clusters": list(self._clusters)}
        config: Config = {
            "node": {"id": "end-to-end", "cluster": "end-to-end"},
            "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
            "stats_config": {"stats_tags": STATS_TAGS},
            "static_resources": resources,
        }
        if self._dynamic:
            lds = self._directory / "lds.json"
            lds.write_text(json.dumps(self._discovery()))
            source = {"path": str(lds), "watched_directory": {"path": str(self._directory)}}
            config["dynamic_resources"] = {"lds_config": {"path_config_source": source}}
        else:
            resources["listeners"] = self._listener_configs()
        return config

    def _listener_configs(self) -> list[Config]:
        trust_file, configs = self._authority.trust_file, []
        for listener in self._listeners:
            for each in (listener, listener.over_quic() if self._http3 else None):
                if each is not None:
                    configs.append(each.config(self._server, trust_file, self.access_log(listener.name)))
        return configs

    def _discovery(self) -> Config:
        kind = "type.googleapis.com/envoy.config.listener.v3.Listener"
        resources = [{"@type": kind, **config} for config in self._listener_configs()]
        return {"version_info": uuid.uuid4().hex, "resources": resources}

    def _kill(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def _report(self, what: str) -> str:
        return f"Envoy {what}:\n{self.log()[-6000:]}{self.output()[-3000:]}"


def http1_cluster(port: int, name: str = ECHO_CLUSTER) -> Config:
    """A cluster of one HTTP/1.1 server on this machine."""
    return {
        "name": name, "type": "STATIC", "connect_timeout": "5s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}}]}]},
    }


def http2_cluster(port: int, name: str = GRPC_CLUSTER) -> Config:
    """A cluster of one plaintext HTTP/2 server on this machine."""
    return {**http1_cluster(port, name), "typed_extension_protocol_options": {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}},
        }}}
