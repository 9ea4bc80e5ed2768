"""An HTTP/3 client that sends header lists no well-behaved client would send, and chooses its connection ids and addresses."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType

from aioquic.h3.connection import H3_ALPN, ErrorCode, H3Connection, H3Stream
from aioquic.h3.events import DataReceived, H3Event, HeadersReceived
from aioquic.quic import events
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection

from .http1 import AUTHORITY
from .response import ConnectionEnded, Header, Response
from .tls import TIMEOUT_SECONDS, UDP_PORTS, ClientTls


@dataclass
class _Stream:
    head: list[Header] | None = None
    body: bytes = b""
    trailers: list[Header] = field(default_factory=list)
    ended: bool = False
    stopped: bool = False
    """The peer wants no more of the request."""
    error: int | None = None


class Http3:
    """One QUIC connection with any number of streams. `with Http3(port, ClientTls(leaf)) as client: client.request(...)`

    `port` is that of a listener over QUIC, or of one over TCP that has one beside it.

    `connection_id` is the destination connection id of the first packet, from which Envoy derives its `connection.id`.
    """

    def __init__(
        self, port: int, tls: ClientTls, *, source: str = "127.0.0.1", connection_id: bytes | None = None
    ) -> None:
        self._peer = ("127.0.0.1", UDP_PORTS.get(port, port))
        self.socket = _bound(source)
        self._quic = QuicConnection(configuration=_configuration(tls), session_ticket_handler=self._keep)
        if connection_id is not None:
            self._quic._peer_cid.cid = connection_id
            self._quic._original_destination_connection_id = connection_id
        self.tickets = 0
        """How many TLS session tickets the peer has sent."""
        self._streams: dict[int, _Stream] = {}
        self._ended: str | None = None
        self._pings: set[int] = set()
        self._retired = 0
        self._http = _Tolerant(self._quic)
        try:
            self._quic.connect(self._peer, now=time.monotonic())
            # That is, the peer has accepted the certificate. A refused one ends the connection instead.
            self._wait(lambda: self._quic._handshake_confirmed)
        except BaseException:
            self.socket.close()
            raise

    def __enter__(self) -> Http3:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection and says so to the peer."""
        self._quic.close(ErrorCode.H3_NO_ERROR)
        self._flush()
        self.socket.close()

    def abandon(self) -> None:
        """Ends the connection without a word."""
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
        stream = self._quic.get_next_available_stream_id()
        self._streams[stream] = _Stream()
        self._http.send_headers(stream, _encode(headers), end_stream=end and not body)
        if body:
            self.data(stream, body, end=end)
        self._flush()
        return stream

    def data(self, stream: int, data: bytes, *, end: bool = False) -> None:
        """Sends body bytes, as far as the peer wants them: flow control holds the rest back until something is awaited."""
        if self._sends(stream):
            self._http.send_data(stream, data, end_stream=end)
            self._flush()

    def trailers(self, stream: int, headers: Sequence[Header]) -> None:
        """Ends a stream with exactly these trailers."""
        if self._sends(stream):
            self._http.send_headers(stream, _encode(headers), end_stream=True)
            self._flush()

    def reset(self, stream: int) -> None:
        """Takes a stream back, as a client does that no longer wants the answer."""
        self._quic.reset_stream(stream, ErrorCode.H3_REQUEST_CANCELLED)
        self._quic.stop_stream(stream, ErrorCode.H3_REQUEST_CANCELLED)
        self._flush()

    def head(self, stream: int) -> Response:
        """The response's head, as soon as it is there, for a stream that stays open."""
        state = self._streams[stream]
        self._wait(lambda: state.head is not None, state)
        return _response(state)

    def response(self, stream: int) -> Response:
        """The complete response of a stream."""
        state = self._streams[stream]
        self._wait(lambda: state.ended and state.head is not None, state)
        return _response(state)

    def body(self, stream: int, size: int) -> bytes:
        """At least `size` body bytes of a stream that stays open."""
        state = self._streams[stream]
        self._wait(lambda: len(state.body) >= size, state)
        return state.body

    def retire_connection_id(self) -> None:
        """Goes on under the next id that the peer has given, retires the one before, and waits until the peer knows."""
        self._wait(lambda: bool(self._quic._peer_cid_available))
        self._quic.change_connection_id()
        self.ping()

    def move(self, source: str = "127.0.0.1") -> None:
        """Sends from another address and port from now on, as after a change of NAT; waits until the peer has answered there."""
        old, self.socket = self.socket, _bound(source)
        old.close()
        self.ping()

    def migrate(self, source: str) -> None:
        """Moves and takes a new connection id, as a client does that changes its network (RFC 9000, section 9)."""
        self._wait(lambda: bool(self._quic._peer_cid_available))
        retired = self._retired
        self._quic.change_connection_id()
        self.move(source)
        # For every path the peer needs an id of ours, and we give it a new one when it retires the old one.
        self._wait(lambda: self._retired > retired)
        self.ping()

    def ping(self) -> None:
        """Waits until the peer has acknowledged everything that was sent before."""
        number = len(self._pings)
        self._quic.send_ping(number)
        self._wait(lambda: number in self._pings)

    def _sends(self, stream: int) -> bool:
        state = self._streams[stream]
        return not (state.ended or state.stopped or state.error is not None)

    def _keep(self, ticket: object) -> None:
        self.tickets += 1

    def _wait(self, condition: Callable[[], bool], state: _Stream | None = None) -> None:
        deadline = time.monotonic() + TIMEOUT_SECONDS
        self._flush()
        while not condition():
            if state is not None and state.error is not None:
                raise ConnectionEnded(f"stream reset with error code {state.error:#x}")
            if state is not None and state.ended and state.head is None:
                raise ConnectionEnded("stream ended without a response")
            if self._ended is not None:
                raise ConnectionEnded(self._ended)
            if time.monotonic() > deadline:
                raise TimeoutError("the peer has stopped answering")
            self._step(deadline)

    def _step(self, deadline: float) -> None:
        timer = self._quic.get_timer()
        until = deadline if timer is None else min(timer, deadline)
        self.socket.settimeout(max(until - time.monotonic(), 0.0005))
        try:
            data, peer = self.socket.recvfrom(65536)
        except TimeoutError:
            self._quic.handle_timer(now=time.monotonic())
        except ConnectionRefusedError as error:
            raise ConnectionEnded(str(error)) from error
        else:
            self._quic.receive_datagram(data, peer, now=time.monotonic())
        while (event := self._quic.next_event()) is not None:
            self._on_quic(event)
        self._flush()

    def _on_quic(self, event: events.QuicEvent) -> None:
        if isinstance(event, events.ConnectionTerminated):
            self._ended = f"connection ended with error code {event.error_code:#x} {event.reason_phrase}"
        elif isinstance(event, events.ConnectionIdRetired):
            self._retired += 1
        elif isinstance(event, events.PingAcknowledged):
            self._pings.add(event.uid)
        elif isinstance(event, events.StreamReset) and event.stream_id in self._streams:
            state = self._streams[event.stream_id]
            if not state.ended:
                state.error = event.error_code
        elif isinstance(event, events.StopSendingReceived) and event.stream_id in self._streams:
            self._streams[event.stream_id].stopped = True
        for each in self._http.handle_event(event):
            self._on_http(each)

    def _on_http(self, event: H3Event) -> None:
        state = self._streams.get(getattr(event, "stream_id", -1))
        if state is None:
            return
        if isinstance(event, HeadersReceived):
            headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in event.headers]
            if state.head is not None:
                state.trailers = headers
            elif not dict(headers)[":status"].startswith("1"):
                state.head = headers
        elif isinstance(event, DataReceived):
            state.body += event.data
        if isinstance(event, HeadersReceived | DataReceived):
            state.ended = state.ended or event.stream_ended

    def _flush(self) -> None:
        for data, peer in self._quic.datagrams_to_send(now=time.monotonic()):
            self.socket.sendto(data, peer)


def taken(client: type, value: str) -> str:
    """A header value as a test sends it: over HTTP/3 Envoy takes ASCII alone, and ends the connection otherwise."""
    return value.encode("ascii", "replace").decode() if client is Http3 else value


def grouped(headers: Sequence[Header]) -> list[Header]:
    """Trailers in the order in which Envoy has those of HTTP/3: all lines of one name where the first of them was."""
    names = dict.fromkeys(name for name, _ in headers)
    return [line for name in names for line in headers if line[0] == name]


class _Tolerant(H3Connection):
    """Takes an answer to HEAD, which has a content-length and no content."""

    def _check_content_length(self, stream: H3Stream) -> None:
        pass


def _bound(source: str) -> socket.socket:
    plain = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    plain.bind((source, 0))
    return plain


def _configuration(tls: ClientTls) -> QuicConfiguration:
    configuration = QuicConfiguration(alpn_protocols=H3_ALPN, server_name="localhost", verify_mode=ssl.CERT_NONE)
    if tls.credential is not None:
        configuration.load_cert_chain(tls.credential.chain_file, tls.credential.key_file)
    return configuration


def _encode(headers: Sequence[Header]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]


def _response(state: _Stream) -> Response:
    assert state.head is not None
    status = next(value for name, value in state.head if name == ":status")
    headers = [(name, value) for name, value in state.head if not name.startswith(":")]
    return Response(int(status), headers, state.body, state.trailers)
