"""Bench: every number that the README claims, measured on this machine beside what it is compared with, in one run.

A verb is a module beside this one that exports exactly two public names:

    METHOD: str                             how it measures and against what, in one or two sentences
    rows(task: Task) -> Iterator[Row]       the numbers, each as soon as it is there

Modules with an underscore are what they share: rows and timing, the machine's facts, its noise, worlds to measure with.
Nothing is concluded (no "times as fast", no goal met or missed) from a verb during which the machine was too noisy.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from l2s_node.bench import _machine
from l2s_node.bench._noise import Listener
from l2s_node.bench._report import markdown, plot
from l2s_node.bench._row import Row, Task, timed
from l2s_node.config import RunConfig
from l2s_node.errors import L2SError
from l2s_node.loader import prepare

__all__ = ["Row", "Task", "bench", "conclusions", "markdown", "plot", "timed"]


def bench(what: Sequence[str], seconds: float, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure each of `what`, verbs as above; live runs take `seconds` each.

    Each row is handed to `say` as soon as it is there. Returns what `--json` keeps:
    {"machine": facts, "runs": [{"verb", "method", "noise", "conclusive", "rows"}, …]}. Of several, a verb that
    can't be measured here has "skipped" instead, the reason.

    Raises:
        L2SError: an engine or a room that the only verb asked for needs fails.
    """
    device, _ = prepare(RunConfig(source="null:", sinks=("null:",)))
    facts = _machine.facts(device)
    say(f"l2s bench {' '.join(what)}: {_machine.line(facts)}")
    runs = []
    for verb in what:
        try:
            runs.append(_run(verb, Task(device, seconds), say))
        except L2SError as err:
            if len(what) == 1:
                raise
            say(f"{verb}: not measured: {err}")
            runs.append({"verb": verb, "skipped": str(err)})
    return {"machine": facts, "runs": runs}


def _run(verb: str, task: Task, say: Callable[[str], None]) -> dict[str, Any]:
    module = importlib.import_module(f"{__name__}.{verb}")
    say(f"{verb}: {module.METHOD}")
    rows = []
    with Listener(task.device) as listener:
        for row in module.rows(task):
            rows.append(row)
            say(row.text())
            listener.listen()
    noise = listener.heard(sum(task.elsewhere))
    say(f"{verb}: {noise.text()}")
    for line in conclusions(rows) if noise.quiet else ():
        say(line)
    return {
        "verb": verb,
        "method": module.METHOD,
        "noise": noise.as_dict(),
        "conclusive": noise.quiet,
        "rows": [asdict(row) for row in rows],
    }


def conclusions(rows: Sequence[Row]) -> list[str]:
    """What follows from rows that were measured on a quiet machine: ratios, and goals met or missed."""
    return [f"  {line}" for line in (row.conclusion() for row in rows) if line]
