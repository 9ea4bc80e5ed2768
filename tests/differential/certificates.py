"""Certificates of many shapes, right and wrong.

Nothing here is random but `random.Random`, so that a seed always makes the same cases. Nobody verifies signatures of
certificates (the TLS stack has), so theirs are noise.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from . import der
from .der import Node, seq, set_of

NOW = 1_800_000_000
"""2027-01-15T08:00:00Z"""

NAMES = {
    "CN": "2.5.4.3", "SN": "2.5.4.4", "serialNumber": "2.5.4.5", "C": "2.5.4.6", "L": "2.5.4.7", "ST": "2.5.4.8",
    "O": "2.5.4.10", "OU": "2.5.4.11", "title": "2.5.4.12", "UID": "0.9.2342.19200300.100.1.1",
    "DC": "0.9.2342.19200300.100.1.25", "emailAddress": "1.2.840.113549.1.9.1", "uniqueIdentifier": "2.5.4.45",
    "odd": "1.3.6.1.4.1.99999.7", "large": "2.999.4294967296.1", "joint": "2.100.3",
    "uuid": "2.25.329800735698586629295641978511506172918", "description": "2.5.4.13",
}  # fmt: skip
TEXTS = [
    "acme", "globex", "ACME", "acme\0evil", "acme\n", " acme", "acme ", "#acme", "a,b", "a+b", 'a"b', "a\\b", "a;b",
    "<a>", "a=b", "ä", "日本", "😀", "", "*", "*.example", "acme.example", "US", "x" * 64, "x" * 200, "a@b", "a_b",
    "\x7f", "\u200b", "\u202eacme", "prod/*", "acme\u0085", "e\u0301", "\ufeffacme", "CN=acme,O=x",
]  # fmt: skip
URIS = [
    b"spiffe://prod.example/ns/pay/sa/acme", b"spiffe://prod.example/ns/pay/sa/globex", b"spiffe://prod.example",
    b"spiffe://prod.example/", b"spiffe://PROD.example/a", b"SPIFFE://prod.example/ns/pay/sa/acme",
    b"spiffe://prod.example/a/../b", b"spiffe://prod.example/a\0b", b"spiffe://prod.example/%61", b"spiffe:/a",
    b"https://acme.example/", b"urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6", b"", b"spiffe://prod.example/\xc3\xa4",
    b"spiffe://prod.example/\xff", b"spiffe://u@prod.example/a", b"spiffe://prod.example:8443/a", b" spiffe://td/a",
    b"spiffe://td/a b", b"spiffe://td/a?q", b"spiffe://td/a//b", b"spiffe://td/" + b"a" * 2100,
]  # fmt: skip
DNS = [
    b"acme.example", b"ACME.example", b"globex.example", b"*.example", b"acme.example\0.evil.example", b"", b"acme.example.",
    b"xn--mnchen-3ya.example", b"m\xc3\xbcnchen.example", b"acme\xff.example", b"a b", b"acme.example\n", b"K.example",
    b"\xe2\x84\xaa.example", b"-a.example", b"a" * 300,
]  # fmt: skip
EMAILS = [
    b"acme@partner.example", b"ACME@partner.example", b"globex@partner.example", b"acme@partner.example\0.evil", b"",
    b"\xc3\xa4@partner.example", b"a\xffb@x", b'"a b"@x',
]  # fmt: skip
PURPOSES = {
    "client": "1.3.6.1.5.5.7.3.2", "server": "1.3.6.1.5.5.7.3.1", "any": "2.5.29.37.0", "code": "1.3.6.1.5.5.7.3.3",
    "odd": "1.3.6.1.4.1.99999.3",
}  # fmt: skip
TIMES = [
    "700101000000Z", "500101000000Z", "491231235959Z", "000101000000Z", "991231235959Z", "270115080000Z", "270115075959Z",
    "270115080001Z", "260101000000Z", "280101000000Z", "2701150800Z", "270115080000+0000", "270115080000+0100",
    "270115080060Z", "270230000000Z", "270229000000Z", "280229000000Z", "271301000000Z", "270100000000Z", "270115240000Z",
    "270115080000", "270115080000.0Z", "+70115080000Z", " 70115080000Z", "690101000000Z", "270115080000z",
]  # fmt: skip
LONG_TIMES = [
    "20270115080000Z", "20260101000000Z", "20280101000000Z", "20500101000000Z", "20491231235959Z", "19500101000000Z",
    "19700101000000Z", "19691231235959Z", "99991231235959Z", "00000101000000Z", "00010101000000Z", "16010101000000Z",
    "20270115080000.5Z", "20270115080000.0Z", "20270115080000+0100", "20270115080000", "2027011508Z", "202701150800Z",
    "20270115080060Z", "20270230000000Z", "20500229000000Z", "20520229000000Z", "21000229000000Z", "20271315080000Z",
]  # fmt: skip


@functools.cache
def public_keys() -> list[bytes]:
    """A key of each kind, always the same ones. RSA's is a number and no more: nobody uses it."""
    modulus = random.Random("modulus").getrandbits(2048) | 1 << 2047 | 1
    keys = [
        rsa.RSAPublicNumbers(65537, modulus).public_key(),
        ec.derive_private_key(7, ec.SECP256R1()).public_key(),
        ec.derive_private_key(7, ec.SECP384R1()).public_key(),
        ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key(),
    ]
    form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    return [key.public_bytes(*form) for key in keys]


def base(rng: random.Random) -> Node:
    """A certificate: mostly a good client's, often with one or two things that are unusual or wrong."""
    odd = lambda share: rng.random() < share  # noqa: E731 (the share of certificates that have this)
    algorithm = _algorithm(rng)
    fields = []
    if not odd(0.03):
        fields.append(der.explicit(0, der.integer(rng.choice([0, 1, 2, 3, -1, 256]) if odd(0.05) else 2)))
    fields.append(_serial(rng) if odd(0.1) else der.integer(rng.getrandbits(63) + 1))
    fields.append(algorithm)
    fields.append(_name(rng) if odd(0.1) else _plain_name("Test CA", "ExampleCorp"))
    fields.append(_validity(rng) if odd(0.2) else seq(_utc("260101000000Z"), _utc("280101000000Z")))
    fields.append(_name(rng) if odd(0.45) else _plain_name("acme", "ExampleCorp"))
    fields.append(der.read_one(rng.choice(public_keys())))
    if odd(0.04):
        for number in rng.sample([1, 2], rng.randint(1, 2)):
            fields.append(Node(0x80 | number, bytes([rng.choice([0, 0, 1, 7, 8])]) + rng.randbytes(rng.randint(0, 4))))
    extensions = _extensions(rng)
    if extensions or odd(0.5):
        fields.append(der.explicit(3, seq(*extensions)))
    outer = _algorithm(rng) if odd(0.03) else algorithm
    return seq(seq(*fields), outer.copy(), Node(der.BIT_STRING, b"\0" + rng.randbytes(70)))


def _utc(text: str) -> Node:
    return Node(der.UTC_TIME, text.encode())


def _algorithm(rng: random.Random) -> Node:
    with_null = seq(der.oid("1.2.840.113549.1.1.11"), Node(der.NULL, b""))
    return rng.choice([seq(der.oid("1.2.840.10045.4.3.2")), with_null, seq(der.oid("1.3.101.112"))])


def _serial(rng: random.Random) -> Node:
    contents = [b"", b"\0", b"\xff", b"\x80", b"\0\x80", b"\0\x01", b"\xff\xff", b"\x7f" * 20, b"\x7f" * 21, b"\x01" * 40]
    return Node(der.INTEGER, rng.choice(contents))


def _validity(rng: random.Random) -> Node:
    def time() -> Node:
        if rng.random() < 0.5:
            return _utc(rng.choice(TIMES))
        return Node(der.GENERALIZED_TIME, rng.choice(LONG_TIMES).encode())

    before, after = _utc("260101000000Z"), _utc("280101000000Z")
    which = rng.randrange(4)
    return seq(time() if which in (0, 2) else before, time() if which in (1, 2) else after)


def _plain_name(common: str, organisation: str) -> Node:
    pairs = (("O", organisation), ("CN", common))
    return seq(*(set_of(seq(der.oid(NAMES[kind]), Node(der.UTF8, text.encode()))) for kind, text in pairs))


def _name(rng: random.Random) -> Node:
    def attribute() -> Node:
        kind = rng.choice(["CN"] * 8 + list(NAMES))
        return seq(der.oid(NAMES[kind]), string(rng, rng.choice(TEXTS)))

    counts = rng.choices([0, 1, 2, 3, 70], [1, 20, 10, 5, 0.2])[0]
    members = lambda: rng.choices([0, 1, 2, 3], [0.3, 20, 3, 1])[0]  # noqa: E731
    return seq(*(set_of(*(attribute() for _ in range(members()))) for _ in range(counts)))


def string(rng: random.Random, text: str) -> Node:
    """A value of an attribute, now and then of a type that cannot hold the text."""
    kinds = [der.UTF8] * 6 + [der.PRINTABLE] * 3 + [der.IA5, der.T61, der.BMP, der.UNIVERSAL, der.NUMERIC, der.VISIBLE]
    kind = rng.choice([*kinds, der.INTEGER, der.OCTET_STRING, der.BIT_STRING])
    if kind == der.BMP:
        content = text.encode("utf-16-be", "surrogatepass") + rng.choice([b""] * 8 + [b"\0", b"\xd8\x00", b"\0\0"])
    elif kind == der.UNIVERSAL:
        content = text.encode("utf-32-be")
    elif kind == der.T61:
        content = text.encode("latin-1", "replace")
    else:
        content = text.encode()
    if kind == der.BIT_STRING:
        content = b"\0" + content
    if rng.random() < 0.02:
        content += rng.choice([b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\0"])
    return Node(kind, content)


def extension(dotted: str, critical: bool | None, content: Node) -> Node:
    flags = [] if critical is None else [der.boolean(critical)]
    return seq(der.oid(dotted), *flags, der.wrapped(content))


def _extensions(rng: random.Random) -> list[Node]:
    odd = lambda share: rng.random() < share  # noqa: E731
    critical = lambda: rng.choices([None, True, False], [60, 20, 1])[0]  # noqa: E731
    extensions = []
    if odd(0.8):
        extensions.append(extension("2.5.29.17", critical(), _alternative_names(rng)))
    if odd(0.7):
        names = ["client"] if odd(0.8) else rng.choices(list(PURPOSES), k=rng.randint(0, 3))
        extensions.append(extension("2.5.29.37", critical(), seq(*(der.oid(PURPOSES[name]) for name in names))))
    if odd(0.5):
        extensions.append(extension("2.5.29.15", critical(), _key_usage(rng)))
    if odd(0.5):
        extensions.append(extension("2.5.29.19", critical(), _basic_constraints(rng)))
    while odd(0.25):
        extensions.append(_other_extension(rng, critical()))
    if extensions and odd(0.05):
        extensions.append(rng.choice(extensions).copy())
    rng.shuffle(extensions)
    return extensions


def _key_usage(rng: random.Random) -> Node:
    good = [b"\x07\x80", b"\x05\xa0"] * 5 + [b"\x02\x04", b"\x01\x02", b"\x01\x06", b"\x07\x00\x80"]
    return Node(der.BIT_STRING, rng.choice(good * 2 + [b"\x00", b"", b"\x00\x80", b"\x07\x81", b"\x08\x80", b"\x00\x06\x00"]))


def _basic_constraints(rng: random.Random) -> Node:
    flags = [*[[]] * 12, [der.boolean(True)], [der.boolean(True)], [der.boolean(False)], [Node(der.BOOLEAN, b"\x01")]]
    path = [*[[]] * 16, [der.integer(0)], [der.integer(-1)], [Node(der.INTEGER, b"\0\0")], [der.integer(1 << 70)]]
    return seq(*rng.choice(flags), *rng.choice(path))


def _other_extension(rng: random.Random, critical: bool | None) -> Node:
    known = {
        "2.5.29.14": Node(der.OCTET_STRING, bytes(20)),
        "2.25.329800735698586629295641978511506172918": Node(der.NULL, b""),
        "2.25.329800735698586629295641978511506172919": Node(der.NULL, b""),
        "2.5.29.35": seq(Node(0x80, bytes(20))),
        "2.5.29.30": seq(Node(0xA0, [seq(Node(0x82, b"example"))])),
        "2.5.29.32": seq(seq(der.oid("2.5.29.32.0"))),
        "2.5.29.36": seq(Node(0x80, b"\0")),
        "2.5.29.54": der.integer(0),
        "2.5.29.18": seq(Node(0x86, b"https://ca.example/")),
        "2.5.29.31": seq(seq(Node(0xA0, [Node(0xA0, [Node(0x86, b"http://crl.example/")])]))),
        "1.3.6.1.5.5.7.1.1": seq(seq(der.oid("1.3.6.1.5.5.7.48.1"), Node(0x86, b"http://ocsp.example/"))),
        "1.3.6.1.5.5.7.1.24": seq(der.integer(5)),
        "2.16.840.1.113730.1.1": Node(der.BIT_STRING, b"\x07\x80"),
        "1.3.6.1.4.1.99999.1": Node(der.NULL, b""),
        "1.3.6.1.4.1.99999.2": Node(der.UTF8, b"anything"),
        "2.5.29.99": seq(),
    }
    dotted, content = rng.choice(list(known.items()))
    if rng.random() < 0.1:
        content = rng.choice([Node(der.NULL, b""), seq(), Node(der.OCTET_STRING, b"\0"), seq(der.integer(7))])
    return extension(dotted, critical, content.copy())


def _alternative_names(rng: random.Random) -> Node:
    directory = lambda: Node(0xA4, [_plain_name("x", "y")])  # noqa: E731
    other = lambda: Node(0xA0, [der.oid("1.3.6.1.4.1.311.20.2.3"), Node(0xA0, [Node(der.UTF8, b"u@d")])])  # noqa: E731
    kinds: list[Callable[[], Node]] = [
        *[lambda: Node(0x86, rng.choice(URIS[:2] * 10 + URIS))] * 6,
        *[lambda: Node(0x82, rng.choice(DNS[:3] * 4 + DNS))] * 4,
        *[lambda: Node(0x81, rng.choice(EMAILS[:2] * 4 + EMAILS))] * 2,
        lambda: Node(0x87, rng.randbytes(rng.choice([4, 4, 4, 16, 5, 0]))),
        lambda: Node(0x88, rng.choice([b"\x2a\x03", b"\x2a\x80"])),
        directory,
        other,
        lambda: Node(rng.choice([0x83, 0xA3, 0x85, 0xA5, 0x80, 0x89, 0xA6, 0xA2, 0x16]), b""),
    ]
    names = [rng.choice(kinds)() for _ in range(rng.choices([0, 1, 2, 3, 300], [1, 30, 10, 5, 0.1])[0])]
    return seq(*names)


def good(client: str) -> bytes:
    """The certificate of one of the two clients, always the same."""
    names = extension("2.5.29.17", None, seq(Node(0x86, f"spiffe://prod.example/ns/pay/sa/{client}".encode())))
    purposes = extension("2.5.29.37", None, seq(der.oid(PURPOSES["client"])))
    algorithm = seq(der.oid("1.2.840.10045.4.3.2"))
    fields = [
        der.explicit(0, der.integer(2)),
        der.integer(7),
        algorithm,
        _plain_name("Test CA", "ExampleCorp"),
        seq(Node(der.UTC_TIME, b"200101000000Z"), Node(der.GENERALIZED_TIME, b"20990101000000Z")),
        _plain_name(client, "ExampleCorp"),
        der.read_one(public_keys()[1]),
        der.explicit(3, seq(names, purposes)),
    ]
    return bytes(seq(seq(*fields), algorithm, Node(der.BIT_STRING, bytes(71))))
