"""docs/performance.md: what `make bench` writes about goals and alternatives, and what the page has of it."""

from __future__ import annotations

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "benches"), str(ROOT / "tests" / "e2e")]

from suite import footprint, report, variants  # noqa: E402
from suite.figures import Spread  # noqa: E402
from suite.footprint import Footprint  # noqa: E402
from suite.goals import KNOWN_REQUEST, Goal, comparisons, goals  # noqa: E402

PAGE = (ROOT / "docs" / "performance.md").read_text()


class Measured:
    """Results of a run in which every variant took twice what the other one took."""

    series = dict.fromkeys([
        variants.HOT, variants.EMPTY, variants.LUA, variants.LUA_TOKENS, variants.EXT_AUTHZ, variants.COLD, variants.JWT_UNCACHED,
        variants.CLIENTS_100000, variants.RULES_1000,
    ])

    def ratio(self, *_: str) -> Spread:
        return Spread(2, 1, 3)


def rows(table: str) -> list[str]:
    """The first cell of each row."""
    return [line.split(" | ")[0] for line in table.splitlines()[2:]]


def section(heading: str) -> str:
    return PAGE.partition(f"### {heading}\n\n")[2].partition("\n\n")[0]


def made() -> list[Goal]:
    many = Footprint(json=10, worker_ms=Spread(3, 3, 3), process_ms=Spread(1, 1, 1), linear=10, resident=10)
    loads = {footprint.OURS_100000: many, footprint.PLAIN_100000: many}
    return goals(Measured(), loads, 1024, KNOWN_REQUEST)  # type: ignore[arg-type]


def test_the_page_has_the_goals_and_comparisons_that_the_benchmark_writes() -> None:
    assert rows(section("Goals")) == rows(report.goal_table(made()))
    assert rows(section("Beside the alternatives")) == rows(report.comparison_table(comparisons(Measured())))  # type: ignore[arg-type]


def test_a_goal_that_is_not_reached_is_open_and_a_comparison_has_no_limit() -> None:
    assert [goal.row().rpartition(" | ")[2] for goal in made()] == ["holds |"] * 2 + ["open |"] * 2 + ["holds |", "holds |", "open |"]
    assert {len(row.split(" | ")) for row in section("Beside the alternatives").splitlines()} == {2, 1}
    assert "does not hold" not in PAGE and "hold" not in section("Beside the alternatives")


def test_the_page_says_of_each_measured_goal_what_its_figures_say() -> None:
    for row in section("Goals").splitlines()[2:]:
        what, limit, measured, verdict = row.strip("| ").split(" | ")
        found = [float(re.match(r"[\d.]+", cell)[0]) for cell in (limit, measured)]  # type: ignore[index]
        assert verdict == ("holds" if found[1] <= found[0] else "open"), what


def test_the_fuel_and_calls_that_a_goal_is_about_are_those_that_the_page_tells() -> None:
    known = re.search(r"(?m)^\| connection and token known \| (\d+) \| ([\d,]+) \|$", PAGE)
    assert known is not None
    assert int(known[1]) <= KNOWN_REQUEST["host calls"] and int(known[2].replace(",", "")) <= 1.05 * KNOWN_REQUEST["fuel"]
