"""docs/performance.svg: a bar for each variant, with its spread."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from html import escape

from . import variants
from .figures import Spread
from .rounds import Results
from .variants import Variant

_LABELS, _BARS, _VALUES = 400, 480, 70
_ROW, _BAR, _TOP, _BOTTOM = 26, 14, 64, 46
_COLOURS = {"ours": "#1f6feb", "wasm": "#57606a", "other": "#b0b8c1"}


def svg(results: Results) -> str:
    """Added CPU a request as a multiple of the empty Wasm filter's: median and quartiles."""
    shown = [each for each in results.variants if each.name not in (variants.NO_FILTER, variants.NO_FILTER_AGAIN)]
    ratios = [(each, results.ratio(each.name, variants.EMPTY)) for each in shown]
    limit = math.ceil(max(ratio.high for _, ratio in ratios))
    step = next(step for step in (1, 2, 5, 10, 20, 50) if limit / step <= 12)
    bottom = _TOP + len(ratios) * _ROW
    width, height = _LABELS + _BARS + _VALUES, bottom + _BOTTOM

    def x(value: float) -> float:
        return _LABELS + _BARS * max(0.0, value) / limit

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        _text(16, 24, "Added CPU per request, as a multiple of an empty Wasm filter's", size=15),
        _text(16, 44, f"median of {results.rounds} rounds; the line is the interquartile range", colour="#57606a"),
    ]
    for tick in range(0, limit + 1, step):
        parts.append(f'<line x1="{x(tick):.1f}" y1="{_TOP}" x2="{x(tick):.1f}" y2="{bottom}" stroke="#d8dee4"/>')
        parts.append(_text(x(tick), bottom + 18, f"{tick} ×", anchor="middle", colour="#57606a"))
    for row, (each, ratio) in enumerate(ratios):
        parts += _bar(_TOP + row * _ROW + _ROW / 2, each, ratio, x)
    return "\n".join([*parts, "</svg>", ""])


def _bar(middle: float, each: Variant, ratio: Spread, x: Callable[[float], float]) -> list[str]:
    kind = each.name.split("_")[0]
    colour = _COLOURS.get(kind, _COLOURS["other"])
    start, end = x(0), x(ratio.median)
    low, high = x(ratio.low), x(ratio.high)
    whisker = 'stroke="#24292f" stroke-width="1.5"'
    return [
        _text(_LABELS - 10, middle + 4, re.sub(r"[*`]", "", each.title), anchor="end"),
        f'<rect x="{start:.1f}" y="{middle - _BAR / 2}" width="{end - start:.1f}" height="{_BAR}" fill="{colour}"/>',
        f'<line x1="{low:.1f}" y1="{middle}" x2="{high:.1f}" y2="{middle}" {whisker}/>',
        *(f'<line x1="{at:.1f}" y1="{middle - 4}" x2="{at:.1f}" y2="{middle + 4}" {whisker}/>' for at in (low, high)),
        _text(max(end, high) + 8, middle + 4, f"{ratio.median:.2f}"),
    ]


def _text(x: float, y: float, text: str, *, anchor: str = "start", colour: str = "#24292f", size: int = 12) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}" font-size="{size}">{escape(text)}</text>'
