"""A folder of certificates that the shipped `envoy/certs.sh` makes, renews and revokes."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from .artifacts import REPOSITORY
from .pki import Credential

SCRIPT = REPOSITORY / "envoy" / "certs.sh"


class Certs:
    """The script with its folder. `certs.run("issue", "acme"); certs.credential("acme")`"""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def run(self, *arguments: str) -> str:
        """What a command prints."""
        done = self._run(arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def refusal(self, *arguments: str) -> str:
        """What a command that must fail says."""
        done = self._run(arguments)
        assert (done.returncode, done.stdout) == (1, ""), done.stdout
        return done.stderr

    def file(self, name: str, kind: str = "pem") -> Path:
        """Where a certificate or key is."""
        return self.directory / f"{name}.{kind}"

    def certificate(self, name: str) -> x509.Certificate:
        """The certificate alone."""
        return x509.load_pem_x509_certificate(self.file(name).read_bytes())

    def credential(self, name: str) -> Credential:
        """The pair that is in force, never half of one and half of the next."""
        pair = (self.directory / f"{name}.current").resolve()
        certificates = x509.load_pem_x509_certificates((pair / f"{name}.pem").read_bytes())
        key = serialization.load_pem_private_key((pair / f"{name}.key").read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        copies = self.directory.with_name(f"{self.directory.name}-credentials")
        copies.mkdir(exist_ok=True)
        return Credential(certificates[0], key, tuple(certificates[1:]), copies)

    def crl(self) -> x509.CertificateRevocationList:
        """The revocation list that is in force."""
        return x509.load_pem_x509_crl(self.file("crl").read_bytes())

    def _run(self, arguments: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "CERTS": str(self.directory)}
        return subprocess.run(
            ["bash", str(SCRIPT), *arguments], env=environment, capture_output=True, text=True, check=False
        )
