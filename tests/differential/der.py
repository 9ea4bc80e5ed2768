"""DER as trees: written exactly as asked, also where that is wrong, and read back as far as it goes."""

from __future__ import annotations

from dataclasses import dataclass

BOOLEAN, INTEGER, BIT_STRING, OCTET_STRING, NULL, OID = 0x01, 0x02, 0x03, 0x04, 0x05, 0x06
UTF8, NUMERIC, PRINTABLE, T61, IA5, UTC_TIME, GENERALIZED_TIME = 0x0C, 0x12, 0x13, 0x14, 0x16, 0x17, 0x18
VISIBLE, UNIVERSAL, BMP = 0x1A, 0x1C, 0x1E
SEQUENCE, SET = 0x30, 0x31


@dataclass
class Node:
    """A value: its identifier octet, and the octets or values inside."""

    tag: int
    content: bytes | list[Node]
    length: bytes | None = None
    """Length octets that are written instead of the right ones."""

    def octets(self) -> bytes:
        """The content."""
        if isinstance(self.content, bytes):
            return self.content
        return b"".join(bytes(child) for child in self.content)

    def __bytes__(self) -> bytes:
        content = self.octets()
        return bytes([self.tag]) + (length(len(content)) if self.length is None else self.length) + content

    def copy(self) -> Node:
        """The same, to be changed."""
        content = self.content if isinstance(self.content, bytes) else [child.copy() for child in self.content]
        return Node(self.tag, content, self.length)

    def children(self) -> list[Node]:
        """The values inside, if they are known."""
        return self.content if isinstance(self.content, list) else []

    def walk(self) -> list[Node]:
        """This and everything inside, outermost first."""
        return [self] + [inner for child in self.children() for inner in child.walk()]


def length(count: int) -> bytes:
    """Length octets, as short as can be."""
    if count < 0x80:
        return bytes([count])
    octets = count.to_bytes((count.bit_length() + 7) // 8, "big")
    return bytes([0x80 | len(octets)]) + octets


def seq(*children: Node) -> Node:
    return Node(SEQUENCE, list(children))


def set_of(*children: Node) -> Node:
    return Node(SET, list(children))


def explicit(number: int, *children: Node) -> Node:
    return Node(0xA0 | number, list(children))


def wrapped(*children: Node) -> Node:
    """An OCTET STRING around values."""
    return Node(OCTET_STRING, list(children))


def oid(dotted: str) -> Node:
    return Node(OID, oid_octets(dotted))


def oid_octets(dotted: str) -> bytes:
    first, second, *rest = (int(arc) for arc in dotted.split("."))
    octets = bytearray()
    for arc in (40 * first + second, *rest):
        group = [arc & 0x7F]
        while arc := arc >> 7:
            group.append(arc & 0x7F | 0x80)
        octets += bytes(reversed(group))
    return bytes(octets)


def integer(value: int) -> Node:
    return Node(INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def boolean(value: bool) -> Node:
    return Node(BOOLEAN, b"\xff" if value else b"\0")


class Unreadable(Exception):
    """Not a sequence of values, one behind another."""


def read(data: bytes) -> list[Node]:
    """Every value of these octets, and what stands inside of constructed ones."""
    nodes = []
    at = 0
    while at < len(data):
        if len(data) < at + 2 or data[at] & 0x1F == 0x1F:
            raise Unreadable
        tag, first = data[at], data[at + 1]
        at += 2
        if first < 0x80:
            count = first
        else:
            many = first & 0x7F
            if many not in (1, 2, 3) or len(data) < at + many:
                raise Unreadable
            count = int.from_bytes(data[at : at + many], "big")
            at += many
        if len(data) < at + count:
            raise Unreadable
        content: bytes | list[Node] = data[at : at + count]
        at += count
        nodes.append(Node(tag, read_if_possible(content) if tag & 0x20 else content))
    return nodes


def read_if_possible(data: bytes) -> bytes | list[Node]:
    """The values of these octets, or the octets where they are no values or are written otherwise than we write them."""
    try:
        nodes = read(data)
    except Unreadable:
        return data
    return nodes if b"".join(bytes(node) for node in nodes) == data else data


def read_one(data: bytes) -> Node:
    """The only value of these octets."""
    nodes = read(data)
    if len(nodes) != 1:
        raise Unreadable
    return nodes[0]
