"""A key server with HTTPS, and the shipped cluster by which Envoy finds one."""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress
from pathlib import Path

from .fetched import Answer, FetchServer
from .pki import Credential
from .shipped import ENVOY

HOST = "auth.example"
_SYSTEM = "/etc/ssl/certs/ca-certificates.crt"


class HttpsServer(FetchServer):
    """A `FetchServer` behind TLS."""

    def __init__(self, answer: Answer, server: Credential) -> None:
        super().__init__(answer)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(server.chain_file, server.key_file)
        self._context.sni_callback = self._asked
        self.names: set[str | None] = set()
        """What clients have asked for (SNI)."""

    def _asked(self, connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        self.names.add(name)

    def _serve(self, connection: socket.socket) -> None:
        # A client that refuses the certificate ends the handshake.
        with connection, suppress(OSError):
            super()._serve(self._context.wrap_socket(connection, server_side=True))


def https_keys(port: int, trust_file: Path, name: str = "issuer") -> str:
    """`envoy/issuers/https-keys.yaml`, for a server on this machine with a certificate of this authority."""
    text = (ENVOY / "issuers" / "https-keys.yaml").read_text()
    for old, new, count in [
        (f"address: {HOST}, port_value: 443", f"address: 127.0.0.1, port_value: {port}", 1),
        (_SYSTEM, str(trust_file), 1), ("name: issuer\n", f"name: {name}\n", 2),
    ]:
        assert text.count(old) == count, old
        text = text.replace(old, new)
    return text


def together(*texts: str) -> str:
    """The clusters of several in one."""
    head = "static_resources:\n  clusters:\n"
    return head + "".join(text.partition(head)[2] for text in texts)
