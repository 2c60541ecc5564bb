"""Charts as SVG text: a histogram, and bars with what they are compared with. No library, any browser shows them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

WIDTH = 960
LABELS = 380
"""Pixels on the left for what was measured."""
BEYOND = 230
"""Pixels on the right for the numbers."""
LINE = 40
OURS, OTHERS, INK = "#0b7a75", "#c9c5bc", "#222222"


@dataclass(frozen=True, slots=True)
class Bar:
    """One number beside another.

    Attributes:
        label: what it is.
        value: the number.
        text: the number for people.
        spread: where it varied.
        other: what it is compared with; None where there is nothing.
        other_text: that for people.
    """

    label: str
    value: float
    text: str
    spread: tuple[float, float] | None = None
    other: float | None = None
    other_text: str = ""


def histogram(values: Sequence[float], marks: Mapping[str, float], title: str, unit: str) -> str:
    """How often which of `values` was seen, as SVG; `marks` are lines at a value, by name (at least one value)."""
    left, top, width, height = 50, 60, WIDTH - 80, 300
    counts, edges = np.histogram(values, bins=min(60, max(8, int(math.sqrt(len(values)) * 2))))
    low, high = float(edges[0]), float(edges[-1])

    def x(value: float) -> float:
        return left + width * (value - low) / (high - low)

    parts = [_text(left, 28, title, 18)]
    for count, start, end in zip(counts, edges, edges[1:], strict=False):
        tall = height * float(count) / float(counts.max())
        parts.append(_rect(x(start), top + height - tall, max(x(end) - x(start) - 1, 1), tall, OURS))
    for value in _ticks(low, high):
        parts.append(_line(x(value), top + height, x(value), top + height + 5))
        parts.append(_text(x(value), top + height + 20, f"{value:g}", 12, "middle"))
    parts.append(_text(left + width, top + height + 38, unit, 12, "end"))
    for row, (name, value) in enumerate(marks.items()):
        parts.append(_line(x(value), top - 8, x(value), top + height))
        anchor = "end" if value > (low + high) / 2 else "start"
        shift = -5 if anchor == "end" else 5
        parts.append(_text(x(value) + shift, top + 14 + 16 * row, f"{name} {value:.1f} {unit}", 13, anchor))
    parts.append(_text(6, top + 10, f"{counts.max()}", 12))
    return _svg(parts, top + height + 50)


def bars(groups: Mapping[str, Sequence[Bar]], title: str, foot: str) -> str:
    """Groups of bars by their title, as SVG; each group has a scale of its own, logarithmic where it needs to be."""
    parts, y = [_text(16, 28, title, 18)], 48.0
    for name, group in groups.items():
        y += 26
        scale = _scale(group)
        parts.append(_text(16, y, f"{name}, logarithmic" if scale[2] else name, 15))
        y += 10
        for bar in group:
            parts += _bar(bar, y, scale)
            y += LINE
    parts.append(_text(16, y + 20, foot, 11))
    return _svg(parts, y + 36)


def _bar(bar: Bar, y: float, scale: tuple[float, float, bool]) -> list[str]:
    def x(value: float) -> float:
        return LABELS + (WIDTH - LABELS - BEYOND) * _place(value, scale)

    parts = [_text(LABELS - 10, y + 18, bar.label, 12, "end")]
    parts.append(_rect(LABELS, y + 5, max(x(bar.value) - LABELS, 1), 14, OURS))
    end = bar.value
    if bar.spread is not None:
        parts.append(_line(x(bar.spread[0]), y + 12, x(bar.spread[1]), y + 12))
        end = max(end, bar.spread[1])
    parts.append(_text(x(end) + 6, y + 16, bar.text, 12))
    if bar.other is not None:
        parts.append(_rect(LABELS, y + 21, max(x(bar.other) - LABELS, 1), 10, OTHERS))
        parts.append(_text(x(bar.other) + 6, y + 30, bar.other_text, 11))
    return parts


def _scale(group: Sequence[Bar]) -> tuple[float, float, bool]:
    """(left end, right end, logarithmic)."""
    values = [v for bar in group for v in (bar.value, bar.other, *(bar.spread or ())) if v is not None and v > 0]
    if not values:
        return 0.0, 1.0, False
    if max(values) > 30 * min(values):
        return min(values) / 2, max(values), True
    return 0.0, max(values), False


def _place(value: float, scale: tuple[float, float, bool]) -> float:
    """0…1 along the scale."""
    low, high, logarithmic = scale
    if value <= low:
        return 0.0
    return math.log(value / low) / math.log(high / low) if logarithmic else value / high


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers between them, about eight."""
    rough = (high - low) / 8
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= rough)
    first = math.ceil(low / step)
    return [n * step for n in range(first, math.floor(high / step) + 1)]


def _svg(parts: list[str], height: float) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height:.0f}" '
        f'viewBox="0 0 {WIDTH} {height:.0f}" font-family="sans-serif">'
    )
    return "\n".join([head, f'<rect width="{WIDTH}" height="{height:.0f}" fill="#ffffff"/>', *parts, "</svg>\n"])


def _text(x: float, y: float, text: str, size: int, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{INK}">{escape(text)}</text>'


def _rect(x: float, y: float, width: float, height: float, colour: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}"/>'


def _line(x: float, y: float, to_x: float, to_y: float) -> str:
    return f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}" stroke="{INK}"/>'
