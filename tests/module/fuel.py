"""How much the module executes: `python tests/module/fuel.py`, after `make wasm`.

Fuel is what wasmtime counts, about one for each WebAssembly instruction. It is the same on every machine and at every
run of the same module, so it shows what a change costs where a stopwatch shows noise. What the host does is not in it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))

import scene  # noqa: E402  # after the path is known
from harness import artifacts  # noqa: E402
from harness.tokens import Algorithm, Signer  # noqa: E402
from host import Header, Stream, Vm, compiled  # noqa: E402

PAGE_KIB = 64


class Cost(NamedTuple):
    """A request's price."""

    name: str
    host_calls: int
    fuel: int


PLAIN_STRUCTS = artifacts.REPOSITORY / "dist" / "bench" / "registry.wasm"
"""Reads the same configuration with `serde_json` and keeps it; `make bench` builds it."""


class Load(NamedTuple):
    """A configuration's price."""

    name: str
    json_bytes: int
    memory_bytes: int
    """By which the memory is larger than that of a module that is not configured."""
    fuel: int


def costs() -> Iterator[Cost]:
    """The kinds of requests."""
    vm, token = scene.start(), scene.token()
    yield _cost("first request of a worker", vm, token)
    yield _cost("hot: connection and token known", vm, token)
    more = [(b"x-header-%d" % number, b"value") for number in range(30)]
    yield _cost("hot, 30 headers more", vm, token, *more)
    long = scene.token(scope=" ".join(f"scope-{number}" for number in range(150)))
    _cost("", vm, long)
    yield _cost(f"hot, token of {len(long)} bytes (the others: {len(token)})", vm, long)
    yield _cost("new connection, token known", vm, token, number=2)
    yield _cost("cold: connection known, token never seen", vm, scene.token(jti="1"))
    yield _cost("bypassed", vm, None, path="/health")
    yield _cost("refused: no certificate", vm, token, client=None, number=3)
    yield _cost("refused: path", vm, token, path="/secret")
    logging = scene.start(scene.policy(audit={"log": "denied"}))
    yield _cost("refused: path, with a log line", logging, token, path="/secret", times=2)
    yield _cost("refused: forged signature", vm, scene.token(by=scene.stranger()))
    yield _cost("certificate alone (mode mtls)", scene.start(scene.policy(mode="mtls", token={})), None, times=2)
    claims = scene.claims()
    behind = scene.start(scene.policy(token={"source": "jwt_authn"}))
    forwarded = scene.signer().sign(claims)
    yield _cost("behind jwt_authn", behind, forwarded, times=2, properties=scene.metadata(claims))
    limited = scene.policy()
    limited["profiles"]["partner"]["rate_limit"] = {"requests": 1000, "per_seconds": 1}
    yield _cost("hot, with a rate limit", scene.start(limited), token, times=2)


def own_signatures(algorithms: Sequence[Algorithm]) -> Iterator[Cost]:
    """A cold token on a host without `verify_signature`."""
    for algorithm in algorithms:
        signer = Signer(algorithm)
        vm = scene.start(scene.policy(token={"source": "jwks", "jwks": {"keys": [signer.jwk()]}}))
        vm.has_foreign_functions = False
        _cost("", vm, scene.token(by=signer))
        yield _cost(f"cold, {algorithm} verified in the module", vm, scene.token(by=signer, jti="1"))


def sizes(clients: Sequence[int], rules: Sequence[int]) -> Iterator[tuple[Load, Cost]]:
    """Larger policies: what it costs to load them, and the hot request."""
    for count, rule_count in [*((count, 1) for count in clients), *((clients[0], count) for count in rules)]:
        name = f"{count:,} clients, {rule_count:,} rules"
        vm = scene.load(large(count, rule_count))
        yield load(name, vm), _cost(f"hot, {name}", vm, scene.token(), times=2)


def load(name: str, vm: Vm) -> Load:
    """What it costs a machine to read its configuration."""
    pages, fuel = vm.pages, vm.fuel
    assert vm.configure(), vm.log
    return Load(name, len(vm.configuration), (vm.pages - pages) * PAGE_KIB * 1024, vm.fuel - fuel)


def segments(vm: Vm, stream: Stream, before: int) -> Iterator[tuple[str, int]]:
    """What was executed up to each host call of a request, and after the last one."""
    assert stream.passed
    for call, mark in zip(vm.calls, vm.marks):
        yield f"to {call}", mark - before
        before = mark
    yield "to the end", vm.fuel - before


def large(clients: int, rules: int = 1) -> scene.Config:
    """So many clients, and so many rules of their profile."""
    config = scene.policy()
    config["clients"] |= {
        f"client-{number:06}": {
            "identities": [f"spiffe://example.org/ns/team/sa/client-{number:06}"], "profiles": ["partner"],
        }
        for number in range(clients - 1)
    }
    # The rule that allows stands last.
    others = [{"paths": [f"/other/{number}/*"], "methods": ["GET"]} for number in range(rules - 1)]
    allow = others + config["profiles"]["partner"]["allow"]
    config["profiles"]["partner"]["allow"] = allow
    return config


def _cost(
    name: str, vm: Vm, token: str | None, *more: Header, path: str = "/payments/1", client: str | None = "acme",
    number: int = 1, times: int = 1, properties: dict[str, bytes] | None = None,
) -> Cost:
    """Of the last of `times` requests, from its context's creation to its end."""
    for _ in range(times):
        scene.forget(vm)
        before = vm.fuel
        all_properties: dict[str, Any] = scene.connection(client, number) | (properties or {})
        vm.end(vm.request(scene.headers(path, token, "GET", *more), all_properties))
    return Cost(name, len(vm.calls), vm.fuel - before)


def main() -> None:
    """Prints everything as tables of Markdown."""
    measured = [*costs(), *own_signatures(["RS256", "PS256", "ES256", "ES384", "EdDSA"])]
    loads = []
    for loaded, cost in sizes((10, 1_000, 100_000), (1_000,)):
        loads.append(loaded)
        measured.append(cost)
    if PLAIN_STRUCTS.exists():
        plain = Vm(compiled(PLAIN_STRUCTS), json.dumps(large(100_000)).encode())
        loads.append(load("the same 100,000 clients into plain structs", plain))
    print("| request | host calls | fuel |\n|---|--:|--:|")
    for cost in measured:
        print(f"| {cost.name} | {cost.host_calls} | {cost.fuel:,} |")
    vm, token = scene.start(), scene.token()
    for _ in range(2):
        scene.forget(vm)
        before = vm.fuel
        stream = vm.request(scene.headers(bearer=token), scene.connection())
    print("\n| of a hot request | fuel |\n|---|--:|")
    for name, fuel in segments(vm, stream, before):
        print(f"| {name} | {fuel:,} |")
    print(f"\nMemory before a configuration: {scene.load().pages * PAGE_KIB} KiB.")
    print("\n| configuration | JSON | memory | memory/JSON | fuel | fuel/JSON byte |\n|---|--:|--:|--:|--:|--:|")
    for each in loads:
        print(f"| {each.name} | {each.json_bytes / 1024:,.0f} KiB | {each.memory_bytes / 1024:,.0f} KiB "
              f"| {each.memory_bytes / each.json_bytes:.2f} | {each.fuel:,} | {each.fuel / each.json_bytes:.0f} |")


if __name__ == "__main__":
    main()
