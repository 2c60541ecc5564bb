"""The rooms `syphon` and `spout`, all of them but the calls to the SDKs: those are answered by `gl_exchange`.

Each test runs with both rooms, and where it matters on both of their ways, by textures and through host memory.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from gl_exchange import Server, SpoutHere, SyphonHere
from gl_halls import Hall, SpoutHall, SyphonHall, needs_gl
from small_worlds import make_world

from l2s_node import texture, video
from l2s_node.config import RunConfig
from l2s_node.errors import NotFoundError, RoomError
from l2s_node.frame import Frame, PixelFormat, Texture
from l2s_node.latency import latency
from l2s_node.node import Node
from l2s_node.texture import Copier, Image, Target
from l2s_node.video import _gpu, _spout, _syphon, spout, syphon
from l2s_node.video.base import Options, Sink, Source

pytestmark = needs_gl
OPTIONS = Options(rate=Fraction(50), size=(128, 72))
SIZES = [(64, 48), (37, 21), (2, 2)]


@contextlib.contextmanager
def source(hall: Hall, address: str = "cam") -> Iterator[Source]:
    with contextlib.closing(video.open_source(f"{hall.scheme}:{address}", OPTIONS)) as opened:
        yield opened


@contextlib.contextmanager
def sink(hall: Hall, address: str = "l2s") -> Iterator[Sink]:
    with contextlib.closing(video.open_sink(f"{hall.scheme}:{address}", OPTIONS)) as opened:
        yield opened


def picture(size: tuple[int, int] = (64, 48), seed: int = 0) -> np.ndarray:
    """Noise, alpha too: any flip, swap of channels or shift shows."""
    return np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 4), np.uint8)


def shown(frame: Frame | None) -> np.ndarray:
    """A frame as it is to be seen: top row first, red first."""
    assert frame is not None
    if frame.texture is None:
        assert frame.format in (PixelFormat.BGRA, PixelFormat.BGRX)
        return frame.planes[0][..., [2, 1, 0, 3]]
    gl = texture.gl()
    target, copier = Target(gl, frame.size), Copier(gl)
    copier.copy(frame.texture, target)
    pixels = target.read()[::-1].copy()
    for each in (target, copier):
        each.release()
    return pixels


def next_frame(opened: Source, patience: float = 2.0) -> Frame:
    until = time.monotonic() + patience
    while time.monotonic() < until:
        if (frame := opened.read(0.05)) is not None:
            return frame
    raise AssertionError(f"{opened.uri} sent nothing in {patience} s")


def rest(opened: Source) -> None:
    """Until it has nothing new."""
    while opened.read(0.02) is not None:
        pass


@pytest.fixture
def image(hall: Hall) -> Iterator[Image]:
    """A texture of ours, filled from host memory."""
    made = Image(texture.gl(), (1, 1))
    yield made
    made.release()


def of_ours(image: Image, pixels: np.ndarray, fmt: PixelFormat = PixelFormat.RGBA) -> Frame:
    """A frame as sinks of textures get it: OpenGL's way up."""
    made = image.write(np.ascontiguousarray(pixels[::-1]))
    upright = Texture(made.glo, *made.size)
    return Frame((), fmt, *upright.size, time.monotonic(), 0, OPTIONS.rate, upright)


# --- in ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slow", [False, True], ids=["textures", "host"])
@pytest.mark.parametrize("size", SIZES, ids=lambda size: "{}x{}".format(*size))
def test_a_picture_comes_as_it_was_sent(hall: Hall, size: tuple[int, int], slow: bool) -> None:
    sent = picture(size)
    hall.send("cam", sent)
    with source(hall, "cam" + hall.slow * slow) as opened:
        frame = next_frame(opened)
        assert np.array_equal(shown(frame), sent) and frame.size == size
        assert frame.format.has_alpha
        assert (opened.uri, opened.state, opened.dropped, opened.blocks) == (hall.full("cam"), "connected", 0, False)
        by_texture = not slow or (hall.scheme == "spout" and size[0] % 4 != 0)  # Spout's images need a width of 4n
        assert (frame.texture is not None) is by_texture


def test_the_size_may_change_and_the_last_picture_stays_until_the_next(hall: Hall) -> None:
    hall.send("cam", picture(SIZES[0]))
    with source(hall) as opened:
        before = next_frame(opened)
        rest(opened)
        for seed, size in enumerate([(50, 30), (64, 48), (64, 48), (3, 70)], 1):
            kept = shown(before)
            hall.send("cam", picture(size, seed))
            assert np.array_equal(shown(before), kept), "a picture changed before the next was handed out"
            before = next_frame(opened)
            assert before.size == size and np.array_equal(shown(before), picture(size, seed))
            rest(opened)


@pytest.mark.parametrize("slow", [False, True], ids=["textures", "host"])
def test_only_the_newest_picture_comes_and_the_others_are_counted(hall: Hall, slow: bool) -> None:
    hall.send("cam", picture())
    with source(hall, "cam" + hall.slow * slow) as opened:
        first = next_frame(opened)
        rest(opened)
        for seed in range(1, 6):
            hall.send("cam", picture(seed=seed))
        last = next_frame(opened)
        assert np.array_equal(shown(last), picture(seed=5))
        assert opened.dropped == 4 and last.number - first.number == 5
        assert opened.read(0.03) is None


def test_planes_hold_until_two_more_pictures_were_read(hall: Hall) -> None:
    hall.send("cam", picture())
    with source(hall, "cam" + hall.slow) as opened:
        frame = next_frame(opened)
        kept = frame.planes[0].copy()
        rest(opened)
        hall.send("cam", picture(seed=1))
        next_frame(opened)
        assert np.array_equal(frame.planes[0], kept) and frame.planes[0].flags.c_contiguous


def test_a_sender_that_retires_is_found_again(hall: Hall, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "l2s_node.video")
    with source(hall) as opened:
        assert opened.read(0.03) is None and opened.state == "waiting"
        hall.send("cam", picture())
        frame = next_frame(opened)
        for seed in (1, 2):
            rest(opened)
            hall.retire("cam")
            until = time.monotonic() + 2
            while opened.state != "waiting" and time.monotonic() < until:
                assert opened.read(0.03) is None
            assert opened.state == "waiting"
            assert np.array_equal(shown(frame), picture(seed=seed - 1)), "the last picture lives on without its sender"
            hall.send("cam", picture(seed=seed))
            frame = next_frame(opened)
            assert opened.state == "connected" and np.array_equal(shown(frame), picture(seed=seed))
    said = [record.message for record in caplog.records]
    assert sum("is gone" in line for line in said) == 2 and sum("sends 64x48" in line for line in said) == 3


def test_a_sender_that_sends_nothing_is_silent(
    hall: Hall, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_gpu, "PATIENCE", 0.1)
    hall.send("cam", picture())
    with source(hall) as opened:
        next_frame(opened)
        until = time.monotonic() + 2
        while opened.state != "silent" and time.monotonic() < until:
            opened.read(0.02)
        assert opened.state == "silent"
        rest(opened)
        hall.send("cam", picture(seed=1))
        next_frame(opened)
        assert opened.state == "connected"
    assert sum("sends nothing" in record.message for record in caplog.records) == 1


def test_reading_ends_in_time(hall: Hall) -> None:
    with source(hall) as opened:
        for there in (False, True):
            if there:
                hall.send("cam", picture())
                next_frame(opened)
                rest(opened)
            for timeout in (0.0, 0.05):
                start = time.monotonic()
                opened.read(timeout)
                assert timeout - 0.01 <= time.monotonic() - start < timeout + 0.3


def test_what_is_there_is_listed_and_a_name_must_be_given(hall: Hall) -> None:
    room = syphon if hall.scheme == "syphon" else spout
    assert room.names() == []
    hall.send("cam", picture())
    hall.send("beam", picture())
    assert room.names() == [hall.full("beam"), hall.full("cam")]
    if hall.scheme == "syphon":
        with pytest.raises(NotFoundError, match="Resolume/beam, syphon:Resolume/cam"):
            syphon.Source("", OPTIONS)
    else:
        with source(hall, "") as opened:
            next_frame(opened)
            assert opened.uri == "spout:beam", "the sender that was started last"


# --- out --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slow", [False, True], ids=["textures", "host"])
def test_a_picture_goes_out_as_it_is(hall: Hall, image: Image, slow: bool) -> None:
    with sink(hall, "l2s" + hall.slow * slow) as opened:
        for seed, size in enumerate([*SIZES, SIZES[1]]):
            opened.write(of_ours(image, picture(size, seed)))
            assert np.array_equal(hall.seen("l2s"), picture(size, seed))
            opened.write(of_ours(image, picture(size, seed), PixelFormat.RGBX))
            opaque = picture(size, seed)
            opaque[..., 3] = 255
            assert np.array_equal(hall.seen("l2s"), opaque), "a fourth channel to be ignored is opaque to others"
        assert opened.uri == hall.full("l2s") and opened.dropped == 0
        room = syphon if hall.scheme == "syphon" else spout
        assert room.names() == [opened.uri]
    assert room.names() == []


def test_a_taken_name_is_left_to_its_program(hall: Hall, image: Image, caplog: pytest.LogCaptureFixture) -> None:
    hall.send("l2s", picture(seed=7))
    with sink(hall) as second:
        second.write(of_ours(image, picture(seed=1)))
        with sink(hall) as third:
            third.write(of_ours(image, picture(seed=2)))
            assert [hall.seen(name)[0, 0, 0] for name in ("l2s", "l2s 2", "l2s 3")] == [
                picture(seed=seed)[0, 0, 0] for seed in (7, 1, 2)
            ]
    said = [record.message for record in caplog.records if "already sends as 'l2s'" in record.message]
    assert len(said) == 2 and "as 'l2s 2'" in said[0]
    for n in range(2, 10):
        hall.send(f"l2s {n}", picture())
    with pytest.raises(RoomError, match="choose another"):
        video.open_sink(f"{hall.scheme}:l2s", OPTIONS)


def test_no_address_takes_the_node_s_name_and_bytes_are_refused(hall: Hall) -> None:
    with sink(hall, "") as opened:
        assert opened.uri.endswith("l2s")
        assert getattr(opened, "textures", False) and opened.live
        planes = (np.zeros((4, 8), np.uint8),)
        with pytest.raises(RoomError, match="sends textures"):
            opened.write(Frame(planes, PixelFormat.UYVY, 4, 4, 0.0, 0))


def test_a_sink_may_close_without_a_picture(hall: Hall) -> None:
    with sink(hall) as opened:
        assert opened.dropped == 0


# --- both -------------------------------------------------------------------------------------------------------------


def test_there_and_back_leaves_nothing_behind(hall: Hall, image: Image) -> None:
    """Ten times in one process, as `l2s doctor --rooms` does it."""
    counts = []
    for seed in range(10):
        with sink(hall) as out, source(hall, "l2s") as back:
            sent = of_ours(image, picture(seed=seed))
            frame = None
            for _ in range(20):
                out.write(sent)
                frame = frame or back.read(0.05)
            assert np.array_equal(shown(frame), picture(seed=seed))
        counts.append(texture.gl().objects())
    assert counts[1:] == [counts[1]] * 9, "objects of OpenGL are left behind"


def test_changing_sizes_leave_nothing_behind(hall: Hall, image: Image) -> None:
    """All in one run: a sender that changes its size every fifth picture, and never the same again."""
    with sink(hall) as out, source(hall, "l2s") as back:
        counts = []
        for n in range(60):
            out.write(of_ours(image, picture((20 + 4 * (n // 5), 30), seed=n)))
            assert np.array_equal(shown(next_frame(back)), picture((20 + 4 * (n // 5), 30), seed=n))
            counts.append(texture.gl().objects())
    assert counts[20:] == [counts[20]] * 40


def test_a_node_plays_from_the_one_program_to_the_other(
    hall: Hall, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """All of a run, on the main thread: red comes in, goes through a world of one grey at half, and comes out."""
    monkeypatch.setenv("L2S_HOME", str(tmp_path))
    make_world(tmp_path, "night", grey=0.25)
    red = np.full((64, 96, 4), (200, 30, 60, 255), np.uint8)
    hall.send("cam", red)
    seen: list[np.ndarray] = []
    monkeypatch.setattr(
        Node, "_say", lambda self: (hall.send("cam", red), seen.append(hall.seen("out")[32, 48].copy()))
    )
    uris = (f"{hall.scheme}:out", "null:")
    config = RunConfig(
        f"{hall.scheme}:cam", uris, world="night", osc=0, panel=0, fps=50.0, frames=8, device="cpu", knobs={"mix": 0.5}
    )
    summary = Node(config, tell=lambda _: None).run()
    assert summary["frames_out"] == 8 and not texture.exists()
    want = [*(np.array((200, 30, 60)) + 64) / 2, 255]
    assert np.abs(seen[-1].astype(float) - want).max() <= 3
    texture.gl()  # for the other program, which shares with the one context


def test_latency_says_that_it_has_no_textures(hall: Hall) -> None:
    """Its pictures are numbers in host memory, sent from a thread of its own."""
    hall.send("cam", picture())
    ways = [(f"{hall.scheme}:out", "null:", "takes textures"), ("null:", f"{hall.scheme}:cam", "hands out textures")]
    for to, back, words in ways:
        with pytest.raises(RoomError, match=words):
            latency(to, back, seconds=0.1, fps=30.0, size=(64, 36), osc=None, name="l2s", say=lambda _: None)


# --- each for itself --------------------------------------------------------------------------------------------------


only_syphon = pytest.mark.parametrize("hall", [SyphonHall], indirect=True, ids=["syphon"])
only_spout = pytest.mark.parametrize("hall", [SpoutHall], indirect=True, ids=["spout"])


@only_syphon
def test_syphon_finds_a_server_by_both_names_or_by_one(hall: SyphonHall) -> None:
    servers = [Server("Resolume", "Comp"), Server("TouchDesigner", "Comp"), Server("VDMX", "")]
    for seed, server in enumerate(servers):
        hall.world.servers.append(server)
        hall.world.show(server, picture(seed=seed)[::-1])
    assert syphon.names() == ["syphon:Resolume/Comp", "syphon:TouchDesigner/Comp", "syphon:VDMX"]
    for address, seed in {"TouchDesigner/Comp": 1, "Comp": 0, "VDMX": 2, "TouchDesigner": 1}.items():
        with source(hall, address) as opened:
            assert np.array_equal(shown(next_frame(opened)), picture(seed=seed))
    with source(hall, "Comp/Resolume") as opened:
        assert opened.read(0.05) is None and opened.state == "waiting"


@only_syphon
def test_syphon_serves_the_run_loop_whatever_is_open(hall: SyphonHall, image: Image) -> None:
    turns: list[float] = []
    with sink(hall) as out:
        hall.world.at_turn = lambda: turns.append(time.monotonic())
        out.write(of_ours(image, picture()))
        assert len(turns) == 1
    with source(hall) as opened:
        turns.clear()
        opened.read(0.3)
        assert len(turns) >= 5, "in a long wait as well"


def test_syphon_is_for_the_main_thread() -> None:
    said: list[str] = []

    def elsewhere() -> None:
        with pytest.raises(RoomError) as error:
            _syphon.Sdk()
        said.append(str(error.value))

    thread = threading.Thread(target=elsewhere, name="elsewhere")
    thread.start()
    thread.join()
    assert "main thread" in said[0]


@only_syphon
def test_syphon_goes_by_metal_where_opengl_cannot_be_had(
    hall: SyphonHall, image: Image, caplog: pytest.LogCaptureFixture
) -> None:
    hall.world.opengl = False
    with sink(hall) as out, source(hall, "l2s") as back:
        out.write(of_ours(image, picture()))
        frame = next_frame(back)
        assert frame.texture is None and np.array_equal(shown(frame), picture())
    assert [record.message.count("go by Metal") for record in caplog.records] == [1, 1]


@only_spout
def test_spout_says_that_textures_cannot_be_shared_and_goes_on_without(
    hall: SpoutHall, image: Image, caplog: pytest.LogCaptureFixture
) -> None:
    hall.world.shares = False
    with sink(hall) as out, source(hall, "l2s") as back:
        for seed in range(3):
            out.write(of_ours(image, picture(seed=seed)))
            frame = next_frame(back)
            assert frame.texture is None and np.array_equal(shown(frame), picture(seed=seed))
    said = [record.message for record in caplog.records]
    assert len(said) == 2 and all("can't share textures" in line and "llvmpipe" in line for line in said)


@only_spout
def test_spout_says_that_a_sender_is_on_another_gpu(hall: SpoutHall, caplog: pytest.LogCaptureFixture) -> None:
    hall.world.show("cam", picture(), adapter=1)
    with source(hall) as opened:
        for _ in range(5):
            assert opened.read(0.02) is None
        assert len(caplog.records) == 1 and "is on another GPU" in caplog.text and "Settings" in caplog.text
        hall.world.drop("cam")
        assert opened.read(0.02) is None
        hall.world.show("cam", picture())
        assert np.array_equal(shown(next_frame(opened)), picture())


@only_spout
def test_spout_without_alpha_is_marked_so(hall: SpoutHall) -> None:
    hall.world.show("cam", picture(), alpha=False)
    for address, fmt in {"cam": PixelFormat.RGBX, "cam?image": PixelFormat.BGRX}.items():
        with source(hall, address) as opened:
            assert next_frame(opened).format is fmt


@only_spout
def test_spout_does_not_take_a_sender_without_counts_for_an_endless_stream(hall: SpoutHall) -> None:
    hall.world.show("cam", picture(), counts=False)
    with source(hall) as opened:
        next_frame(opened)
        start, count = time.monotonic(), 0
        while time.monotonic() - start < 0.25:
            count += opened.read(0.01) is not None
        assert 2 <= count <= 0.25 / spout.FASTEST + 1
        assert opened.dropped == 0


@only_spout
def test_spout_tells_who_waits_for_its_pictures(hall: SpoutHall, image: Image) -> None:
    with sink(hall) as out, source(hall, "l2s") as back:
        out.write(of_ours(image, picture()))
        assert hall.world.syncs == ["l2s"]
        next_frame(back)
        back.read(0.05)
        assert hall.world.waits > 2


@pytest.mark.parametrize(("real", "here"), [(_syphon.Sdk, SyphonHere), (_spout.Sdk, SpoutHere)])
def test_the_stand_in_is_called_as_the_sdk_is(real: type, here: type) -> None:
    def calls(kind: type) -> dict[str, list[str]]:
        public = {k: v for k, v in vars(kind).items() if callable(v) and not k.startswith("_")}
        return {name: list(inspect.signature(method).parameters) for name, method in public.items()}

    assert calls(here) == calls(real)
