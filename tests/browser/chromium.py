"""Headless Chromium, and a server of pages that call an API and report what their script saw."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

PACKAGE = "chromium+chromium-common"
TIMEOUT_SECONDS = 60.0
PAGE = """<!doctype html><script>
(async () => {
  const seen = [];
  for (const [method, path, headers] of CALLS) {
    try {
      const answer = await fetch(API + path, {method, headers, body: method === "PUT" ? "{}" : undefined});
      const read = {status: answer.status, body: await answer.text(), headers: Object.fromEntries(answer.headers)};
      seen.push(read);
    } catch (error) { seen.push({error: String(error)}); }
  }
  await fetch("/seen", {method: "POST", body: JSON.stringify(seen)});
})();
</script>
"""

Call = tuple[str, str, dict[str, str]]
"""Method, path, headers."""


def executable() -> Path:
    """The browser; without it the test fails."""
    folder = os.environ.get("BROWSER")
    assert folder, "$BROWSER is not set: run `make test-browser`, which unpacks Chromium"
    return Path(folder) / PACKAGE / "usr/lib/chromium/chromium"


class Pages:
    """Pages on a free port. `pages.open("localhost", api, calls)` gives what each call of the script came to."""

    def __init__(self) -> None:
        self._seen: queue.SimpleQueue[list[dict[str, Any]]] = queue.SimpleQueue()
        self._page = b""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.port: int = self._server.server_port

    def close(self) -> None:
        """Ends the server."""
        self._server.shutdown()

    def open(self, host: str, api: str, calls: Sequence[Call]) -> list[dict[str, Any]]:
        """Opens a page of the origin `http://HOST:PORT` in a fresh browser, which makes these calls one after the other."""
        self._page = PAGE.replace("API", json.dumps(api)).replace("CALLS", json.dumps(calls)).encode()
        with tempfile.TemporaryDirectory(prefix="chromium-") as profile:
            command = [
                str(executable()), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
                # The API's certificate is one for experiments.
                "--ignore-certificate-errors", f"--user-data-dir={profile}", "--remote-debugging-port=0", f"http://{host}:{self.port}/",
            ]
            libraries = {str(path.parent) for path in (Path(os.environ["BROWSER"]) / PACKAGE).rglob("lib*.so*")}
            environment = {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(sorted(libraries)), "HOME": profile}
            log = Path(profile) / "output.log"
            with log.open("wb") as output:
                process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
            try:
                return self._seen.get(timeout=TIMEOUT_SECONDS)
            except queue.Empty:
                raise AssertionError(f"the page has reported nothing:\n{log.read_text(errors='replace')[-2000:]}") from None
            finally:
                process.terminate()
                process.wait(TIMEOUT_SECONDS)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        pages = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:  # noqa: N802
                page = pages._page if self.path == "/" else b""
                self._answer(page)

            def do_POST(self) -> None:  # noqa: N802
                pages._seen.put(json.loads(self.rfile.read(int(self.headers["content-length"]))))
                self._answer(b"")

            def _answer(self, body: bytes) -> None:
                self.send_response(200)
                self.send_header("content-type", "text/html")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Nothing."""

        return Handler
