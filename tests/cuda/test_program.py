"""The steps of a captured graph, compiled or not, and the thread that prepares graphs; all of it without a GPU."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pictures import knobs, noise, tint

from l2s_node import loader
from l2s_node.config import RunConfig
from l2s_node.cuda.graph import Preparer
from l2s_node.cuda.program import FEWER, NUMBERS, REST, Steps, detail_products, fused, steps, structure
from l2s_node.frame import PixelFormat
from l2s_node.models.capture import attempted
from l2s_node.models.pix2pix import SEEDS
from l2s_node.params import BLENDS
from l2s_node.picture import compose, way
from l2s_node.picture.way import Memory
from l2s_node.pipeline import Kind, Pipeline, Plan, Player
from l2s_node.trace import tracing

SIZE, CANVAS = (192, 128), (96, 64)
CPU = torch.device("cpu")
CASES: list[dict[str, Any]] = [
    {},
    *({"blend": blend, "mix": 0.6} for blend in BLENDS),
    {"show": "conditioned", "fade": 0.3},
    {"show": "split", "upscale": "bilinear"},
    {"zoom": 1.7, "pan_x": 0.4, "flip_x": True, "framing": "fit"},
    {"feedback": 0.6, "output_smoothing": 0.2, "auto_levels": 1, "saturation": 1.5, "input_smoothing": 0.2},
]

BLENDED = [pytest.param(case, marks=pytest.mark.slow) for case in CASES if "blend" in case]


def played(made: Steps, plan: Plan, values: dict[str, Any], frames: int = 3) -> list[np.ndarray]:
    """What `made` shows of some frames, `tint` between its two steps."""
    with torch.inference_mode(False):
        memory = Memory(plan.canvas, CPU)
    geometry, params = plan.geometry, knobs(**values)
    width, height = geometry.place[2:]
    larger = compose.enlarging(plan.canvas[::-1], geometry.shown, (height, width), plan.style.upscale, CPU)
    detail_rows, detail_columns = (m.half() for m in detail_products(plan.canvas, params.detail, CPU))
    out = torch.empty(height, width // 2, dtype=torch.int32)
    seen = []
    for i in range(frames):
        source = torch.from_numpy(noise(PixelFormat.UYVY, SIZE, seed=i, smooth=4).planes[0])
        now = way.knobs_for(params, memory.since(i / 30), 1.0)
        numbers = torch.tensor((*REST[:SEEDS], *NUMBERS(now), *geometry.taken))
        x = made[0](source, (detail_rows, detail_columns), numbers, memory)
        picture = x if plan.route.conditioned else tint(x)
        made[1](picture, None, numbers, memory, source if plan.style.needs_dry else None, larger, out)
        memory.refreshed(plan.route, i / 30)
        seen.append(out.view(torch.uint8).numpy().copy())
    return seen


def planned(values: dict[str, Any]) -> Plan:
    return Pipeline()._plan_of(Kind(SIZE, PixelFormat.UYVY), knobs(**values), CANVAS, False)


def apart(one: list[np.ndarray], other: list[np.ndarray]) -> int:
    return max(int(np.abs(a.astype(int) - b).max()) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("values", CASES, ids=str)
def test_the_steps_show_what_the_pipeline_shows(values: dict[str, Any]) -> None:
    if values.get("flip_x"):  # its input would show through flipped, from a buffer of its own
        assert not planned(values).style.needs_dry
    pipeline = Pipeline()
    pipeline.use(Player("tried", tint, CANVAS), 0.0)
    want = [
        pipeline.step(noise(PixelFormat.UYVY, SIZE, seed=i, smooth=4), knobs(**values), i / 30).planes[0].copy()
        for i in range(3)
    ]
    plan = planned(values)
    left, top, width, height = plan.geometry.place
    want = [plane[top : top + height, 2 * left : 2 * (left + width)] for plane in want]
    with torch.inference_mode():
        assert apart(played(steps(plan), plan, values), want) <= 3


@pytest.mark.parametrize("values", [*(c for c in CASES if "blend" not in c), *BLENDED], ids=str)
def test_compiled_whole_they_show_the_same(values: dict[str, Any]) -> None:
    """Traced without a break, with nothing of the tables that a capture could not upload."""
    plan = planned(values)
    with torch.inference_mode():
        assert apart(played(fused(plan, "aot_eager"), plan, values), played(steps(plan), plan, values)) <= 1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # within torch
@pytest.mark.parametrize("values", [{}, {"mix": 0.5, "blend": "overlay", "show": "split", "feedback": 0.5}], ids=str)
def test_in_as_few_kernels_as_on_a_gpu_they_show_the_same(values: dict[str, Any]) -> None:
    """By inductor's own hand, for a CPU; the memory is read before it is written over, whichever step makes it."""
    plan = planned(values)
    with torch.inference_mode():
        made = fused(plan, options=FEWER)
        assert apart(played(made, plan, values), played(steps(plan), plan, values)) <= 1


def test_they_are_compiled_in_a_run_that_is_traced_as_well(tmp_path: Path) -> None:
    plan, threads = planned({}), torch.get_num_threads()
    with tracing(tmp_path / "out.json"), torch.inference_mode():
        loader.prepare(RunConfig("pattern:", ("null:",), device="cpu"))
        made = fused(plan, "eager")
        want = played(steps(plan), plan, {})
        assert apart(played(made, plan, {}), want) <= 1
    torch.set_num_threads(threads)
    assert '"memory"' in (tmp_path / "out.json").read_text()  # what is not compiled is timed


def test_a_knob_that_is_turned_compiles_nothing() -> None:
    plan, compiled = planned({"mix": 0.5}), 0

    def counting(graph: torch.fx.GraphModule, _: object) -> Any:
        nonlocal compiled
        compiled += 1
        return graph.forward

    made = fused(plan, counting)  # type: ignore[arg-type]
    with torch.inference_mode():
        for i in range(4):
            played(made, plan, {"mix": 0.2 + i / 10, "brightness": i / 10, "detail": 10}, frames=2)
    assert compiled == 2


def test_what_is_zoomed_is_no_other_structure_but_what_is_squeezed_is() -> None:
    """A square picture takes a square of the frame, or all of it: more pixels for each of its own."""
    square = {framing: _square(framing) for framing in ("crop", "stretch")}
    assert structure(square["crop"]) == structure(_square("crop", zoom=2.3, pan_x=0.7))
    assert structure(square["stretch"]) == structure(_square("stretch", zoom=2.3, pan_x=0.7))
    assert square["crop"].geometry.shown == square["stretch"].geometry.shown
    assert structure(square["crop"]) != structure(square["stretch"])


def _square(framing: str, **values: Any) -> Plan:
    return Pipeline(output_size=(64, 64))._plan_of(
        Kind(SIZE, PixelFormat.UYVY), knobs(framing=framing, **values), (64, 64), False
    )


def test_a_capture_that_another_thread_broke_is_tried_again() -> None:
    left = iter((RuntimeError("broken"), RuntimeError("again"), "captured"))

    def make() -> str:
        made = next(left, None)
        if not isinstance(made, str):
            raise made or RuntimeError("for good")
        return made

    assert attempted(make) == "captured"
    with pytest.raises(RuntimeError, match="for good"):
        attempted(make)


def test_jobs_are_done_one_by_one_urgent_ones_first() -> None:
    preparer, done, go = Preparer(), [], threading.Event()

    def first() -> None:
        assert go.wait(10)
        done.append(threading.current_thread().name)
        preparer.ask(lambda: done.append("last"), urgent=False)

    preparer.ask(first, urgent=True)
    preparer.ask(lambda: done.append("patient"), urgent=False)
    preparer.ask(lambda: done.append("urgent"), urgent=True)
    assert preparer.busy and not done
    go.set()
    preparer.settle()
    assert done == ["l2s-graph", "urgent", "patient", "last"] and not preparer.busy
    preparer.ask(lambda: done.append("again"), urgent=False)
    preparer.settle()
    assert done[-1] == "again"


def test_closing_waits_for_the_job_at_hand_and_lets_go_of_the_others() -> None:
    preparer, done, begun, go = Preparer(), [], threading.Event(), threading.Event()

    def long() -> None:
        begun.set()
        assert go.wait(10)
        done.append("long")
        preparer.ask(lambda: done.append("neither"), urgent=True)

    preparer.ask(long, urgent=True)
    preparer.ask(lambda: done.append("never"), urgent=True)
    assert begun.wait(10)
    threading.Timer(0.05, go.set).start()
    preparer.close()
    assert done == ["long"] and not preparer.busy
