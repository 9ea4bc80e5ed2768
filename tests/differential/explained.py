"""Where the filter takes a certificate that the reference does not, on purpose: each kind with its reason.

A difference is explained only if repairing exactly the places of a kind, and nothing else, makes the reference take the
certificate and read in it what the filter read in the original. `docs/differential.md` has the same list.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from . import certificate_reference, certificates, der
from .der import Node

Repair = Callable[[Node], bool]
"""Repairs the places of one kind; did it find any?"""


@dataclass(frozen=True)
class Difference:
    """A kind of certificate that is taken on purpose."""

    name: str
    reason: str
    repair: Repair


WHITE_SPACE = "white space inside the base64 of PEM"
"""Not a repair of the certificate: RFC 7468 section 2 has parsers ignore it, and there is no other way to read it."""

PUBLIC_KEY = "public key: well-formed as a BIT STRING, but the reference cannot use it"
"""Not a repair: everything else is read. Whoever shook hands with this key, or forwards it, has used it."""


def explain(data: bytes, is_the_same: Callable[[bytes], bool]) -> list[str] | None:
    """The fewest kinds whose repair makes the reference read the same in the certificate; `None` where none does."""
    try:
        tree = opened(data)
    except der.Unreadable:
        return None
    needed = [each for each in DIFFERENCES if each.repair(tree.copy())]
    if not is_the_same(_repaired(tree, needed)):
        return None
    for each in list(needed):
        others = [other for other in needed if other is not each]
        if is_the_same(_repaired(tree, others)):
            needed = others
    return [each.name for each in needed]


def _repaired(tree: Node, differences: list[Difference]) -> bytes:
    repaired = tree.copy()
    for each in differences:
        each.repair(repaired)
    return bytes(repaired)


def key_is_unusable(data: bytes) -> bool:
    """Can the reference not use the public key?"""
    return certificate_reference.key_problem(data) is not None


# --- places in a certificate ------------------------------------------------------------------------------------------


def opened(data: bytes) -> Node:
    """The certificate as a tree that looks like one, with the content of extensions read as values where it is some."""
    tree = der.read_one(data)
    if bytes(tree) != data or len(_fields(tree)) < 6 or not _fields(tree)[0].octets():
        raise der.Unreadable
    for extension in _extensions(tree):
        content = extension.children()[-1]
        if isinstance(content.content, bytes):
            content.content = der.read_if_possible(content.content)
    return tree


def _fields(tree: Node) -> list[Node]:
    """The fields of what is signed, without the version."""
    children = tree.children()[0].children() if tree.children() else []
    return children[1:] if children and children[0].tag == 0xA0 else children


def _extensions(tree: Node) -> list[Node]:
    lists = [field for field in _fields(tree) if field.tag == 0xA3]
    return [each for field in lists for inner in field.children()[:1] for each in inner.children() if each.children()]


def _content(tree: Node, dotted: str) -> list[Node]:
    """The value inside the extensions of this kind."""
    wanted = der.oid_octets(dotted)
    found = [each.children()[-1] for each in _extensions(tree) if each.children()[0].octets() == wanted]
    return [value for content in found for value in content.children()[:1]]


def _names(tree: Node) -> list[Node]:
    """Issuer and subject."""
    fields = _fields(tree)
    return [fields[2], fields[4]] if len(fields) > 4 else []


def _set(node: Node, value: Node) -> bool:
    if bytes(node) == bytes(value):
        return False
    node.tag, node.content, node.length = value.tag, value.content, None
    return True


# --- repairs ----------------------------------------------------------------------------------------------------------


def _written_defaults(tree: Node) -> bool:
    holders = [*_extensions(tree), *_content(tree, "2.5.29.19")]
    no = bytes(der.boolean(False))
    found = False
    for holder in holders:
        children = holder.children()
        for child in [child for child in children[:2] if bytes(child) == no]:
            children.remove(child)
            found = True
    version = tree.children()[0].children()[0]
    if bytes(version) == bytes(der.explicit(0, der.integer(0))):
        del tree.children()[0].children()[0]
        found = True
    return found


def _version_2(tree: Node) -> bool:
    version = tree.children()[0].children()[0]
    return bytes(version) == bytes(der.explicit(0, der.integer(1))) and _set(version, der.explicit(0, der.integer(2)))


def _empty_lists(tree: Node) -> bool:
    signed = tree.children()[0].children()
    lists = [field for field in signed if field.tag == 0xA3]
    found = False
    for field in lists:
        for inner in field.children():
            empty = [each for each in _extensions(tree) if each.children()[-1].octets() == b"\x30\0"]
            for each in empty:
                if each.children()[0].octets() == der.oid_octets("2.5.29.37"):
                    # Good for nothing, as an empty list is.
                    each.children()[-1].content = [der.seq(der.oid(certificates.PURPOSES["odd"]))]
                    found = True
                elif each.children()[0].octets() == der.oid_octets("2.5.29.17"):
                    inner.children().remove(each)
                    found = True
            if not inner.octets():
                signed.remove(field)
                found = True
    return found


def _key_agreement(tree: Node) -> bool:
    found = False
    for value in _content(tree, "2.5.29.15"):
        if value.tag == der.BIT_STRING and len(octets := value.octets()) > 1:
            # encipherOnly and decipherOnly say how keyAgreement is meant, so there must be that.
            only = octets[1] & 0x01 or (len(octets) > 2 and octets[2] & 0x80)
            if only and not octets[1] & 0x08:
                value.content = octets[:1] + bytes([octets[1] | 0x08]) + octets[2:]
                found = True
    return found


def _order_of_sets(tree: Node) -> bool:
    found = False
    for name in _names(tree):
        for rdn in name.children():
            if isinstance(rdn.content, list) and rdn.content != (ordered := sorted(rdn.content, key=bytes)):
                rdn.content = ordered
                found = True
    return found


def _path_length(tree: Node) -> bool:
    found = False
    for value in _content(tree, "2.5.29.19"):
        for child in [child for child in value.children() if child.tag == der.INTEGER]:
            value.children().remove(child)
            found = True
    return found


def _other_extensions(tree: Node) -> bool:
    ours = {der.oid_octets(dotted) for dotted in ("2.5.29.15", "2.5.29.17", "2.5.29.19", "2.5.29.37")}
    heeded = {der.oid_octets(dotted) for dotted in certificate_reference.MAY_BE_CRITICAL}
    found = False
    for extension in _extensions(tree):
        kind = extension.children()[0].octets()
        if kind in ours:
            continue
        # An OID that nobody knows, and a different one for each: repeated extensions stay repeated.
        extension.children()[0].content = kind + b"\xff\x7e"
        if kind in heeded:
            extension.content = [child for child in extension.children() if child.tag != der.BOOLEAN]
        found = True
    return found


def _other_general_names(tree: Node) -> bool:
    names = [name for value in _content(tree, "2.5.29.17") for name in value.children()]
    others = [name for name in names if name.tag & 0xC0 == 0x80 and name.tag & 0x1F not in (1, 2, 6, 7)]
    return any([_set(name, Node(0x88, b"\x2a\x03")) for name in others])


def _printable(tree: Node) -> bool:
    allowed = set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 '()+,-./:=?")

    def repaired(value: Node) -> Node:
        others = value.tag == der.PRINTABLE and not set(value.octets()) <= allowed and value.octets().isascii()
        return Node(der.UTF8, value.octets()) if others else value

    return _each_value(tree, repaired)


def _no_text(tree: Node) -> bool:
    def repaired(value: Node) -> Node:
        if _is_text(value):
            return value
        # A type without characters, and different ones stay different.
        return Node(der.OCTET_STRING, bytes(value).hex().encode())

    return _each_value(tree, repaired)


def _each_value(tree: Node, repaired: Callable[[Node], Node]) -> bool:
    """Repairs the values of attributes; what was sorted stays sorted."""
    found = False
    for rdn in [rdn for name in _names(tree) for rdn in name.children() if isinstance(rdn.content, list)]:
        was_sorted = rdn.content == sorted(rdn.content, key=bytes)
        for pair in rdn.content:
            if len(pair.children()) == 2:
                found |= _set(pair.children()[1], repaired(pair.children()[1]))
        if was_sorted:
            rdn.content.sort(key=bytes)
    return found


def _is_text(value: Node) -> bool:
    codecs = {der.UTF8: "utf-8", der.BMP: "utf-16-be", der.PRINTABLE: "ascii", der.IA5: "ascii", der.NUMERIC: "ascii"}
    codecs |= {der.VISIBLE: "ascii", der.T61: "ascii", der.UNIVERSAL: "utf-32-be"}
    try:
        value.octets().decode(codecs[value.tag])
    except (KeyError, UnicodeDecodeError):
        return False
    return True


def _serial_number(tree: Node) -> bool:
    number = int.from_bytes(_fields(tree)[0].octets(), "big", signed=True)
    return not 0 < number < 1 << 159 and _set(_fields(tree)[0], der.integer(7))


def _signature_algorithm(tree: Node) -> bool:
    inner, outer = _fields(tree)[1], tree.children()[1]
    algorithm = der.seq(der.oid("1.2.840.10045.4.3.2"))
    return any([_set(inner, algorithm), _set(outer, algorithm)])


def _key_algorithm(tree: Node) -> bool:
    return _set(_fields(tree)[5], der.read_one(certificates.public_keys()[1]))


DIFFERENCES = [
    Difference(
        "a default value that is written out",
        "`critical FALSE`, `cA FALSE` or version 1, which DER leaves out. Certificate authorities write them, OpenSSL "
        "reads them, and there is no other way to read them.",
        _written_defaults,
    ),
    Difference(
        "version 2",
        "It differs from version 3 in what it may hold, and that is read exactly.",
        _version_2,
    ),
    Difference(
        "an empty list of extensions, names or purposes",
        "It is as if it were not there; an empty list of purposes is good for nothing and refused.",
        _empty_lists,
    ),
    Difference(
        "encipherOnly or decipherOnly without keyAgreement",
        "Of the key usage, only keyCertSign and cRLSign are read.",
        _key_agreement,
    ),
    Difference(
        "a path length that is negative, too large, or a leaf's",
        "It is a certificate authority's business, and those are refused.",
        _path_length,
    ),
    Difference(
        "the content of extensions that nothing is taken from",
        "Of extensions other than the four that are decided on, only the kind and whether it is critical are read.",
        _other_extensions,
    ),
    Difference(
        "alternative names of kinds that nothing is taken from",
        "Names other than URI, DNS, IP and email identify no client, so they are not decoded.",
        _other_general_names,
    ),
    Difference(
        "a PrintableString with other ASCII characters",
        "Such as `*`, `@` or `_`, which certificate authorities write. ASCII is read in one way whatever the type.",
        _printable,
    ),
    Difference(
        "a value of a distinguished name that is no text",
        "It is kept as bytes, which equal no text, so it identifies nobody.",
        _no_text,
    ),
    Difference(
        "the serial number",
        "Nothing is decided by it; it only has to be an INTEGER.",
        _serial_number,
    ),
    Difference(
        "the algorithm of the signature",
        "The TLS stack, or that of the proxy in front, has verified the signature.",
        _signature_algorithm,
    ),
    Difference(
        "the algorithm of the public key",
        "The TLS stack, or that of the proxy in front, has used the key.",
        _key_algorithm,
    ),
    Difference(
        "the order of a relative name's attributes",
        "DER sorts them. They are a set, and are compared as one.",
        _order_of_sets,
    ),
]
"""In the order in which they are tried."""