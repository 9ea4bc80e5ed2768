"""What the filter is to reach, and how it compares, as ratios within one run."""

from __future__ import annotations

from dataclasses import dataclass

from . import footprint, variants
from .figures import Spread
from .footprint import Footprint
from .rounds import Results


KNOWN_REQUEST = {"fuel": 18_203, "host calls": 10}
"""What a known request took when its goal was set, by `tests/module/fuel.py`; a later module is compared with it."""


@dataclass(frozen=True)
class Comparison:
    """The filter beside an alternative."""

    what: str
    measured: Spread

    def row(self) -> str:
        """A row of the table."""
        return f"| {self.what} | {self.measured.show(2)} × |"


@dataclass(frozen=True)
class Goal:
    """One of them, and what was measured."""

    what: str
    limit: float
    measured: Spread
    unit: str = "×"

    def holds(self) -> bool:
        """Whether the median is within the limit."""
        return self.measured.median <= self.limit

    def row(self) -> str:
        """A row of the table."""
        verdict = "holds" if self.holds() else "open"
        return f"| {self.what} | {self.limit:g} {self.unit} | {self._measured()} {self.unit} | {verdict} |"

    def line(self) -> str:
        """The same for a terminal."""
        verdict = "holds" if self.holds() else "open"
        what = self.what.replace("`", "")
        return f"{what}: at most {self.limit:g} {self.unit}, measured {self._measured()} {self.unit}: {verdict}"

    def _measured(self) -> str:
        digits = 0 if self.unit == "KiB" else 2
        if self.measured.low == self.measured.high:
            return f"{self.measured.median:.{digits}f}"
        return self.measured.show(digits)


def comparisons(results: Results) -> list[Comparison]:
    """The filter beside its alternatives, as far as they were measured."""
    found = []
    for what, one, other in [
        ("known token, to an empty Wasm filter", variants.HOT, variants.EMPTY),
        ("known token, to `jwt_authn` with cache + Lua that remembers certificates", variants.HOT, variants.LUA),
        ("known token, to `jwt_authn` with cache + Lua that remembers tokens, too", variants.HOT, variants.LUA_TOKENS),
        ("known token, to ext_authz with an empty server", variants.HOT, variants.EXT_AUTHZ),
        ("new token, to `jwt_authn` without cache", variants.COLD, variants.JWT_UNCACHED),
    ]:
        if one in results.series and other in results.series:
            found.append(Comparison(what, results.ratio(one, other)))
    return found


def goals(results: Results, loads: dict[str, Footprint], module_size: int, known_request: dict[str, int]) -> list[Goal]:
    """All of them, as far as their variants were measured."""
    found = []
    for what, limit in (("fuel", 1.05), ("host calls", 1.0)):
        ratio = known_request[what] / KNOWN_REQUEST[what]
        found.append(Goal(f"{what} of a known request, to {KNOWN_REQUEST[what]:,}", limit, _exactly(ratio)))
    for what, limit, one, other in [
        ("100,000 clients to 10", 1.1, variants.CLIENTS_100000, variants.HOT),
        ("1,000 rules to 1", 1.1, variants.RULES_1000, variants.HOT),
    ]:
        if one in results.series and other in results.series:
            found.append(Goal(what, limit, results.ratio(one, other)))
    many, plain = loads[footprint.OURS_100000], loads[footprint.PLAIN_100000]
    return [
        *found,
        Goal("size of the module", 900, _exactly(module_size / 1024), "KiB"),
        Goal("linear memory at 100,000 clients, to the JSON", 1.7, _exactly(many.linear / many.json)),
        Goal("a worker's time to read 100,000 clients, to `serde_json` into plain structs", 0.75, Spread(
            many.worker_ms.median / plain.worker_ms.median,
            many.worker_ms.low / plain.worker_ms.high,
            many.worker_ms.high / plain.worker_ms.low,
        )),
    ]


def _exactly(value: float) -> Spread:
    return Spread(value, value, value)
