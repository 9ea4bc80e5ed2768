"""Reading HTTP/1.1 messages off a socket, byte for byte."""

from __future__ import annotations

import socket

from .response import ConnectionEnded, Header


class Reader:
    """A buffered reader that knows where an HTTP/1.1 message ends."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._buffer = b""

    def head(self) -> tuple[str, list[Header]]:
        """The start line and the header lines, names in lower case, repetitions kept."""
        lines = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        headers = []
        for line in lines[1:]:
            name, _, value = line.partition(":")
            headers.append((name.strip().lower(), value.strip(" \t")))
        return lines[0], headers

    def body(self, headers: list[Header], *, until_close: bool = False) -> bytes:
        """The body that `headers` announce; `until_close` for a response that announces none."""
        fields = dict(headers)
        if "chunked" in fields.get("transfer-encoding", ""):
            return self._chunks()
        if "content-length" in fields:
            return self._exactly(int(fields["content-length"]))
        return self._rest() if until_close else b""

    def some(self) -> bytes:
        """Whatever comes next; empty at the end."""
        if self._buffer:
            data, self._buffer = self._buffer, b""
            return data
        try:
            return self._socket.recv(65536)
        except ConnectionError:
            return b""

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self._until(b"\r\n").split(b";")[0], 16):
            body += self._exactly(size)
            self._until(b"\r\n")
        while self._until(b"\r\n"):
            pass
        return body

    def _rest(self) -> bytes:
        data = b""
        while more := self.some():
            data += more
        return data

    def _until(self, end: bytes) -> bytes:
        while end not in self._buffer:
            self._fill()
        data, _, self._buffer = self._buffer.partition(end)
        return data

    def _exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._fill()
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    def _fill(self) -> None:
        try:
            data = self._socket.recv(65536)
        except ConnectionError as error:
            raise ConnectionEnded(str(error)) from error
        if not data:
            raise ConnectionEnded("closed by the peer")
        self._buffer += data
