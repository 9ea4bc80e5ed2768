"""The client's side of a TLS connection."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass

from .pki import Credential

TIMEOUT_SECONDS = 20.0
"""How long a client waits for a peer that has stopped answering; a test never waits that long."""
UDP_PORTS: dict[int, int] = {}
"""Where `Http3` connects to for a port: for the TCP port of a listener, to the UDP port of the one beside it."""


@dataclass(frozen=True)
class ClientTls:
    """How a client shows itself; the listener's certificate is not what these tests are about."""

    credential: Credential | None = None
    version: ssl.TLSVersion | None = None

    def context(self, alpn: str) -> ssl.SSLContext:
        """A context that can be kept, where a test wants a session to be resumed."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols([alpn])
        if self.version is not None:
            context.minimum_version = self.version
            context.maximum_version = self.version
        if self.credential is not None:
            context.load_cert_chain(self.credential.chain_file, self.credential.key_file)
        return context


def connect(
    port: int, tls: ClientTls | None, alpn: str, *, source: str = "127.0.0.1"
) -> socket.socket:
    """A connection to a listener, in plaintext where `tls` is `None`; `source` is the local address."""
    plain = socket.create_connection(("127.0.0.1", port), TIMEOUT_SECONDS, source_address=(source, 0))
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if tls is None:
        return plain
    return tls.context(alpn).wrap_socket(plain, server_hostname="localhost")
