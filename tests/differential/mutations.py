"""What becomes of a certificate on the way: values and bytes that are changed."""

from __future__ import annotations

import random

from . import der
from .der import Node, seq


def mutate(rng: random.Random, tree: Node) -> tuple[str, bytes]:
    """One or several changes, of the values or of the bytes, and what they were."""
    tree = tree.copy()
    done = []
    for _ in range(rng.choices([0, 1, 2], [4, 6, 1])[0]):
        change = rng.choice(_TREE_CHANGES)
        if tree.children():
            change(rng, tree)
        done.append(change.__name__.strip("_"))
    data = bytes(tree)
    for _ in range(rng.choices([0, 1, 2, 3], [4, 6, 1, 1])[0] if done else 1):
        change = rng.choice(_BYTE_CHANGES)
        data = change(rng, data)
        done.append(change.__name__.strip("_"))
    return "+".join(done), data


def _any(rng: random.Random, tree: Node) -> Node:
    """A value of the certificate that somebody reads: hardly ever of the key or the signature."""
    return rng.choice(tree.walk()[1:])


def _parent(rng: random.Random, tree: Node) -> Node:
    return rng.choice([node for node in tree.walk() if node.children()])


def _change_tag(rng: random.Random, tree: Node) -> None:
    node = _any(rng, tree)
    others = [node.tag ^ 0x20, node.tag ^ 0x80, node.tag ^ 0x40, node.tag + 1 & 0xFF, rng.choice(list(range(1, 31)))]
    node.tag = rng.choice([*others, der.UTF8, der.IA5, der.SEQUENCE, der.SET])


def _drop(rng: random.Random, tree: Node) -> None:
    children = _parent(rng, tree).children()
    del children[rng.randrange(len(children))]


def _duplicate(rng: random.Random, tree: Node) -> None:
    children = _parent(rng, tree).children()
    children.insert(rng.randint(0, len(children)), rng.choice(children).copy())


def _swap(rng: random.Random, tree: Node) -> None:
    children = _parent(rng, tree).children()
    one, other = rng.randrange(len(children)), rng.randrange(len(children))
    children[one], children[other] = children[other], children[one]


def _transplant(rng: random.Random, tree: Node) -> None:
    children = _parent(rng, tree).children()
    children.insert(rng.randint(0, len(children)), _any(rng, tree).copy())


def _insert(rng: random.Random, tree: Node) -> None:
    children = _parent(rng, tree).children()
    more = [Node(der.NULL, b""), der.integer(0), Node(0x00, b""), Node(der.OCTET_STRING, b"x"), der.boolean(False), seq()]
    children.insert(rng.randint(0, len(children)), rng.choice(more))


def _long_length(rng: random.Random, tree: Node) -> None:
    node = _any(rng, tree)
    count = len(node.octets())
    octets = max(1, (count.bit_length() + 7) // 8) + rng.choice([0, 0, 1])
    node.length = bytes([0x80 | octets]) + count.to_bytes(octets, "big")


def _wrong_length(rng: random.Random, tree: Node) -> None:
    node = _any(rng, tree)
    count = len(node.octets()) + rng.choice([-1, 1, 2, 127, 128, 65535])
    node.length = der.length(max(0, count))


def _indefinite(rng: random.Random, tree: Node) -> None:
    node = _any(rng, tree)
    node.length = b"\x80"
    if isinstance(node.content, list):
        node.content.append(Node(0, b""))
    else:
        node.content += b"\0\0"


def _constructed_string(rng: random.Random, tree: Node) -> None:
    strings = [node for node in tree.walk() if node.tag in (der.OCTET_STRING, der.BIT_STRING, der.UTF8, 0x86, 0x82)]
    if strings:
        node = rng.choice(strings)
        inner = Node(node.tag if node.tag < 0x80 else der.IA5, node.octets())
        node.tag, node.content = node.tag | 0x20, [inner]


def _primitive(rng: random.Random, tree: Node) -> Node | None:
    found = [node for node in tree.walk() if not node.children() and node.octets()]
    return rng.choice(found) if found else None


def _insert_content(rng: random.Random, tree: Node) -> None:
    if node := _primitive(rng, tree):
        content = node.octets()
        at = rng.choice([0, len(content), rng.randint(0, len(content))])
        node.content = content[:at] + rng.choice([b"\0", b"\xff", b"\n", b"a", b".", b"\xc3\xa4", b"\x80"]) + content[at:]


def _delete_content(rng: random.Random, tree: Node) -> None:
    if node := _primitive(rng, tree):
        content = node.octets()
        at = rng.randrange(len(content))
        node.content = content[:at] + content[at + 1 :]


def _flip_content(rng: random.Random, tree: Node) -> None:
    if node := _primitive(rng, tree):
        content = bytearray(node.octets())
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        node.content = bytes(content)


def _append_inside(rng: random.Random, tree: Node) -> None:
    node = _parent(rng, tree)
    node.content = node.octets() + rng.choice([b"\0", b"\0\0", b"\x05\0", rng.randbytes(3)])


_TREE_CHANGES = [
    _change_tag, _drop, _duplicate, _swap, _transplant, _insert, _long_length, _wrong_length, _indefinite,
    _constructed_string, _insert_content, _delete_content, _flip_content, _flip_content, _append_inside,
]  # fmt: skip


def _place(rng: random.Random, data: bytes) -> int:
    return rng.randrange(len(data)) if rng.random() < 0.5 else rng.randrange(min(len(data), 160))


def _flip_bit(rng: random.Random, data: bytes) -> bytes:
    at = _place(rng, data)
    return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]


def _change_byte(rng: random.Random, data: bytes) -> bytes:
    at = _place(rng, data)
    return data[:at] + bytes([rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)])]) + data[at + 1 :]


def _insert_byte(rng: random.Random, data: bytes) -> bytes:
    at = _place(rng, data)
    return data[:at] + rng.randbytes(1) + data[at:]


def _delete_byte(rng: random.Random, data: bytes) -> bytes:
    at = _place(rng, data)
    return data[:at] + data[at + 1 :]


def _truncate(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.randrange(1, len(data))] if len(data) > 1 else data


def _trail(rng: random.Random, data: bytes) -> bytes:
    return data + rng.choice([b"\0", b"\n", b"\0\0", b"\x05\0", rng.randbytes(5), data])


_BYTE_CHANGES = [_flip_bit, _flip_bit, _flip_bit, _change_byte, _change_byte, _insert_byte, _delete_byte, _truncate, _trail]
