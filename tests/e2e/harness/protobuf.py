"""Just enough protobuf for the messages that pass between a filter and Envoy."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any


def message(*fields: tuple[int, bytes]) -> bytes:
    """A message of length-delimited fields."""
    return b"".join(_varint(number << 3 | 2) + _varint(len(value)) + value for number, value in fields)


def metadata(data: bytes) -> dict[str, dict[str, Any]]:
    """`envoy.config.core.v3.Metadata` as plain values, by namespace."""
    return {key: _struct(value) for key, value in _entries(data)}


def serialized_metadata(namespaces: Mapping[str, Mapping[str, Any]]) -> bytes:
    """The reverse: JSON values by namespace, as a filter reads them."""
    return b"".join(message((1, message((1, name.encode()), (2, _to_struct(fields)))))
                    for name, fields in namespaces.items())


def texts(data: bytes, *numbers: int) -> list[bytes]:
    """The length-delimited fields with these numbers; an absent one is empty."""
    found = dict(_fields(data))
    return [found.get(number, b"") for number in numbers]


def _to_struct(fields: Mapping[str, Any]) -> bytes:
    return b"".join(message((1, message((1, name.encode()), (2, _to_value(value))))) for name, value in fields.items())


def _to_value(value: Any) -> bytes:
    match value:
        case None:
            return b"\x08\x00"
        case bool():
            return bytes([4 << 3, value])
        case int() | float():
            return b"\x11" + struct.pack("<d", value)
        case str():
            return message((3, value.encode()))
        case Mapping():
            return message((5, _to_struct(value)))
        case _:
            return message((6, b"".join(message((1, _to_value(item))) for item in value)))


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
