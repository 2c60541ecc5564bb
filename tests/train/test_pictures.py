"""Reading pictures: turned as they say, scaled, held back, broken ones named and passed over."""

import zlib

import av
import numpy as np
import pytest
from PIL import Image

from l2s_node.errors import TrainError
from l2s_node.train import pictures
from l2s_node.train.likeness import Likeness
from l2s_node.train.pictures import gather, gather_world, sources_text


def blobs(seed, size=(120, 100)):
    """A soft picture of its own for every seed."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)


def write(path, size=(120, 100), seed=None, **save):
    path.parent.mkdir(parents=True, exist_ok=True)
    blobs(zlib.crc32(path.name.encode()) if seed is None else seed, size).save(path, **save)


def test_folders_are_searched_and_broken_and_small_files_are_named(tmp_path, caplog):
    for i in range(9):
        write(tmp_path / "deep" / f"{i}.png")
    write(tmp_path / "tiny.png", (20, 30))
    (tmp_path / "broken.jpg").write_bytes(b"not a picture")
    whole = (tmp_path / "deep" / "0.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "notes.txt").write_text("no picture at all")
    found = gather([tmp_path], side=80, frames=5, hold=0.34)
    assert (len(found.train), len(found.held)) == (6, 3)
    assert sorted(reason.split(":")[0].rsplit("/")[-1] for reason in found.skipped) == [
        "broken.jpg",
        "cut.png",
        "tiny.png",
    ]
    assert "20x30 is too small" in caplog.text and "broken.jpg" in caplog.text


def test_pictures_are_scaled_to_their_short_side_and_never_enlarged(tmp_path):
    write(tmp_path / "large.jpg", (400, 200))
    write(tmp_path / "less.jpg", (90, 70))
    shapes = {p.shape for p in gather([tmp_path], 80, 5, hold=0).train}
    assert shapes == {(80, 160, 3), (70, 90, 3)}


def test_exif_orientation_is_obeyed(tmp_path):
    picture = Image.new("RGB", (100, 60))
    picture.paste((255, 255, 255), (0, 0, 50, 60))  # light on the left
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise: then light is at the top
    picture.save(tmp_path / "phone.jpg", exif=exif)
    (upright,) = gather([tmp_path], 60, 5, hold=0).train
    assert upright.shape == (100, 60, 3) and upright[10].mean() > 200 > 50 > upright[-10].mean()


def test_the_same_pictures_are_held_back_every_time(tmp_path):
    for i in range(30):
        write(tmp_path / f"{i}.png", seed=i)
    held = [[int(p.sum()) for p in gather([tmp_path], 64, 5, hold=0.2, seed=7).held] for _ in range(2)]
    assert held[0] == held[1] and len(held[0]) == 6 and held[0] != sorted(held[0])


def video(path, pictures, rate=20):
    """`pictures` yields one ``(80, 96, 3)`` uint8 array after the other."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.bit_rate = 8_000_000
        stream.width, stream.height = 96, 80
        for pixels in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")))
        container.mux(stream.encode())


def stepping(count, size=(96, 80)):
    """A picture of its own for every frame, whose number is in its blue."""
    for i in range(count):
        pixels = np.array(blobs(i, size))
        pixels[..., 2] = 6 * i
        yield pixels


def numbers(pictures):
    return [float(p[..., 2].mean()) / 6 for p in pictures]


def test_a_video_gives_evenly_spaced_frames_and_its_end_is_held_back(tmp_path):
    video(tmp_path / "clip.mp4", stepping(40))
    found = gather([tmp_path / "clip.mp4"], 80, 10, hold=0.2)
    assert numbers(found.train) == pytest.approx([4 * i for i in range(7)], abs=1.0)
    assert numbers(found.held) == pytest.approx([32, 36], abs=1.0)  # and 28, their neighbour, is left out
    assert found.alike == 1


def test_a_long_video_is_jumped_through(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "SEEK", 5)
    video(tmp_path / "clip.mp4", stepping(40))  # its key frames are 12 apart
    found = numbers(gather([tmp_path / "clip.mp4"], 80, 6, hold=0).train)
    assert len(found) >= 3 and found == sorted(found) and found[-1] - found[0] > 20


def test_black_bars_and_sleeping_frames_of_a_video_are_left_out(tmp_path):
    def letterbox():
        for pixels in stepping(30):
            pixels[:16] = pixels[-16:] = 0
            yield pixels
            yield pixels  # twice the same

    video(tmp_path / "clip.mp4", letterbox())
    found = gather([tmp_path / "clip.mp4"], 80, 60, hold=0)
    assert (len(found.train), found.alike) == (30, 30)
    assert {p.shape[:2] for p in found.train} <= {(46, 96), (47, 96), (48, 96)}


def test_a_film_turned_by_its_phone_is_upright(tmp_path):
    with av.open(str(tmp_path / "clip.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=20)
        stream.width, stream.height = 96, 80
        stream.set_display_rotation(90)
        half = np.zeros((80, 96, 3), np.uint8)
        half[:, :48] = 255
        container.mux(stream.encode(av.VideoFrame.from_ndarray(half, format="rgb24")))
        container.mux(stream.encode())
    (upright,) = gather([tmp_path / "clip.mp4"], 80, 1, hold=0).train
    assert upright.shape == (96, 80, 3) and abs(float(upright[:40].mean()) - float(upright[-40:].mean())) > 200


# --- alike -----------------------------------------------------------------------------------------------------------


def test_near_duplicates_are_dropped_and_other_grades_are_not(tmp_path):
    for i in range(10):
        write(tmp_path / f"{i}.png", seed=i, size=(200, 160))
    blobs(3, (200, 160)).save(tmp_path / "again.jpg", quality=40)
    blobs(3, (200, 160)).resize((150, 120)).save(tmp_path / "smaller.png")
    graded = np.array(blobs(4, (200, 160))).astype(float) * (0.6, 0.9, 0.5)
    Image.fromarray(graded.astype(np.uint8)).save(tmp_path / "graded.png")
    found = gather([tmp_path], 100, 5, hold=0)
    assert (len(found.train), found.alike) == (11, 2)


def test_no_relative_of_a_held_back_picture_is_learned_from(tmp_path):
    for i in range(30):
        write(tmp_path / f"{i}.png", seed=i)
        graded = np.array(blobs(i)).astype(float) * (0.5, 0.8, 0.4)  # the same motif in another grade
        Image.fromarray(graded.astype(np.uint8)).save(tmp_path / f"{i}-graded.png")
    found = gather([tmp_path], 64, 5, hold=0.2)
    everything = found.train + found.held
    likeness = Likeness(everything)
    held = range(len(found.train), len(everything))
    assert len(found.held) == 12 and len(found.train) + found.alike == 48 and found.alike >= 6
    assert not any(likeness.kin(index, held) for index in range(len(found.train)))


def test_transparent_and_deep_pictures_are_seen_as_they_are(tmp_path):
    deep = np.linspace(0, 65535, 100 * 100).reshape(100, 100).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    Image.new("RGBA", (100, 100), (255, 255, 255, 0)).save(tmp_path / "glass.png")
    Image.new("RGB", (100, 100)).save(tmp_path / "phone.heic", format="PNG")
    found = gather([tmp_path], 64, 5, hold=0)
    assert sorted(round(float(p.mean())) for p in found.train) == [0, 127]
    assert [reason for reason in found.skipped if "save it as JPEG or PNG first" in reason]


def test_a_broken_video_is_named(tmp_path):
    (tmp_path / "clip.mp4").write_bytes(b"\0" * 500)
    assert "clip.mp4" in gather([tmp_path], 80, 10).skipped[0]


def test_too_few_pictures_are_refused_with_the_reason(tmp_path):
    for i in range(19):
        write(tmp_path / f"{i}.png")
    (tmp_path / "broken.jpg").write_bytes(b"no")
    with pytest.raises(TrainError, match=r"has 19 usable pictures, .* at least 20; 1 skipped.*broken\.jpg"):
        gather_world([tmp_path], 80, 5)


@pytest.mark.parametrize("name", ["nowhere", "notes.txt"])
def test_what_is_no_picture_is_refused(tmp_path, name):
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(TrainError, match=name):
        gather([tmp_path / name], 80, 5)


def test_sources_are_quoted_from_the_folder(tmp_path):
    (tmp_path / "SOURCES.md").write_text("all by Ada, CC0")
    assert "all by Ada, CC0" in sources_text([tmp_path], 3) and sources_text([tmp_path], 3).startswith("3 pictures")
