"""The published schema of the configuration sees what a schema can see of the mistakes that the filter refuses, and refuses nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = json.loads((ROOT / "docs" / "configuration.schema.json").read_text())
CASES = json.loads((ROOT / "tests" / "native" / "mistakes.json").read_text())
MISTAKES = CASES["mistakes"]
BASE: dict[str, Any] = {
    "clients": {"acme": {"identities": ["cn:acme"], "profiles": ["partner"]}},
    "profiles": {"partner": {"allow": [{"paths": ["/a"]}]}},
}


def is_valid(members: dict[str, Any]) -> bool:
    return bool(Draft202012Validator(SCHEMA).is_valid({**BASE, **members}))


def test_the_schema_is_a_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("mistake", MISTAKES, ids=[mistake["kind"] for mistake in MISTAKES])
def test_the_schema_sees_a_mistake_or_there_is_a_reason_why_it_cannot(mistake: dict[str, Any]) -> None:
    assert is_valid(mistake["members"]) == ("unseen" in mistake)


def test_most_mistakes_are_seen() -> None:
    unseen = [mistake["kind"] for mistake in MISTAKES if "unseen" in mistake]
    assert len(unseen) * 6 < len(MISTAKES), unseen


@pytest.mark.parametrize("members", CASES["good"])
def test_what_the_filter_takes_is_of_the_schema(members: dict[str, Any]) -> None:
    Draft202012Validator(SCHEMA).validate({**BASE, **members})
