"""The decision record, held against the published schema wherever the suite reads one; and what the operator's tool says."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from jsonschema import Draft202012Validator

from .artifacts import REPOSITORY

SCHEMA: dict[str, Any] = json.loads((REPOSITORY / "docs" / "decision-record.schema.json").read_text())
_SCHEMA = Draft202012Validator(SCHEMA)


def parse(text: str | bytes) -> dict[str, Any]:
    """A record as the filter wrote it; anything else is an error that says which member is wrong."""
    record: dict[str, Any] = json.loads(text, object_pairs_hook=_members)
    _SCHEMA.validate(record)
    return record


def parse_line(line: str) -> dict[str, Any]:
    """A line of an access log with its record parsed; `decision` is `None` where Envoy answered before the filter did."""
    entry: dict[str, Any] = json.loads(line)
    if entry["decision"] is not None:
        entry["decision"] = parse(entry["decision"])
    return entry


def report(*arguments: object) -> str:
    """What `envoy/records.py` prints."""
    command = [sys.executable, "-B", str(REPOSITORY / "envoy" / "records.py"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    assert len(dict(pairs)) == len(pairs), f"a member stands twice: {pairs}"
    return dict(pairs)
