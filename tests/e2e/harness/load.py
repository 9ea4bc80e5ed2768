"""Requests without a pause, while a test changes something under them."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from . import verdicts
from .http1 import Http1
from .http2 import Http2
from .pki import Credential
from .tls import ClientTls

THREADS: dict[str, tuple[type[Http1] | type[Http2], bool]] = {
    "kept http1": (Http1, True), "new http1": (Http1, False),
    "kept http2": (Http2, True), "new http2": (Http2, False),
}
"""The client of each thread, and whether it keeps its connection or makes a new one for each request."""
DEADLINE_SECONDS = 60.0


@dataclass(frozen=True)
class Last:
    """What the last request of a thread showed."""

    server: bytes
    """The certificate of the listener on its connection."""
    thumbprint: str
    """The client's certificate, as the upstream was told."""
    requests: int
    """How many there have been."""


class Load:
    """A thread for each of `THREADS`. `with Load(port, credential, "acme") as load: ...; load.progress()`

    Every request must pass as this client; the first one that does not fails the test.
    """

    def __init__(self, port: int, credential: Credential, client_id: str, *, pause_seconds: float = 0) -> None:
        self._port = port
        self._pause_seconds = pause_seconds
        self._credential = credential
        self._client_id = client_id
        self._ending = threading.Event()
        self._failures: list[str] = []
        self._last: dict[str, Last] = {}
        self._threads = [threading.Thread(target=self._run, args=(name,), daemon=True) for name in THREADS]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        self.progress()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join(DEADLINE_SECONDS)
        if error is None:
            self._assert_none_failed()

    def use(self, credential: Credential) -> None:
        """What new connections show from now on; `progress` waits until they do."""
        self._credential = credential

    def progress(self) -> dict[str, Last]:
        """Waits until every thread has made a request that began after this call; what each one showed."""
        before = {name: self._requests(name) for name in THREADS}
        deadline = time.monotonic() + DEADLINE_SECONDS
        # The first one that ends now may have begun before.
        while any(self._requests(name) < before[name] + 2 for name in THREADS):
            self._assert_none_failed()
            assert time.monotonic() < deadline, f"there were {before}, and now there are {self._last}"
            time.sleep(0.01)
        return dict(self._last)

    def _requests(self, name: str) -> int:
        return self._last[name].requests if name in self._last else 0

    def _assert_none_failed(self) -> None:
        assert not self._failures, "\n".join(self._failures)

    def _run(self, name: str) -> None:
        client_type, kept = THREADS[name]
        try:
            while not self._ending.is_set():
                with client_type(self._port, ClientTls(self._credential)) as client:
                    self._ask(name, client)
                    while kept and not self._ending.is_set():
                        self._ask(name, client)
        except Exception:
            self._failures.append(f"{name}: {traceback.format_exc()}")

    def _ask(self, name: str, client: Http1 | Http2) -> None:
        response = client.request()
        assert response.status == 200, f"{response.status} {response.body!r}"
        echo = response.echo()
        assert echo.values("x-client-id") == [self._client_id]
        (thumbprint,) = echo.values("x-client-cert-thumbprint")
        server = client.socket.getpeercert(binary_form=True)
        self._last[name] = Last(server, thumbprint, self._requests(name) + 1)
        time.sleep(self._pause_seconds)


class Asking:
    """A thread that asks one question again and again. `with Asking(lambda: ...) as asking: ...; asking.answers`"""

    def __init__(self, ask: Callable[[], str], *, pause_seconds: float = 0.002) -> None:
        self._ask = ask
        self._pause_seconds = pause_seconds
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.longest_seconds = 0.0
        """What the slowest answer has taken."""
        self.answers: set[str] = set()
        """Every answer there was, and what ended the thread if it was an error."""

    @classmethod
    def on(cls, client: Http1 | Http2, *, pause_seconds: float = 0.002) -> Asking:
        """Asks for `/` on one connection, and what comes of it is the answer."""
        return cls(lambda: verdicts.reason_of(client.request()), pause_seconds=pause_seconds)

    def __enter__(self) -> Asking:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.set()
        self._thread.join(DEADLINE_SECONDS)

    def _run(self) -> None:
        try:
            while not self._ending.wait(self._pause_seconds):
                begun = time.monotonic()
                self.answers.add(self._ask())
                self.longest_seconds = max(self.longest_seconds, time.monotonic() - begun)
        except Exception:
            self.answers.add(traceback.format_exc())
