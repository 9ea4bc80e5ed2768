"""An HTTP/2 client that sends header lists no well-behaved client would send."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType

import h2.config
import h2.connection
import h2.errors
import h2.events

from .http1 import AUTHORITY
from .response import ConnectionEnded, Header, Response
from .tls import ClientTls, connect


@dataclass
class _Stream:
    head: list[Header] | None = None
    body: bytes = b""
    trailers: list[Header] = field(default_factory=list)
    ended: bool = False
    error: int | None = None


class Http2:
    """One connection with any number of streams. Validation of what is sent is switched off."""

    def __init__(self, port: int, tls: ClientTls | None, *, source: str = "127.0.0.1") -> None:
        self._attach(connect(port, tls, "h2", source=source))

    @classmethod
    def over(cls, connection: socket.socket) -> Http2:
        """A client over a connection that the test has made itself."""
        client = cls.__new__(cls)
        client._attach(connection)
        return client

    def _attach(self, connection: socket.socket) -> None:
        self.socket = connection
        self._connection = h2.connection.H2Connection(h2.config.H2Configuration(
            client_side=True,
            header_encoding=None,
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
            validate_inbound_headers=False,
            normalize_inbound_headers=False,
        ))
        self._connection.initiate_connection()
        self._streams: dict[int, _Stream] = {}
        self._flush()

    def __enter__(self) -> Http2:
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
        host: str = AUTHORITY,
        trailers: Sequence[Header] | None = None,
    ) -> Response:
        """Sends one request and reads its answer; with `trailers`, they end the stream."""
        pseudo = [(":method", method), (":scheme", "https"), (":authority", host), (":path", path)]
        stream = self.open([*pseudo, *headers], body, end=trailers is None)
        if trailers is not None:
            self.trailers(stream, trailers)
        return self.response(stream)

    def open(self, headers: Sequence[Header], body: bytes = b"", *, end: bool = True) -> int:
        """Starts a stream with exactly these header fields, pseudo headers included.

        The stream is ended after `body` unless `end` is false.
        """
        stream = self._connection.get_next_available_stream_id()
        self._connection.send_headers(stream, _encode(headers), end_stream=end and not body)
        self._streams[stream] = _Stream()
        if body:
            self.data(stream, body, end=end)
        self._flush()
        return stream

    def data(self, stream: int, data: bytes, *, end: bool = False) -> None:
        """Sends body bytes, waiting for the peer's flow-control window where it is too small.

        Gives up without an error when the peer has already answered: that is what an
        early refusal of a request with a large body looks like.
        """
        state = self._streams[stream]
        while data and not state.ended and state.error is None:
            room = min(self._connection.local_flow_control_window(stream),
                       self._connection.max_outbound_frame_size)
            if room == 0:
                self._receive()
                continue
            chunk, data = data[:room], data[room:]
            self._connection.send_data(stream, chunk, end_stream=end and not data)
            self._flush()

    def reset(self, stream: int) -> None:
        """Takes a stream back, as a client does that no longer wants the answer."""
        self._connection.reset_stream(stream, h2.errors.ErrorCodes.CANCEL)
        self._flush()

    def trailers(self, stream: int, headers: Sequence[Header]) -> None:
        """Ends a stream with exactly these trailers."""
        state = self._streams[stream]
        if not state.ended and state.error is None:
            self._connection.send_headers(stream, _encode(headers), end_stream=True)
            self._flush()

    def head(self, stream: int) -> Response:
        """The response's head, as soon as it is there, for a stream that stays open."""
        state = self._streams[stream]
        while state.head is None:
            self._raise_if_over(state)
            self._receive()
        return _response(state)

    def response(self, stream: int) -> Response:
        """The complete response of a stream."""
        state = self._streams[stream]
        while not state.ended:
            self._raise_if_over(state)
            self._receive()
        if state.head is None:
            self._raise_if_over(state)
        return _response(state)

    def body(self, stream: int, size: int) -> bytes:
        """At least `size` body bytes of a stream that stays open."""
        state = self._streams[stream]
        while len(state.body) < size:
            self._raise_if_over(state)
            self._receive()
        return state.body

    def _raise_if_over(self, state: _Stream) -> None:
        if state.error is not None:
            raise ConnectionEnded(f"stream reset with error code {state.error}")
        if state.ended and state.head is None:
            raise ConnectionEnded("stream ended without a response")

    def _receive(self) -> None:
        try:
            data = self.socket.recv(65536)
        except ConnectionError as error:
            raise ConnectionEnded(str(error)) from error
        if not data:
            raise ConnectionEnded("closed by the peer")
        for event in self._connection.receive_data(data):
            self._handle(event)
        self._flush()

    def _handle(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.ConnectionTerminated):
            if event.error_code:
                raise ConnectionEnded(f"connection ended with error code {event.error_code}")
            return
        state = self._streams.get(getattr(event, "stream_id", None) or 0)
        if state is None:
            return
        if isinstance(event, h2.events.ResponseReceived):
            state.head = _decode(event.headers)
        elif isinstance(event, h2.events.TrailersReceived):
            state.trailers = _decode(event.headers)
        elif isinstance(event, h2.events.DataReceived):
            state.body += event.data
            self._connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            state.ended = True
        elif isinstance(event, h2.events.StreamReset) and not state.ended:
            state.error = int(event.error_code)

    def _flush(self) -> None:
        data = self._connection.data_to_send()
        if data:
            self.socket.sendall(data)


def _encode(headers: Sequence[Header]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]


def _decode(headers: Sequence[tuple[bytes, bytes]]) -> list[Header]:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]


def _response(state: _Stream) -> Response:
    assert state.head is not None
    status = next(value for name, value in state.head if name == ":status")
    headers = [(name, value) for name, value in state.head if not name.startswith(":")]
    return Response(int(status), headers, state.body, state.trailers)
