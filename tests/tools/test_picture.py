"""The dashboard's picture: a colour for each name of a legend, and no text over another or beyond its panel."""

from __future__ import annotations

import pathlib
import re
import sys
import xml.etree.ElementTree as ElementTree

import pytest

OBSERVE = pathlib.Path(__file__).parents[2] / "envoy" / "observe"
sys.path.insert(0, str(OBSERVE))

from panels import Panel, Series, panels  # noqa: E402
from picture import NAMED, OTHERS, Drawing  # noqa: E402

SVG = "{http://www.w3.org/2000/svg}"
LINES = [each for each in panels() if each.kind == "timeseries"]
LONG = "authorization_malformed"


def elements(drawing: Drawing) -> list[ElementTree.Element]:
    return list(ElementTree.fromstring(f'<svg xmlns="http://www.w3.org/2000/svg">{"".join(drawing.parts)}</svg>'))


def series(names: list[str]) -> list[Series]:
    return [Series(name, [(0, number + 1), (60, number + 1)]) for number, name in enumerate(names)]


def legend(drawing: Drawing) -> dict[str, str]:
    """Names and their colours."""
    shown = elements(drawing)
    return {
        str(after.text): before.attrib["fill"] for before, after in zip(shown, shown[1:])
        if before.attrib.get("width") == "9" and after.tag == f"{SVG}text"
    }


def boxes(drawing: Drawing) -> list[tuple[float, float, float, float]]:
    """Where texts are, as wide as a common sans-serif font makes them."""
    found = []
    for each in elements(drawing):
        if each.tag == f"{SVG}text":
            size, x, y = (float(each.attrib[name]) for name in ("font-size", "x", "y"))
            width = 0.55 * size * len(each.text or "")
            left = x - {"start": 0, "middle": width / 2, "end": width}[each.attrib["text-anchor"]]
            found.append((left, y - 0.75 * size, left + width, y))
    return found


def assert_readable(drawing: Drawing) -> None:
    found = boxes(drawing)
    for left, top, right, bottom in found:
        assert drawing.x <= left and right <= drawing.x + drawing.width + 1 and bottom <= drawing.y + drawing.height
    for number, one in enumerate(found):
        for other in found[number + 1:]:
            apart = one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
            assert apart, (one, other)


@pytest.mark.parametrize("panel", LINES, ids=lambda panel: panel.title)
@pytest.mark.parametrize("count", [1, 4, 8])
def test_every_line_has_a_colour_of_its_own(panel: Panel, count: int) -> None:
    drawing = Drawing(panel)
    drawing.lines(series([f"{LONG}_{number}" for number in range(count)]), 0, 60)
    assert len(legend(drawing)) == len(set(legend(drawing).values())) == count
    assert_readable(drawing)


@pytest.mark.parametrize("panel", [each for each in LINES if each.stacked and not each.colours], ids=lambda panel: panel.title)
def test_of_more_series_than_colours_the_smallest_are_one(panel: Panel) -> None:
    drawing = Drawing(panel)
    drawing.lines(series([f"{LONG}_{number}" for number in range(17)]), 0, 60)
    shown = legend(drawing)
    assert len(set(shown.values())) == len(shown) == 9 and shown["9 others"] == OTHERS
    drawn = {each.attrib["fill"] for each in elements(drawing) if each.tag == f"{SVG}polygon"}
    assert drawn == set(shown.values())
    assert_readable(drawing)


def test_what_failed_is_red_and_nothing_else() -> None:
    [fetches] = [each for each in LINES if each.title == "Fetches of keys and lists"]
    drawing = Drawing(fetches)
    names = [f"{source} {outcome}" for source in ("jwks", "jwks_0", "feed_0") for outcome in ("adopted", "unchanged", "failed")]
    drawing.lines(series(names), 0, 60)
    shown = legend(drawing)
    assert len(set(shown.values())) == len(shown) == 9
    reddish = {name for name, colour in shown.items() if int(colour[1:3], 16) > 1.2 * max(int(colour[3:5], 16), int(colour[5:7], 16))}
    assert reddish == {name for name in names if name.endswith("failed")} and NAMED["red"] in shown.values()


@pytest.mark.parametrize("panel", [each for each in panels() if each.kind != "timeseries"], ids=lambda panel: panel.title)
def test_bars_and_numbers_leave_their_names_readable(panel: Panel) -> None:
    drawing = Drawing(panel)
    names = [query.legend for query in panel.queries] if panel.kind == "stat" else [f"{LONG}_{number}" for number in range(20)]
    (drawing.bars if panel.kind == "bargauge" else drawing.numbers)(series(names))
    assert_readable(drawing)
    if panel.kind == "bargauge":
        assert any(re.fullmatch(r"and \d+ more", each.text or "") for each in elements(drawing))
