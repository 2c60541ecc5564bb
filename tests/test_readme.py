"""The README's table of knobs is made from the knobs: `python tests/test_readme.py` writes it anew."""

from __future__ import annotations

import re
from pathlib import Path

from l2s_node.params import KNOBS, Kind

README = Path(__file__).parent.parent / "README.md"
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


def test_every_path_in_the_readme_is_there() -> None:
    text = README.read_text(encoding="utf-8")
    named = re.findall(r"`((?:presets|l2s_node|tests)/[\w./-]+|constraints\.txt|LICENSE)`", text)
    named += re.findall(r"\]\(((?!http)[^)]+)\)", text)
    assert not [name for name in named if not (README.parent / name).exists()]


if __name__ == "__main__":
    text = README.read_text(encoding="utf-8")
    README.write_text(BLOCK.sub(lambda m: m.group(1) + table() + m.group(2), text), encoding="utf-8")
