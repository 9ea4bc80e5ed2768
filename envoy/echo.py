#!/usr/bin/env python3
"""An upstream that answers every request with what it saw: method, path and headers, as JSON.

    echo.py [--address 127.0.0.1] [--port 8080]
"""

from __future__ import annotations

import argparse
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Echo(BaseHTTPRequestHandler):
    """Any method, any path; a header that comes twice is a list."""

    protocol_version = "HTTP/1.1"

    def __getattr__(self, name: str) -> object:
        # http.server calls do_<METHOD>; here one answer serves all of them.
        if name.startswith("do_"):
            return self._answer
        raise AttributeError(name)

    def _answer(self) -> None:
        self._read_body()
        seen: dict[str, object] = {}
        for name in self.headers:
            values = self.headers.get_all(name, [])
            seen[name.lower()] = values[0] if len(values) == 1 else values
        body = json.dumps({"method": self.command, "path": self.path, "headers": seen}, indent=2).encode() + b"\n"
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _read_body(self) -> None:
        # The connection is used again, so what is left in it would be the next request.
        if self.headers.get("transfer-encoding", "").lower() != "chunked":
            self.rfile.read(int(self.headers.get("content-length", 0)))
            return
        while size := int(self.rfile.readline().split(b";")[0], 16):
            self.rfile.read(size + len(b"\r\n"))
        while self.rfile.readline().strip():
            pass

    def log_message(self, *_: object) -> None:
        """Envoy's access log tells enough."""


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--address", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    chosen = parser.parse_args()
    server = ThreadingHTTPServer((chosen.address, chosen.port), Echo)
    server.daemon_threads = True
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
