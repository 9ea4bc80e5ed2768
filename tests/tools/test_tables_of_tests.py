"""The tables of docs/security.md and docs/interoperability.md name tests; each of them is there."""

from __future__ import annotations

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[2]


def defined() -> set[str]:
    """The names of all functions of the tests and, for tests beside what they test, of the sources."""
    files = [path for folder in ("src", "tests") for path in (ROOT / folder).rglob("*") if path.suffix in (".rs", ".py")]
    return {name for path in files for name in re.findall(r"^\s*(?:fn|def) (\w+)\(", path.read_text(), re.M)}


def section(page: str, title: str) -> str:
    return (ROOT / page).read_text().partition(f"\n## {title}")[2].partition("\n## ")[0]


def rows(page: str, title: str) -> list[list[str]]:
    """The tests of each row of the table in a section."""
    lines = [line for line in section(page, title).splitlines() if line.startswith("| ")]
    return [re.findall(r"`(\w+)`", line.rsplit("|", 2)[1]) for line in lines[1:]]


@pytest.mark.parametrize(
    ("page", "title", "least"),
    [
        ("docs/security.md", "Seen elsewhere", 26),
        ("docs/security.md", "Found in review", 15),
        ("docs/security.md", "What a policy was believed", 21),
        ("docs/interoperability.md", "Key sets and tokens", 0),
        ("docs/interoperability.md", "Certificates and names", 0),
        ("docs/interoperability.md", "Lists of revoked certificates", 0),
        ("docs/interoperability.md", "Identities", 0),
        ("docs/interoperability.md", "Fetching and waiting", 0),
        ("docs/interoperability.md", "Long runs", 0),
        ("docs/interoperability.md", "Refusals", 0),
        ("docs/interoperability.md", "Configuration", 0),
        ("docs/interoperability.md", "Handshakes, clients and proxies in front", 0),
        ("docs/interoperability.md", "Issuers", 0),
    ],
)
def test_every_test_that_a_table_names_exists(page: str, title: str, least: int) -> None:
    found = rows(page, title)
    assert len(found) >= least and all(found), "every row has a test"
    assert {name for row in found for name in row} - defined() == set()


def test_each_weakness_that_a_review_found_has_a_row() -> None:
    text = section("docs/security.md", "Found in review")
    assert {int(number) for number in re.findall(r"^\| (\d+) \|", text, re.M)} == set(range(1, 16))
