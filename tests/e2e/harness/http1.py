"""An HTTP/1.1 client that sends exactly the bytes it is given."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from types import TracebackType

from .response import Header, Response
from .tls import ClientTls, connect
from .wire import Reader

AUTHORITY = "api.example"


class Http1:
    """One keep-alive connection. `with Http1(port, ClientTls(leaf)) as client: client.request(...)`"""

    def __init__(self, port: int, tls: ClientTls | None, *, source: str = "127.0.0.1") -> None:
        self._attach(connect(port, tls, "http/1.1", source=source))

    @classmethod
    def over(cls, connection: socket.socket) -> Http1:
        """A client over a connection that the test has made itself."""
        client = cls.__new__(cls)
        client._attach(connection)
        return client

    def _attach(self, connection: socket.socket) -> None:
        self.socket = connection
        self._reader = Reader(connection)

    def __enter__(self) -> Http1:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    def request(
        self,
        method: str = "GET",
        path: str = "/",
        headers: Sequence[Header] = (),
        body: bytes = b"",
        *,
        host: str | None = AUTHORITY,
        trailers: Sequence[Header] | None = None,
    ) -> Response:
        """Sends one request and reads its answer; nothing is added but `host` and `content-length`.

        With `trailers`, be it without a line, the body is sent as one chunk and they stand behind it.
        """
        lines = [f"{method} {path} HTTP/1.1"]
        if host is not None:
            lines.append(f"host: {host}")
        lines += [f"{name}: {value}" for name, value in headers]
        if trailers is not None:
            lines.append("transfer-encoding: chunked")
            body = _chunked(body, trailers)
        elif body:
            lines.append(f"content-length: {len(body)}")
        self.send("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        return self.response(to_head=method == "HEAD")

    def send(self, data: bytes) -> None:
        """Raw bytes, complete or not."""
        self.socket.sendall(data)

    def response(self, *, to_head: bool = False) -> Response:
        """The next response on the connection."""
        start, headers = self._reader.head()
        status = int(start.split(" ", 2)[1])
        bodiless = to_head or status in (101, 204, 304)
        body = b"" if bodiless else self._reader.body(headers, until_close=True)
        return Response(status, headers, body)

    def receive(self) -> bytes:
        """Raw bytes after an upgrade; empty when the peer has closed."""
        return self._reader.some()


def _chunked(body: bytes, trailers: Sequence[Header]) -> bytes:
    chunk = f"{len(body):x}\r\n".encode() + body + b"\r\n" if body else b""
    lines = ["0", *(f"{name}: {value}" for name, value in trailers), "", ""]
    return chunk + "\r\n".join(lines).encode("latin-1")


def exchange(port: int, tls: ClientTls | None, data: bytes) -> bytes:
    """Sends raw bytes on a fresh connection, ends its sending side and returns all that came back."""
    with Http1(port, tls) as client:
        client.send(data)
        received = b""
        while more := client.receive():
            received += more
        return received
