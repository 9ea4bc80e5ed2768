"""docs/security.md names tests; each of them is there."""

from __future__ import annotations

import pathlib
import re

ROOT = pathlib.Path(__file__).parents[2]


def defined() -> set[str]:
    """The names of all functions of the tests and, for tests beside what they test, of the sources."""
    files = [path for folder in ("src", "tests") for path in (ROOT / folder).rglob("*") if path.suffix in (".rs", ".py")]
    return {name for path in files for name in re.findall(r"^\s*(?:fn|def) (\w+)\(", path.read_text(), re.M)}


def rows() -> list[list[str]]:
    """The tests of each row of the table of weaknesses that were seen elsewhere."""
    section = (ROOT / "docs/security.md").read_text().partition("## Seen elsewhere")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [re.findall(r"`(\w+)`", line.rsplit("|", 2)[1]) for line in lines[1:]]


def test_every_test_that_the_security_page_names_exists() -> None:
    named = {name for row in rows() for name in row}
    assert len(rows()) >= 26 and all(rows()), "every weakness has a test"
    assert named - defined() == set()
