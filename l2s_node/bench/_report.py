"""Report: what was kept of a measurement (`--json`) as a plot and as the tables of the README."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from l2s_node import chart
from l2s_node.bench import _machine
from l2s_node.bench._row import Row


def plot(measured: Mapping[str, Any]) -> str:
    """SVG of all rows, a scale for each verb and unit."""
    groups: dict[str, list[chart.Bar]] = {}
    for run in measured["runs"]:
        for row in _rows(run):
            other = None if row.baseline is None else f"{row.against}: {_number(row.baseline)} {row.unit}"
            bar = chart.Bar(
                row.what, row.ours, f"{_number(row.ours)} {row.unit}", row.spread, row.baseline, other or ""
            )
            groups.setdefault(f"{run['verb']}, {row.unit or 'count'}{_doubt(run)}", []).append(bar)
    return chart.bars(groups, "l2s bench", _machine.line(measured["machine"]))


def markdown(measured: Mapping[str, Any], verbs: Iterable[str]) -> str:
    """The rows of `verbs` as a Markdown table, the machine above it.

    Raises:
        ValueError: one of `verbs` was not measured, or not on a quiet machine: that is no figure for a README.
    """
    runs = {run["verb"]: run for run in measured["runs"]}
    lines = [f"{_machine.line(measured['machine'])}:", "", "| measured | median (10th … 90th percentile) | beside it |"]
    lines.append("|---|---|---|")
    for verb in verbs:
        run = runs.get(verb)
        if run is None or "skipped" in run:
            raise ValueError(f"{verb} was not measured{': ' + run['skipped'] if run else ''}")
        if not run["conclusive"]:
            raise ValueError(f"{verb} was measured on a noisy machine")
        lines += [_line(row) for row in _rows(run)]
    return "\n".join(lines) + "\n"


def _line(row: Row) -> str:
    spread = f" ({_number(row.spread[0])} … {_number(row.spread[1])})" if row.spread else ""
    beside = ""
    if row.baseline is not None:
        factor = row.factor or 0.0
        shown = f"{factor:.0f}" if factor >= 10 else f"{factor:.2g}"
        times = f", {shown}×" if factor > 1.1 else ""
        beside = f"{row.against}: {_number(row.baseline)} {row.unit}{times}"
    note = "; ".join(part for part in (beside, row.note) if part)
    return f"| {row.what} | {_number(row.ours)} {row.unit}{spread} | {note} |"


def _rows(run: Mapping[str, Any]) -> list[Row]:
    found = []
    for row in run.get("rows", ()):
        values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in row.items()}
        found.append(Row(**values))
    return found


def _doubt(run: Mapping[str, Any]) -> str:
    return "" if run.get("conclusive") else " (too noisy to conclude anything)"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}" if abs(value) < 10 else f"{value:.1f}"
