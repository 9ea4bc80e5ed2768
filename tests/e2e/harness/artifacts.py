"""Where the suite finds the binaries it drives.

A missing binary is a failure and never a skip: a suite that skips because nothing
was built looks exactly like a suite that passed.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]


class MissingArtifact(Exception):
    """A binary that the suite needs is not there; the message says how to get it."""


def envoy() -> Path:
    """The newest supported Envoy."""
    return _required("ENVOY", None, "make e2e")


def envoy_old() -> Path:
    """An Envoy older than 1.38, which has no `connection.peer_certificate`."""
    return _required("ENVOY_OLD", None, "make e2e")


def module() -> Path:
    """The filter itself."""
    return _required("MODULE", REPOSITORY / "dist" / "mtls_authz.wasm", "make wasm")


def version() -> str:
    """The filter's version."""
    found = re.search(r'^version = "(.+)"$', (REPOSITORY / "Cargo.toml").read_text(), re.MULTILINE)
    assert found is not None
    return found[1]


def probe() -> Path:
    """The fixture that reports what Envoy shows to a filter."""
    return _required("PROBE", REPOSITORY / "dist" / "fixtures" / "probe.wasm", "make fixtures")


def proxy(package: str) -> Path:
    """The folder into which a proxy's package and its libraries are unpacked."""
    path = Path(os.environ.get("PROXIES") or REPOSITORY / ".tools" / "proxies") / package
    if not path.is_dir():
        raise MissingArtifact(f"{path} does not exist: run `make e2e`, which unpacks the proxies, or set $PROXIES")
    return path.resolve()


def prometheus() -> Path:
    """The folder into which Prometheus' package is unpacked."""
    path = Path(os.environ.get("PROMETHEUS") or REPOSITORY / ".tools" / "prometheus") / "prometheus"
    if not path.is_dir():
        raise MissingArtifact(f"{path} does not exist: run `make e2e`, which unpacks Prometheus, or set $PROMETHEUS")
    return path.resolve()


def worker_failure() -> Path:
    """The fixture that Envoy's first VM accepts and that then fails in every worker."""
    return _required("WORKER_FAILURE", REPOSITORY / "dist" / "fixtures" / "worker_failure.wasm", "make fixtures")


def _required(variable: str, default: Path | None, target: str) -> Path:
    value = os.environ.get(variable)
    path = Path(value) if value else default
    if path is None:
        raise MissingArtifact(f"${variable} is not set: run `{target}`, which finds one or fetches it, or set it")
    if not path.is_file():
        raise MissingArtifact(f"{path} does not exist: run `{target}`, or set ${variable}")
    return path.resolve()
