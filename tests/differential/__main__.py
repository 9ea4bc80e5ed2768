"""`make differential`: many certificates and tokens, judged by the filter and by independent implementations.

Wherever the filter is laxer for no known reason, the command fails and prints the case.
"""

from __future__ import annotations

import argparse
import base64
import itertools
import json
import multiprocessing
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

from . import certificate_reference, certificates, tokens
from .compare import Tally, compare_certificate, compare_token

BATCH = 500
"""Cases that one process of the judge gets. A seed makes the same batches however many work on them."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="make differential")
    parser.add_argument("--cases", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    options = parser.parse_args()
    start = time.monotonic()
    tally = run(options.cases, options.seed)
    print(report(tally, options.seed, time.monotonic() - start))
    return 1 if tally.unexplained else 0


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
            form, kind, text = certificates.text(rng, data, previous)
            cases.append((f"{form}: {kind}", {"text": base64.b64encode(text).decode(), "format": form}))
        else:
            kind, made = certificates.mutate(rng, tree) if share < 0.75 else ("a shape", data)
            now = certificates.NOW + rng.choice([0] * 6 + [-1, 1, -10**9, 10**9])
            names = list(certificate_reference.POLICIES)
            cases.append((kind, {"der": base64.b64encode(made).decode(), "now": now, "policies": names}))
        previous = data
    prepared = [
        {"policy": name, "json": certificate_reference.policy(identity)}
        for name, identity in certificate_reference.POLICIES.items()
    ]
    tally = Tally()
    for (kind, case), answer in zip(cases, judge(prepared, [case for _, case in cases]), strict=True):
        compare_certificate(tally, kind, case, answer)
    return tally


def tokens_batch(rng: random.Random, count: int) -> Tally:
    cases = [tokens.case(rng) for _ in range(count)]
    clients = certificate_reference.CLIENTS
    prepared: list[dict[str, Any]] = [
        {"policy": name, "json": tokens.configuration(rules, clients)} for name, rules in tokens.policies().items()
    ]
    prepared += [
        {"keys": name, "json": {"keys": [key.jwk for key in keys]}} for name, keys in tokens.fetched_sets().items()
    ]
    for client in clients:
        encoded = base64.b64encode(certificates.good(client)).decode()
        pem = f"-----BEGIN CERTIFICATE-----\n{encoded}\n-----END CERTIFICATE-----\n"
        prepared.append({"certificate": client, "pem": pem})
    lines = [{"token": case.token, "keys": case.keys, "ask": case.questions} for case in cases]
    tally = Tally()
    for case, line, answer in zip(cases, lines, judge(prepared, lines), strict=True):
        compare_token(tally, case, line, answer)
    return tally


def judge(prepared: list[dict[str, Any]], cases: list[dict[str, Any]]) -> list[Any]:
    """What the filter makes of each case."""
    program = os.environ["JUDGE"]
    lines = "".join(f"{json.dumps(line)}\n" for line in [*prepared, *cases])
    done = subprocess.run([program], input=lines.encode(), stdout=subprocess.PIPE, check=True)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    if len(answers) != len(cases):
        raise RuntimeError(f"{program} answered {len(answers)} of {len(cases)} cases")
    return answers


def report(tally: Tally, seed: int, seconds: float) -> str:
    """The result, for people."""
    lines = [f"{'':<22}{'cases':>9}{'both accept':>13}{'both refuse':>13}"]
    for name in tally.cases:
        counts = (tally.cases[name], tally.both_accept[name], tally.both_refuse[name])
        lines.append(f"{name:<22}{counts[0]:>9}{counts[1]:>13}{counts[2]:>13}")
    for title, counter in (("the filter is stricter", tally.stricter), ("the filter is laxer, explained", tally.explained)):
        lines += ["", f"{title}: {sum(counter.values())}"]
        lines += [f"{count:>9}  {name}" for name, count in counter.most_common()]
    lines += ["", f"the filter is laxer, unexplained: {len(tally.unexplained)}"]
    for finding in tally.unexplained[:20]:
        lines += [f"- {finding['what']} ({finding['kind']})", *(f"    {name}: {json.dumps(finding[name], default=str)}" for name in ("case", "filter", "reference"))]
    cases = sum(tally.cases[name] for name in ("certificate", "certificate as text", "token"))
    lines += ["", f"{cases} cases in {seconds:.0f} seconds; SEED={seed}"]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
