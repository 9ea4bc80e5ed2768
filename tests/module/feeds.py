"""What lists of revoked certificates cost: `python tests/module/feeds.py`, after `make wasm`.

Fuel is what wasmtime counts, about one for each WebAssembly instruction; `fuel.py` says more about it. Milliseconds are of
this machine and of wasmtime's compiler, and stand beside those of Python's json module on the same bytes in the same run.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))

from cryptography import x509  # noqa: E402  # after the path is known
from cryptography.hazmat.primitives import hashes, serialization  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec  # noqa: E402

import scene  # noqa: E402
from host import Header, HttpCall, Vm  # noqa: E402

GOOD: list[Header] = [(b":status", b"200")]
PAGE_KIB = 64
_NAME = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Authority")])
_KEY = ec.generate_private_key(ec.SECP256R1())


class Cost(NamedTuple):
    """What a list costs."""

    name: str
    body_bytes: int
    fetching_fuel: int
    """In the worker that fetches it: reading, keeping, leaving it for the others."""
    fetching_ms: float
    taking_over_fuel: int
    """In every other worker."""
    taking_over_ms: float
    fetching_bytes: int
    """By which the memory of the worker that fetches is larger."""
    taking_over_bytes: int
    """And that of every other."""
    request_fuel: int
    """A request of a known connection, with the list in force."""
    new_connection_fuel: int
    """The first request of a connection."""


def feed(kind: str = "json", **more: Any) -> scene.Config:
    """A policy with one feed."""
    source = {"type": kind, "cluster": "lists", "authority": "lists.example", "path": "/", "refresh_seconds": 10}
    if kind == "crl":
        source["issuer_certificate"] = _issuer()
    return scene.policy(revocation={"feeds": [source | more]})


def call(vm: Vm) -> HttpCall:
    """The only fetch that is under way."""
    (found,) = vm.http_calls
    vm.http_calls.clear()
    return found


def thumbprints(count: int) -> bytes:
    """A list in JSON of made-up thumbprints."""
    return json.dumps({"sha256": [f"{number:064x}" for number in range(count)]}).encode()


def serials(count: int) -> bytes:
    """A list in JSON of serial numbers of 16 bytes."""
    found = [{"issuer": "CN=Authority", "serial": f"{number | 1 << 127:032x}"} for number in range(count)]
    return json.dumps({"serials": found}).encode()


def crl(count: int) -> bytes:
    """An X.509 list of as many serial numbers of 16 bytes."""
    now = datetime.now(timezone.utc).replace(microsecond=0)
    builder = x509.CertificateRevocationListBuilder().issuer_name(_NAME).last_update(now - timedelta(hours=1))
    builder = builder.next_update(now + timedelta(days=1)).add_extension(x509.CRLNumber(1), critical=False)
    entries = [
        x509.RevokedCertificateBuilder().serial_number(number | 1 << 127).revocation_date(now).build()
        for number in range(count)
    ]
    # One by one they would be copied as often as there are entries.
    builder = x509.CertificateRevocationListBuilder(
        builder._issuer_name, builder._last_update, builder._next_update, builder._extensions, entries
    )
    return builder.sign(_KEY, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def _issuer() -> str:
    now = datetime.now(timezone.utc)
    builder = x509.CertificateBuilder().subject_name(_NAME).issuer_name(_NAME).public_key(_KEY.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + timedelta(days=1))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return builder.sign(_KEY, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def cost(name: str, config: scene.Config, body: bytes) -> Cost:
    """Has one worker fetch a list, and another one take it over."""
    first, other = scene.start(config), scene.start(config)
    other.shared, other.now = first.shared, first.now
    first.tick(100)
    _request(other, 1)
    pages = first.pages, other.pages
    fetching = _measured(first, lambda: first.answer(call(first), GOOD, body))
    assert first.counters["mtls_fetch_total.source.feed_0.outcome.adopted"] == 1, first.log
    taking_over = _measured(other, lambda: other.tick(100))
    memory = [(vm.pages - before) * PAGE_KIB * 1024 for vm, before in zip((first, other), pages)]
    _request(other, 1)
    known = _measured(other, lambda: _request(other, 1))
    new = _measured(other, lambda: _request(other, 2))
    return Cost(name, len(body), *fetching, *taking_over, *memory, known[0], new[0])


def _measured(vm: Vm, act: Any) -> tuple[int, float]:
    fuel, begun = vm.fuel, time.perf_counter()
    act()
    return vm.fuel - fuel, (time.perf_counter() - begun) * 1000


def _request(vm: Vm, number: int) -> None:
    vm.end(vm.request(scene.headers(bearer=scene.token(jti="1")), scene.connection(number=number)))


def costs(count: int) -> Iterator[Cost]:
    """Each kind of list, with so many entries."""
    yield cost(f"json, {count:,} thumbprints", feed(), thumbprints(count))
    yield cost(f"json, {count:,} serial numbers", feed(), serials(count))
    yield cost(f"crl, {count:,} serial numbers", feed("crl"), crl(count))


def main() -> None:
    """Prints everything as a table of Markdown."""
    print("| list | bytes | fetching: fuel | ms | taking over: fuel | ms | memory where it is fetched, KiB | elsewhere | known request: fuel | new connection: fuel |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    for count in (1, 100_000):
        for found in costs(count):
            print(
                f"| {found.name} | {found.body_bytes:,} | {found.fetching_fuel:,} | {found.fetching_ms:.0f} "
                f"| {found.taking_over_fuel:,} | {found.taking_over_ms:.0f} | {found.fetching_bytes // 1024:,} | {found.taking_over_bytes // 1024:,} "
                f"| {found.request_fuel:,} | {found.new_connection_fuel:,} |"
            )
    begun = time.perf_counter()
    json.loads(thumbprints(100_000))
    print(f"\nPython's json on the 100,000 thumbprints: {(time.perf_counter() - begun) * 1000:.0f} ms")


if __name__ == "__main__":
    main()
