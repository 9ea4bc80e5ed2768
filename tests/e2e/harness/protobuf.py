"""Just enough protobuf for the messages that pass between a filter and Envoy."""

from __future__ import annotations

import struct
from typing import Any


def message(*fields: tuple[int, bytes]) -> bytes:
    """A message of length-delimited fields."""
    return b"".join(_varint(number << 3 | 2) + _varint(len(value)) + value for number, value in fields)


def metadata(data: bytes) -> dict[str, dict[str, Any]]:
    """`envoy.config.core.v3.Metadata` as plain values, by namespace."""
    return {key: _struct(value) for key, value in _entries(data)}


def _struct(data: bytes) -> dict[str, Any]:
    return {key: _value(value) for key, value in _entries(data)}


def _entries(data: bytes) -> list[tuple[str, bytes]]:
    entries = [dict(_fields(entry)) for number, entry in _fields(data) if number == 1]
    return [(entry[1].decode(), entry.get(2, b"")) for entry in entries]


def _value(data: bytes) -> Any:
    ((number, content),) = _fields(data)
    match number:
        case 1:
            return None
        case 2:
            return struct.unpack("<d", content)[0]
        case 3:
            return content.decode()
        case 4:
            return content != 0
        case 5:
            return _struct(content)
        case _:
            return [_value(item) for _, item in _fields(content)]


def _fields(data: bytes) -> list[tuple[int, Any]]:
    fields: list[tuple[int, Any]] = []
    position = 0
    while position < len(data):
        tag, position = _read_varint(data, position)
        content: Any
        match tag & 7:
            case 0:
                content, position = _read_varint(data, position)
            case 1:
                content, position = data[position:position + 8], position + 8
            case _:
                size, position = _read_varint(data, position)
                content, position = data[position:position + size], position + size
        fields.append((tag >> 3, content))
    return fields


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    return bytes([*encoded, value])


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        value |= (byte & 127) << shift
        position, shift = position + 1, shift + 7
        if byte < 128:
            return value, position
