"""Tokens right and wrong, and what is asked about each.

Nothing here is random but `random.Random`, so that a seed always makes the same cases.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass

from . import certificates
from .token_kinds import KINDS, Members
from .token_setup import fetched_sets, key_sets, presented

NOW = certificates.NOW

Question = tuple[str, str | None, int, str]
"""A policy, the certificate that is presented, a time and a path."""


@dataclass
class Case:
    """A token, and what is asked about it."""

    kind: str
    token: str
    keys: str
    questions: list[Question]


def case(rng: random.Random) -> Case:
    """One of many kinds; mostly exactly one thing is unusual."""
    name = rng.choice([*list(key_sets()) * 2, *fetched_sets(), *["all"] * 6])
    keys = fetched_sets()[name]
    key = rng.choice(keys)
    algorithm = key.alg if key.alg in key.signer.algorithms else rng.choice(key.signer.algorithms)
    header: Members = [("alg", json.dumps(algorithm))]
    if key.kid and rng.random() < 0.9:
        header.append(("kid", json.dumps(key.kid)))
    if rng.random() < 0.3:
        header.append(("typ", rng.choice(['"JWT"', '"at+jwt"', '"application/at+jwt"', '"jwt"'])))
    claims = _claims(rng)
    make = rng.choice(KINDS)
    kind, token = make(rng, key.signer, algorithm, header, claims)
    return Case(f"{make.__name__.strip('_')}: {kind}", token, name, _questions(rng, name, claims))


def _claims(rng: random.Random) -> Members:
    claims = {
        "iss": '"https://auth.example"',
        "sub": '"acme"',
        "aud": rng.choice(['"https://api.example"', '["https://api.example"]', '["x", "https://api.example"]']),
        "client_id": '"acme"',
        "exp": str(NOW + 60),
        "nbf": str(NOW - 60),
        "iat": str(NOW - 60),
        "scope": rng.choice(['"read"', '"read admin"', '"openid read"']),
        "cnf": json.dumps({"x5t#S256": presented()["acme"].thumbprint}),
    }
    for name in ("iss", "aud", "nbf", "iat", "scope"):
        if rng.random() < 0.1:
            del claims[name]
    if rng.random() < 0.2:
        del claims["cnf"]
    members = list(claims.items())
    rng.shuffle(members)
    return members


def _questions(rng: random.Random, name: str, claims: Members) -> list[Question]:
    own = name if name in key_sets() else "all"
    required, optional = f"{own}, required", f"{own}, optional"
    asked: list[Question] = [
        (required, "acme", NOW, "/open"),
        (required, "acme", NOW, "/scope/read"),
        (required, "acme", NOW, "/scope/admin"),
        (required, "globex", NOW, "/open"),
        (optional, None, NOW, "/open"),
        (optional, "acme", NOW, "/open"),
    ]
    if own == "all":
        strict = rng.choice(["all, strict", "all, strict", "all, es256", "all, no claims", "all, no leeway"])
        asked += [(strict, "acme", NOW, "/open"), ("all, by sub", None, NOW, "/open")]
        asked += [("all, strict, optional", None, NOW, "/open")]
    for claim, text in rng.sample(claims, min(3, len(claims))):
        if claim in ("exp", "nbf", "iat"):
            try:
                around = int(float(text))
            except (ValueError, OverflowError):
                continue
            if 100 < around < 1 << 33:
                leeway = 30 if claim == "exp" else -30
                asked += [(required, "acme", around + leeway + delta, "/open") for delta in (-1, 0, 1)]
    return asked
