"""Program: fixed buffers on the GPU, and the graph that takes a frame of one structure from its bytes to those shown.

`before` and `after` are the steps round the generator. They are captured as they are, or as `fused` compiles them: the
same definitions (`way`, `sample`, `compose`), in fewer kernels.
"""

from __future__ import annotations

import logging
import operator
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from l2s_node.cuda.upload import Locked, Upload, even, packed
from l2s_node.frame import Frame
from l2s_node.models.capture import CAPTURING, recorded
from l2s_node.models.engines import inductor
from l2s_node.models.pix2pix import SEEDS
from l2s_node.picture import compose, condition, dry, sample, way
from l2s_node.picture.buffers import Buffers
from l2s_node.picture.compose import Matrices
from l2s_node.picture.geometry import Geometry
from l2s_node.picture.gl import rgba_half, unit
from l2s_node.picture.way import KNOB_FIELDS, Knobs, Memory, Seeds
from l2s_node.pipeline import Plan, Player, detail_matrices

log = logging.getLogger(__name__)

NUMBERS = operator.attrgetter(*KNOB_FIELDS)
REST = (1.0, 0.0, 0.0, 0.0, *NUMBERS(Knobs()), 0.0, 0.0, 1.0, 1.0)
"""Numbers to warm up with: weights of the seed fields, knobs, the box of the frame that is taken."""
BOX = len(REST) - 4
"""Where the last of them begin."""
Before = Callable[[Tensor, Matrices, Tensor, Memory], Tensor]
"""(source, rows and columns of the detail, numbers, memory) to what the generator is given."""
After = Callable[[Tensor, "Tensor | None", Tensor, Memory, "Tensor | None", tuple[Matrices, Matrices], Tensor], None]
"""Fills the last, words of UYVY or half floats, of (picture, the other one of a crossfade, numbers, memory, dry,
enlarging, out)."""
Steps = tuple[Before, After]


def structure(plan: Plan) -> tuple[object, ...]:
    """What a program holds for, but for its players."""
    geometry = plan.geometry
    begin = None if plan.textured else (plan.kind.size, geometry.into, geometry.flip, _reach(plan))
    end = None if plan.drawn else (plan.style, geometry.place, _own_dry(plan))
    return plan.canvas, plan.route, geometry.shown, begin, end


def steps(plan: Plan) -> Steps:
    """The steps of a structure round the generator."""
    route, style, geometry, canvas = plan.route, plan.style, plan.geometry, plan.canvas
    textured, drawn = plan.textured, plan.drawn
    x, y, width, height = geometry.shown
    flip, into = geometry.flip, geometry.into
    (across, down), (wide, high) = _reach(plan), plan.kind.size

    def before(source: Tensor, detail: Matrices, numbers: Tensor, memory: Memory) -> Tensor:
        if textured:
            luma = unit(source)
        else:
            left, top, right, bottom = numbers[BOX:].unbind()
            rows = sample.taps(high, into[3], top, bottom, down)
            columns = sample.taps(even(wide), into[2], left, right, across)
            luma = sample.unit_luma(sample.by_taps(source[:, 1::2], rows, columns))
            luma = sample.into_canvas(sample.flip(luma, flip), into, canvas)
        luma = condition.apply_products(way.levelled(luma, memory, _knobs(numbers), route), *detail)
        return luma if route.conditioned else way.asked(luma)

    def after(
        picture: Tensor,
        other: Tensor | None,
        numbers: Tensor,
        memory: Memory,
        under: Tensor | None,
        larger: tuple[Matrices, Matrices],
        out: Tensor,
    ) -> None:
        knobs = _knobs(numbers)
        if route.conditioned:
            rgb = picture.expand(-1, 3, -1, -1)
        else:
            rgb = way.developed(way.answered(picture, other, knobs), memory, knobs, route)
        if drawn:
            out.copy_(rgba_half(rgb[0, :, y : y + height, x : x + width]))
        else:
            compose.paint(rgb[0], under, out, style, knobs.mix, knobs.light, larger)

    return before, after


def _knobs(numbers: Tensor) -> Knobs:
    return Knobs(*numbers[SEEDS:BOX].unbind())


FEWER: inductor.Options = {**inductor.QUICK, "realize_reads_threshold": 8}
"""What several of these steps read is made by each of them, and not by a kernel of its own: composing in three instead
of five, at most six instead of ten. Far above that the compiler takes minutes, and inlines too much."""


def fused(plan: Plan, backend: str = "inductor", options: inductor.Options | None = None) -> Steps:
    """`steps` that are compiled by their first call (seconds); its errors are `inductor.FAULTS`."""
    warnings.filterwarnings("ignore", "TensorFloat32 tensor cores")  # ten bits would show in the picture
    before, after = (inductor.afresh(each, backend, options) for each in steps(plan))
    return before, after


class Fusing:
    """Compiled steps by structure: channels and worlds on canvases of one size share them.

    Used by preparing threads, one at a time (they hold `CAPTURING`): a compiler that measures its kernels waits for the
    whole GPU, which breaks what is being captured.
    """

    def __init__(self) -> None:
        self._made: inductor.Remembered[Steps] = inductor.Remembered(32)
        self._said = False

    def of(self, plan: Plan) -> Steps | None:
        """Those that are compiled already."""
        return self._made.get(structure(plan))

    def forget(self, plan: Plan) -> None:
        """They don't do for every player."""
        self._made.forget(structure(plan))

    def build(self, plan: Plan, run: Callable[[Steps], None]) -> Steps | None:
        """Compiled steps, which `run` has called; None where they can't be compiled, which is said once."""
        known = self.of(plan)
        if known is not None:
            return known

        def tried(options: inductor.Options) -> Steps:
            made = fused(plan, options=options)
            run(made)
            return made

        reason = inductor.missing()
        if reason is None:
            try:
                made = inductor.either(tried, FEWER)
            except inductor.FAULTS as err:
                reason = inductor.first_line(err)
            else:
                self._made.put(structure(plan), made)
                return made
        if not self._said:
            self._said = True
            log.warning("the steps round the generator run one by one: %s", reason)
        return None


FUSING = Fusing()


@dataclass(frozen=True, slots=True, eq=False)
class Seat:
    """A place in a batch: what a generator is given there, ``(1, 1, h, w)``, and what it gives, ``(1, 3, h, w)``."""

    x: Tensor
    y: Tensor


@dataclass(frozen=True, slots=True)
class Graphs:
    """What was captured of a program: the whole way, and for a `seat` the steps before and after the generator."""

    whole: torch.cuda.CUDAGraph
    before: torch.cuda.CUDAGraph | None = None
    after: torch.cuda.CUDAGraph | None = None
    seat: Seat | None = None


class Program:
    """Fixed buffers on the GPU and the graph that goes from `source` to `out`.

    Made and captured in a preparing thread; `send`, `refresh` and then `run`, or `lead` and `trail`, are for the frame
    loop alone, on whichever streams: all of it is there when `capture` returns, and of what it writes only `memory` is
    not its own. A frame's picture must have been fetched from `out` before the next one is sent.

    Attributes:
        source: what the graph begins with.
        own_dry: beside it, `send` makes and uploads the part of the frame that shows through.
        out: what it ends with.
        seeds: weights of the seed fields that `run` or `lead` was for.
        fused: `capture` took compiled steps.
        asked: the seat that it was asked to be split for; who asks keeps it.
    """

    @torch.inference_mode()
    def __init__(self, plan: Plan, players: list[Player], memory: Memory, device: torch.device) -> None:
        self.plan, self.players, self.memory = plan, players, memory
        self._device = device
        self._fences = [each.fence for each in players if each.fence is not None]
        geometry = plan.geometry
        width, height = geometry.place[2:]
        self.source = Upload(_source_shape(plan), device)
        self.own_dry = _own_dry(plan)
        self._dry = Upload((height, 2 * width), device) if self.own_dry else self.source
        shown = geometry.shown[3], geometry.shown[2]
        self._made = (
            torch.empty(*shown, 4, dtype=torch.float16, device=device)
            if plan.drawn
            else torch.empty(height, width // 2, dtype=torch.int32, device=device)
        )
        self.out = self._made if plan.drawn else self._made.view(torch.uint8)
        self._here = torch.tensor(REST).pin_memory()
        self._written = self._here.numpy()
        with torch.inference_mode(False):  # as an engine's own seeds are, for which its step was compiled
            self._numbers = torch.tensor(REST, device=device)
            self.seeds = self._numbers[:SEEDS]
        canvas = plan.canvas[::-1]
        self._larger = compose.enlarging(canvas, geometry.shown, (height, width), plan.style.upscale, device)
        # the rounding of half floats stays under 0.1 of 255
        rows, columns = (torch.zeros(n, n, device=device, dtype=torch.float16) for n in canvas)
        self._detail = rows, columns
        self.fused = False
        self._cells = 0.0
        self.asked: Seat | None = None
        self._graphs: Graphs | None = None
        self._latest: Graphs | None = None

    # --- in a preparing thread ---------------------------------------------------------------------------------------

    @torch.inference_mode()
    def capture(self) -> None:
        """Capture the steps, compiled ones where they are there already.

        Raises:
            RuntimeError: CUDA can't, or another thread disturbed it.
        """
        with CAPTURING:
            made = FUSING.of(self.plan)
            if made is not None:
                try:
                    self._latest, self.fused = Graphs(self._captured(made)), True
                    return
                except inductor.FAULTS:  # these players' pictures lie otherwise in memory, and torch compiles no more
                    FUSING.forget(self.plan)
            self._latest = Graphs(self._captured(steps(self.plan)))

    @torch.inference_mode()
    def fuse(self) -> None:
        """Compile the steps and capture them anew, from the next `refresh` on.

        Raises:
            RuntimeError: CUDA can't, or another thread disturbed it.
        """
        with CAPTURING:
            made = FUSING.build(self.plan, self._tried)
            if made is not None:
                seat = self._latest.seat if self._latest is not None else None
                self._latest = self._parted(made, self._captured(made), seat)

    @torch.inference_mode()
    def split(self, seat: Seat) -> None:
        """Capture the steps before and after the generator, too, from the next `refresh` on.

        Raises:
            RuntimeError: CUDA can't, or another thread disturbed it.
        """
        assert self._latest is not None, "capture() comes first"
        with CAPTURING:
            self._latest = self._parted(FUSING.of(self.plan) or steps(self.plan), self._latest.whole, seat)

    def _tried(self, made: Steps) -> None:
        stream = torch.cuda.Stream(self._device)
        stream.wait_stream(torch.cuda.default_stream(self._device))
        with torch.cuda.stream(stream):
            self._take(made, self._spare(), torch.empty_like(self._made))
        stream.synchronize()

    def _spare(self) -> Memory:
        """Warming up is no frame, and the loop may be playing one: it has a memory and an `out` of its own.

        They are of the same kind as those of the frames, because torch compiles for the kind.
        """
        with torch.inference_mode(False):
            return Memory(self.plan.canvas, self._device)

    def _captured(self, made: Steps) -> torch.cuda.CUDAGraph:
        spare, out = self._spare(), torch.empty_like(self._made)

        def whole() -> None:
            self._read()
            self._take(made, self.memory, self._made)

        return recorded(self._device, lambda: self._take(made, spare, out), whole)

    def _parted(self, made: Steps, whole: torch.cuda.CUDAGraph, seat: Seat | None) -> Graphs:
        if seat is None:
            return Graphs(whole)
        spare, x, out = self._spare(), torch.empty_like(seat.x), torch.empty_like(self._made)

        def lead() -> None:
            self._read()
            seat.x.copy_(self._begun(made, self.memory))

        before = recorded(self._device, lambda: x.copy_(self._begun(made, spare)), lead)
        after = recorded(
            self._device,
            lambda: self._ended(made, seat.y, None, spare, out),
            lambda: self._ended(made, seat.y, None, self.memory, self._made),
        )
        return Graphs(whole, before, after, seat)

    def _read(self) -> None:
        """Fetch the numbers of a frame."""
        self._numbers.copy_(self._here, non_blocking=True)

    def _take(self, made: Steps, memory: Memory, out: Tensor) -> None:
        x = self._begun(made, memory)
        picture, other = x, None
        if not self.plan.route.conditioned:
            picture = self._imagined(self.players[0], x)
            if len(self.players) > 1:
                picture = picture.clone()  # two worlds may share what they return
                other = self._imagined(self.players[1], x)
        self._ended(made, picture, other, memory, out)

    def _begun(self, made: Steps, memory: Memory) -> Tensor:
        return made[0](self.source.there, self._detail, self._numbers, memory)

    def _ended(self, made: Steps, picture: Tensor, other: Tensor | None, memory: Memory, out: Tensor) -> None:
        under = self._dry.there if self.plan.style.needs_dry and not self.plan.drawn else None
        made[1](picture, other, self._numbers, memory, under, self._larger, out)

    def _imagined(self, player: Player, x: Tensor) -> Tensor:
        assert player.step is not None
        return player.step(x) if player.seeds is None else player.step(x, self.seeds)

    # --- in the frame loop -------------------------------------------------------------------------------------------

    def send(self, frame: Frame, geometry: Geometry, buffers: Buffers, locked: Locked) -> None:
        """Upload a frame in host memory."""
        self.source.send(packed(frame, buffers), locked)
        if self.own_dry:
            self._dry.send(dry.dry_uyvy(frame, geometry, self.plan.style.standard, buffers), locked)

    def refresh(self, geometry: Geometry, knobs: Knobs, cells: float, seeds: Seeds) -> None:
        """Write what has changed of the numbers; the graph fetches them. The former `run` must be over."""
        if cells != self._cells:
            self._cells = cells
            _refill(self._detail, detail_products(self.plan.canvas, cells, self._device))
        self._written[:] = (*seeds, *NUMBERS(knobs), *geometry.taken)
        self._graphs = self._latest  # here, where no frame is on its way: former graphs go

    @property
    def seat(self) -> Seat | None:
        """What `lead` fills and `trail` takes; None where only `run` does."""
        return self._graphs.seat if self._graphs is not None else None

    def lead(self) -> None:
        """Fill the seat, on the current stream, up to the generator."""
        assert self._graphs is not None and self._graphs.before is not None
        self._graphs.before.replay()

    def trail(self) -> None:
        """Fill `out` from the seat, on the current stream."""
        assert self._graphs is not None and self._graphs.after is not None
        self._graphs.after.replay()

    def run(self, stream: torch.cuda.Stream | None) -> None:
        """Fill `out`, on `stream`, the current one."""
        assert self._graphs is not None
        for fence in self._fences:
            fence.wait(stream)
        self._graphs.whole.replay()
        for fence in self._fences:
            fence.record(stream)


def detail_products(canvas: tuple[int, int], cells: float, device: torch.device) -> Matrices:
    """(rows ``(h, h)``, columns ``(w, w)``) of `condition.apply_products`."""
    down_y, up_y, down_x, up_x = detail_matrices(canvas, cells, device)
    return up_y @ down_y, up_x @ down_x


def _source_shape(plan: Plan) -> tuple[int, int]:
    """Of the bytes that the graph begins with: the canvas of a texture, or the frame as UYVY."""
    width, height = plan.kind.size
    return (plan.canvas[1], plan.canvas[0]) if plan.textured else (height, 2 * even(width))


def _reach(plan: Plan) -> tuple[int, int]:
    return sample.reach(plan.kind.size, plan.geometry.taken, plan.geometry.into[2:])


def _own_dry(plan: Plan) -> bool:
    """Whether the input that shows through is not the frame's own bytes."""
    as_it_is = plan.kind.format in dry.PACKED and plan.geometry.seen_as_it_is(plan.kind.size)
    return plan.style.needs_dry and not plan.drawn and not as_it_is


def _refill(buffers: Iterable[Tensor], values: Iterable[Tensor]) -> None:
    for buffer, value in zip(buffers, values, strict=True):
        buffer.copy_(value)
