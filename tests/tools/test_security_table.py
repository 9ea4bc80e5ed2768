"""docs/security.md names tests; each of them is there."""

from __future__ import annotations

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[2]


def defined() -> set[str]:
    """The names of all functions of the tests and, for tests beside what they test, of the sources."""
    files = [path for folder in ("src", "tests") for path in (ROOT / folder).rglob("*") if path.suffix in (".rs", ".py")]
    return {name for path in files for name in re.findall(r"^\s*(?:fn|def) (\w+)\(", path.read_text(), re.M)}


def rows(section: str) -> list[list[str]]:
    """The tests of each row of the table in a section."""
    text = (ROOT / "docs/security.md").read_text().partition(f"\n## {section}")[2].partition("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [re.findall(r"`(\w+)`", line.rsplit("|", 2)[1]) for line in lines[1:]]


@pytest.mark.parametrize(("section", "least"), [("Seen elsewhere", 26), ("Found in review", 15), ("What a policy was believed", 21)])
def test_every_test_that_the_security_page_names_exists(section: str, least: int) -> None:
    found = rows(section)
    assert len(found) >= least and all(found), "every weakness has a test"
    assert {name for row in found for name in row} - defined() == set()


def test_each_weakness_that_a_review_found_has_a_row() -> None:
    text = (ROOT / "docs/security.md").read_text().partition("\n## Found in review")[2].partition("\n## ")[0]
    assert {int(number) for number in re.findall(r"^\| (\d+) \|", text, re.M)} == set(range(1, 16))
