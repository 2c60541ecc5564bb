"""The README's tables of knobs and of what was measured are made: `python tests/test_readme.py` writes them anew.

What was measured is what `l2s bench … --json tests/bench/NAME.json` kept, on a quiet machine. A table of it is
whatever stands between these two lines, for the verbs that the first one names:

    <!-- bench: tests/bench/NAME.json frame latency -->
    <!-- /bench -->
"""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest

from l2s_node.bench import Row, markdown
from l2s_node.params import KNOBS, Kind

README = Path(__file__).parent.parent / "README.md"
BENCH = re.compile(r"(<!-- bench: (tests/bench/[\w.-]+\.json) ([\w ]+) -->\n).*?(<!-- /bench -->)", re.DOTALL)
BLOCK = re.compile(r"(<!-- knobs: [^>]*-->\n).*?(<!-- /knobs -->)", re.DOTALL)


def table() -> str:
    rows = ["| knob | default | range | what it does | change |", "|---|---|---|---|---|"]
    for knob in KNOBS:
        default = int(knob.default) if knob.kind is Kind.BOOL else knob.default
        shown = f"{default:g}" if isinstance(default, (int, float)) else default
        rows.append(f"| `{knob.name}` | {shown} | {knob.range_text()} | {knob.help} | {knob.change.value} |")
    return "\n".join(rows) + "\n"


def test_the_readme_has_every_knob_as_it_is() -> None:
    found = BLOCK.search(README.read_text(encoding="utf-8"))
    assert found and found.group(0) == found.group(1) + table() + found.group(2), "run python tests/test_readme.py"


def with_measured(text: str, root: Path = README.parent) -> str:
    """`text` with every table of what was measured as its file has it."""

    def anew(found: re.Match[str]) -> str:
        head, name, verbs, foot = found.groups()
        kept = json.loads((root / name).read_text(encoding="utf-8"))
        return head + markdown(kept, verbs.split()) + foot

    return BENCH.sub(anew, text)


def test_the_readme_has_every_number_as_it_was_measured() -> None:
    text = README.read_text(encoding="utf-8")
    assert text == with_measured(text), "run python tests/test_readme.py"


def kept(**of_run: object) -> dict[str, object]:
    """What `--json` keeps of one verb with one row."""
    machine = {"gpu": None, "processor": "a CPU", "cores": 2, "load": 0.1, "system": "Linux", "python": "3.11",
               "torch": "2.13", "packages": {"openvino": "2026"}, "l2s": "0.1", "date": "2026-01-01"}  # fmt: skip
    row = Row("step", 5.0, "ms", (4.5, 6.25), 100, baseline=20.0, against="eager", baseline_spread=(19.0, 21.0))
    run = {"verb": "frame", "method": "…", "noise": {}, "conclusive": True, "rows": [dataclasses.asdict(row)]}
    return {"machine": machine, "runs": [run | of_run]}


def test_a_table_comes_from_its_file(tmp_path: Path) -> None:
    (tmp_path / "tests" / "bench").mkdir(parents=True)
    path = tmp_path / "tests" / "bench" / "here.json"
    path.write_text(json.dumps(kept()))
    text = "before\n<!-- bench: tests/bench/here.json frame -->\nold numbers\n<!-- /bench -->\nafter\n"
    made = with_measured(text, tmp_path)
    assert "old numbers" not in made and made == with_measured(made, tmp_path)
    assert "| step | 5 ms (4.5 … 6.25) | eager: 20.0 ms, 4× |" in made and "a CPU, 2 cores" in made
    for wrong in (kept(conclusive=False), kept(verb="engines"), kept(skipped="no npm")):
        path.write_text(json.dumps(wrong))
        with pytest.raises(ValueError, match=r"noisy|not measured"):
            with_measured(text, tmp_path)


def test_every_path_in_the_readme_is_there() -> None:
    text = README.read_text(encoding="utf-8")
    named = re.findall(r"`((?:presets|l2s_node|tests)/[\w./-]+|constraints\.txt|LICENSE)`", text)
    named += re.findall(r"\]\(((?!http|#)[^)]+)\)", text)
    assert not [name for name in named if not (README.parent / name).exists()]
    headings = {
        re.sub(r"[^\w -]", "", line).strip().lower().replace(" ", "-") for line in re.findall(r"^#+ (.*)$", text, re.M)
    }
    assert not [anchor for anchor in re.findall(r"\]\(#([^)]+)\)", text) if anchor not in headings]


if __name__ == "__main__":
    text = README.read_text(encoding="utf-8")
    text = BLOCK.sub(lambda m: m.group(1) + table() + m.group(2), text)
    README.write_text(with_measured(text), encoding="utf-8")
