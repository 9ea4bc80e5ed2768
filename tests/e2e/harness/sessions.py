"""Connections that offer the TLS session of an earlier one."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass

from . import verdicts
from .envoy import Envoy
from .http1 import Http1
from .response import ConnectionEnded


@dataclass(frozen=True)
class Connection:
    """What one connection and its request came to."""

    resumed: bool
    verdict: str
    session: ssl.SSLSession | None


def connect_again(
    envoy: Envoy, listener: str, context: ssl.SSLContext, session: ssl.SSLSession | None = None
) -> Connection:
    """A connection, with a session from an earlier one or without, and a request on it."""
    plain = socket.create_connection(("127.0.0.1", envoy.port(listener)))
    try:
        connection = context.wrap_socket(plain, server_hostname="localhost", session=session)
        with Http1.over(connection) as client:
            verdict = verdicts.reason_of(client.request())
            # TLS 1.3 sends its ticket after the handshake, so it is here only now.
            return Connection(bool(connection.session_reused), verdict, connection.session)
    except (ssl.SSLError, ConnectionEnded, ConnectionError):
        plain.close()
        return Connection(False, "no connection", None)
