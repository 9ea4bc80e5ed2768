"""The proxies in front of Envoy, run with the configurations of `envoy/front-proxies/` as they are shipped."""

from __future__ import annotations

import base64
import os
import re
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

from . import artifacts
from .envoy import DEADLINE_SECONDS
from .pki import Authority, Credential
from .shipped import ENVOY, free_port

CONFIGURATIONS = ENVOY / "front-proxies"
HOST = "localhost"
"""The name in every server's certificate; Caddy wants requests to name the server that the handshake named."""


class ProxyFailed(Exception):
    """A proxy did not start; the message carries the end of its output."""


@dataclass(frozen=True)
class Kind:
    """A kind of proxy: its shipped configuration, how it is run, and how it forwards a certificate."""

    name: str
    configuration: str
    format: str
    header: str
    write: Callable[[Credential], str]
    """The value of the header for a certificate, as anybody could forge it."""
    command: Callable[[Path, Path], list[str]]
    """The command for a configuration and a folder of its own."""
    optional: tuple[str, str]
    """What the configuration says to require a certificate, and to ask for one only."""
    package: str | None = None
    """Debian's package; the second Envoy is the suite's own."""
    environment: bool = True
    """Whether it reads `${FRONT_…}` from its environment; otherwise they are replaced, as `envsubst` does."""
    resumes: bool = False

    @property
    def forwarded(self) -> dict[str, str]:
        """The filter's `certificate.forwarded`, but for whom it trusts."""
        return {"format": self.format, "header": self.header}


def base64_der(credential: Credential) -> str:
    """As HAProxy and Caddy write it."""
    return base64.b64encode(credential.der).decode()


def escaped_pem(credential: Credential) -> str:
    """As nginx writes it; Apache escapes less."""
    return quote(credential.pem, safe="")


def xfcc(credential: Credential) -> str:
    """As Envoy writes it."""
    return f'Hash={credential.thumbprint_hex};Cert="{escaped_pem(credential)}"'


def _nginx(config: Path, directory: Path) -> list[str]:
    return ["usr/sbin/nginx", "-p", str(directory), "-c", str(config), "-g", "daemon off;"]


def _haproxy(config: Path, _: Path) -> list[str]:
    return ["usr/sbin/haproxy", "-db", "-f", str(config)]


def _httpd(config: Path, _: Path) -> list[str]:
    return ["usr/sbin/apache2", "-DFOREGROUND", "-f", str(config)]


def _caddy(config: Path, _: Path) -> list[str]:
    return ["usr/bin/caddy", "run", "--adapter", "caddyfile", "--config", str(config)]


def _envoy(config: Path, _: Path) -> list[str]:
    return [str(artifacts.envoy()), "-c", str(config), "--concurrency", "1", "--disable-hot-restart"]


KINDS = {kind.name: kind for kind in [
    Kind("nginx", "nginx.conf", "nginx", "ssl-client-cert", escaped_pem, _nginx,
         ("ssl_verify_client on;", "ssl_verify_client optional;"), "nginx", environment=False),
    Kind("haproxy", "haproxy.cfg", "haproxy", "x-client-cert", base64_der, _haproxy,
         ("verify required no-tls-tickets", "verify optional no-tls-tickets"), "haproxy"),
    Kind("httpd", "httpd.conf", "url_encoded_pem", "x-client-cert", escaped_pem, _httpd,
         ("SSLVerifyClient require", "SSLVerifyClient optional"), "apache2-bin"),
    Kind("caddy", "Caddyfile", "base64_der", "x-client-cert", base64_der, _caddy,
         ("mode require_and_verify", "mode verify_if_given"), "caddy", resumes=True),
    Kind("envoy", "envoy.yaml", "xfcc", "x-forwarded-client-cert", xfcc, _envoy,
         ("require_client_certificate: true", "require_client_certificate: false"), environment=False),
]}


def write_certificates(directory: Path, root: Authority, server: Credential, own: Credential) -> Path:
    """`FRONT_CERTS`, under the names that the shipped configurations use."""
    directory.mkdir(parents=True, exist_ok=True)
    authority = root.trust_file.read_bytes()
    for name, content in {
        "server.pem": server.chain_pem, "server.key": server.key_pem,
        "server-with-key.pem": _with_key(server),
        "proxy.pem": own.chain_pem, "proxy.key": own.key_pem,
        "proxy-with-key.pem": _with_key(own),
        "clients-ca.pem": authority, "envoy-ca.pem": authority,
    }.items():
        (directory / name).write_bytes(content)
    return directory


def _with_key(credential: Credential) -> bytes:
    """Leaf, key, chain: httpd takes no other order."""
    return credential.pem.encode() + credential.key_pem + credential.chain_pem.removeprefix(credential.pem.encode())


class Proxy:
    """A running proxy in front of a port. `with Proxy(kind, folder, certificates, port) as proxy: proxy.port`

    `change` replaces texts of the shipped configuration, each of which must stand in it once.
    """

    def __init__(
        self, kind: Kind, directory: Path, certificates: Path, upstream: int, change: Mapping[str, str] | None = None
    ) -> None:
        self.port = free_port()
        self._directory = directory
        self._output = directory / "output.log"
        package = artifacts.proxy(kind.package) if kind.package else None
        settings = {
            "FRONT_HOST": "127.0.0.1", "FRONT_PORT": str(self.port), "FRONT_CERTS": str(certificates),
            "FRONT_RUN": str(directory), "FRONT_MODULES": str(package and package / "usr/lib/apache2/modules"),
            "ENVOY_HOST": HOST, "ENVOY_PORT": str(upstream),
        }
        text = (CONFIGURATIONS / kind.configuration).read_text()
        for old, new in (change or {}).items():
            assert text.count(old) == 1, f"{old!r} in {kind.configuration}"
            text = text.replace(old, new)
        if not kind.environment:
            text = re.sub(r"\$\{([A-Z_]+)\}", lambda found: settings[found[1]], text)
        config = directory / kind.configuration
        config.write_text(text)
        command = kind.command(config, directory)
        # What a proxy keeps for its user stays in its folder.
        own = dict.fromkeys(("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"), str(directory))
        self._environment = {**os.environ, **settings, **own}
        if package is not None:
            command[0] = str(package / command[0])
            libraries = [str(each) for each in package.glob("usr/lib/*-linux-gnu*")]
            given = [each for each in [os.environ.get("LD_LIBRARY_PATH")] if each]
            self._environment["LD_LIBRARY_PATH"] = os.pathsep.join([*libraries, *given])
        self._command = command

    def __enter__(self) -> Proxy:
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                self._command, env=self._environment, cwd=self._directory, stdout=output, stderr=output,
            )
        try:
            self._wait_until_it_listens()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def output(self) -> str:
        """What the proxy has logged."""
        return self._output.read_text(errors="replace")

    def _wait_until_it_listens(self) -> None:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not _listens(self.port):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise ProxyFailed(f"{self._command[0]} does not listen:\n{self.output()[-4000:]}")
            time.sleep(0.02)

    def _stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _listens(port: int) -> bool:
    """Whether a port of this machine listens; a connection would be a line in the proxy's log."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, _, state, *_ = line.split()
        if state == "0A" and local == f"0100007F:{port:04X}":
            return True
    return False
