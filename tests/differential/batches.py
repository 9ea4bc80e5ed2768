"""Cases in batches: made, put to the filter, compared."""

from __future__ import annotations

import base64
import itertools
import json
import multiprocessing
import os
import random
import subprocess
from collections.abc import Iterator
from typing import Any

from . import certificate_reference, certificates, mutations, texts, token_setup, tokens
from .compare import Tally, compare_certificate, compare_token

BATCH = 500
"""Cases that one process of the judge gets. A seed makes the same batches however many work on them."""


def run(cases: int, seed: int) -> Tally:
    """So many cases: six of ten are certificates, the others tokens."""
    certificate_cases = cases * 6 // 10
    batches = [("certificates", seed, at, count) for at, count in _batches(certificate_cases)]
    batches += [("tokens", seed, at, count) for at, count in _batches(cases - certificate_cases)]
    tally = Tally()
    with multiprocessing.Pool(len(os.sched_getaffinity(0))) as pool:
        for found in pool.imap(_batch, batches):
            tally.add(found)
    return tally


def _batches(count: int) -> Iterator[tuple[int, int]]:
    for at in itertools.count():
        if at * BATCH >= count:
            return
        yield at, min(BATCH, count - at * BATCH)


def _batch(batch: tuple[str, int, int, int]) -> Tally:
    kind, seed, at, count = batch
    rng = random.Random(f"{kind} {seed} {at}")
    return certificates_batch(rng, count) if kind == "certificates" else tokens_batch(rng, count)


def certificates_batch(rng: random.Random, count: int) -> Tally:
    cases: list[tuple[str, dict[str, Any]]] = []
    previous = certificates.good("acme")
    for _ in range(count):
        tree = certificates.base(rng)
        data = bytes(tree)
        share = rng.random()
        if share < 0.15:
            form, kind, text = texts.text(rng, data, previous)
            cases.append((f"{form}: {kind}", {"text": base64.b64encode(text).decode(), "format": form}))
        else:
            kind, made = mutations.mutate(rng, tree) if share < 0.75 else ("a shape", data)
            now = certificates.NOW + rng.choice([0] * 6 + [-1, 1, -10**9, 10**9])
            names = list(certificate_reference.POLICIES)
            cases.append((kind, {"der": base64.b64encode(made).decode(), "now": now, "policies": names}))
        previous = data
    tally = Tally()
    answers = judge(certificate_policies(), [case for _, case in cases])
    for (kind, case), answer in zip(cases, answers, strict=True):
        compare_certificate(tally, kind, case, answer)
    return tally


def tokens_batch(rng: random.Random, count: int) -> Tally:
    cases = [tokens.case(rng) for _ in range(count)]
    lines = [{"token": case.token, "keys": case.keys, "ask": case.questions} for case in cases]
    tally = Tally()
    for case, line, answer in zip(cases, lines, judge(token_policies(), lines), strict=True):
        compare_token(tally, case, line, answer)
    return tally


def certificate_policies() -> list[dict[str, Any]]:
    """What the judge must know for certificates."""
    policies = certificate_reference.POLICIES.items()
    return [{"policy": name, "json": certificate_reference.policy(identity)} for name, identity in policies]


def token_policies() -> list[dict[str, Any]]:
    """What the judge must know for tokens."""
    clients = certificate_reference.CLIENTS
    prepared: list[dict[str, Any]] = [
        {"policy": name, "json": token_setup.configuration(rules, clients)} for name, rules in token_setup.policies().items()
    ]
    prepared += [
        {"keys": name, "json": {"keys": [key.jwk for key in keys]}} for name, keys in token_setup.fetched_sets().items()
    ]
    for client in clients:
        encoded = base64.b64encode(certificates.good(client)).decode()
        pem = f"-----BEGIN CERTIFICATE-----\n{encoded}\n-----END CERTIFICATE-----\n"
        prepared.append({"certificate": client, "pem": pem})
    return prepared


def judge(prepared: list[dict[str, Any]], cases: list[dict[str, Any]]) -> list[Any]:
    """What the filter makes of each case. One that ends the program counts as a panic."""
    program = os.environ["JUDGE"]
    lines = "".join(f"{json.dumps(line)}\n" for line in [*prepared, *cases])
    done = subprocess.run([program], input=lines.encode(), stdout=subprocess.PIPE, check=not cases, timeout=600)
    if done.returncode == 0:
        answers = [json.loads(line) for line in done.stdout.splitlines()]
        if len(answers) != len(cases):
            raise RuntimeError(f"{program} answered {len(answers)} of {len(cases)} cases")
        return answers
    judge(prepared, [])
    if len(cases) == 1:
        return [{"panic": True}]
    half = len(cases) // 2
    return judge(prepared, cases[:half]) + judge(prepared, cases[half:])
