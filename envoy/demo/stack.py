"""What the demonstration runs: certificates, tokens, an upstream, and Envoy from envoy.yaml."""

from __future__ import annotations

import fcntl
import http.client
import json
import os
import random
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, replace
from http.server import ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

HERE = Path(__file__).resolve().parent
# Everything that is made: a folder of its own, which is emptied at the start.
OUT = Path(os.environ.get("DEMO_OUT") or HERE / "out").resolve()
sys.path.insert(0, str(HERE.parent))

import mint  # noqa: E402
from echo import Echo  # noqa: E402

DEADLINE_SECONDS = 60.0
REFUSED = "the configuration is refused: "
"""What the filter writes into Envoy's log before it says why."""
_CHOSEN: set[int] = set()
"""Ports that are spoken for although nobody may listen there yet."""


class DemoFailed(Exception):
    """The demonstration cannot go on; the message says why."""


def end_on_signals() -> None:
    """However the program ends, what it has started ends with it: signals become exceptions, as Ctrl-C does."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    # A shell that starts it in the background has it ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@dataclass(frozen=True)
class Ports:
    """Where things listen: these if they are free, otherwise others."""

    mtls: int
    untrusted: int
    admin: int
    metrics: int
    revoked: int

    @classmethod
    def choose(cls) -> Ports:
        """8443, 8444, 9901, 9902 and 9904, or whatever is free instead of those."""
        return cls(mtls=free_port(8443), untrusted=free_port(8444), admin=free_port(9901), metrics=free_port(9902),
                   revoked=free_port(9904))


StackT = TypeVar("StackT", bound="Stack")


class Stack:
    """`with Stack() as stack:` everything is up and ready; afterwards nothing is left running."""

    def __init__(self) -> None:
        self._processes: list[subprocess.Popen[bytes]] = []
        self._binary = _given("ENVOY", "an Envoy binary")
        self._module = _given("MODULE", "the filter, dist/mtls_authz.wasm")
        self.ports = Ports.choose()

    def __enter__(self: StackT) -> StackT:
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def runs(self) -> bool:
        """Whether all processes do, none of which ends by itself."""
        return all(process.poll() is None for process in self._processes)

    def wait(self) -> None:
        """Returns when one of the processes ends."""
        while self.runs():
            time.sleep(0.2)

    def metrics(self) -> list[str]:
        """The filter's counters that are not zero, as Prometheus gets them."""
        text = fetch(f"http://127.0.0.1:{self.ports.metrics}/stats/prometheus")
        lines = [line for line in text.splitlines() if line.startswith("mtls_")]
        return sorted(line for line in lines if not line.endswith(" 0"))

    def records(self) -> list[dict[str, Any]]:
        """The decision records in the access log so far."""
        lines = (OUT / "access.log").read_text().splitlines()
        decisions = (json.loads(line).get("decision") for line in lines)
        return [json.loads(decision) for decision in decisions if decision]

    def refuses(self, old: str, new: str) -> str:
        """What Envoy says about the same configuration with this instead of that. It must not start."""
        free = {name: free_port() for name in ("mtls", "admin", "metrics", "revoked")}
        process = self._envoy("refused", replaced(config(replace(self.ports, **free), self._echo), old, new))
        try:
            process.wait(DEADLINE_SECONDS)
        except subprocess.TimeoutExpired:
            raise DemoFailed(f"Envoy has started with {new}, which the filter should refuse") from None
        self._processes.remove(process)
        log = (OUT / "refused.log").read_text(errors="replace")
        for line in log.splitlines():
            if REFUSED in line:
                return line[line.index(REFUSED) :]
        raise DemoFailed(f"Envoy has not started with {new}, but the filter has not said why; see {OUT / 'refused.log'}")

    def _start(self) -> None:
        self._lock = _clear(OUT)
        environment = {**os.environ, "CERTS": str(OUT / "certs")}
        made = subprocess.run([HERE.parent / "certs.sh", "example"], env=environment, capture_output=True, check=False)
        if made.returncode != 0:
            raise DemoFailed(made.stderr.decode())
        _make_tokens(OUT / "certs", OUT / "tokens")
        shutil.copyfile(self._module, OUT / "mtls_authz.wasm")

        upstream = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
        threading.Thread(target=upstream.serve_forever, daemon=True).start()
        self._echo = echo = upstream.server_address[1]

        self._envoy("envoy", config(self.ports, echo))
        # The same once more, but with a listener that lets unverified certificates in. That is an Envoy of its own, so that
        # the file stays the one that a user copies.
        ports = replace(self.ports, mtls=self.ports.untrusted, admin=free_port(), metrics=free_port(), revoked=free_port())
        self._envoy("untrusted", replaced(config(ports, echo), "VERIFY_TRUST_CHAIN", "ACCEPT_UNTRUSTED"))
        for process, name, listening in zip(self._processes, ("envoy", "untrusted"), (self.ports, ports)):
            wait_until_ready(process, f"http://127.0.0.1:{listening.admin}/ready", OUT / f"{name}.log")

    def _envoy(self, name: str, text: str) -> subprocess.Popen[bytes]:
        file = OUT / f"{name}.yaml"
        file.write_text(text)
        access_log = OUT / ("access.log" if name == "envoy" else f"{name}-access.log")
        command = [self._binary, "-c", file, "--concurrency", "2", "--disable-hot-restart", "--file-flush-interval-msec", "50"]
        return self._run(command, access_log, OUT / f"{name}.log")

    def _run(self, command: Sequence[object], output: Path, log: Path, **environment: str) -> subprocess.Popen[bytes]:
        with output.open("ab") as out, log.open("ab") as err:
            # In a session of its own: Ctrl-C reaches this program alone, which then ends the process.
            process = subprocess.Popen(
                [str(part) for part in command], env={**os.environ, **environment}, stdout=out, stderr=err,
                start_new_session=True,
            )
        self._processes.append(process)
        return process

    def _stop(self) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _given(variable: str, what: str) -> Path:
    path = Path(os.environ.get(variable, ""))
    if not path.is_file():
        raise DemoFailed(f"{variable} must name {what}; `make demo` sees to that")
    return path.resolve()


def _clear(folder: Path) -> Any:
    """Empties the folder; the lock in it keeps a second demonstration away."""
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()) and not (folder / "lock").exists():
        raise DemoFailed(f"{folder} holds what no demonstration has made; name an empty folder")
    lock = (folder / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise DemoFailed(f"another demonstration is running and uses {folder}; end it first") from error
    for entry in folder.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        elif entry.name != "lock":
            entry.unlink()
    return lock


def _make_tokens(certs: Path, tokens: Path) -> None:
    """One file a token, which curl reads with -H @FILE."""
    mint.make_keys(certs)
    tokens.mkdir()
    day = 24 * 3600

    def make(
        name: str, client: str, *, cert: str | None = None, lifetime: int = day, issuer: str = "auth", **claims: Any
    ) -> None:
        if cert is not None:
            claims["cnf"] = {"x5t#S256": mint.thumbprint(certs / f"{cert}.pem")}
        claims = {"iss": mint.ISSUERS[issuer].url, **claims}
        token = mint.token(certs, mint.claims(client, lifetime=lifetime, **claims), issuer)
        (tokens / name).write_text(f"Authorization: Bearer {token}\n")

    hexadecimal = mint.thumbprint_bytes(certs / "acme-mobile.pem").hex()
    make("acme", "acme-mobile", cert="acme-mobile", scope="payments:read")
    make("acme-without-cnf", "acme-mobile", scope="payments:read")
    make("acme-cnf-in-hex", "acme-mobile", scope="payments:read", cnf={"x5t#S256": hexadecimal})
    make("acme-expired", "acme-mobile", cert="acme-mobile", scope="payments:read", lifetime=-600)
    make("globex", "globex-batch", cert="globex-batch", scope="payments:read")
    make("globex-for-acme", "globex-batch", cert="acme-mobile", scope="payments:read")
    make("stranger", "stranger", cert="stranger", scope="payments:read")
    make("impostor", "acme-mobile", cert="impostor", scope="payments:read")
    make("wallet", "wallet-app", issuer="login")
    make("wallet-bound", "wallet-app", cert="wallet-app", issuer="login")
    make("acme-by-login", "acme-mobile", cert="acme-mobile", scope="payments:read", issuer="login",
         iss=mint.ISSUERS["auth"].url)


def config(ports: Ports, echo: int) -> str:
    """envoy.yaml with the replacements that its first lines describe, and other ports where they are taken."""
    text = (HERE.parent / "envoy.yaml").read_text()
    for old, new in (
        ("/etc/envoy/", f"{OUT}/"),
        ("address: echo\n", "address: 127.0.0.1\n"),
        ("address: 0.0.0.0", "address: 127.0.0.1"),
        ("port_value: 8443", f"port_value: {ports.mtls}"),
        ("port_value: 9901", f"port_value: {ports.admin}"),
        ("port_value: 9902", f"port_value: {ports.metrics}"),
        ("port_value: 9904", f"port_value: {ports.revoked}"),
        ("port_value: 8080", f"port_value: {echo}"),
    ):
        text = replaced(text, old, new)
    return text


def replaced(text: str, old: str, new: str) -> str:
    """A shipped configuration with this instead of that, which must be in it."""
    if old not in text:
        raise DemoFailed(f"the shipped configuration does not hold {old!r} any more, which the demonstration replaces")
    return text.replace(old, new)


def free_port(preferred: int = 0) -> int:
    """This port of 127.0.0.1, or another if it is taken; none that is given out to a connection before somebody listens."""
    for port in (preferred, *random.sample(range(10_000, 32_000), 100)):
        with socket.socket() as probe:
            # As Envoy does, so that connections of an earlier run that are not yet forgotten do not count as taken.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            if port and port not in _CHOSEN:
                _CHOSEN.add(port)
                return port
    raise DemoFailed("there is no free port on 127.0.0.1")


def wait_until_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    """Until the URL is answered; what the process has logged is the error."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            fetch(url)
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-10:])
    raise DemoFailed(f"{url} is not ready; the end of {log}:\n{tail}")


def https(port: int, certificate: str) -> http.client.HTTPSConnection:
    """A connection of this client, which stays open and is not made anew should it end."""
    certs = OUT / "certs"
    context = ssl.create_default_context(cafile=certs / "root.pem")
    context.load_cert_chain(certs / f"{certificate}.pem", certs / f"{certificate}.key")
    client = http.client.HTTPSConnection("localhost", port, timeout=10, context=context)
    client.connect()
    client.auto_open = 0
    return client


def put_on_list(clients: Sequence[str]) -> None:
    """The list of revoked certificates is now that of these clients, by one rename."""
    folder = OUT / "certs" / "revoked"
    thumbprints = [mint.thumbprint(OUT / "certs" / f"{client}.pem") for client in clients]
    (folder / "new").write_text(json.dumps({"sha256": thumbprints}))
    (folder / "new").replace(folder / "revoked.json")


def fetch(url: str) -> str:
    """What a server of this machine answers to GET."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=5) as answer:
        return str(answer.read().decode())
