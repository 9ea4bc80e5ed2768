"""An upstream that answers with what it received and remembers it.

It reads the socket itself: an HTTP library would merge, reorder or reject the very header
lines that a test wants to see.
"""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import threading
from types import TracebackType

from .response import ConnectionEnded, Echo
from .wire import Reader

_LOCALHOST = "127.0.0.1"
SLOW = "/slow/"
_WEBSOCKET = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Upstream:
    """An HTTP/1.1 echo server on a free port, one thread a connection.

    What has a path below `SLOW` is answered only after `release`, once `hold` has been called.
    """

    def __init__(self) -> None:
        self._socket = socket.create_server((_LOCALHOST, 0), backlog=128)
        self.port: int = self._socket.getsockname()[1]
        self._requests: list[Echo] = []
        self._lock = threading.Lock()
        self._released = threading.Event()
        self._released.set()

    def __enter__(self) -> Upstream:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def hold(self) -> None:
        """Leaves slow requests without an answer from now on."""
        self._released.clear()

    def release(self) -> None:
        """Answers the requests that were held, and all later ones."""
        self._released.set()

    def mark(self) -> int:
        """A position in the list of requests, to be given to `since`."""
        with self._lock:
            return len(self._requests)

    def since(self, mark: int) -> list[Echo]:
        """Every request that arrived after `mark`; empty when what was refused stayed away."""
        with self._lock:
            return self._requests[mark:]

    def _remember(self, request: Echo) -> None:
        with self._lock:
            self._requests.append(request)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            reader = Reader(connection)
            try:
                while self._answer_one(connection, reader):
                    pass
            except (ConnectionEnded, OSError):
                return

    def _answer_one(self, connection: socket.socket, reader: Reader) -> bool:
        start, headers = reader.head()
        method, path, _ = start.split(" ", 2)
        upgrade = [value for name, value in headers if name == "upgrade"]
        body = b"" if upgrade or method == "CONNECT" else reader.body(headers)
        request = Echo(method, path, headers, len(body))
        self._remember(request)
        if upgrade or method == "CONNECT":
            keys = [value for name, value in headers if name == "sec-websocket-key"]
            _switch_protocols(connection, reader, upgrade, keys)
            return False
        if path.startswith(SLOW):
            self._released.wait()
        connection.sendall(_response(request))
        return True


def _switch_protocols(connection: socket.socket, reader: Reader, upgrade: list[str], keys: list[str]) -> None:
    """Accepts the upgrade and sends back every byte, which is enough to see that a tunnel stands."""
    if upgrade:
        # RFC 6455 section 4.2.2; HAProxy looks at it.
        accepted = [base64.b64encode(hashlib.sha1(f"{key}{_WEBSOCKET}".encode()).digest()).decode() for key in keys]
        lines = ["connection: upgrade", f"upgrade: {upgrade[0]}", *(f"sec-websocket-accept: {each}" for each in accepted)]
        head = "\r\n".join(["HTTP/1.1 101 Switching Protocols", *lines, "", ""])
    else:
        head = "HTTP/1.1 200 OK\r\n\r\n"
    connection.sendall(head.encode("latin-1"))
    while data := reader.some():
        connection.sendall(data)


def _response(request: Echo) -> bytes:
    body = json.dumps({
        "method": request.method, "path": request.path,
        "headers": request.headers, "body_length": request.body_length,
    }).encode()
    head = (
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-upstream: echo\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + (b"" if request.method == "HEAD" else body)
