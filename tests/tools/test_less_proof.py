"""docs/security.md lists the exceptions of "less proof never gives more" that the test knows, and no others."""

from __future__ import annotations

import pathlib
import re

ROOT = pathlib.Path(__file__).parents[2]


def test_the_security_page_lists_the_exceptions_that_the_test_has() -> None:
    source = (ROOT / "tests/native/less_proof/exceptions.rs").read_text()
    variants = re.findall(r"^    (\w+),$", source.partition("pub enum Exception {")[2].partition("\n}")[0], re.M)
    names = [re.sub(r"(?<!^)(?=[A-Z])", "_", variant).lower() for variant in variants]
    section = (ROOT / "docs/security.md").read_text().partition("\n## Less proof never gives more\n")[2].partition("\n## ")[0]
    assert len(names) >= 8 and names == re.findall(r"^\| `(\w+)` \|", section, re.M)
