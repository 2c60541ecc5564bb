"""Textures through the node: rooms that hold them, beside rooms that don't, and nothing of OpenGL where none does."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from pictures import noise
from small_worlds import make_world

from l2s_node import channel, feed, texture
from l2s_node.config import RunConfig
from l2s_node.frame import Frame, PixelFormat
from l2s_node.node import Node
from l2s_node.outlet import Outlet
from l2s_node.picture import compose
from l2s_node.texture import Copier, Image, Target

REASON = texture.missing()
needs_gl = pytest.mark.skipif(REASON is not None, reason=f"no OpenGL: {REASON}")
SIZE = (96, 64)
RED = (200, 30, 60, 255)


@pytest.fixture(autouse=True)
def no_context_before_and_after() -> Iterator[None]:
    assert not texture.exists()
    yield
    texture.close()


class Bytes:
    """A sink of host memory that keeps copies."""

    live = True
    dropped = 0

    def __init__(self, fmt: PixelFormat = PixelFormat.UYVA) -> None:
        self.uri, self.format = "bytes:", fmt
        self.frames: list[Frame] = []

    def write(self, frame: Frame) -> None:
        self.frames.append(dataclasses.replace(frame, planes=tuple(plane.copy() for plane in frame.planes)))

    def close(self) -> None:
        pass


class Textures(Bytes):
    """A sink of textures; what it keeps is read back, top row first."""

    textures = True

    def write(self, frame: Frame) -> None:
        assert frame.texture is not None and not frame.texture.flipped
        gl = texture.gl()
        target, copier = Target(gl, frame.size), Copier(gl)
        copier.copy(frame.texture, target)
        pixels = np.ascontiguousarray(target.read()[::-1])
        self.frames.append(dataclasses.replace(frame, planes=(pixels,), texture=None))
        for each in (target, copier):
            each.release()


class Red:
    """A source of textures, all of one colour; it ends after a while."""

    uri, state, dropped, blocks = "red:", "connected", 0, False

    def __init__(self, frames: int) -> None:
        self._image = Image(texture.gl(), SIZE)
        self._left, self._number = frames, 0

    def read(self, timeout: float) -> Frame | None:
        if self._number == self._left:
            self.state = "ended"
            return None
        made = self._image.write(np.full((*SIZE[::-1], 4), RED, np.uint8))
        self._number += 1
        return Frame((), PixelFormat.RGBX, *SIZE, 0.0, self._number - 1, Fraction(30), made)

    def close(self) -> None:
        self._image.release()


def uyvy(pixels: np.ndarray) -> np.ndarray:
    out = torch.empty(pixels.shape[0], 2 * pixels.shape[1], dtype=torch.uint8)
    compose.pack_rgb(torch.from_numpy(pixels[..., :3].copy()).permute(2, 0, 1).float() / 255, out, "bt601")
    return out.numpy()


def played(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, source: object, sinks: list[Bytes], **knobs: object
) -> Node:
    """A run to the source's end."""
    monkeypatch.setenv("L2S_HOME", str(tmp_path))
    make_world(tmp_path, "night", grey=0.25)
    monkeypatch.setattr(feed, "open_source", lambda *_: source)
    left = list(sinks)
    monkeypatch.setattr(channel, "open_sink", lambda *_: left.pop(0))
    uris = tuple(f"null:{i}" for i in range(len(sinks)))
    config = RunConfig("null:", uris, world="night", osc=0, panel=0, fps=100.0, frames=6, device="cpu", knobs=knobs)
    node = Node(config, tell=lambda _: None)
    node.run()
    return node


@needs_gl
def test_a_texture_comes_in_and_both_kinds_of_sinks_show_the_world(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sinks = [Textures(), Bytes(), Bytes(PixelFormat.UYVY)]
    source = Red(10**6)
    played(monkeypatch, tmp_path, source, sinks, mix=0.5)
    first, last = sinks[0].frames[0], sinks[0].frames[-1]
    assert bool((first.planes[0][..., :3] == 0).all()), "black before anything came"
    want = (np.array(RED[:3]) + 64) / 2
    assert np.abs(last.planes[0][..., :3].astype(float) - want).max() <= 3
    assert last.format is PixelFormat.RGBX and sinks[1].frames[-1].format is PixelFormat.UYVY
    for sink in sinks[1:]:
        assert len(sink.frames) == len(sinks[0].frames)
        assert np.abs(sink.frames[-1].planes[0].astype(int) - uyvy(last.planes[0])).max() <= 3
    assert not texture.exists(), "it is closed with the run"


@needs_gl
def test_a_texture_goes_out_as_bytes_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sink = Bytes()
    played(monkeypatch, tmp_path, Red(10**6), [sink])
    assert sink.frames[-1].format is PixelFormat.UYVY
    assert abs(int(sink.frames[-1].planes[0][0, 1]) - (16 + 219 * 0.25)) <= 2


@pytest.mark.parametrize("fmt", [PixelFormat.UYVY, PixelFormat.UYVA])
@needs_gl
def test_bytes_are_uploaded_once_for_all_that_take_textures(fmt: PixelFormat) -> None:
    outlet, frame = Outlet(), noise(fmt, SIZE, smooth=2)
    first, second, host = Textures(), Textures(), Bytes()
    for _ in range(3):
        outlet.put(frame)
        assert outlet.taken(first) is outlet.taken(second)
        assert outlet.taken(host) is frame
        first.write(outlet.taken(first))
    shown = first.frames[-1]
    want = compose.unpack_rgb(torch.from_numpy(frame.planes[0]), "bt601").permute(1, 2, 0).numpy() * 255
    assert np.abs(shown.planes[0][..., :3] - want).max() <= 1
    assert shown.format is (PixelFormat.RGBA if fmt.has_alpha else PixelFormat.RGBX)
    assert np.abs(shown.planes[0][..., 3].astype(int) - (frame.planes[1] if fmt.has_alpha else 255)).max() == 0
    outlet.close()


@needs_gl
def test_a_preview_is_small_and_the_right_way_up() -> None:
    outlet, image = Outlet(), Image(texture.gl(), (1, 1))
    pixels = np.zeros((720, 1280, 4), np.uint8)
    pixels[:360] = RED
    frame = Frame((), PixelFormat.RGBA, 1280, 720, 0.0, 0, None, image.write(pixels))
    small = outlet.preview(frame)
    assert small.size == (640, 360) and small.texture is None
    assert tuple(small.planes[0][10, 10]) == RED and tuple(small.planes[0][-10, 10]) == (0, 0, 0, 0)
    outlet.close()
    image.release()


def test_without_textures_no_context_is_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    frames = [noise(PixelFormat.UYVA, SIZE, number=n) for n in range(3)]

    class Plain:
        uri, state, dropped, blocks = "plain:", "connected", 0, False

        def read(self, timeout: float) -> Frame | None:
            return frames[0]

        def close(self) -> None:
            assert not texture.exists()

    sinks = [Bytes(), Bytes(PixelFormat.UYVY)]
    played(monkeypatch, tmp_path, Plain(), sinks, mix=0.5)
    assert [sink.frames[-1].format for sink in sinks] == [PixelFormat.UYVA, PixelFormat.UYVY]
