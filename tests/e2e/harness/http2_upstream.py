"""An HTTP/2 upstream that answers with what it received, trailers included."""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, replace

import h2.config
import h2.connection
import h2.events

from .response import Echo, Header
from .upstream import Upstream


class Http2Upstream(Upstream):
    """A plaintext HTTP/2 echo server on a free port. Nothing that comes in is validated or changed."""

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            protocol = h2.connection.H2Connection(h2.config.H2Configuration(
                client_side=False,
                header_encoding=None,
                validate_inbound_headers=False,
                normalize_inbound_headers=False,
            ))
            protocol.initiate_connection()
            requests: dict[int, Echo] = {}
            data = b""
            while True:
                for event in protocol.receive_data(data):
                    self._handle(protocol, requests, event)
                connection.sendall(protocol.data_to_send())
                data = connection.recv(65536)
                if not data:
                    return

    def _handle(
        self, protocol: h2.connection.H2Connection, requests: dict[int, Echo], event: h2.events.Event
    ) -> None:
        if isinstance(event, h2.events.RequestReceived):
            fields = _decode(event.headers)
            pseudo = dict(fields)
            headers = [(name, value) for name, value in fields if not name.startswith(":")]
            requests[event.stream_id] = Echo(pseudo[":method"], pseudo[":path"], headers, 0)
        elif isinstance(event, h2.events.DataReceived):
            request = requests[event.stream_id]
            requests[event.stream_id] = replace(request, body_length=request.body_length + len(event.data))
            protocol.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.TrailersReceived):
            requests[event.stream_id] = replace(requests[event.stream_id], trailers=_decode(event.headers))
        elif isinstance(event, h2.events.StreamReset):
            requests.pop(event.stream_id, None)
        elif isinstance(event, h2.events.StreamEnded):
            request = requests.pop(event.stream_id)
            self._remember(request)
            _answer(protocol, event.stream_id, request)


def _answer(protocol: h2.connection.H2Connection, stream: int, request: Echo) -> None:
    head = [(":status", "200"), ("content-type", "application/json"), ("x-upstream", "echo")]
    protocol.send_headers(stream, head)
    body = json.dumps(asdict(request)).encode()
    size = protocol.max_outbound_frame_size
    # Envoy's flow-control window is far larger than any such body.
    for start in range(0, len(body), size):
        protocol.send_data(stream, body[start:start + size])
    protocol.end_stream(stream)


def _decode(headers: Sequence[tuple[bytes, bytes]]) -> list[Header]:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]
