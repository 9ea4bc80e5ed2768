"""What the filter is to reach, as ratios within one run."""

from __future__ import annotations

from dataclasses import dataclass

from . import footprint, variants
from .figures import Spread
from .footprint import Footprint
from .rounds import Results


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
        verdict = "holds" if self.holds() else "**does not hold**"
        return f"| {self.what} | {self.limit:g} {self.unit} | {self._measured()} {self.unit} | {verdict} |"

    def line(self) -> str:
        """The same for a terminal."""
        verdict = "holds" if self.holds() else "does not hold"
        what = self.what.replace("`", "")
        return f"{what}: at most {self.limit:g} {self.unit}, measured {self._measured()} {self.unit}: {verdict}"

    def _measured(self) -> str:
        digits = 0 if self.unit == "KiB" else 2
        if self.measured.low == self.measured.high:
            return f"{self.measured.median:.{digits}f}"
        return self.measured.show(digits)


def goals(results: Results, loads: dict[str, Footprint], module_size: int) -> list[Goal]:
    """All of them, as far as their variants were measured."""
    found = []
    for what, limit, one, other in [
        ("ours, known token, to an empty Wasm filter", 2.0, variants.HOT, variants.EMPTY),
        ("ours, known token, to `jwt_authn` with cache + Lua that remembers certificates", 0.6, variants.HOT, variants.LUA),
        ("ours, known token, to `jwt_authn` with cache + Lua that remembers tokens, too", 0.6, variants.HOT, variants.LUA_TOKENS),
        ("ours, known token, to ext_authz with an empty server", 0.3, variants.HOT, variants.EXT_AUTHZ),
        ("ours, new token, to `jwt_authn` without cache", 0.6, variants.COLD, variants.JWT_UNCACHED),
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
