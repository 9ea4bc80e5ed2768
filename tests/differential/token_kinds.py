"""The kinds of tokens: what is claimed, how it is written, who signs it and how, and what becomes of the text."""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import json
import random
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from . import certificates
from .issuer import ALGORITHMS, ORDERS, SIZES, Signer, base64url, concatenated, signers
from .token_setup import key_sets, presented

NOW = certificates.NOW

Members = list[tuple[str, str]]
"""Names and values of an object, as JSON text: what no library writes is wanted, too."""


def _json(members: Members) -> bytes:
    return ("{" + ",".join(f"{json.dumps(name)}:{value}" for name, value in members) + "}").encode()


def _signed(rng: random.Random, signer: Signer, algorithm: str, header: bytes, payload: bytes) -> str:
    message = f"{base64url(header)}.{base64url(payload)}"
    return f"{message}.{base64url(signer.sign(algorithm, message.encode(), rng))}"


def _replaced(members: Members, name: str, value: str) -> Members:
    kept = [(other, text) for other, text in members if other != name]
    return [*kept, (name, value)]


Made = tuple[str, str]
"""What was done, and the token."""


def _good(rng: random.Random, signer: Signer, algorithm: str, header: Members, claims: Members) -> Made:
    return "as it should be", _signed(rng, signer, algorithm, _json(header), _json(claims))


NUMBERS = [
    "0", "-1", "-0", "1", str(NOW), str(NOW + 30), str(NOW - 30), str(NOW - 31), str(NOW + 31), str(NOW + 29), str(NOW - 29),
    f"{NOW}.0", f"{NOW - 30}.5", f"{NOW - 30}.999999999", f"{NOW + 30}.5", f"{NOW + 29}.000001", "1.8e9", "1.80000006e9",
    "18000000.06e2", "1e10", "1E10", "1e+10", "1e400", "-1e400", "1e-400", "9223372036854775807", "9223372036854775808",
    "18446744073709551615", "18446744073709551616", "1" + "0" * 400, "-9223372036854775809", "253402300800", "1e308",
    f"{NOW + 60}e0", f"{NOW + 60}E-0", f"{NOW + 60}.00000000000000000001", f"{NOW - 30}.00000000000000000001",
    f"0{NOW}", f"+{NOW}", f"{NOW}.", ".5", "0x6b49d200", "NaN", "Infinity", "-Infinity", "1_000", f"{NOW * 1000}", "4294967296",
    f"-{NOW}", "- 1", "1e", "--1",
]  # fmt: skip
OTHERS = [
    "null", "true", "false", '""', '"acme"', f'"{NOW + 60}"', "[]", "{}", '["acme"]', '[["acme"]]', '{"acme":1}', "[null]",
    '"globex"', '" acme"', '"acme\\u0000"', '"ACME"', '"\\u0061cme"', '["acme", "globex"]', "nul", "True", "''", "'acme'",
    '"\\ud800"', '"\\ud83d\\ude00"', '"\\x41"', '"a\\/b"',
]  # fmt: skip


def _a_claim(rng: random.Random, signer: Signer, algorithm: str, header: Members, claims: Members) -> Made:
    name = rng.choice(["exp"] * 4 + ["nbf"] * 3 + ["iat"] * 2 + ["iss", "aud", "client_id", "azp", "sub", "scope", "scp", "jti"])
    if name in ("exp", "nbf", "iat"):
        value = rng.choice(NUMBERS * 2 + OTHERS)
    elif name in ("scope", "scp"):
        words = ['"read"', '"admin"', '"read admin"', '"read\\tadmin"', '"read,admin"', '"readadmin"', '" admin"', '"ADMIN"']
        lists = ['["admin"]', '["read admin"]', '["read","admin"]', '["admin",1]', '[["admin"]]', '{"admin":true}', '"admin\\n"']
        value = rng.choice(words + lists + ['"x  admin"', '"x\\u00a0admin"', '"admin,"', '"x\\u0020admin"'] + OTHERS)
    elif name in ("iss", "aud"):
        right = {"iss": "https://auth.example", "aud": "https://api.example"}[name]
        near = [right, right + "/", right.upper(), right + "\0", right[:-1], right + " ", " " + right]
        listed = [[right], [right, 1], [right, None], [[right]], {right: 1}, ["x", "y"], [right, right], [right + "x", right]]
        value = rng.choice([json.dumps(each) for each in near + listed] + OTHERS + NUMBERS[:4])
    else:
        value = rng.choice(OTHERS * 2 + NUMBERS[:6])
    if rng.random() < 0.1:
        claims[:] = [member for member in claims if member[0] != name]
        return f"{name} absent", _signed(rng, signer, algorithm, _json(header), _json(claims))
    claims[:] = _replaced(claims, name, value)
    return f"{name} {value[:40]}", _signed(rng, signer, algorithm, _json(header), _json(claims))


def _a_binding(rng: random.Random, signer: Signer, algorithm: str, header: Members, claims: Members) -> Made:
    right, other = presented()["acme"].thumbprint, presented()["globex"].thumbprint
    raw = base64.urlsafe_b64decode(right + "=")
    standard = base64.b64encode(raw).decode()
    certificate = certificates.good("acme")
    texts = [
        right, right, other, right + "=", standard, standard.rstrip("="), raw.hex(), raw.hex().upper(), right[:-1], right + "A",
        right[:-1] + chr(ord(right[-1]) + 1), right.lower(), right + "\n", " " + right, right + "\0", "", right + other,
        base64url(hashlib.sha1(certificate).digest()), base64url(hashlib.sha512(certificate).digest()),
        base64url(hashlib.sha256(base64.b64encode(certificate)).digest()), ":".join(f"{byte:02X}" for byte in raw),
        base64url(raw.hex().encode()), base64url(bytes(32)),
    ]  # fmt: skip
    value: Any = rng.choice(texts)
    member = "x5t#S256"
    if rng.random() < 0.3:
        value = rng.choice([None, True, 0, [right], {"x5t#S256": right}, [], {}])
    elif rng.random() < 0.2:
        member = rng.choice(["x5t", "X5T#S256", "x5t#s256", "x5t#S256 ", "jkt", "jwk", "kid", "x5t#S512"])
    text = json.dumps({member: value})
    if rng.random() < 0.3:
        good = json.dumps(right)
        text = rng.choice([
            f'{{"x5t#S256":{good},"jkt":"a"}}', f'{{"jkt":"a"}}', f'{{"x5t#S256":{good},"x5t#S256":{good}}}',
            f'{{"x5t#S256":{json.dumps(other)},"x5t#S256":{good}}}', f'{{"x5t\\u0023S256":{good}}}',
            f'{{"x5t#S256":{json.dumps(other)},"x5t\\u0023S256":{good}}}', "null", "[]", "{}", good, f"[{text}]", "true", '""',
            f'{{"x5t#S256":{good},"jwk":{{"kty":"oct","k":"AA","k":"BB"}}}}',
        ])  # fmt: skip
    claims[:] = _replaced(claims, "cnf", text)
    return text.replace(right, "RIGHT").replace(other, "OTHER")[:60], _signed(rng, signer, algorithm, _json(header), _json(claims))


def _a_header(rng: random.Random, signer: Signer, algorithm: str, header: Members, claims: Members) -> Made:
    kids = ['"other-key"', '"nobody"', '""', "null", "1", '["RS256-key"]', '"rs256-KEY"', '"../key"', '"key\\u0000"', "true"]
    values = {
        "crit": ["[]", '["exp"]', '["b64"]', "null", '"exp"', "{}"],
        "typ": ['"at+JWT"', '"JWE"', '"logout+jwt"', '"dpop+jwt"', '"id_token"', '""', "1", "null", '["JWT"]', '"jwt "', '"JOSE"'],
        "cty": ['"JWT"', "1"],
        "b64": ["false", "true", "null"],
        "zip": ['"DEF"'],
        "enc": ['"A128GCM"'],
        "kid": kids + [json.dumps(key.kid) for key in key_sets()["all"]],
        "alg": [f'"{name}"' for name in ("none", "None", "HS256", "ES256K", "RS1", "PS384", "ES512", "Ed25519", algorithm.lower())]
        + [json.dumps(name) for name in ALGORITHMS]
        + ["null", "1", f'["{algorithm}"]', f'"{algorithm} "', f'"{algorithm}\\u0000"', json.dumps(algorithm).replace("S", "\\u0053")],
        "jku": ['"https://evil.example/jwks.json"'],
        "x5t#S256": ['"x"'],
    }  # fmt: skip
    name = rng.choice([*["crit", "typ", "kid", "kid", "alg", "alg", "alg"], *values])
    value = rng.choice(values[name])
    if rng.random() < 0.1:
        header = [member for member in header if member[0] != name]
        value = "absent"
    else:
        header = _replaced(header, name, value)
    sign_as = algorithm
    stated = value.strip('"')
    # Signed as the header says, where this key can: then only what the key is for can tell.
    if name == "alg" and stated in signer.algorithms and rng.random() < 0.8:
        sign_as = stated
    token = _signed(rng, signer, sign_as, _json(header), _json(claims))
    if name == "alg" and rng.random() < 0.3:
        return f"{name} {value}, no signature", token.rsplit(".", 1)[0] + "."
    return f"{name} {value}", token


def _a_confusion(rng: random.Random, signer: Signer, algorithm: str, header: Members, claims: Members) -> Made:
    """Somebody else's signature under the issuer's name: HMAC with what is public, keys that the token brings."""
    public = signer.public
    if rng.random() < 0.5:
        pem, subject = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        secrets = {
            "PEM": public.public_bytes(pem, subject),
            "PEM, stripped": public.public_bytes(pem, subject).strip(),
            "DER": public.public_bytes(serialization.Encoding.DER, subject),
            "JWK": json.dumps(signer.jwk, separators=(",", ":"), sort_keys=True).encode(),
            "number": base64.urlsafe_b64decode(signer.jwk.get("n", signer.jwk.get("x", "")) + "=="),
            "empty": b"",
        }
        name = rng.choice(list(secrets))
        stated = rng.choice(["HS256", algorithm])
        header = _replaced(header, "alg", json.dumps(stated))
        message = f"{base64url(_json(header))}.{base64url(_json(claims))}"
        return f"{stated}, HMAC with {name}", f"{message}.{base64url(hmac.digest(secrets[name], message.encode(), 'sha256'))}"
    evil = next(other for other in signers().values() if other.name == signer.name[:-1] + "b" or other.name == "p256-b")
    brought = rng.choice(["jwk", "jku", "x5c", "x5u", "nothing", "another kid"])
    if brought == "jwk":
        header.append(("jwk", json.dumps({**evil.jwk, "alg": algorithm})))
    elif brought == "another kid":
        header = _replaced(header, "kid", json.dumps(rng.choice(["other-key", "evil", "RS384-key", "ed-b"])))
    elif brought != "nothing":
        value = {"x5c": [base64.b64encode(certificates.good("acme")).decode()]}.get(brought, "https://evil.example/")
        header.append((brought, json.dumps(value)))
    sign_as = algorithm if algorithm in evil.algorithms else evil.algorithms[0]
    if rng.random() < 0.5:
        header = _replaced(header, "alg", json.dumps(sign_as))
    return f"{evil.name} signs, {brought}", _signed(rng, evil, sign_as, _json(header), _json(claims))


def _a_signature(rng: random.Random, signer: Signer, algorithm: str, header: Members, claims: Members) -> Made:
    message = f"{base64url(_json(header))}.{base64url(_json(claims))}"
    octets = message.encode()
    good = signer.sign(algorithm, octets, rng)
    made: dict[str, Callable[[], bytes]] = {
        "truncated": lambda: good[: rng.randrange(len(good))],
        "a byte less in front": lambda: good[1:],
        "a zero in front": lambda: b"\0" + good,
        "a zero behind": lambda: good + b"\0",
        "twice": lambda: good + good,
        "zero": lambda: bytes(len(good)),
        "empty": lambda: b"",
        "ones": lambda: b"\xff" * len(good),
        "reversed": lambda: good[::-1],
    }
    if algorithm.startswith("ES"):
        made |= _ecdsa_signatures(signer, algorithm, octets)
    elif algorithm == "EdDSA":
        scalar = int.from_bytes(good[32:], "little")
        made |= {
            "s + l": lambda: good[:32] + (scalar + ORDERS["EdDSA"]).to_bytes(32, "little"),
            "s = 0": lambda: good[:32] + bytes(32),
            "neutral": lambda: b"\x01" + bytes(63),
            "sign bit": lambda: good[:31] + bytes([good[31] ^ 0x80]) + good[32:],
        }
    else:
        made |= _rsa_signatures(rng, signer, algorithm, octets, good)
    name = rng.choice(list(made))
    return f"{algorithm} {name}", f"{message}.{base64url(made[name]())}"


def _ecdsa_signatures(signer: Signer, algorithm: str, octets: bytes) -> dict[str, Callable[[], bytes]]:
    r, s = signer.dss(algorithm, octets)
    order, size = ORDERS[algorithm], SIZES[algorithm]
    both = lambda one, other: lambda: concatenated(algorithm, one, other)  # noqa: E731
    wide = lambda number: number.to_bytes(size + 1, "big")  # noqa: E731
    narrow = lambda number: number.to_bytes((number.bit_length() + 7) // 8, "big")  # noqa: E731
    made = {
        "r = 0": both(0, s), "s = 0": both(r, 0), "s = n": both(r, order), "r = n": both(order, s), "n - s": both(r, order - s),
        "n - r": both(order - r, s), "swapped": both(s, r), "r = s = 1": both(1, 1), "r = s = 0": both(0, 0),
        "DER": lambda: encode_dss_signature(r, s), "wide": lambda: wide(r) + wide(s), "narrow": lambda: narrow(r) + narrow(s),
    }  # fmt: skip
    if r + order < 1 << 8 * size:
        made["r + n"] = both(r + order, s)
    if s + order < 1 << 8 * size:
        made["s + n"] = both(r, s + order)
    return made


def _rsa_signatures(
    rng: random.Random, signer: Signer, algorithm: str, octets: bytes, good: bytes
) -> dict[str, Callable[[], bytes]]:
    modulus, number = signer.public.public_numbers().n, int.from_bytes(good, "big")
    octets_of = lambda number: lambda: number.to_bytes(len(good), "big")  # noqa: E731
    made = {"n - s": octets_of(modulus - number), "one": octets_of(1), "n": octets_of(modulus)}
    if number + modulus < 1 << 8 * len(good):
        made["s + n"] = octets_of(number + modulus)
    hash, size = f"sha{algorithm[2:]}", int(algorithm[2:]) // 8
    if algorithm.startswith("PS"):
        made["another salt"] = lambda: signer.pss(octets, rng.randbytes(rng.choice([0, 20, size - 1, size + 1, 80])), hash, hash)
        for name, other in {"hash": "sha224", "mask": "sha1", "trailer": 0xCC}.items():
            made[f"another {name}"] = functools.partial(signer.pss, octets, bytes(size), **{"hash": hash, "mask": hash, name: other})
        made["PKCS #1 v1.5"] = lambda: signer.sign(f"RS{algorithm[2:]}", octets, rng)
        return made
    for defect in ("garbage", "no null", "bare digest", "block type 2", "no separator", "odd filler", "none"):
        made[f"padding: {defect}"] = functools.partial(signer.pkcs1, octets, hash, defect)
    for wrong in ("sha1", "sha256", "sha384", "sha512"):
        made[f"of {wrong}"] = functools.partial(signer.pkcs1, octets, wrong, "none")
    made["PSS"] = lambda: signer.pss(octets, rng.randbytes(32))
    return made


def _a_spelling(rng: random.Random, signer: Signer, algorithm: str, header: Members, claims: Members) -> Made:
    """JSON that is written otherwise, or is none; all of it is signed."""
    texts = [_json(header), _json(claims)]
    which = rng.randrange(2)
    name, text = _json_change(rng, texts[which], header if which == 0 else claims)
    texts[which] = text
    return f"{('header', 'claims')[which]}, {name}", _signed(rng, signer, algorithm, *texts)


def _json_change(rng: random.Random, text: bytes, members: Members) -> tuple[str, bytes]:
    body = text[1:-1]
    name, value = rng.choice(members)
    escaped = "".join(f"\\u{ord(character):04x}" for character in name)
    other = rng.choice(['"globex"', value, "null", str(NOW + 9)])
    depth = rng.choice([10, 60, 120, 127, 128, 129, 500])
    changes = {
        "a member twice": b"{%b,%b:%b}" % (body, json.dumps(name).encode(), other.encode()),
        "a member twice, first": b"{%b:%b,%b}" % (json.dumps(name).encode(), other.encode(), body),
        "a member twice, escaped": b'{%b,"%b":%b}' % (body, escaped.encode(), other.encode()),
        "twice inside": b'{%b,"x":{"a":1,"a":1}}' % body,
        "twice in a list": b'{%b,"x":[{"a":1,"a":2}]}' % body,
        "twice, deep": b'{%b,"x":[[{"b":{"a":1,"\\u0061":2}}]]}' % body,
        "an empty name twice": b'{%b,"":1,"":2}' % body,
        "names that differ in case": b'{%b,"%b":1}' % (body, name.upper().encode()),
        "escaped name": text.replace(json.dumps(name).encode(), f'"{escaped}"'.encode(), 1),
        "white space": b" \t\r\n{ %b \n}\n " % body,
        "odd white space": b"{\x0b%b}" % body,
        "no-break space": b"{\xc2\xa0%b}" % body,
        "BOM": b"\xef\xbb\xbf" + text,
        "UTF-16": text.decode().encode("utf-16"),
        "UTF-16, no BOM": text.decode().encode("utf-16-le"),
        "trailing comma": b"{%b,}" % body,
        "leading comma": b"{,%b}" % body,
        "comment": b"{/**/%b}" % body,
        "behind": text + rng.choice([b"x", b"{}", b"\0", b"\n", b" ", b"]", b","]),
        "in front": rng.choice([b"x", b"{}", b"\0", b"\n", b"["]) + text,
        "cut off": text[: rng.randrange(len(text))],
        "a list": b"[%b]" % text,
        "a text": json.dumps(text.decode()).encode(),
        "empty object": b"{}",
        "nothing": b"",
        "null": b"null",
        "invalid UTF-8": b'{%b,"x":"%b"}' % (body, rng.choice([b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80", b"\x80"])),
        "invalid UTF-8 in a name": b'{%b,"\xff":1}' % body,
        "lone surrogate": b'{%b,"x":"%b"}' % (body, rng.choice([b"\\ud800", b"\\udc00", b"\\ud800\\ud800", b"\\ud800x"])),
        "surrogate pair": b'{%b,"x":"\\ud83d\\ude00"}' % body,
        "control character": b'{%b,"x":"%b"}' % (body, rng.choice([b"\0", b"\n", b"\t", b"\x1f", b"\x7f"])),
        "escape": b'{%b,"x":"%b"}' % (body, rng.choice([b"\\x41", b"\\u12", b"\\", b"\\u00e4", b"\\/", b"\\'", b"\\0", b"\\b"])),
        "single quotes": text.replace(b'"', b"'"),
        "bare name": text.replace(json.dumps(name).encode(), name.encode(), 1),
        "lists, deep": b'{%b,"x":%b%b}' % (body, b"[" * depth, b"]" * depth),
        "objects, deep": b'{%b,"x":%b1%b}' % (body, b'{"a":' * depth, b"}" * depth),
        "numbers": b'{%b,"x":%b}' % (body, rng.choice(NUMBERS).encode()),
        "many members": b"{%b,%b}" % (body, b",".join(b'"m%d":%d' % (at, at) for at in range(300))),
        "long": b'{%b,"x":"%b"}' % (body, b"y" * rng.choice([5000, 11500, 12500])),
        "a flipped bit": _flipped(rng, text),
        "a flipped bit, again": _flipped(rng, text),
        "a byte less": _without(rng, text),
        "proto": b'{%b,"__proto__":{"exp":9999999999},"constructor":1}' % body,
    }  # fmt: skip
    what = rng.choice(list(changes))
    return what, changes[what]


def _flipped(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]


def _without(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + data[at + 1 :]


def _base64(rng: random.Random, signer: Signer, algorithm: str, header: Members, claims: Members) -> Made:
    """Parts that are spelled otherwise. What is signed is the spelling, so the signature is good."""
    parts = [base64url(_json(header)), base64url(_json(claims))]
    which = rng.randrange(3)
    name = rng.choice(list(_SPELLINGS))
    if which < 2:
        parts[which] = _SPELLINGS[name](rng, parts[which])
    parts.append(base64url(signer.sign(algorithm, ".".join(parts).encode(), rng)))
    if which == 2:
        parts[2] = _SPELLINGS[name](rng, parts[2])
    return f"part {which}, {name}", ".".join(parts)


def _stray(rng: random.Random, text: str) -> str:
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    free = {2: 16, 3: 4}.get(len(text) % 4, 1)
    return text[:-1] + alphabet[alphabet.index(text[-1]) // free * free + rng.randrange(free)]


def _inside(piece: str) -> Any:
    def change(rng: random.Random, text: str) -> str:
        at = rng.choice([0, len(text), rng.randint(0, len(text))])
        return text[:at] + piece + text[at:]

    return change


_SPELLINGS = {
    "padding": lambda rng, text: text + "=" * (-len(text) % 4 or rng.randint(1, 3)),
    "too much padding": lambda rng, text: text + "====",
    "stray bits": _stray,
    "stray bits, again": _stray,
    "plain alphabet": lambda rng, text: text.replace("-", "+").replace("_", "/"),
    "a letter more": lambda rng, text: text + "A",
    "a letter less": lambda rng, text: text[:-1],
    "empty": lambda rng, text: "",
    "a dot": _inside("."),
    "a plus": _inside("+"),
    "an equals sign": _inside("="),
    "a line's end": _inside("\n"),
    "a space": _inside(" "),
    "a tab": _inside("\t"),
    "NUL": _inside("\0"),
    "a tilde": _inside("~"),
    "a percent escape": _inside("%41"),
    "not ASCII": _inside("ä"),
    "full width": _inside("\uff21"),
    "twice": lambda rng, text: text + text,
}


def _a_shape(rng: random.Random, signer: Signer, algorithm: str, header: Members, claims: Members) -> Made:
    token = _signed(rng, signer, algorithm, _json(header), _json(claims))
    first, second, third = token.split(".")
    shapes = {
        "two parts": f"{first}.{second}", "one part": first, "five parts": f"{token}.{first}.{second}", "a dot behind": f"{token}.",
        "a dot in front": f".{token}", "no payload": f"{first}..{third}", "no header": f".{second}.{third}", "dots": "..",
        "swapped": f"{second}.{first}.{third}", "JSON": json.dumps({"protected": first, "payload": second, "signature": third}),
        "twice": f"{token}{token}", "twice, comma": f"{token},{token}", "twice, space": f"{token} {token}", "Bearer": f"Bearer {token}",
        "empty": "", "quoted": f'"{token}"', "spaces": f" {token} ", "a dot more": f"{first}.{second}..{third}", "a comma": f"{token},",
        "a hash": f"{token}#", "nested": _signed(rng, signer, algorithm, _json(header), token.encode()),
    }  # fmt: skip
    name = rng.choice(list(shapes))
    return name, shapes[name]


def _a_byte(rng: random.Random, signer: Signer, algorithm: str, header: Members, claims: Members) -> Made:
    token = _signed(rng, signer, algorithm, _json(header), _json(claims))
    at = rng.randrange(len(token))
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/~ \n\0"
    letter = rng.choice(alphabet)
    changes = {
        "changed": token[:at] + letter + token[at + 1 :], "inserted": token[:at] + letter + token[at:],
        "deleted": token[:at] + token[at + 1 :], "case": token[:at] + token[at].swapcase() + token[at + 1 :], "cut": token[:at],
    }  # fmt: skip
    name = rng.choice(list(changes))
    return name, changes[name]


KINDS = [
    _good, _a_claim, _a_claim, _a_claim, _a_claim, _a_binding, _a_binding, _a_header, _a_header, _a_header, _a_confusion,
    _a_signature, _a_signature, _a_spelling, _a_spelling, _a_spelling, _base64, _base64, _a_shape, _a_byte,
]  # fmt: skip
