"""The recipes of `docs/issuers.md`: their blocks, as somebody copies them."""

from __future__ import annotations

import json
import re
from typing import Any

from .artifacts import REPOSITORY
from .filters import Config

PAGE = REPOSITORY / "docs" / "issuers.md"


def blocks(section: str, language: str) -> list[str]:
    """The fenced blocks of a language below a heading, up to the next one."""
    text = PAGE.read_text()
    found = re.search(rf"^#+ {re.escape(section)}\n(.*?)(?=^#+ |\Z)", text, re.M | re.S)
    assert found, f"{section} is no heading of {PAGE.name}"
    return re.findall(rf"^```{language}\n(.*?)^```$", found[1], re.M | re.S)


def policy(section: str, **token: Any) -> Config:
    """The policy of a recipe, with these members of `token` in the place of its own; `None` takes one away."""
    (text,) = blocks(section, "json")
    config: Config = json.loads(text)
    members = config["token"] | token
    return config | {"token": {name: value for name, value in members.items() if value is not None}}
