"""The room `file:`: plays real files and records real files; what it recorded is read back by PyAV alone."""

from __future__ import annotations

import contextlib
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from clips import luma_of, make_clip, number_of, recorded
from PIL import Image

from l2s_node import video
from l2s_node.errors import NotFoundError, RoomError
from l2s_node.frame import Frame, PixelFormat, blank, is_sd
from l2s_node.picture.colour import standard_for
from l2s_node.video.base import Options, Source

OPTIONS = Options(rate=Fraction(30))


@contextlib.contextmanager
def playing(path: Path, flags: str = "") -> Iterator[Source]:
    source = video.open_source(f"file:{path}{flags}", OPTIONS)
    try:
        yield source
    finally:
        source.close()


def read(source: Source, count: int) -> list[Frame]:
    frames: list[Frame] = []
    until = time.monotonic() + 10
    while len(frames) < count and source.state != "ended" and time.monotonic() < until:
        if (frame := source.read(0.1)) is not None:
            frames.append(frame)
    return frames


def number_in(frame: Frame) -> int:
    return number_of(float(frame.planes[0].mean()))


# playing


def test_a_clip_plays_in_order_in_its_own_time(tmp_path: Path) -> None:
    with playing(make_clip(tmp_path / "c.mp4", 10, rate=25), "?once") as source:
        frames = read(source, 20)
        assert source.state == "ended" and source.read(0.0) is None
    assert [number_in(f) for f in frames] == [f.number for f in frames]
    assert len(frames) + source.dropped == 10
    took, due = frames[-1].seconds - frames[0].seconds, (frames[-1].number - frames[0].number) / 25
    assert due - 0.05 < took < due + 1, "in its own time, on however slow a machine"
    assert {f.rate for f in frames} == {Fraction(25)}


def test_uneven_times_are_kept(tmp_path: Path) -> None:
    times = [0.0, 0.02, 0.04, 0.3, 0.32]
    with playing(make_clip(tmp_path / "c.mkv", 5, times=times, start=3.0), "?once&unpaced") as source:
        assert [f.seconds for f in read(source, 9)] == pytest.approx(times, abs=0.002)


@pytest.mark.parametrize(
    "name, codec", [("c.mp4", "libx264"), ("c.ts", "libx264"), ("c.avi", "mpeg4"), ("c.mkv", "ffv1")]
)
def test_it_loops_without_a_gap(tmp_path: Path, name: str, codec: str) -> None:
    """Every kind of file: .mp4 is wound back, MPEG-TS has to be opened again."""
    with playing(make_clip(tmp_path / name, 6, rate=30, codec=codec), "?unpaced") as source:
        frames = read(source, 20)
    assert [number_in(f) for f in frames] == [i % 6 for i in range(20)]
    assert [b.seconds - a.seconds for a, b in pairwise(frames)] == pytest.approx([1 / 30] * 19, abs=0.003)


def test_a_late_reader_skips_and_a_very_late_one_goes_on_from_there(tmp_path: Path) -> None:
    with playing(make_clip(tmp_path / "c.mp4", 20, rate=50)) as source:
        read(source, 1)
        for _ in range(5):  # a busy machine may oversleep into the second case
            start, last = time.monotonic(), read(source, 1)[0].number
            time.sleep(0.12)
            skipping, before = read(source, 1)[0], source.dropped
            if time.monotonic() - start < 0.4:
                break
        assert skipping.number - last > 2 and before >= skipping.number - last - 1
        time.sleep(1.0)
        assert read(source, 1)[0].number == skipping.number + 1 and source.dropped == before


@pytest.mark.parametrize(
    "codec, pix_fmt, name, native",
    [
        ("libx264", "yuv420p", "c.mp4", PixelFormat.I420),
        ("rawvideo", "nv12", "c.nut", PixelFormat.NV12),
        ("rawvideo", "uyvy422", "c.mov", PixelFormat.UYVY),
        ("libx264", "yuv420p10le", "c.mkv", PixelFormat.I420),
        ("libx264", "yuv444p", "c.mkv", PixelFormat.I420),
        ("mjpeg", "yuvj422p", "c.avi", PixelFormat.I420),
        ("rawvideo", "bgr24", "c.avi", PixelFormat.I420),
        ("gif", "rgb8", "c.gif", PixelFormat.I420),
    ],
)
def test_every_pixel_format_arrives_in_limited_range(
    tmp_path: Path, codec: str, pix_fmt: str, name: str, native: PixelFormat
) -> None:
    with playing(make_clip(tmp_path / name, 4, codec=codec, pix_fmt=pix_fmt), "?once&unpaced") as source:
        frame = read(source, 4)[3]
    assert frame.format is native and frame.size == (64, 48)
    luma = frame.planes[0][:, 1::2] if native is PixelFormat.UYVY else frame.planes[0]
    tolerance = 24 if pix_fmt == "rgb8" else 3  # eight bits for three colours
    assert abs(float(luma.mean()) - luma_of(3)) <= tolerance


@pytest.mark.parametrize("size", [(63, 47), (64, 47), (2, 2)])
def test_odd_sizes_are_just_frames(tmp_path: Path, size: tuple[int, int]) -> None:
    for codec, pix_fmt, name in (("ffv1", "yuv420p", "a.mkv"), ("rawvideo", "uyvy422", "b.mov")):
        with playing(make_clip(tmp_path / name, 2, size, codec=codec, pix_fmt=pix_fmt)) as source:
            assert read(source, 1)[0].size == size


def test_full_range_becomes_limited(tmp_path: Path) -> None:
    white = np.full((48, 64, 3), 255, np.uint8)
    Image.fromarray(white).save(tmp_path / "white.jpg", quality=95)
    with playing(tmp_path / "white.jpg") as source:
        assert abs(float(read(source, 1)[0].planes[0].mean()) - 235) <= 1


@pytest.mark.parametrize("size, red", [((64, 48), 81), ((1280, 720), 63)])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_rgb_is_converted_by_the_standard_of_its_size(
    tmp_path: Path, size: tuple[int, int], red: int, mode: str
) -> None:
    """Pure red has luma 81 by BT.601 and 63 by BT.709."""
    Image.new("RGB", size, (255, 0, 0)).convert(mode).save(tmp_path / "red.png")
    with playing(tmp_path / "red.png") as source:
        assert abs(float(read(source, 1)[0].planes[0].mean()) - red) <= 1


def test_the_rule_of_the_standards_is_that_of_the_pipeline() -> None:
    for size in ((720, 576), (721, 576), (720, 577), (640, 480), (1280, 720), (3840, 2160)):
        assert is_sd(*size) == (standard_for(*size) == "bt601")


def test_a_still_repeats_at_the_rate_that_was_asked_for(tmp_path: Path) -> None:
    Image.new("1", (40, 30), 1).save(tmp_path / "still.png")
    with playing(tmp_path / "still.png") as source:
        frames = read(source, 6)
    assert all(a.number < b.number for a, b in pairwise(frames))
    assert frames[0].rate == OPTIONS.rate
    assert frames[-1].seconds - frames[0].seconds >= 5 / 30 - 0.01
    assert {float(f.planes[0].mean()) for f in frames} == {235.0}, "black and white is 16 and 235"
    with playing(tmp_path / "still.png", "?once") as source:
        assert len(read(source, 3)) == 1 and source.state == "ended"


def test_a_picture_that_lies_on_its_side_is_stood_up(tmp_path: Path) -> None:
    """EXIF orientation 6, as phones write it: shown turned a quarter clockwise, the left side becomes the top."""
    picture = Image.new("L", (64, 32), 0)
    picture.paste(255, (0, 0, 32, 32))
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(tmp_path / "phone.jpg", exif=exif, quality=95)
    with playing(tmp_path / "phone.jpg") as source:
        frame = read(source, 1)[0]
    assert frame.size == (32, 64)
    assert frame.planes[0][:30].min() > 225 and frame.planes[0][34:].max() < 26


def test_damage_is_passed_over_and_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clip = make_clip(tmp_path / "c.mkv", 24, codec="mjpeg", pix_fmt="yuvj420p")
    data = bytearray(clip.read_bytes())
    with av.open(str(clip)) as container:
        spans = [(p.pos, p.size) for p in container.demux(video=0) if p.size and p.pos]
    for start, size in spans[5:8]:
        data[start + 20 : start + size] = bytes(size - 20)
    clip.write_bytes(data)
    with playing(clip, "?once&unpaced") as source:
        frames = read(source, 30)
    assert 15 <= len(frames) <= 24 and number_in(frames[-1]) == 23
    assert sum("damaged" in record.message for record in caplog.records) == 1


# what can't be played


def refusal(uri: str, kind: type[RoomError] = RoomError) -> str:
    with pytest.raises(kind) as error:
        video.open_source(uri, OPTIONS)
    return str(error.value)


def test_a_missing_file_lists_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "bottles.mp4").touch()
    (tmp_path / "notes.txt").touch()
    text = refusal(f"file:{tmp_path}/botles.mp4", NotFoundError)
    assert "did you mean bottles.mp4" in text and "notes.txt" not in text
    assert "bottles.mp4" in refusal(f"file:{tmp_path}", NotFoundError)
    assert "no folder" in refusal(f"file:{tmp_path}/no/where.mp4", NotFoundError)


@pytest.mark.parametrize("content", [b"", b"this is no video" * 100])
def test_a_broken_file_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "broken.mp4").write_bytes(content)
    text = refusal(f"file:{tmp_path}/broken.mp4")
    assert "broken.mp4 can't be played" in text and "\n" not in text


def test_sound_alone_is_no_picture(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "sound.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    assert "no picture" in refusal(f"file:{tmp_path}/sound.wav")


# recording


def grey_frame(number: int, size: tuple[int, int] = (64, 48), seconds: float | None = None) -> Frame:
    planes = blank(PixelFormat.UYVY, *size)
    planes[0][:, 1::2] = luma_of(number)
    when = number / 30 if seconds is None else seconds
    return Frame(planes, PixelFormat.UYVY, *size, 1000 + when, number, Fraction(30))


def record(path: Path, frames: list[Frame]) -> Path:
    sink = video.open_sink(f"file:{path}?wait", OPTIONS)
    for frame in frames:
        sink.write(frame)
    sink.close()
    assert sink.dropped == 0
    return Path(sink.uri.removeprefix("file:"))


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_a_recording_holds_every_picture_at_its_time(tmp_path: Path, suffix: str) -> None:
    seconds = [0.0, 0.033, 0.067, 0.2, 0.25, 0.9, 0.933]
    frames = [grey_frame(n, seconds=s) for n, s in enumerate(seconds)]
    times, lumas = recorded(record(tmp_path / f"out{suffix}", frames))
    assert times == pytest.approx(seconds, abs=0.002)
    assert [number_of(float(luma.mean())) for luma in lumas] == list(range(7))


def test_a_finished_mp4_has_one_index_and_its_colours_are_tagged(tmp_path: Path) -> None:
    path = record(tmp_path / "out.mp4", [grey_frame(n % 20, (1280, 720)) for n in range(35)])
    data, boxes, at = path.read_bytes(), [], 0
    while at < len(data):
        boxes.append(data[at + 4 : at + 8])
        at += int.from_bytes(data[at : at + 4], "big")
    assert boxes.count(b"moov") == 1 and b"moof" not in boxes, "the fragments are hidden: any editor takes it"
    with av.open(str(path)) as container:
        coder = container.streams.video[0].codec_context
        assert (coder.pix_fmt, coder.colorspace, coder.color_range) == ("yuv420p", 1, 1)


def test_pictures_with_one_time_stamp_follow_at_the_rate(tmp_path: Path) -> None:
    """A held picture keeps its time stamp while the output goes on."""
    frames = [grey_frame(n, seconds=0.0) for n in range(4)] + [grey_frame(4, seconds=1.0)]
    times, _ = recorded(record(tmp_path / "out.mp4", frames))
    assert times == pytest.approx([0, 1 / 30, 2 / 30, 3 / 30, 1.0], abs=0.002)


def test_another_size_is_scaled_to_the_first(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    frames = [grey_frame(0, (64, 49)), grey_frame(1, (32, 20)), grey_frame(2, (128, 96))]
    _, lumas = recorded(record(tmp_path / "out.mp4", frames))
    assert [luma.shape for luma in lumas] == [(48, 64)] * 3, "4:2:0 has whole pairs of rows"
    assert [number_of(float(luma.mean())) for luma in lumas] == [0, 1, 2]
    assert sum("another size" in r.message for r in caplog.records) == 1


def test_a_recording_is_never_overwritten(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first, second, third = (record(tmp_path / "out.mp4", [grey_frame(n)]) for n in range(3))
    assert [p.name for p in (first, second, third)] == ["out.mp4", "out-2.mp4", "out-3.mp4"]
    assert "out-2.mp4" in caplog.text
    assert number_of(float(recorded(first)[1][0].mean())) == 0


def test_nothing_recorded_leaves_no_file(tmp_path: Path) -> None:
    record(tmp_path / "out.mp4", [])
    assert not list(tmp_path.iterdir())


def test_a_flood_is_dropped_and_counted_but_never_stalls(tmp_path: Path) -> None:
    sink = video.open_sink(f"file:{tmp_path}/out.mp4", OPTIONS)
    frames = [grey_frame(n % 20, (1280, 720), n / 30) for n in range(100)]
    for frame in frames:
        sink.write(frame)
    sink.close()
    assert 0 < sink.dropped < 100
    assert len(recorded(tmp_path / "out.mp4")[0]) == 100 - sink.dropped


@pytest.mark.parametrize(
    "address, needle",
    [("out.txt", r"\.mp4, \.mov, \.mkv"), ("out", r"\.mp4"), ("no/out.mp4", "doesn't exist"), ("", "needs a path")],
)
def test_what_cannot_be_recorded_into_is_one_sentence(tmp_path: Path, address: str, needle: str) -> None:
    with pytest.raises(RoomError, match=needle):
        video.open_sink(f"file:{tmp_path / address}" if address else "file:", OPTIONS)
    assert not list(tmp_path.iterdir())


ENDLESS = """
import sys, time
from fractions import Fraction
from l2s_node import video
from l2s_node.frame import Frame, PixelFormat, blank
from l2s_node.video.base import Options
sink = video.open_sink(f"file:{sys.argv[1]}?wait", Options(rate=Fraction(30)))
planes = blank(PixelFormat.UYVY, 64, 48)
n = 0
while True:
    planes[0][:, 1::2] = 24 + 8 * (n % 20)
    sink.write(Frame(planes, PixelFormat.UYVY, 64, 48, n / 30, n, Fraction(30)))
    n += 1
    print(n, flush=True)
"""


@pytest.mark.parametrize("name", ["out.mp4", "out.mkv"])
def test_a_killed_process_leaves_a_playable_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    process = subprocess.Popen([sys.executable, "-c", ENDLESS, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) >= 300:
            break
    process.kill()  # SIGKILL: nobody can finish the file
    process.stdout.close()
    process.wait(10)
    times, lumas = recorded(path)
    assert len(times) > 200, "a key frame a second: about two of ten seconds may be lost"
    assert [number_of(float(luma.mean())) for luma in lumas] == [n % 20 for n in range(len(lumas))]


@pytest.mark.skipif(sys.platform == "win32", reason="limits the size of files as POSIX systems can")
def test_a_full_disk_ends_the_recording_and_not_the_show(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    import resource
    import signal

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    noise = np.random.default_rng(1).integers(16, 236, (480, 1280), np.uint8)
    sink = video.open_sink(f"file:{tmp_path}/out.mp4?wait", OPTIONS)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(RoomError, match=r"out\.mp4 broke off"):
            for number in range(100):
                sink.write(Frame((noise,), PixelFormat.UYVY, 640, 480, number / 30, number, Fraction(30)))
        sink.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert sum(r.levelno == logging.ERROR for r in caplog.records) == 1
    assert not [t for t in threading.enumerate() if t.name == "l2s-record"]
