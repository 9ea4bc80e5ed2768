"""The list of reasons in src/decision.rs, and every copy of it: the README's table, the operator's tool, the record's schema."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from test_records import records

ROOT = Path(__file__).parents[2]
LIST = re.findall(r'^    \w+ "(\w+)" (\d{3}) "([^"]+)"\s+"([^"]+)";$', (ROOT / "src/decision.rs").read_text(), re.M)
"""Code, status, detail and remedy of every reason."""
REMEDIES = {code: remedy for code, _, _, remedy in LIST}


def test_the_list_is_read_whole() -> None:
    text = (ROOT / "src/decision.rs").read_text()
    between = text.partition("\nreasons! {\n")[2].partition("\n}\n")[0]
    assert len(LIST) == len(REMEDIES) == between.count('";') > 40


def test_a_remedy_is_one_line_of_plain_sentences() -> None:
    assert {code: text for code, text in REMEDIES.items()
            if not re.fullmatch(r"[A-Z][ -~]{15,119}\.", text) or '"' in text} == {}


def test_the_readme_names_every_reason_with_its_remedy_and_no_other() -> None:
    section = (ROOT / "README.md").read_text().partition("\n## When it says no\n")[2].partition("\n## ")[0]
    rows = [row.strip("| ").split(" | ") for row in section.splitlines() if row.startswith("| `")]
    assert {len(row) for row in rows} == {3}
    assert {(code.strip("`"), remedy) for code, _, remedy in rows} == set(REMEDIES.items())


def test_the_tool_for_records_prints_the_same_remedies() -> None:
    assert records.REMEDIES == REMEDIES


@pytest.mark.parametrize(("member", "column"), [("reason", 0), ("status", 1)])
def test_the_schema_of_records_knows_every_reason_and_status_and_no_other(member: str, column: int) -> None:
    schema = json.loads((ROOT / "docs/decision-record.schema.json").read_text())
    assert {str(value) for value in schema["properties"][member]["enum"]} == {"None", *(row[column] for row in LIST)}
