#!/usr/bin/env python3
"""Draws dashboard.json as an SVG, from what a running Prometheus answers to its queries: picture.py URL FILE.svg

Panels stand where the dashboard has them. Needs nothing but Python; Grafana draws it better.
"""

from __future__ import annotations

import argparse
import math
import re
import sys
import textwrap
import time
from collections.abc import Callable
from html import escape
from pathlib import Path

from panels import Panel, Prometheus, Series, panels

COLUMN, ROW, GAP, STEPS = 50, 30, 8, 100
INK, GREY, GRID = "#24292f", "#57606a", "#d8dee4"
COLOURS = ["#1f6feb", "#bf8700", "#8250df", "#0a7ea4", "#bf3989", "#4d2d00", "#e16f24", "#57ab5a"]
"""Of series without a meaning of their own: as many as a legend has entries, so that none is used for two."""
NAMED = {"red": "#d1242f", "orange": "#e16f24", "green": "#2da44e", "blue": "#1f6feb", "purple": "#8250df"}
OTHERS = "#afb8c1"
CHARACTER = 0.62
"""How wide a letter is at most, as a part of the font's size."""


class Drawing:
    """One panel: a frame with a title, and what is drawn into it."""

    def __init__(self, panel: Panel) -> None:
        place = panel.place
        self.panel = panel
        self.x, self.y = place["x"] * COLUMN + GAP / 2, place["y"] * ROW + GAP / 2
        self.width, self.height = place["w"] * COLUMN - GAP, place["h"] * ROW - GAP
        frame = f'x="{self.x}" y="{self.y}" width="{self.width}" height="{self.height}" rx="4"'
        self.parts = [
            f'<rect {frame} fill="#ffffff" stroke="{GRID}"/>',
            text(self.x + 10, self.y + 18, panel.title, size=13, weight="600"),
        ]

    def lines(self, series: list[Series], start: float, end: float) -> None:
        """Lines over time, or areas on top of each other."""
        series, colours = self._coloured(series)
        bottom = self.y + self.height - 22 - 15 * self._legend(series, colours)
        left, right, top = self.x + 52, self.x + self.width - 12, self.y + 34
        layers = stack(series) if self.panel.stacked else series
        highest = max((value for each in layers for _, value in each.points), default=0.0)
        step = tick(highest)
        limit = max(step, math.ceil(highest / step) * step)

        def across(at: float) -> float:
            return left + (right - left) * (at - start) / (end - start)

        def up(value: float) -> float:
            return bottom - (bottom - top) * max(0.0, value) / limit

        for number in range(round(limit / step) + 1):
            self._rule(left, right, up(number * step), f"{number * step:g}{self.panel.suffix}")
        for number in range(5):
            at = start + (end - start) * number / 4
            anchor = "start" if number == 0 else "end" if number == 4 else "middle"
            self.parts.append(text(across(at), bottom + 14, time.strftime("%H:%M", time.gmtime(at)), GREY, anchor, 10))
        for number, each in reversed(list(enumerate(layers))):
            self._layer(each, colours[number], across, up)

    def bars(self, series: list[Series]) -> None:
        """A bar for each, as many as there is room for."""
        room = int((self.height - 36) // 18)
        if len(series) > room:
            room -= 1
            self.parts.append(text(self.x + 10, self.y + 44 + room * 18, f"and {len(series) - room} more", GREY, size=11))
        highest = max((each.last for each in series), default=0.0) or 1.0
        names = 18 + max((letters(each.name, 11) for each in series[:room]), default=0.0)
        values = 18 + max((letters(f"{each.last:g}{self.panel.suffix}", 11) for each in series[:room]), default=0.0)
        for row, each in enumerate(series[:room]):
            middle = self.y + 40 + row * 18
            length = (self.width - names - values) * each.last / highest
            bar = f'x="{self.x + names:.0f}" y="{middle - 6:.0f}" width="{max(1.0, length):.1f}" height="12"'
            self.parts += [
                text(self.x + names - 8, middle + 4, each.name, anchor="end", size=11),
                f'<rect {bar} fill="{self._colour(each)}"/>',
                text(self.x + names + length + 6, middle + 4, f"{each.last:g}{self.panel.suffix}", size=11),
            ]

    def numbers(self, series: list[Series]) -> None:
        """A large number for each."""
        columns = 4
        width = self.width / columns
        for number, each in enumerate(series):
            x = self.x + width * (number % columns + 0.5)
            y = self.y + 62 + number // columns * 76
            self.parts.append(text(x, y, f"{each.last:.0f}", self._colour(each), "middle", 26))
            for row, words in enumerate(wrapped(each.name, width - 12, 11)):
                self.parts.append(text(x, y + 18 + 13 * row, words, GREY, "middle", 11))

    def _layer(self, each: Series, colour: str, across: Callable[[float], float], up: Callable[[float], float]) -> None:
        above = " ".join(f"{across(at):.0f},{up(value):.1f}" for at, value in each.points)
        if self.panel.stacked:
            # Down to the axis: what it stands on is drawn over it.
            (first, _), (last, _) = each.points[0], each.points[-1]
            area = f"{across(first):.0f},{up(0):.1f} {above} {across(last):.0f},{up(0):.1f}"
            self.parts.append(f'<polygon points="{area}" fill="{colour}"/>')
        else:
            self.parts.append(f'<polyline points="{above}" fill="none" stroke="{colour}" stroke-width="1.5"/>')

    def _coloured(self, series: list[Series]) -> tuple[list[Series], list[str]]:
        """The series with a colour each that no other has. Of those in a stack, the smallest become one where there are too many."""
        if self.panel.stacked:
            series = sorted(series, key=lambda each: -sum(value for _, value in each.points))
        chosen = [self._named(each.name) for each in series]
        shades = [shade(colour, chosen[:number].count(colour)) if colour else None for number, colour in enumerate(chosen)]
        if any(chosen) or len(series) <= len(COLOURS):
            free = iter(COLOURS)
            return series, [colour or next(free, OTHERS) for colour in shades]
        shown = len(COLOURS)
        rest = together(f"{len(series) - shown} others", series[shown:])
        return [*series[:shown], rest], [*COLOURS, OTHERS]

    def _named(self, name: str) -> str | None:
        """The colour that the dashboard gives a series of this name."""
        return next((NAMED[colour] for pattern, colour in self.panel.colours if re.search(pattern, name)), None)

    def _legend(self, series: list[Series], colours: list[str]) -> int:
        """Names beneath the panel; returns how many lines they take."""
        rows: list[list[tuple[str, str, float]]] = [[]]
        x = 12.0
        for name, colour in zip([each.name for each in series], colours, strict=True):
            width = 24 + letters(name, 11)
            if x + width > self.width and rows[-1]:
                rows.append([])
                x = 12.0
            rows[-1].append((name, colour, x))
            x += width
        for line, row in enumerate(rows):
            y = self.y + self.height - 8 - 15 * (len(rows) - 1 - line)
            for name, colour, at in row:
                self.parts.append(f'<rect x="{self.x + at:.0f}" y="{y - 8:.0f}" width="9" height="9" rx="2" fill="{colour}"/>')
                self.parts.append(text(self.x + at + 13, y, name, GREY, size=11))
        return len(rows)

    def _rule(self, left: float, right: float, y: float, label: str) -> None:
        self.parts.append(f'<line x1="{left}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}" stroke="{GRID}"/>')
        self.parts.append(text(left - 6, y + 4, label, GREY, "end", 10))

    def _colour(self, series: Series) -> str:
        reached = [step for step in self.panel.thresholds if step["value"] is None or series.last >= step["value"]]
        return NAMED[reached[-1]["color"]] if reached else COLOURS[0]


def together(name: str, series: list[Series]) -> Series:
    """The sum of some series."""
    sums: dict[float, float] = {}
    for at, value in (point for each in series for point in each.points):
        sums[at] = sums.get(at, 0.0) + value
    return Series(name, sorted(sums.items()))


def shade(colour: str, number: int) -> str:
    """The colour, the next time lighter."""
    share = 1 - 0.6**number
    parts = [int(colour[place:place + 2], 16) for place in (1, 3, 5)]
    return "#" + "".join(f"{round(part + (255 - part) * share):02x}" for part in parts)


def letters(what: str, size: int) -> float:
    """How wide a text is at most."""
    return CHARACTER * size * len(what)


def wrapped(what: str, width: float, size: int) -> list[str]:
    """Its words in lines that are no wider, if no word is."""
    return textwrap.wrap(what, max(1, int(width / (CHARACTER * size))))


def stack(series: list[Series]) -> list[Series]:
    """Each series on top of those before it."""
    height = dict.fromkeys(sorted({at for each in series for at, _ in each.points}), 0.0)
    layers = []
    for each in series:
        values = dict(each.points)
        height = {at: value + values.get(at, 0.0) for at, value in height.items()}
        layers.append(Series(each.name, list(height.items())))
    return layers


def tick(highest: float) -> float:
    """The distance of at most five lines."""
    if highest <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(highest / 4))
    return next(power * factor for factor in (1, 2, 2.5, 5, 10) if highest / (power * factor) <= 4)


def text(x: float, y: float, what: str, colour: str = INK, anchor: str = "start", size: int = 12, weight: str = "400") -> str:
    """One line of text."""
    return (f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" fill="{colour}" font-size="{size}" font-weight="{weight}">'
            f"{escape(what)}</text>")


def draw(prometheus: Prometheus, minutes: float, interval: str) -> str:
    """The whole dashboard."""
    end = time.time()
    start, window = end - minutes * 60, f"{round(minutes * 60)}s"
    drawings = []
    for panel in panels():
        drawing = Drawing(panel)
        if panel.kind == "timeseries":
            step = max(1.0, round((end - start) / STEPS))
            found = [prometheus.between(query, interval, window, start, end, step) for query in panel.queries]
            drawing.lines([series for some in found for series in some], start, end)
        else:
            series = [series for query in panel.queries for series in prometheus.now(query, interval, window)]
            (drawing.bars if panel.kind == "bargauge" else drawing.numbers)(series)
        drawings.append(drawing)
    width = max(each.x + each.width for each in drawings) + GAP / 2
    height = max(each.y + each.height for each in drawings) + GAP / 2
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" font-family="sans-serif">',
        f'<rect width="{width:.0f}" height="{height:.0f}" fill="#f6f8fa"/>',
        *(part for each in drawings for part in each.parts),
        "</svg>",
    ]
    return "\n".join([*parts, ""])


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", help="of Prometheus")
    parser.add_argument("file", type=Path)
    parser.add_argument("--minutes", type=float, default=12, help="how far back; default: 12")
    parser.add_argument("--interval", default="1m", help="$__rate_interval; default: 1m")
    chosen = parser.parse_args()
    try:
        chosen.file.write_text(draw(Prometheus(chosen.url), chosen.minutes, chosen.interval))
    except OSError as error:
        sys.exit(f"error: {chosen.url}: {error}")
    print(f"{chosen.file}: {chosen.file.stat().st_size} bytes")


if __name__ == "__main__":
    main()
