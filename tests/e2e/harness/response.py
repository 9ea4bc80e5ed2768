"""What every client of the harness returns."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

Header = tuple[str, str]
"""A header line; names in lower case, values as latin-1, so that every byte survives."""


class ConnectionEnded(Exception):
    """The peer closed or reset the connection or stream before a whole response came."""


@dataclass(frozen=True)
class Response:
    """A complete HTTP response."""

    status: int
    headers: list[Header]
    body: bytes = b""
    trailers: list[Header] = field(default_factory=list)

    def values(self, name: str) -> list[str]:
        """All values of a header, in order."""
        return [value for key, value in self.headers if key == name.lower()]

    def header(self, name: str) -> str | None:
        """The value of a header that must not be repeated."""
        values = self.values(name)
        assert len(values) <= 1, f"{name} came {len(values)} times: {values}"
        return values[0] if values else None

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    def echo(self) -> Echo:
        """What the upstream received, for a response that the upstream made."""
        assert self.header("x-upstream") == "echo", f"not from the upstream: {self.status} {self.body!r}"
        value = self.json()
        headers = [(name, text) for name, text in value["headers"]]
        trailers = value.get("trailers")
        if trailers is not None:
            trailers = [(name, text) for name, text in trailers]
        return Echo(value["method"], value["path"], headers, value["body_length"], trailers)


@dataclass(frozen=True)
class Echo:
    """A request as the upstream received it: header lines in order, repetitions kept."""

    method: str
    path: str
    headers: list[Header]
    body_length: int
    trailers: list[Header] | None = None
    """`None` where there were none, or where the upstream does not look (only `Http2Upstream` does)."""

    def values(self, name: str) -> list[str]:
        """All values of a header, in order."""
        return [value for key, value in self.headers if key == name.lower()]
