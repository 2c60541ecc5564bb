"""Reading pictures: turned as they say, scaled, held back, broken ones named and passed over."""

import av
import numpy as np
import pytest
from PIL import Image

from l2s_node.errors import TrainError
from l2s_node.train.pictures import gather, gather_world, sources_text


def write(path, size=(120, 100), colour=(200, 100, 50), **save):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path, **save)


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
        write(tmp_path / f"{i}.png", colour=(i, 0, 0))
    held = [[int(p[0, 0, 0]) for p in gather([tmp_path], 64, 5, hold=0.2, seed=7).held] for _ in range(2)]
    assert held[0] == held[1] and len(held[0]) == 6 and held[0] != sorted(held[0])


def video(path, frames=40):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=20)
        stream.width, stream.height = 96, 80
        for i in range(frames):
            pixels = np.full((80, 96, 3), i * 6, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())


def test_a_video_gives_evenly_spaced_frames_and_its_end_is_held_back(tmp_path):
    video(tmp_path / "clip.mp4")
    found = gather([tmp_path / "clip.mp4"], 80, 10, hold=0.2)
    levels = [float(p.mean()) / 6 for p in found.train + found.held]
    assert (len(found.train), len(found.held)) == (8, 2)
    assert levels == pytest.approx([4 * i for i in range(10)], abs=1.0)


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
