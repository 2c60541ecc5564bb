"""Post: looks over finished pictures, from whatever made them to whatever shows them.

    UYVY in host memory ──> texture ──> look ──> look ──> … ──> UYVY in host memory

All of it is drawn in the one OpenGL context, on the thread that first calls `through` or `over` with a look on: in a
run that is the frame loop's, the node's main thread. Until then there is no context; when no look is on, nothing of it
is used. In a show a look comes in when another thread has it `ready`; until then the picture goes on without it. The
fade to black comes last, so that no look shines through it.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Sequence

import numpy as np

from l2s_node import texture
from l2s_node.errors import LookError
from l2s_node.frame import Frame, PixelFormat, Texture
from l2s_node.params import Board, Params
from l2s_node.picture import colour
from l2s_node.picture.isf_run import Running
from l2s_node.picture.looks import Library, Look
from l2s_node.picture.packing import Packer, Unpacker
from l2s_node.picture.ready import Making
from l2s_node.texture import GL, Copier, Target, TextureError, filler

log = logging.getLogger(__name__)

OUTPUTS = 3
"""Output frames in rotation; see `pipeline.OUTPUTS`."""
PATIENCE = 0.004
"""Seconds that a picture is waited for before the one before it goes out instead, once."""
REHEARSED = (1000, 562)
"""Pixels of the pictures that are drawn to make a look ready: no side of a buffer is a power of two, as in shows, and
some drivers compile for that."""

_FADE = """#version 330
uniform sampler2D picture;
uniform float light;
out vec4 colour;
void main() {
    vec4 seen = texelFetch(picture, ivec2(gl_FragCoord.xy), 0);
    colour = vec4(seen.rgb * light, seen.a);
}
"""


class Post:
    """The looks of one output."""

    def __init__(self, library: Library, patience: float = PATIENCE, beside: bool = False) -> None:
        """
        Args:
            library: the looks.
            patience: see `PATIENCE`; what is in no hurry waits longer, and gets every picture.
            beside: another thread makes looks ready, where it can; else whoever calls waits for it.
        """
        self._library = library
        self._patience = patience
        self._beside = beside and texture.EGL
        self._making: Making[_Stage] | None = None
        self._ready: set[Look] = set()
        self._stage: _Stage | None = None
        self._refused: set[Look] = set()
        self._impossible = False

    @property
    def late(self) -> int:
        """How often the picture before went out in place of one that was not drawn in time."""
        return self._stage.late if self._stage else 0

    def on(self, params: Params) -> bool:
        """Whether a look lies over the picture: not over one that shows what comes in, for setting up.

        The first one that does makes the OpenGL context, if nothing else has.
        """
        playable = bool(params.look) and params.show not in ("input", "conditioned")
        if not (playable and self._prepared(params) and self._opened()):
            playable = False
            self.rest()
        return playable

    def through(self, frame: Frame, params: Params, now: float) -> Frame:
        """`frame`, to which `params.fade` was not applied, through the looks that are `on`, and faded.

        UYVY or UYVA, whose planes stay valid for the next two calls like those of `pipeline.Pipeline.step`; or with a
        texture, which is valid until the next call.
        """
        assert self._stage is not None, "on() comes first"
        if frame.texture is not None:
            return dataclasses.replace(frame, texture=self.over(frame.texture, params, now))
        picture = self._stage.over(self._stage.upload(frame), self._chain(params), params, now)
        return self._stage.download(self._stage.faded(picture, 1 - params.fade), frame)

    def over(self, picture: Texture, params: Params, now: float) -> Texture:
        """The same for a texture (OpenGL's way up, full range RGBA) to one that is valid until the next call."""
        assert self._stage is not None, "on() comes first"
        seen = self._stage.over(picture, self._chain(params), params, now)
        return self._stage.faded(seen, 1 - params.fade)

    def rest(self) -> None:
        """Forget what was played; the next look begins anew."""
        if self._stage is not None:
            self._stage.rest()

    def close(self) -> None:
        """Release what was made in the OpenGL context; the context itself is `texture.close`'s."""
        if self._making is not None:
            self._making.close()
            self._making = None
        if self._stage is not None:
            self._stage.release()
            self._stage = None

    def _opened(self) -> bool:
        if self._stage is None and not self._impossible:
            try:
                self._open(self._staged(texture.gl()))
            except TextureError as err:
                self._fail(err)
        return self._stage is not None

    def _staged(self, gl: GL) -> _Stage:
        return _Stage(gl, self._patience)

    def _open(self, stage: _Stage) -> None:
        self._stage = stage
        log.info("looks are drawn by %s", texture.gl().renderer)

    def _fail(self, err: TextureError) -> None:
        self._impossible = True
        log.error("no look can play here: %s", err)

    def _prepared(self, params: Params) -> bool:
        """Whether any of the looks that are on can be drawn now; what can't is made ready `beside`."""
        if not self._beside or self._impossible:
            return True
        if self._making is not None and self._making.done:
            self._take(self._making)
            self._making = None
        looks = self._wanted(params)
        fresh = [look for look in looks if look not in self._ready]
        if fresh and self._making is None:
            log.info("made ready while the picture plays on: %s", ", ".join(look.name for look in fresh))
            self._making = Making(fresh, self._staged)
        return any(look in self._ready or self._plays(look.name) for look in looks)

    def _take(self, making: Making[_Stage]) -> None:
        if making.failure is not None:
            self._fail(making.failure)
        self._ready.update(making.looks)
        stage = making.taken()
        if stage is not None:
            self._open(stage)
        for look, err in making.refused.items():
            self._refuse(look, err)

    def _plays(self, name: str) -> bool:
        return self._stage is not None and name in self._stage.running

    def _wanted(self, params: Params) -> list[Look]:
        """The looks of `params.look` in their order, as far as they are here."""
        return [self._library.looks[name] for name in params.look.split(", ") if name in self._library.looks]

    def _chain(self, params: Params) -> list[Running]:
        """The looks of `params.look`, compiled, in their order."""
        assert self._stage is not None
        looks = self._wanted(params)
        chain = [self._playing(self._stage, look) for look in looks]
        self._stage.rest([look.name for look in looks])
        return [running for running in chain if running is not None]

    def _playing(self, stage: _Stage, look: Look) -> Running | None:
        """`look` compiled, or its last version that could be; None where there never was one."""
        former = stage.running.get(look.name)
        if (former is not None and former.look is look) or look in self._refused:
            return former
        if self._beside and look not in self._ready:
            return former
        try:
            return stage.compile(look)
        except LookError as err:
            self._refuse(look, err)
            return former

    def _refuse(self, look: Look, err: LookError) -> None:
        self._refused.add(look)
        log.error(
            "%s; %s", err, "its last good version goes on playing" if self._plays(look.name) else "it is left out"
        )


class _Stage:
    """What is made in the OpenGL context."""

    def __init__(self, gl: GL, patience: float) -> None:
        self.running: dict[str, Running] = {}
        self._gl = gl
        self._copier = Copier(gl)
        self._fade = filler(gl, _FADE, name="fade")
        self._unpack, self._pack = Unpacker(gl), Packer(gl, patience, OUTPUTS)
        self._targets: dict[str, Target] = {}
        self._awake: set[str] = set()

    @property
    def late(self) -> int:
        return self._pack.back.late

    def compile(self, look: Look) -> Running:
        """`look` ready to play, in the place of its former version.

        Raises:
            LookError: the driver refuses it; the former version plays on.
        """
        self._gl.use()
        start = time.perf_counter()
        running = Running(self._gl, look, self._copier)
        former = self.running.get(look.name)
        if former is not None:
            running.follow(former)
            former.release()
        self.running[look.name] = running
        log.info("the look %s was compiled in %.0f ms", look.name, 1e3 * (time.perf_counter() - start))
        return running

    def rest(self, but: Sequence[str] = ()) -> None:
        """Let the looks that are off forget what they played; without any on, what was to be read back as well."""
        for name in self._awake.difference(but):
            self.running[name].rest()
        if self._awake and not but:
            self._pack.back.release()  # else the first picture of the next time might be the last one of this
        self._awake = self.running.keys() & set(but)

    def rehearse(self) -> None:
        """Draw all looks twice, and what is drawn before and after them, so that all is compiled that ever will be."""
        plane, knobs = np.zeros((REHEARSED[1], 2 * REHEARSED[0]), np.uint8), Board().snapshot()
        frame = Frame((plane,), PixelFormat.UYVY, *REHEARSED, seconds=0.0, number=0)
        for now in (0.0, 0.1):
            for running in self.running.values():
                seen = self.faded(self.over(self.upload(frame), [running], knobs, now), 0.5)
                self._gl.wait()  # here, where Python's other threads go on; reading back holds them
                self.download(seen, frame)
        self._gl.wait()
        for running in self.running.values():
            running.rest()
        self._pack.back.release()

    def over(self, picture: Texture, looks: Sequence[Running], params: Params, now: float) -> Texture:
        self._gl.use()
        for index, running in enumerate(looks):
            target = self._target(f"look {index % 2}", picture.size)
            running.draw(picture, target, params.more, now)
            picture = target.texture
        return picture

    def faded(self, picture: Texture, light: float) -> Texture:
        if light == 1:
            return picture
        target = self._target("faded", picture.size)
        self._fade.run(target, {"picture": picture, "light": light}, smooth=False)
        return target.texture

    def upload(self, frame: Frame) -> Texture:
        """`frame`, UYVY or UYVA, as RGBA."""
        self._gl.use()
        return self._unpack(frame.planes, colour.standard_for(*frame.size))

    def download(self, picture: Texture, frame: Frame) -> Frame:
        """`picture` in the place of `frame`'s planes."""
        return dataclasses.replace(frame, planes=self._pack(picture, len(frame.planes) > 1))

    def release(self) -> None:
        self._gl.use()
        for running in self.running.values():
            running.release()
        for target in self._targets.values():
            target.release()
        self._unpack.release()
        self._pack.release()
        self._fade.release()
        self._copier.release()

    def _target(self, name: str, size: tuple[int, int]) -> Target:
        target = self._targets.get(name)
        if target is None:
            target = self._targets[name] = Target(self._gl, size)
        target.resize(size)
        return target
