"""A certificate as proxies write it into headers, and what becomes of the text."""

from __future__ import annotations

import base64
import random
import urllib.parse

FORMATS = ("any", "rfc9440", "nginx", "haproxy", "traefik")


def text(rng: random.Random, data: bytes, other: bytes) -> tuple[str, str, bytes]:
    """A certificate as a proxy writes it, or nearly so: the format in which it is read, what was done, the text."""
    kind = rng.choice(FORMATS)
    encoded = base64.b64encode(data)
    written = encoded
    if kind == "rfc9440":
        written = b":" + encoded + b":"
    elif kind == "traefik":
        written = urllib.parse.quote_from_bytes(encoded).encode() if rng.random() < 0.5 else encoded
    elif kind == "nginx" or (kind == "any" and rng.random() < 0.8):
        written = pem(rng, data)
        if kind == "nginx" or rng.random() < 0.4:
            written = _percent(rng, written)
    done = []
    for _ in range(rng.choices([0, 1, 2], [2, 8, 1])[0]):
        change = rng.choice(_TEXT_CHANGES)
        written = change(rng, written, other)
        done.append(change.__name__.strip("_"))
    return kind, "+".join(done) or "as written", written


def pem(rng: random.Random, data: bytes) -> bytes:
    encoded = base64.b64encode(data)
    width = rng.choice([64, 64, 64, 76, 1, len(encoded)])
    end = rng.choice([b"\n", b"\n", b"\r\n"])
    lines = [encoded[at : at + width] for at in range(0, len(encoded), width)]
    return end.join([b"-----BEGIN CERTIFICATE-----", *lines, b"-----END CERTIFICATE-----"]) + rng.choice([end, b""])


def _percent(rng: random.Random, data: bytes) -> bytes:
    safe = rng.choice(["", "+/=", " \n+/=-", "-+/="])
    quoted = urllib.parse.quote_from_bytes(data, safe=safe)
    return (quoted.lower() if rng.random() < 0.03 else quoted).encode()


def _double_percent(rng: random.Random, data: bytes, other: bytes) -> bytes:
    return _percent(rng, data)


def _text_before(rng: random.Random, data: bytes, other: bytes) -> bytes:
    return rng.choice([b"subject=/CN=acme\n", b"\n", b" ", b"\xef\xbb\xbf", b"x", b"-----", b"\0"]) + data


def _text_behind(rng: random.Random, data: bytes, other: bytes) -> bytes:
    return data + rng.choice([b"x", b"\n\n", b" ", b"\0", b"=", b"==", b"-", b":", b"%0A", b"%00", b"%", b",", b",x"])


def _second(rng: random.Random, data: bytes, other: bytes) -> bytes:
    return data + rng.choice([b"", b"\n", b","]) + rng.choice([data, pem(rng, other), base64.b64encode(other)])


def _encapsulated_header(rng: random.Random, data: bytes, other: bytes) -> bytes:
    return data.replace(b"-----\n", b"-----\nProc-Type: 4,ENCRYPTED\n\n", 1)


def _label(rng: random.Random, data: bytes, other: bytes) -> bytes:
    labels = [b"TRUSTED CERTIFICATE", b"X509 CERTIFICATE", b"PRIVATE KEY", b"certificate", b"CERTIFICATE ", b"NEW CERTIFICATE"]
    return data.replace(b"CERTIFICATE", rng.choice(labels), rng.choice([1, 2]))


def _dashes(rng: random.Random, data: bytes, other: bytes) -> bytes:
    return data.replace(b"-----", rng.choice([b"----", b"------", b"- ----", b""]), rng.choice([1, 2, 4]))


def _white_space(rng: random.Random, data: bytes, other: bytes) -> bytes:
    at = rng.randint(0, len(data))
    return data[:at] + rng.choice([b" ", b"\t", b"\n", b"\r", b"\x0b", b"\x0c", b"\xc2\xa0", b"\0", b"\n\n"]) + data[at:]


def _alphabet(rng: random.Random, data: bytes, other: bytes) -> bytes:
    return data.replace(b"+", b"-").replace(b"/", b"_") if rng.random() < 0.5 else data.replace(b"+", b" ")


def _padding(rng: random.Random, data: bytes, other: bytes) -> bytes:
    if b"=" in data and rng.random() < 0.5:
        return data.replace(b"=", b"")
    at = rng.randint(0, len(data))
    return data[:at] + b"=" + data[at:]


def _character(rng: random.Random, data: bytes, other: bytes) -> bytes:
    at = rng.randrange(len(data)) if data else 0
    return data[:at] + rng.choice([b"A", b"/", b"%41", b"%", b"!", b"\x80", b""]) + data[at + 1 :]


def _stray_bits(rng: random.Random, data: bytes, other: bytes) -> bytes:
    at = data.find(b"=") - 1
    return data if at < 0 else data[:at] + bytes([data[at] + 1]) + data[at + 1 :]


def _cut(rng: random.Random, data: bytes, other: bytes) -> bytes:
    return data[rng.randrange(3) : rng.randint(len(data) // 2, len(data))]


_TEXT_CHANGES = [
    _double_percent, _text_before, _text_behind, _text_behind, _second, _encapsulated_header, _label, _dashes, _white_space,
    _white_space, _alphabet, _padding, _character, _character, _stray_bits, _cut,
]  # fmt: skip
