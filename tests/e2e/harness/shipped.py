"""The configurations of `envoy/`, run as they are shipped: only paths, addresses and ports are replaced."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from . import record
from .admin import Admin
from .artifacts import REPOSITORY
from .certs import Certs
from .envoy import DEADLINE_SECONDS, EnvoyFailed
from .pki import Credential
from .response import Header
from .tls import UDP_PORTS

ENVOY = REPOSITORY / "envoy"
_STRING_VALUE = re.compile(
    r'^(?P<indent> +)"@type": type\.googleapis\.com/google\.protobuf\.StringValue\n'
    r"(?P=indent)value: \|\n(?:(?P=indent) +.*\n)+",
    re.MULTILINE,
)


def configurations() -> dict[str, str]:
    """Every complete Envoy configuration in `envoy/`, by file name."""
    texts = {path.name: path.read_text() for path in sorted(ENVOY.glob("*.yaml"))}
    return {name: text for name, text in texts.items() if "\nstatic_resources:\n" in text}


def with_istio_policy(text: str) -> str:
    """An Envoy configuration with the `pluginConfig` of the shipped WasmPlugin in the policy's place, as a `Struct`."""
    plugin = (ENVOY / "istio" / "wasmplugin.yaml").read_text()
    policy = textwrap.dedent(plugin.partition("\n  pluginConfig:\n")[2])
    assert policy.startswith("policy_id:"), "the pluginConfig is not where it was"
    cluster = "cluster: outbound|80||revoked.example"
    assert cluster in policy
    # A mesh has another cluster for the list than envoy.yaml.
    policy = policy.replace(cluster, "cluster: revoked")
    # istiod tells Envoy the issuer of each rule's keys, and leaves every payload under one key.
    for issuer in ("auth", "login"):
        own = re.search(rf"( +)payload_in_metadata: {issuer}\n", text)
        assert own is not None
        text = text.replace(own[0], f"{own[1]}issuer: https://{issuer}.example\n{own[1]}payload_in_metadata: payload\n")

    def struct(found: re.Match[str]) -> str:
        indent = found["indent"]
        kind = f'{indent}"@type": type.googleapis.com/google.protobuf.Struct\n{indent}value:\n'
        return kind + textwrap.indent(policy, indent + "  ")

    replaced, count = _STRING_VALUE.subn(struct, text)
    assert count == 1, f"{count} policies in the configuration"
    return replaced


def secrets(directory: Path) -> Path:
    """The files that Envoy's SDS reads, for the certificates in `directory`/certs."""
    folder = directory / "sds"
    folder.mkdir()
    for path in sorted((ENVOY / "sds").glob("*.yaml")):
        (folder / path.name).write_text(path.read_text().replace("/etc/envoy/", f"{directory}/"))
    return folder


def with_listener_file(text: str) -> tuple[str, str]:
    """An Envoy configuration whose mTLS listener comes from a file, as docs/operations.md says; and that file."""
    page = (REPOSITORY / "docs" / "operations.md").read_text()
    source = re.search(r"(?ms)^    node:[^\n]*\n    dynamic_resources:\n.*?\n\n", page)
    before, found, rest = text.partition("    - name: mtls\n")
    listener, other, after = rest.partition("\n    # Metrics for Prometheus")
    assert source and found and other, "a part is not where it was"
    resource = textwrap.indent(textwrap.dedent(f"      name: mtls\n{listener}"), "    ")
    kind = '"@type": type.googleapis.com/envoy.config.listener.v3.Listener'
    return textwrap.dedent(source[0]) + before + other + after, f"resources:\n  - {kind}\n{resource}\n"


class Folder:
    """Certificates, tokens and localised configurations, made with the shipped scripts."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.certs = Certs(directory / "certs")
        self.certs.run("example")
        self._mint("keys")

    def credential(self, name: str) -> Credential:
        """A client that `certs.sh example` has made."""
        return self.certs.credential(name)

    def token(self, client: str, bound_to: str | None = None, scope: str = "", *more: str) -> Header:
        """The header of a token that `mint.py` has made."""
        binding = ["--cert", str(self.certs.file(bound_to))] if bound_to else []
        return ("authorization", f"Bearer {self._mint('token', client, '--scope', scope, *binding, *more).strip()}")

    def localize(self, text: str, module: Path, upstream: int, admin: int = 9901) -> str:
        """A configuration for this folder, this machine and ports that Envoy chooses."""
        for old, new in [
            ("/etc/envoy/mtls_authz.wasm", str(module)), ("/etc/envoy/", f"{self.directory}/"),
            ("address: 0.0.0.0", "address: 127.0.0.1"), ("address: echo", "address: 127.0.0.1"),
            ("port_value: 8443", "port_value: 0"), ("port_value: 9902", "port_value: 0"),
            ("port_value: 8080", f"port_value: {upstream}"), ("port_value: 9901", f"port_value: {admin}"),
            # Envoy's list of revoked certificates, which it reads from itself.
            ("port_value: 9904", f"port_value: {free_port()}"),
        ]:
            text = text.replace(old, new)
        return text

    def _mint(self, *arguments: str) -> str:
        command = [sys.executable, "-B", str(ENVOY / "mint.py"), *arguments]
        environment = {**os.environ, "CERTS": str(self.certs.directory)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout


def validate(binary: Path, config: Path) -> None:
    """`envoy --mode validate`; what it has to say is the error."""
    command = [str(binary), "--mode", "validate", "-c", str(config), "--log-level", "error"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


class Shipped:
    """A running Envoy with a configuration as text. `with Shipped(binary, config) as envoy: envoy.port("mtls")`"""

    def __init__(self, binary: Path, config: Path, concurrency: int = 2, arguments: Sequence[str] = ()) -> None:
        self._config = config
        self.output_file = config.with_suffix(".log")
        self._admin_file = config.with_suffix(".admin")
        self._command = [
            str(binary), "-c", str(config), "--concurrency", str(concurrency), "--disable-hot-restart",
            "--admin-address-path", str(self._admin_file), "--file-flush-interval-msec", "10", *arguments,
        ]

    def __enter__(self) -> Shipped:
        self.output_file.unlink(missing_ok=True)
        with self.output_file.open("ab") as output:
            self._process = subprocess.Popen(self._command, stdout=output, stderr=output)
        try:
            self.wait("readiness", self._ready)
        except BaseException:
            self._process.kill()
            self._process.wait()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        code = self._process.wait(DEADLINE_SECONDS)
        if code != 0:
            raise EnvoyFailed(f"Envoy ended with {code}:\n{self.output()[-4000:]}")
        self.records()

    def port(self, listener: str) -> int:
        """The port of a listener."""
        port = self.admin.listener_ports()[listener]
        UDP_PORTS[port] = port
        return port

    def output(self) -> str:
        """Envoy's log and, where the configuration says stdout, its access log."""
        return self.output_file.read_text(errors="replace")

    def records(self) -> list[dict[str, Any]]:
        """The access log, with its records held against their schema."""
        return [record.parse_line(line) for line in self._entries()]

    def _entries(self) -> list[str]:
        # The last line may still be on its way.
        return [line for line in self.output().split("\n")[:-1] if line.startswith("{")]

    def wait(self, what: str, condition: Callable[[], bool]) -> None:
        """Waits until `condition` holds; fails when Envoy ends or a minute has passed."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not condition():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise EnvoyFailed(f"Envoy showed no sign of {what}:\n{self.output()[-4000:]}")
            time.sleep(0.02)

    def _ready(self) -> bool:
        address = self._admin_file.read_text() if self._admin_file.is_file() else ""
        if not address:
            return False
        self.admin = Admin(int(address.rsplit(":", 1)[1]))
        return self.admin.ready() and {"mtls", "metrics"} <= self.admin.listener_ports().keys()


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port
