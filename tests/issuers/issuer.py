"""What the real issuers of these tests have in common: a process that serves HTTPS, and tokens over mTLS."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlencode

from harness.http1 import Http1
from harness.https_keys import HOST
from harness.pki import SERVER_AUTH, Authority, Credential, dns
from harness.response import ConnectionEnded, Header, Response
from harness.shipped import free_port
from harness.tls import ClientTls

DEADLINE_SECONDS = 240
"""A Java server on two busy cores."""


class IssuerFailed(Exception):
    """The issuer did not start; the message carries the end of its output."""


class Issuer:
    """A process that is an issuer. `with Issuer(...) as issuer: issuer.token(credential, "acme-mobile")`"""

    token_path: str
    keys_path: str
    ready_path: str

    def __init__(self, directory: Path, authority: Authority) -> None:
        self.directory = directory
        self.server = authority.issue([("CN", HOST)], sans=[dns(HOST)], extended_key_usage=[SERVER_AUTH])
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> tuple[Sequence[str], Mapping[str, str]]:
        """How it is started, and what its environment has beside that of the test."""
        raise NotImplementedError

    def __enter__(self) -> Issuer:
        command, environment = self.command()
        begin = time.monotonic()
        with (self.directory / "issuer.log").open("ab") as log:
            # A group of its own: Keycloak's script starts Java as its child.
            self._process = subprocess.Popen(
                command, cwd=self.directory, env={**os.environ, **environment}, stdout=log, stderr=log, start_new_session=True,
            )
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > begin + DEADLINE_SECONDS:
                self.__exit__(None, None, None)
                raise IssuerFailed((self.directory / "issuer.log").read_text(errors="replace")[-4000:])
            time.sleep(0.1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def request(
        self, method: str, path: str, headers: Sequence[Header] = (), body: bytes = b"", credential: Credential | None = None
    ) -> Response:
        """A request over a new connection."""
        with Http1(self.port, ClientTls(credential)) as client:
            return client.request(method, path, headers, body, host=HOST)

    def grant(self, credential: Credential | None, client_id: str, **more: str) -> Response:
        """The answer of the token endpoint to the grant `client_credentials`."""
        form = {"grant_type": "client_credentials", "client_id": client_id, **more}
        return self.post_form(self.token_path, form, credential)

    def post_form(self, path: str, form: Mapping[str, str], credential: Credential | None = None) -> Response:
        """A form, as OAuth sends one."""
        headers = [("content-type", "application/x-www-form-urlencoded")]
        return self.request("POST", path, headers, urlencode(form).encode(), credential)

    def token(self, credential: Credential, client_id: str, **more: str) -> str:
        """A new access token for the owner of this certificate."""
        response = self.grant(credential, client_id, **more)
        assert response.status == 200, response.body
        text: str = response.json()["access_token"]
        return text

    def key_ids(self) -> set[str]:
        """The names of the keys that it publishes for signatures."""
        keys = self.request("GET", self.keys_path).json()["keys"]
        return {key["kid"] for key in keys if key.get("use") == "sig"}

    def resident_kib(self) -> int:
        """The memory of all processes of the issuer."""
        assert self._process is not None
        done = subprocess.run(["ps", "-o", "rss=", "-g", str(self._process.pid)], capture_output=True, text=True, check=False)
        return sum(int(line) for line in done.stdout.split())

    def _answers(self) -> bool:
        try:
            return self.request("GET", self.ready_path).status == 200
        except (OSError, ConnectionEnded):
            return False


def parts(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The header and the claims of a token."""
    header, claims = (json.loads(base64.urlsafe_b64decode(f"{part}==")) for part in token.split(".")[:2])
    return header, claims
