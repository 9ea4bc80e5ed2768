"""Which test holds each sentence of docs/configuration/ true.

`tests/docs/x.txt` lists the sentences of the page `x.md` of docs/configuration/ in their order. Under each, indented, are the tests that fail where
it is false, or one word of NO_PROMISE that says why there is none. After a change of a page:

    python3 tests/tools/promises.py --missing    # what the lists lack, as entries; what no page has any more
    python3 tests/tools/promises.py --write      # puts both in order; then replace each `?`

A sentence is found by one rule: a paragraph, an item of a list and a row of a table are each one text, which ends a sentence at `.`, `?` or
`!` before white space. Headings, heads of tables and fenced examples are no sentences (`tests/native/documentation/` runs the examples).
"""

from __future__ import annotations

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).parents[2]
PAGES = ROOT / "docs" / "configuration"
LISTS = ROOT / "tests" / "docs"
NO_PROMISE = {
    "explains": "gives a reason or a meaning, or says what something else does",
    "advice": "says what the reader should do",
    "example": "introduces or repeats an example, which is run",
    "link": "says what another page is about",
}
NOT_YET = "?"

FENCE = re.compile(r"^ *```.*?^ *```$\n?", re.M | re.S)
# The words that end in a full stop and end no sentence.
ABBREVIATIONS = ("e.g.", "i.e.", "etc.")


def texts(page: str) -> list[str]:
    """The paragraphs, items and rows of a page, each in one line."""
    found: list[str] = []
    open_text = False
    for line in FENCE.sub("\n", page).splitlines():
        line = line.strip()
        if line.startswith("|"):
            found.append(line)
            open_text = False
        elif not line or line.startswith("#"):
            open_text = False
        elif line.startswith("- ") or not open_text:
            found.append(line.removeprefix("- "))
            open_text = True
        else:
            found[-1] += " " + line
    return [text for i, text in enumerate(found) if not is_head(found, i)]


def is_head(found: list[str], i: int) -> bool:
    """Whether this is the line under a table's head, or the head above it."""
    return any(re.fullmatch(r"\|[-:| ]+\|", text) for text in found[i : i + 2] if found[i].startswith("|"))


def sentences(page: str) -> list[str]:
    """The sentences of a page; those of a table's row without the bars around it."""
    found = []
    for text in texts(page):
        if text.startswith("|"):
            text = " | ".join(cell.strip() for cell in text.strip("|").split("|"))
        # Nothing ends within code.
        parts = re.findall(r"(?:`[^`]*`|[^`])+?(?:[.?!][)*\"]*(?=\s)|$)\s*", text)
        for i, part in enumerate(parts):
            if i and parts[i - 1].rstrip().endswith(ABBREVIATIONS):
                found[-1] += part
            else:
                found.append(part)
    return [sentence.strip() for sentence in found if re.search(r"\w", sentence)]


def pages() -> dict[str, list[str]]:
    """The sentences of each page by its name."""
    return {path.stem: sentences(path.read_text()) for path in sorted(PAGES.glob("*.md"))}


def entries(text: str) -> list[tuple[str, list[str]]]:
    """The sentences of a list, each with its tests or its word."""
    found: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        if line.startswith("    "):
            found[-1][1].extend(line.split())
        elif line:
            found.append((line, []))
    return found


def lists() -> dict[str, list[tuple[str, list[str]]]]:
    """The entries of each list by the name of its page."""
    return {path.stem: entries(path.read_text()) for path in sorted(LISTS.glob("*.txt"))}


def tests() -> set[str]:
    """The names of all tests in Rust and Python."""
    files = [path for folder in ("src", "tests") for path in (ROOT / folder).rglob("*")]
    rust = [path.read_text() for path in files if path.suffix == ".rs"]
    python = [path.read_text() for path in files if path.suffix == ".py"]
    names = {name for text in rust for name in re.findall(r"#\[test\]\s+(?:#\[[^\n]*\]\s+)*fn (\w+)\(", text)}
    return names | {name for text in python for name in re.findall(r"^def (test_\w+)\(", text, re.M)}


def written(found: list[str], known: dict[str, list[str]]) -> str:
    """A list of these sentences."""
    return "".join(f"{sentence}\n    {' '.join(known.get(sentence, [NOT_YET]))}\n" for sentence in found)


def main() -> None:
    known = {sentence: names for entry in lists().values() for sentence, names in entry}
    on_pages = pages()
    if "--write" in sys.argv:
        for name, found in on_pages.items():
            (LISTS / f"{name}.txt").write_text(written(found, known))
        return
    for name, found in on_pages.items():
        missing = [sentence for sentence in found if known.get(sentence, [NOT_YET]) == [NOT_YET]]
        if missing:
            print(f"tests/docs/{name}.txt lacks:\n{written(missing, known)}")
    gone = known.keys() - {sentence for found in on_pages.values() for sentence in found}
    if gone:
        print("On no page:", *sorted(gone), sep="\n")


if __name__ == "__main__":
    main()
