"""Driving the probe fixture: scripts of host calls, and the answers to them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from . import artifacts
from .http1 import Http1
from .http2 import Http2
from .listener import Listener
from .response import Header, Response

OK = 0
NOT_FOUND = 1
BAD_ARGUMENT = 2
SERIALIZATION_FAILURE = 3
CAS_MISMATCH = 8

Call = tuple[str | bytes, ...]


@dataclass(frozen=True)
class Answer:
    """What the host returned: a status, and bytes where it returned any."""

    status: int
    value: bytes | None = None

    def text(self) -> str:
        """The value as latin-1."""
        assert self.value is not None, f"no value, but status {self.status}"
        return self.value.decode("latin-1")

    def pairs(self) -> list[Header]:
        """The value as a header map."""
        assert self.value is not None, f"no map, but status {self.status}"
        return unpack(self.value)


def listener(name: str, *calls: Call, **options: Any) -> Listener:
    """A listener with the probe in the filter's place and without the guard.

    `calls` are what it does for requests that carry no script of their own.
    """
    settings: dict[str, Any] = {
        "policy": script(*calls)[1], "module": artifacts.probe(), "guard": False, "normalize": False,
    }
    return Listener(name, **(settings | options))


def ask(client: Http1 | Http2, *calls: Call, headers: Sequence[Header] = (), path: str = "/") -> list[Answer]:
    """Has the probe do these calls while it handles a request, and returns the answers."""
    return answers(client.request("GET", path, [script(*calls), *headers]))


def script(*calls: Call) -> Header:
    """The request header that makes the probe do these calls, `("property", "connection", "id")`."""
    return ("x-probe", " ".join(":".join([_name(call), *map(_hex, call[1:])]) for call in calls))


def answers(response: Response) -> list[Answer]:
    """The answers, from the probe's own reply or from what the upstream was shown."""
    if response.header("x-upstream") == "probe":
        text = response.body.decode()
    else:
        (text,) = response.echo().values("x-probe-result")
    return [_answer(part) for part in text.split()]


def pack(headers: Sequence[Header]) -> bytes:
    """A header map as the ABI serialises it."""
    fields = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    sizes = b"".join(struct.pack("<II", len(name), len(value)) for name, value in fields)
    return struct.pack("<I", len(fields)) + sizes + b"".join(name + b"\0" + value + b"\0" for name, value in fields)


def unpack(data: bytes) -> list[Header]:
    """A header map out of the ABI's serialisation."""
    (count,) = struct.unpack_from("<I", data)
    position = 4 + 8 * count
    headers = []
    for index in range(count):
        name_size, value_size = struct.unpack_from("<II", data, 4 + 8 * index)
        name = data[position:position + name_size]
        value = data[position + name_size + 1:position + name_size + 1 + value_size]
        headers.append((name.decode("latin-1"), value.decode("latin-1")))
        position += name_size + value_size + 2
    return headers


def _name(call: Call) -> str:
    assert isinstance(call[0], str)
    return call[0]


def _hex(argument: str | bytes) -> str:
    return (argument.encode() if isinstance(argument, str) else argument).hex()


def _answer(part: str) -> Answer:
    status, separator, value = part.partition(":")
    return Answer(int(status), bytes.fromhex(value) if separator else None)
