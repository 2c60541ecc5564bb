"""GraphPipeline: on an NVIDIA GPU the frame's way is one CUDA graph, from the uploaded frame to the finished bytes.

    host bytes ──upload──> sample ──> condition ──> generator ──> compose ──download──> host bytes
                           └────────────── one graph, replayed ──────────┘

A graph holds for one structure: sizes, worlds, which steps are taken. The numbers that knobs turn lie in a small piece
of page-locked memory that the graph fetches, so that turning a knob never captures anew.

Each pipeline has a stream of its own: `begin` hands the GPU a whole frame and goes on, `finish` waits for that frame
alone, so that channels overlap; those of one world may play it together (`cuda.chorus`). Where throughput is favored,
copies have streams of their own and frames take two sets of buffers in turn: a frame comes while the one before is made
and goes, and each picture goes out one frame later.

No graph is captured in the frame loop. Those of a world are prepared in `l2s-load` before it is handed over; one that
the loop finds missing is prepared on a thread of its own, while frames go step by step.

A texture is sampled in OpenGL, and the graph begins with the canvas; a picture that is composed in OpenGL ends as half
floats. Both go from the one to the other within the GPU (`picture.cuda_gl`), or through host memory where they can't.
"""

from __future__ import annotations

import functools
import logging
import queue
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from torch import Tensor

from l2s_node.cuda.chorus import Choir, Place, Run
from l2s_node.cuda.prepare import Preparer
from l2s_node.cuda.program import Program, Seat, structure
from l2s_node.cuda.upload import Locked
from l2s_node.frame import Frame, PixelFormat, Texture, blank
from l2s_node.models.capture import OnStream, attempted, playing_stream
from l2s_node.models.engines import inductor
from l2s_node.params import Params
from l2s_node.picture.cuda_gl import Bridge
from l2s_node.picture.geometry import Rect
from l2s_node.picture.way import Knobs, Memory
from l2s_node.pipeline import Kind, Pipeline, Plan, Player, placed
from l2s_node.texture import TextureError

log = logging.getLogger(__name__)

PROGRAMS = 8
"""Programs kept; the one unused longest goes first."""

Key = tuple[object, ...]


def create(
    device: torch.device,
    output_size: tuple[int, int] | None = None,
    favor: str = "latency",
    choir: Choir | None = None,
) -> Pipeline:
    """The pipeline for a device: one captured graph on an NVIDIA GPU, step by step elsewhere.

    `favor`: see `favored`. `choir` is where several pipelines find together, on an NVIDIA GPU.
    """
    if device.type != "cuda":
        return Pipeline(device, output_size)
    return GraphPipeline(device, output_size, ahead=int(favor == "throughput"), choir=choir)


def favored(favor: str, device: torch.device) -> str:
    """What favoring "latency" or "throughput" does on `device`, in one sentence."""
    if favor == "latency":
        return "latency is favored: each frame goes straight through"
    if device.type != "cuda":
        return f"favoring throughput changes nothing on {device.type}: nothing there can overlap"
    return "throughput is favored: copies and pictures of neighbouring frames overlap, each goes out one frame later"


class GraphPipeline(Pipeline):
    """See the module's docstring; the same calls as `pipeline.Pipeline`.

    With `fuse`, the steps round the generator are compiled, seconds after a structure was first captured.

    Attributes:
        place: its seat among those who play the same world; the `choir`'s to give.
    """

    def __init__(
        self,
        device: torch.device,
        output_size: tuple[int, int] | None = None,
        *,
        fuse: bool = True,
        ahead: int = 0,
        choir: Choir | None = None,
    ) -> None:
        super().__init__(device, output_size)
        self.ahead = ahead
        self.place: Place | None = None
        self._choir = choir
        self._fusing = fuse
        self._stream = self._up = self._down = playing_stream(device) if device.type == "cuda" else None
        if ahead:
            self._up, self._down = playing_stream(device), playing_stream(device)
        self._arrivals = [torch.cuda.Event() for _ in range(1 + ahead if self._stream else 0)]
        self._run: Run | None = None
        self._runs: deque[Run | None] = deque()
        self._turn = 0
        self._programs: dict[Key, Program] = {}
        self._made: queue.SimpleQueue[tuple[Key, Program]] = queue.SimpleQueue()
        self._wanted: set[Key] = set()
        self._current: dict[int, tuple[Plan, Player | None, Program]] = {}
        self._ahead: Memory | None = None
        self._asked: tuple[Kind, Params] | None = None
        self._preparer = Preparer()
        self._locked = Locked()
        self._sent: torch.cuda.Event | None = None
        self._hurried: Program | None = None
        self._planes: dict[int, tuple[Rect, np.ndarray, Tensor]] = {}
        self._bridge: Bridge | None = None
        self._apart = False

    # --- the world that plays ----------------------------------------------------------------------------------------

    def use(self, player: Player, now: float) -> None:
        self._rest()
        self._collect()
        with self._streaming():
            if self._stream is not None:
                self._stream.wait_stream(torch.cuda.default_stream(self.device))  # where worlds are loaded
            super().use(player, now)
        playing = {each.step for each in (player, self._before) if each is not None}
        self._keep(lambda program: program.memory is self._memory and _steps(program) <= playing)
        self._wanted.clear()
        if self._choir is not None:
            self._choir.leave(self)
            self._choir.join(self, player)

    @property
    def crossfading(self) -> bool:
        """Or what plays no more may still be warmed up with."""
        return super().crossfading or self._preparer.busy

    def prepare(self, player: Player) -> None:
        """The programs that a change to `player` will take, for the frames and knobs as they are now."""
        asked, playing, memory = self._asked, self.player, self._memory
        if asked is None or player.step is None:
            return
        same = playing is not None and playing.canvas == player.canvas
        if not same or memory is None:
            memory = self._ahead = Memory(player.canvas, self.device)
        kind, params = asked
        ways = [[player]]
        if same and playing is not None and playing.step is not None and playing.step != player.step:
            ways.append([playing, player])
        for players in ways:
            plan = self._plan_of(kind, params, player.canvas, len(players) > 1)
            for turn in range(1 + self.ahead):
                self._make(_key(plan, players, memory, turn), plan, players, memory)

    def settle(self) -> None:
        self._preparer.settle()

    def _memory_for(self, canvas: tuple[int, int]) -> Memory:
        ahead, self._ahead = self._ahead, None
        if ahead is not None and ahead.picture.shape[2:] == (canvas[1], canvas[0]):
            return ahead
        return Memory(canvas, self.device)

    def _keep(self, wanted: Callable[[Program], bool]) -> None:
        """Let go of the other programs, and of what they play."""
        self._rest()
        self._programs = {key: program for key, program in self._programs.items() if wanted(program)}
        self._current.clear()

    def _rest(self) -> None:
        """Wait until no frame is on its way; what is under way can still be finished."""
        for run in filter(None, self._runs):
            if run.arrived is None and self._choir is not None:
                self._choir.sing()
            run.wait()

    def _streaming(self) -> AbstractContextManager[object]:
        """What is done within is queued on this pipeline's stream."""
        return nullcontext() if self._stream is None else OnStream(self._stream)

    def _crossfade(self, params: Params, now: float) -> float:
        before, weight = self._before, super()._crossfade(params, now)
        over = before is not None and self._before is None
        if over and before is not None and self.player is not None and before.step != self.player.step:
            self._keep(lambda program: before.step not in _steps(program))
        return weight

    # --- one frame ---------------------------------------------------------------------------------------------------

    def begin(self, frame: Frame, params: Params, now: float) -> None:
        if self._choir is not None:
            self._choir.collect()
        self._run = self._sent = self._hurried = None
        self._turn = (self._turn + 1) % (1 + self.ahead)
        if self.player is None:
            self._asked = Kind(frame.size, frame.format, frame.texture is not None), params  # for `prepare`
        with self._streaming():
            self._hurry(frame, params)
            super().begin(frame, params, now)
        self._runs.append(self._run)

    @torch.inference_mode()
    def _hurry(self, frame: Frame, params: Params) -> None:
        """Upload `frame` to where the last one of this turn went, before it is known what is to be done with it.

        Nearly always that is where it belongs, and what is found out meanwhile takes no time then.
        """
        current = self._current.get(self._turn)
        if current is None or params.freeze or params.show == "input":
            return
        plan, _, program = current
        same = plan.kind == Kind(frame.size, frame.format) and frame.texture is None
        if same and not program.own_dry:  # which depends on knobs
            self._send(frame, plan, program)
            self._hurried = program

    def finish(self) -> Frame:
        if self._choir is not None:
            self._choir.sing()  # who is not due this time is not waited for
        run = self._runs.popleft()
        if run is not None:
            run.wait()
        newest = self._runs[-1] if self._runs else None
        if newest is not None and newest.sent is not None:
            newest.sent.synchronize()  # its frame is its room's again
        return super().finish()

    def _render(
        self, frame: Frame, plan: Plan, knobs: Knobs, player: Player, plane: np.ndarray, params: Params
    ) -> None:
        program = self._fed(frame, plan, knobs, player, params)
        if program is None:
            return super()._render(frame, plan, knobs, player, plane, params)
        assert self._stream is not None
        there = self._shared(plane, plan.geometry.place)
        fetch = functools.partial(self._download, program.out, there, self._arrivals[self._turn])
        seeds = None if player.seeds is None else self._seeds
        self._run = Run(program, self._stream, seeds, fetch, self._sent)
        place = self._placed(plan, program)
        if place is None:
            self._run.play()
        else:
            place.chorus.wait(self._run)

    def _download(self, made: Tensor, there: Tensor, arrived: torch.cuda.Event) -> torch.cuda.Event:
        """What the pipeline's stream, the current one, makes, to host memory; `arrived` says when it is there."""
        assert self._down is not None and self._stream is not None
        if self._down is self._stream:
            there.copy_(made, non_blocking=True)
        else:
            self._down.wait_stream(self._stream)
            with OnStream(self._down):
                there.copy_(made, non_blocking=True)
        arrived.record(self._down)
        return arrived

    def _placed(self, plan: Plan, program: Program) -> Place | None:
        """This pipeline's place, if `program` can take it; it is made to, if not."""
        place = self.place
        if place is None or self._before is not None or plan.route.conditioned or plan.textured:
            return None
        if program.seat is place.seat:
            return place
        if program.asked is not place.seat:
            program.asked = place.seat
            self._preparer.ask(lambda: self._split(program, place.seat), urgent=False)
        return None

    def _shared(self, plane: np.ndarray, place: Rect) -> Tensor:
        """The part `place` of an output plane as a tensor."""
        known = self._planes.get(id(plane))
        if known is None or known[0] != place or known[1] is not plane:
            if len(self._planes) >= PROGRAMS:
                self._planes.clear()
            known = self._planes[id(plane)] = place, plane, torch.from_numpy(placed(plane, place))
        return known[2]

    def _hand_over(self, frame: Frame, plan: Plan, knobs: Knobs, player: Player, params: Params) -> None:
        program = self._fed(frame, plan, knobs, player, params)
        if program is None:
            return super()._hand_over(frame, plan, knobs, player, params)
        assert self._stream is not None
        program.run(self._stream)
        picture, bridge = self._opened().painter.picture, self._bridged()
        if bridge is None or not self._tried(lambda: bridge.store(program.out, picture)):
            picture.write(program.out.cpu().numpy())
        self._stream.synchronize()

    def _fed(self, frame: Frame, plan: Plan, knobs: Knobs, player: Player, params: Params) -> Program | None:
        """The program of this structure, which was given `frame` and may run; None where there is none yet."""
        program = self._program(plan, player, params)
        if self._bridge:
            self._bridge.let_go()  # of what a frame that failed had mapped
        if plan.textured or plan.drawn:
            fitted = self._opened().fit(plan.canvas, plan.geometry.shown[2:])
            if fitted and self._bridge:
                self._bridge.release()  # textures of another size: not those that CUDA knows
        if program is None:
            return None
        if frame.texture is None:
            if program is not self._hurried:
                self._send(frame, plan, program)
        else:
            self._fetch(frame.texture, plan, program)
            if self._stream is not None and self._up is not self._stream:
                self._sent = self._stream.record_event()
        program.refresh(plan.geometry, knobs, params.detail, self._seeds)
        return program

    def _send(self, frame: Frame, plan: Plan, program: Program) -> None:
        """Upload a frame in host memory; `program` runs when it is there."""
        assert self._up is not None and self._stream is not None
        if self._up is self._stream:
            return program.send(frame, plan.geometry, self._buffers, self._locked)
        with OnStream(self._up):
            program.send(frame, plan.geometry, self._buffers, self._locked)
        self._sent = self._up.record_event()
        self._stream.wait_event(self._sent)

    def _fetch(self, texture: Texture, plan: Plan, program: Program) -> None:
        """The luma of `texture` to where the graph begins; what `_hand_over` stores to is mapped along with it."""
        sampler, bridge = self._opened().sampler, self._bridged()
        then = self._opened().painter.picture if plan.drawn else None
        sampler.draw(texture, plan.geometry, plan.canvas)
        if bridge is None or not self._tried(lambda: bridge.fetch(sampler.target, program.source.there, then)):
            program.source.send(sampler.take(), self._locked)

    def _bridged(self) -> Bridge | None:
        """CUDA's way to OpenGL; None where there is none, which is said once."""
        if self._bridge is None and not self._apart and self._tried(self._build_bridge):
            log.info("textures go to CUDA and back within the GPU")
        return self._bridge

    def _build_bridge(self) -> None:
        self._bridge = Bridge()

    def _tried(self, call: Callable[[], None]) -> bool:
        """Whether `call` could do it within the GPU; if not, nothing is tried again."""
        try:
            call()
        except TextureError as err:
            log.warning("textures go to CUDA through host memory: %s", err)
            self._apart, self._bridge = True, None
        return not self._apart

    def close(self) -> None:
        self._preparer.close()
        self._rest()
        if self._choir is not None:
            self._choir.leave(self)
        self._programs.clear()
        self._current.clear()
        self._locked.close()
        if self._bridge is not None:
            self._bridge.release()
            self._bridge = None
        super().close()

    # --- programs ----------------------------------------------------------------------------------------------------

    def _program(self, plan: Plan, player: Player, params: Params) -> Program | None:
        """The program of this structure, of one player or of two that crossfade; it is asked for if there is none."""
        current = self._current.get(self._turn)
        if current is not None and current[0] is plan and current[1] is self._before:
            return current[2]  # a plan of another player is another plan
        self._asked = plan.kind, params
        players = [self._before, player] if self._before else [player]
        if any(each.step is None for each in players):
            return None  # an engine takes part that no graph can hold
        if not self._made.empty():
            self._collect()
        memory = self._memory
        assert memory is not None
        key = _key(plan, players, memory, self._turn)
        program = self._programs.pop(key, None)
        if program is None:
            if key not in self._wanted:
                self._wanted.add(key)
                self._preparer.ask(lambda: self._make(key, plan, players, memory), urgent=True)
            return None
        self._programs[key] = program
        self._current[self._turn] = plan, self._before, program
        return program

    def _make(self, key: Key, plan: Plan, players: list[Player], memory: Memory) -> None:
        """Capture a program and have its steps compiled afterwards. In a preparing thread."""
        try:
            program = attempted(lambda: self._captured(plan, players, memory))
        except RuntimeError as err:
            log.warning("no CUDA graph can be captured, such frames go step by step: %s", err)
            return
        self._made.put((key, program))
        if self._fusing and not program.fused and not any(each.passing for each in players):
            self._preparer.ask(functools.partial(self._fuse, program), urgent=False)

    def _captured(self, plan: Plan, players: list[Player], memory: Memory) -> Program:
        program = Program(plan, players, memory, self.device)
        program.capture()
        return program

    def _fuse(self, program: Program) -> None:
        try:
            program.fuse()
        except inductor.FAULTS as err:
            log.warning("the steps round the generator run one by one: %s", err)

    def _split(self, program: Program, seat: Seat) -> None:
        try:
            attempted(lambda: program.split(seat))
        except inductor.FAULTS as err:
            log.warning("a channel plays by itself: %s", err)

    def _collect(self) -> None:
        """Take what was prepared."""
        while not self._made.empty():
            key, program = self._made.get()
            if key not in self._programs and len(self._programs) >= PROGRAMS * (1 + self.ahead):
                self._programs.pop(next(iter(self._programs)))
            self._programs[key] = program
            self._wanted.discard(key)

    def _new_output(self, size: tuple[int, int]) -> tuple[np.ndarray, ...]:
        planes = blank(PixelFormat.UYVA, *size)
        return tuple(torch.from_numpy(plane).pin_memory().numpy() for plane in planes)


def _key(plan: Plan, players: list[Player], memory: Memory, turn: int) -> Key:
    return turn, id(memory), structure(plan), *(each.step for each in players)


def _steps(program: Program) -> set[object]:
    return {each.step for each in program.players}
