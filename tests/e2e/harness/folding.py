"""An upstream that writes the method of a request in capitals before it acts on it, as Flask and others do."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType


class FoldingUpstream:
    """Python's own `http.server` with handlers that delete, purge and read. `done` is what it did, in order."""

    def __init__(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self.done: list[tuple[str, str]] = []
        """What was done, and to which path: `("delete", "/things/1")`."""
        _Handler.upstreams[self.port] = self

    def __enter__(self) -> FoldingUpstream:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def since(self, mark: int) -> list[tuple[str, str]]:
        """What was done after `mark`, a former length of `done`."""
        return self.done[mark:]


class _Handler(BaseHTTPRequestHandler):
    upstreams: dict[int, FoldingUpstream] = {}
    protocol_version = "HTTP/1.1"

    def parse_request(self) -> bool:
        is_good = super().parse_request()
        self.command = (self.command or "").upper()
        return is_good

    def _act(self) -> None:
        port: int = self.server.server_address[1]  # type: ignore[assignment]
        self.upstreams[port].done.append((self.command.lower(), self.path))
        self.send_response(200)
        self.send_header("x-upstream", "echo")
        self.send_header("content-length", "0")
        self.end_headers()

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PURGE = _act  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is logged."""
