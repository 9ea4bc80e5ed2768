"""Every relative link in a page leads to a file that is there, and to a heading of it."""

from __future__ import annotations

import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).parents[2]
LINK = re.compile(r"\]\(([^)\s]+)\)")
# In YAML, JSON, sources and tests a page is named by its path.
MENTION = re.compile(r"\b(docs/[\w./-]+\.md)(?:#([\w-]+))?")


def tracked(*patterns: str) -> list[pathlib.Path]:
    names = subprocess.run(["git", "ls-files", *patterns], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [ROOT / name for name in names.splitlines() if (ROOT / name).is_file()]


def prose(page: pathlib.Path) -> str:
    """The page without its fenced and indented examples and without code in a line."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S)
    text = re.sub(r"^ {4,}.*$", "", text, flags=re.M)
    return re.sub(r"`[^`\n]*`", "`", text)


def anchors(page: pathlib.Path) -> set[str]:
    """The anchors that GitHub makes of the page's headings."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S)
    headings = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", each) for each in re.findall(r"^#+ (.*)$", text, re.M)]
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


def is_broken(page: pathlib.Path, file: str, anchor: str) -> bool:
    target = (page.parent / file).resolve() if file else page
    return not target.exists() or (anchor != "" and (target.is_dir() or anchor not in anchors(target)))


def test_every_relative_link_of_a_page_leads_somewhere() -> None:
    broken = []
    for page in tracked("*.md"):
        links = [link for link in LINK.findall(prose(page)) if "://" not in link and not link.startswith("mailto:")]
        broken += [f"{page.relative_to(ROOT)}: {link}" for link in links if is_broken(page, *(link.partition("#")[::2]))]
    assert broken == []


def test_every_page_that_a_file_names_is_there() -> None:
    broken = []
    for file in tracked("*.yaml", "*.json", "*.rs", "*.py", "*.sh", "Makefile", "*.md"):
        named = MENTION.findall(file.read_text())
        broken += [f"{file.relative_to(ROOT)}: {page}#{anchor}" for page, anchor in named if is_broken(ROOT / "Makefile", page, anchor)]
    assert broken == []
