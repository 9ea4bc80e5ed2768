"""A server that the filter fetches from, and that answers well, badly, late or not at all."""

from __future__ import annotations

import hashlib
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from types import TracebackType

from .response import ConnectionEnded, Header
from .wire import Reader

_LOCALHOST = "127.0.0.1"


@dataclass(frozen=True)
class Answer:
    """What the server says to a fetch."""

    body: bytes = b""
    status: int = 200
    content_type: str = "application/json"
    missing: int = 0
    """How many bytes of the announced body do not come before the connection ends."""
    chunked: bool = False
    headers: tuple[Header, ...] = ()
    tagged: bool = False
    """Has an ETag, and a fetch that names it is answered with 304."""
    delay_seconds: float = 0
    """Before anything comes."""
    drip_seconds: float = 0
    """Between one byte and the next."""
    reset: bool = False
    """The connection is reset behind what came."""


RESET = Answer(status=0, reset=True)
"""The connection is reset instead of an answer."""


@dataclass(frozen=True)
class Fetch:
    """A request as the server received it."""

    method: str
    path: str
    headers: list[Header]


class FetchServer:
    """HTTP/1.1 on a free port, one thread a connection, connections kept open.

    `hold` lets fetches arrive and leaves them without an answer until `release`; `refuse` closes the port
    until `publish`.
    """

    def __init__(self, answer: Answer, *, held: bool = False) -> None:
        self._answer = answer
        self._lock = threading.Lock()
        self._fetches: list[Fetch] = []
        self._under_way = 0
        self._most_at_once = 0
        self._last = time.monotonic()
        self._connections: set[socket.socket] = set()
        self._released = threading.Event()
        if not held:
            self._released.set()
        self._listening: socket.socket | None = socket.create_server((_LOCALHOST, 0), backlog=128)
        self.port: int = self._listening.getsockname()[1]

    def __enter__(self) -> FetchServer:
        assert self._listening is not None
        threading.Thread(target=self._accept, args=(self._listening,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.refuse()
        self._released.set()

    def publish(self, answer: Answer) -> None:
        """Answers like this from now on, held fetches included."""
        with self._lock:
            self._answer = answer
            closed = self._listening is None
        if closed:
            self._listening = socket.create_server((_LOCALHOST, self.port), backlog=128)
            threading.Thread(target=self._accept, args=(self._listening,), daemon=True).start()

    def hold(self) -> None:
        """Leaves fetches without an answer from now on."""
        self._released.clear()

    def release(self) -> None:
        """Answers the fetches that were held, and all later ones."""
        self._released.set()

    def refuse(self) -> None:
        """Accepts no connection any more and ends those that are open."""
        with self._lock:
            listening, self._listening = self._listening, None
            connections = list(self._connections)
        if listening is not None:
            # A thread that waits in `accept` would accept once more after `close` alone.
            with suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)
            listening.close()
        for connection in connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def fetches(self) -> list[Fetch]:
        """Every fetch so far, also those that are held."""
        with self._lock:
            return list(self._fetches)

    def count(self) -> int:
        """How many fetches have arrived."""
        return len(self.fetches())

    def most_at_once(self) -> int:
        """How many fetches have been under way at the same time."""
        with self._lock:
            return self._most_at_once

    def idle_seconds(self) -> float:
        """The time since the last fetch arrived or was answered."""
        with self._lock:
            return time.monotonic() - self._last

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with self._lock:
                self._connections.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            reader = Reader(connection)
            with suppress(ConnectionEnded, OSError):
                while self._answer_one(connection, reader):
                    pass
            with self._lock:
                self._connections.discard(connection)

    def _answer_one(self, connection: socket.socket, reader: Reader) -> bool:
        start, headers = reader.head()
        method, path, _ = start.split(" ", 2)
        reader.body(headers)
        with self._lock:
            self._fetches.append(Fetch(method, path, headers))
            self._last = time.monotonic()
            self._under_way += 1
            self._most_at_once = max(self._most_at_once, self._under_way)
        try:
            answer = self._next_answer(headers)
            for piece in _pieces(answer):
                connection.sendall(piece)
        finally:
            with self._lock:
                self._under_way -= 1
        if answer.reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return not (answer.missing or answer.reset)

    def _next_answer(self, headers: list[Header]) -> Answer:
        self._released.wait()
        with self._lock:
            answer = self._answer
            self._last = time.monotonic()
        time.sleep(answer.delay_seconds)
        if answer.tagged and ("if-none-match", _etag(answer)) in headers:
            return replace(answer, status=304, body=b"")
        return answer


def _etag(answer: Answer) -> str:
    return f'"{hashlib.sha256(answer.body).hexdigest()[:16]}"'


def _pieces(answer: Answer) -> Iterator[bytes]:
    if not answer.status:
        return
    message = _message(answer)
    if not answer.drip_seconds:
        yield message
        return
    for start in range(len(message)):
        time.sleep(answer.drip_seconds)
        yield message[start:start + 1]


def _message(answer: Answer) -> bytes:
    body, length = answer.body, f"content-length: {len(answer.body)}"
    if answer.chunked:
        length = "transfer-encoding: chunked"
        pieces = [body[start:start + 1000] for start in range(0, len(body), 1000)]
        body = b"".join(f"{len(piece):x}\r\n".encode() + piece + b"\r\n" for piece in [*pieces, b""])
    elif answer.missing:
        body = body[:-answer.missing]
    lines = [f"HTTP/1.1 {answer.status} Some Reason", f"content-type: {answer.content_type}",
             *([] if answer.status == 304 else [length]),
             *([f"etag: {_etag(answer)}"] if answer.tagged and answer.status == 200 else []),
             *(f"{name}: {value}" for name, value in answer.headers)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def cut(answer: Answer) -> Answer:
    """The answer, whose connection ends in the middle of the body."""
    return replace(answer, missing=len(answer.body) // 2)
