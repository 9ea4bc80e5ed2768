"""Each sentence of docs/configuration/ names the tests that fail where it is false, or why it promises nothing."""

from __future__ import annotations

import collections

import promises
import pytest

PAGES = promises.pages()
LISTS = promises.lists()
TESTS = promises.tests()
REPAIR = "python3 tests/tools/promises.py --missing"


def test_each_page_has_a_list_and_each_list_a_page() -> None:
    assert LISTS.keys() == PAGES.keys()


@pytest.mark.parametrize("page", sorted(PAGES))
def test_every_sentence_of_a_page_is_listed_and_no_other(page: str) -> None:
    listed = [sentence for sentence, _ in LISTS[page]]
    assert listed == PAGES[page], REPAIR


def test_no_sentence_is_listed_twice() -> None:
    counts = collections.Counter(sentence for entries in LISTS.values() for sentence, _ in entries)
    assert [sentence for sentence, count in counts.items() if count > 1] == []


@pytest.mark.parametrize("page", sorted(PAGES))
def test_each_sentence_has_tests_that_exist_or_one_word_for_why_not(page: str) -> None:
    wrong = [
        (sentence, names)
        for sentence, names in LISTS[page]
        if not (names and set(names) <= TESTS) and names not in [[word] for word in promises.NO_PROMISE]
    ]
    assert wrong == [], REPAIR


def test_a_page_is_split_into_sentences_by_one_rule() -> None:
    page = """# No sentence. At all.

First sentence, which
goes on `a. B`. Second (in brackets.) **Third.** 403 `code`. [A link](x.md#y).

| key | meaning. Or |
|---|---|
| `a` | one. Two |

- an item: with a colon; and
  a second line. Another one
- the next

```json
"not": "a sentence. Nor this"
```

Last
"""
    assert promises.sentences(page) == [
        "First sentence, which goes on `a. B`.",
        "Second (in brackets.)",
        "**Third.**",
        "403 `code`.",
        "[A link](x.md#y).",
        "`a` | one.",
        "Two",
        "an item: with a colon; and a second line.",
        "Another one",
        "the next",
        "Last",
    ]


def test_tests_are_found_in_both_languages_and_helpers_are_none() -> None:
    assert {"a_method_has_at_most_64_bytes", "test_tests_are_found_in_both_languages_and_helpers_are_none"} <= TESTS
    assert not {"sentences", "headers", "main"} & TESTS


def test_a_list_is_read_back_as_it_was_written() -> None:
    known = {"One.": ["a", "b"], "Two.": ["explains"]}
    assert promises.entries(promises.written([*known, "Three."], known)) == [*known.items(), ("Three.", ["?"])]
