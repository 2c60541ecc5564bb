"""Pipeline: frame + params -> frame, as a performer turns the knobs, with a generator that has no weights."""

from __future__ import annotations

import dataclasses
import math
import tracemalloc
from collections.abc import Callable

import numpy as np
import psutil
import pytest
import torch
from pictures import ALPHA, flat, flat_player, gradient, grey, knobs, mirrored, noise, player, tint
from pictures import one_thread as one_thread
from torch import Tensor

from l2s_node.cuda.graph import GraphPipeline
from l2s_node.frame import Frame, PixelFormat
from l2s_node.params import BLENDS, KNOBS, Kind
from l2s_node.picture import condition, host
from l2s_node.pipeline import OUTPUTS, Pipeline, Player

SIZE = (192, 128)
CANVAS = (96, 64)


def playing(made: Player | None = None, output: tuple[int, int] | None = None) -> Pipeline:
    pipeline = Pipeline(output_size=output)
    pipeline.use(made or player(), 0.0)
    return pipeline


def bytes_of(frame: Frame) -> np.ndarray:
    """A copy of the UYVY plane, as integers that can be subtracted."""
    return frame.planes[0].astype(int)


def luma_of(frame: Frame) -> float:
    return float(frame.planes[0][:, 1::2].mean())


def rgb_of(frame: Frame) -> np.ndarray:
    """Mean RGB, 0…1."""
    mean: np.ndarray = host.rgb_of(frame.planes[0]).reshape(-1, 3).mean(0) / 255
    return mean


def once(frame: Frame, made: Player | None = None, output: tuple[int, int] | None = None, **values: object) -> Frame:
    """One step of a new pipeline."""
    return playing(made, output).step(frame, knobs(**values), 1.0)


# --- the seed field ---------------------------------------------------------------------------------------------------


def sown() -> Player:
    """Plays the weights of its seed fields as colours: a grey by the first three, halved."""
    seeds = torch.eye(1, 4)[0]

    def play(x: Tensor) -> Tensor:
        return seeds[:3].view(1, 3, 1, 1).expand(1, 3, *x.shape[2:]) / 2

    return Player("sown", play, CANVAS, play, seeds)


def test_a_dream_moves_by_itself_under_a_still_input_and_stays_where_it_is() -> None:
    made, still = sown(), noise(PixelFormat.UYVY, SIZE, smooth=8)
    assert made.seeds is not None
    pipeline = playing(made)
    ways = []
    for i in range(120):
        pipeline.step(still, knobs(drift=1.5 if i < 90 else 0.0), i / 30)
        ways.append(made.seeds.clone())
    lengths = torch.stack(ways).norm(dim=1)
    steps = torch.stack(ways).diff(dim=0).norm(dim=1)
    assert torch.equal(ways[0], torch.tensor([1.0, 0, 0, 0])) and torch.allclose(lengths, torch.ones(120), atol=1e-5)
    assert 0 < steps[:89].min() and steps[:89].max() < 0.09 and not steps[90:].any()
    assert not any(torch.allclose(ways[i], ways[0], atol=0.1) for i in range(10, 120)), "it comes back to none"
    assert ways[20].dot(ways[0]).abs() < 0.01, "two thirds of a second: one dream on"


def test_the_pace_of_a_drift_is_the_same_at_every_frame_rate() -> None:
    ends = []
    for fps in (10, 60):
        made = sown()
        pipeline = playing(made)
        for i in range(3 * fps + 1):
            pipeline.step(noise(PixelFormat.UYVY, SIZE), knobs(drift=0.3), i / fps)
        ends.append(made.seeds)
    torch.testing.assert_close(*ends, atol=1e-5, rtol=0)


def test_texture_is_how_much_is_dreamt_and_both_worlds_of_a_crossfade_dream() -> None:
    first, second = sown(), sown()
    pipeline = playing(first)
    frame = noise(PixelFormat.UYVY, SIZE)
    pipeline.step(frame, knobs(texture=0.5), 0.0)
    assert first.seeds is not None and first.seeds.tolist() == [0.5, 0, 0, 0]
    pipeline.use(second, 0.1)
    pipeline.step(frame, knobs(texture=0, crossfade=1), 0.2)
    assert second.seeds is not None and not first.seeds.any() and not second.seeds.any()


# --- frames in, frames out --------------------------------------------------------------------------------------------


def test_without_a_world_the_input_passes() -> None:
    frame = noise(PixelFormat.UYVY, SIZE)
    out = Pipeline().step(frame, knobs(), 5.0)
    assert np.array_equal(out.planes[0], frame.planes[0]) and out.planes[0] is not frame.planes[0]
    assert (out.format, out.size, out.seconds, out.rate) == (PixelFormat.UYVY, SIZE, 5.0, frame.rate)


def test_frames_are_numbered() -> None:
    pipeline = playing()
    frame = noise(PixelFormat.UYVY, SIZE, number=77)
    assert [pipeline.step(frame, knobs(), i / 30).number for i in range(4)] == [0, 1, 2, 3]


@pytest.mark.parametrize("ahead", [0, 1])
def test_what_is_begun_ahead_is_finished_in_order_as_if_it_went_straight_through(ahead: int) -> None:
    """What one frame leaves in the memory the next one finds, and planes stay as long as they are promised to."""
    straight, pipeline = playing(), playing()
    pipeline.ahead = ahead
    values = {"feedback": 0.6, "output_smoothing": 0.2, "auto_levels": 1, "mix": 0.7}
    want: list[np.ndarray] = []
    seen: list[Frame] = []
    for i in range(12):
        frame = noise(PixelFormat.UYVA, SIZE, seed=i, smooth=4)
        want.append(bytes_of(straight.step(frame, knobs(**values), i / 30)))
        pipeline.begin(frame, knobs(**values), i / 30)
        assert pipeline.due is (i >= ahead)
        if pipeline.due:
            seen.append(pipeline.finish())
        for back in range(min(OUTPUTS, len(seen))):
            made = seen[-1 - back]
            assert made.number == len(seen) - 1 - back and np.array_equal(bytes_of(made), want[made.number])
    assert len(seen) == 12 - ahead and not pipeline.due


@pytest.mark.parametrize("fmt", list(PixelFormat))
def test_alpha_is_kept_and_only_alpha(fmt: PixelFormat) -> None:
    frame = noise(fmt, SIZE)
    for show in ("output", "input", "conditioned", "split"):
        out = once(frame, show=show)
        assert out.format is (PixelFormat.UYVA if fmt in ALPHA else PixelFormat.UYVY)
        if fmt in ALPHA:
            plane = frame.planes[ALPHA[fmt]]
            assert np.array_equal(out.planes[1], plane[..., 3] if plane.ndim == 3 else plane)
    if fmt in ALPHA:
        flipped = once(frame, flip_x=True).planes[1]
        assert np.array_equal(flipped, out.planes[1][:, ::-1])


def test_alpha_lies_where_the_picture_lies_and_bars_are_opaque() -> None:
    frame = noise(PixelFormat.BGRA, (64, 64))
    frame.planes[0][..., 3] = 40
    out = once(frame, output=(128, 64))
    alpha = out.planes[1]
    assert (alpha[:, :32] == 255).all() and (alpha[:, 32:96] == 40).all() and (alpha[:, 96:] == 255).all()


@pytest.mark.parametrize("blend", BLENDS)
def test_nothing_is_left_of_the_frame_before(blend: str) -> None:
    """Without smoothing, a pipeline that has played for long shows what a new one shows."""
    pipeline = playing(output=(160, 90))
    views: list[dict[str, object]] = [{}, {"zoom": 1.6}, {"flip_x": True}, {"framing": "crop"}, {"show": "split"}]
    for i in range(3 * len(PixelFormat)):
        frame = noise(list(PixelFormat)[i % len(PixelFormat)], [(192, 128), (64, 96)][i % 2], seed=i)
        values = {"blend": blend, "mix": 0.5 + i / 60, **views[i % len(views)]}
        shown = pipeline.step(frame, knobs(**values), i / 30)
        fresh = once(frame, output=(160, 90), **values)
        assert all(np.array_equal(a, b) for a, b in zip(shown.planes, fresh.planes, strict=True)), (i, values)


def test_any_size_and_format_is_just_a_frame() -> None:
    pipeline = playing()
    now = 0.0
    for size in [(192, 128), (2, 2), (130, 90), (128, 192), (1280, 720), (192, 128), (400, 10)]:
        for fmt in PixelFormat:
            odd = fmt not in (PixelFormat.UYVY, PixelFormat.UYVA)
            frame = noise(fmt, (size[0] - odd, size[1] - odd), padded=True)
            now += 1 / 30
            out = pipeline.step(frame, knobs(mix=0.5, zoom=1.2), now)
            assert out.size == (max(frame.width // 2 * 2, 2), frame.height)
            out = pipeline.step(frame, knobs(), now)
            assert out.size == (max(frame.width // 2 * 2, 2), frame.height)


def test_a_fixed_output_size_holds() -> None:
    pipeline = playing(output=(161, 90))
    for size in ((192, 128), (128, 192), (64, 36)):
        out = pipeline.step(noise(PixelFormat.UYVY, size), knobs(), 0.0)
        assert out.size == (160, 90)


@pytest.mark.parametrize("show", ["output", "input"])
@pytest.mark.parametrize(
    ("frame", "output"), [((854, 480), (1280, 720)), ((853, 480), None), ((641, 361), None), ((640, 360), (1280, 720))]
)
def test_no_black_line_at_the_border(show: str, frame: tuple[int, int], output: tuple[int, int] | None) -> None:
    white = flat(PixelFormat.RGBX, frame, 255)
    out = once(white, flat_player((1, 1, 1), (448, 256)), output, show=show)
    assert out.planes[0][:, 1::2].min() >= 234


def test_bars_are_black_and_stay_so() -> None:
    pipeline = playing(flat_player((1, 1, 1)), (128, 64))
    white = flat(PixelFormat.UYVY, (64, 64), 235)
    for i in range(2 * OUTPUTS):
        pipeline.step(white, knobs(framing="stretch"), i / 30)
    for i in range(2 * OUTPUTS):
        out = bytes_of(pipeline.step(white, knobs(framing="fit", mix=0.5, blend="add"), 1 + i / 30))
        assert (out[:, 1:64:2] == 16).all() and (out[:, 0:64:2] == 128).all() and (out[:, 65:192:2] == 235).all()


def test_planes_stay_valid_for_two_more_steps_whatever_is_turned() -> None:
    pipeline = playing(output=(128, 96))
    turned = [{}, {"framing": "crop"}, {"framing": "stretch"}, {"show": "input"}, {"framing": "fit"}, {"zoom": 3}]
    kept: list[tuple[Frame, np.ndarray]] = []
    for i in range(40):
        size = (64, 64) if i % 5 else (96, 64)
        out = pipeline.step(noise(PixelFormat.UYVA, size, seed=i), knobs(**turned[i % len(turned)]), i / 30)
        kept = [*kept[-(OUTPUTS - 1) :], (out, np.concatenate([p.ravel() for p in out.planes]))]
        for earlier, copy in kept:
            assert np.array_equal(np.concatenate([p.ravel() for p in earlier.planes]), copy), i


def test_the_input_is_never_written_to() -> None:
    for fmt in PixelFormat:
        frame = noise(fmt, SIZE)
        for plane in frame.planes:
            plane.flags.writeable = False
        for values in ({}, {"mix": 0.5, "fade": 0.5}, {"show": "input", "fade": 0.5}, {"show": "split"}, {"zoom": 1.5}):
            once(frame, **values)


# --- sample -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("knob", "axis"), [("flip_x", 1), ("flip_y", 0)])
@pytest.mark.parametrize("size", [(192, 128), (99, 66), (66, 98)])
def test_a_flip_is_the_same_as_a_mirrored_input(knob: str, axis: int, size: tuple[int, int]) -> None:
    frame = noise(PixelFormat.RGBX, size, smooth=6)
    for values in ({}, {"mix": 0.5}, {"show": "conditioned"}, {"show": "input"}):
        flipped = once(frame, **{knob: True}, **values)
        plain = once(mirrored(frame, axis), **values)
        off = 2 if size[0] % 2 else 1  # an odd width loses a column, on one side or shared by both
        assert np.percentile(np.abs(bytes_of(flipped) - bytes_of(plain)), 99) <= 1 + 12 * (off - 1)


@pytest.mark.parametrize("framing", ["crop", "fit", "stretch"])
@pytest.mark.parametrize("view", [(1.0, 0.0, 0.0), (2.0, 1.0, -1.0), (1.7, 0.3, 0.6)])
def test_the_world_lies_over_its_input(framing: str, view: tuple[float, float, float]) -> None:
    """A generator that shows what it sees is what `show input` shows."""
    frame = noise(PixelFormat.NV12, (320, 200), smooth=40)
    for plane in frame.planes[1:]:
        plane[:] = 128
    seen = Player("sees", lambda x: x.expand(-1, 3, -1, -1), (160, 128))
    values = {"framing": framing, "zoom": view[0], "pan_x": view[1], "pan_y": view[2], "detail": 64}
    world, shown = (once(frame, seen, (480, 270), show=show, **values) for show in ("output", "input"))
    assert np.median(np.abs(bytes_of(world) - bytes_of(shown))) <= 3
    assert np.corrcoef(bytes_of(world)[:, 1::2].ravel(), bytes_of(shown)[:, 1::2].ravel())[0, 1] > 0.95


def test_zoom_and_pan_look_where_they_say() -> None:
    luma = np.zeros((128, 192), np.uint8) + 60
    luma[:64, 96:] = 220  # the upper right quarter is bright
    frame = grey(luma)
    for show in ("input", "conditioned"):
        quarter = {"zoom": 2, "show": show}
        assert luma_of(once(frame, pan_x=1, pan_y=-1, **quarter)) > 200
        assert luma_of(once(frame, pan_x=-1, pan_y=-1, **quarter)) < 80
        assert luma_of(once(frame, pan_x=1, pan_y=1, **quarter)) < 80
        assert 70 < luma_of(once(frame, **quarter)) < 130


# --- condition --------------------------------------------------------------------------------------------------------


def test_every_knob_of_the_luma_does_what_it_says() -> None:
    frame = grey(np.tile(np.linspace(40, 200, 192), (128, 1)).astype(np.uint8))

    def seen(**values: object) -> np.ndarray:
        return bytes_of(once(frame, show="conditioned", detail=64, **values))[:, 1::2]

    plain = seen()
    assert seen(brightness=0.2).mean() - plain.mean() == pytest.approx(0.2 * 219, abs=3)
    assert seen(contrast=2).std() > 1.6 * plain.std()
    assert seen(gamma=2).mean() > plain.mean() + 10
    assert np.abs(seen(invert=True) - (251 - plain)).max() <= 2
    assert seen(auto_levels=1).std() > 1.1 * plain.std()
    spread = seen(auto_levels=1)
    assert spread.min() <= 40 and spread.max() >= 210


def test_few_cells_dream_and_many_follow() -> None:
    frame = noise(PixelFormat.UYVY, SIZE, smooth=4)

    def roughness(cells: float) -> float:
        return float(bytes_of(once(frame, show="conditioned", detail=cells))[:, 1::2].std())

    assert roughness(6) < roughness(16) < roughness(32) < roughness(64)


def after_a_second(fps: int, start: Frame, then: Frame, **values: object) -> np.ndarray:
    """What is shown one second after the input changed from `start` to `then`."""
    pipeline = playing()
    params = knobs(**values)
    for i in range(fps + 1):
        pipeline.step(start, params, i / fps)
    for i in range(1, fps + 1):
        out = pipeline.step(then, params, 1 + i / fps)
    return bytes_of(out)


@pytest.mark.parametrize(
    "values",
    [
        {"input_smoothing": 0.8},
        {"output_smoothing": 0.8},
        {"auto_levels": 1.0},
        {"input_smoothing": 0.3, "output_smoothing": 0.6},
    ],
    ids=str,
)
def test_time_constants_are_seconds_at_every_frame_rate(values: dict[str, object]) -> None:
    dark, bright = (noise(PixelFormat.UYVY, SIZE, seed, smooth=16) for seed in (1, 2))
    results = [after_a_second(fps, dark, bright, **values) for fps in (15, 30, 60)]
    assert np.abs(results[1] - results[2]).max() <= 3
    assert np.abs(results[0] - results[2]).max() <= 6


def test_smoothing_follows_the_exponential() -> None:
    black, white = grey(np.full((128, 192), 16, np.uint8)), grey(np.full((128, 192), 235, np.uint8))
    for knob in ("input_smoothing", "output_smoothing"):
        shown = after_a_second(30, black, white, **{knob: 0.5, "saturation": 0})[:, 1::2].mean()
        before = luma_of(once(black, saturation=0))
        then = luma_of(once(white, saturation=0))
        assert shown == pytest.approx(then + (before - then) * math.exp(-2), abs=2)


def test_feedback_trails_are_as_long_at_every_frame_rate() -> None:
    """A flash fades by the same part of itself in a second, and grows by as much."""
    dark = grey(np.full((128, 192), 100, np.uint8))
    flash = dark.planes[0].copy()
    flash[48:80, 144:240:2] = 128
    flash[48:80, 145:240:2] = 220
    bright = dataclasses.replace(dark, planes=(flash,))
    left = []
    for fps in (30, 60):
        pipeline = playing()
        params = knobs(feedback=0.95, detail=64, saturation=0)
        pipeline.step(bright, params, 0.0)
        for i in range(1, fps // 2 + 1):
            out = bytes_of(pipeline.step(dark, params, i / fps))[:, 1::2]
        still = bytes_of(once(dark, detail=64, saturation=0))[:, 1::2]
        left.append(out - still)
    assert left[0].max() > 5
    assert left[0].sum() == pytest.approx(left[1].sum(), rel=0.1)
    assert np.abs(left[0] - left[1]).max() <= 4


def test_freeze_holds_the_input_while_the_knobs_stay_alive() -> None:
    pipeline = playing()
    first, second = (noise(PixelFormat.UYVY, SIZE, seed, smooth=16) for seed in (1, 2))

    def step(frame: Frame, now: float, **values: object) -> np.ndarray:
        return bytes_of(pipeline.step(frame, knobs(**values), now))

    world = step(first, 0.0)
    both = step(first, 0.1, mix=0.5)
    step(first, 0.2, freeze=True)
    first.planes[0][:] = 50  # a room writes over its old pictures
    assert np.array_equal(step(second, 0.3, freeze=True), world)
    assert np.array_equal(step(second, 0.4, freeze=True, mix=0.5), both), "the input that shows through is held, too"
    held = step(second, 0.5, freeze=True, show="input")
    assert not np.array_equal(held, bytes_of(second))
    assert not np.array_equal(step(second, 0.6, freeze=True, brightness=0.3), world)
    zoomed = step(second, 0.7, freeze=True, zoom=2, show="input")
    assert not np.array_equal(zoomed, held)
    assert not np.array_equal(step(second, 0.8, freeze=True, zoom=2), world)
    other = noise(PixelFormat.BGRA, (64, 36))
    assert np.array_equal(step(other, 0.9, freeze=True), world), "another format meanwhile"
    assert np.array_equal(step(second, 1.0), bytes_of(once(second)))


def test_auto_levels_do_not_flash_when_they_are_turned_on() -> None:
    """They begin with the picture that is there, not with what they saw an hour ago or with nothing."""
    frame = grey(np.random.default_rng(0).integers(90, 140, (128, 192), np.uint8))
    other = grey(np.random.default_rng(0).integers(20, 40, (128, 192), np.uint8))
    on, off = (knobs(auto_levels=level, show="conditioned") for level in (1, 0))
    want = bytes_of(once(frame, auto_levels=1, show="conditioned"))
    pipeline = playing()
    for i in range(10):
        pipeline.step(other, on, i / 30)
    for i in range(300):
        pipeline.step(frame, off, 1 + i / 30)
    assert np.abs(bytes_of(pipeline.step(frame, on, 11.0)) - want).max() <= 2
    pipeline = playing()
    for i in range(5):
        pipeline.step(frame, off, i / 30)
    assert np.abs(bytes_of(pipeline.step(frame, on, 0.2)) - want).max() <= 2


# --- compose ----------------------------------------------------------------------------------------------------------


def test_mix_goes_from_the_input_to_the_world() -> None:
    frame = noise(PixelFormat.UYVY, SIZE)
    world = bytes_of(once(frame))
    assert np.array_equal(bytes_of(once(frame, mix=0)), bytes_of(frame))
    assert np.abs(bytes_of(once(frame, mix=0.25)) - (0.75 * bytes_of(frame) + 0.25 * world)).max() <= 1


@pytest.mark.parametrize("blend", BLENDS)
def test_blends_of_the_input_with_a_colour(blend: str) -> None:
    below, above = np.array([0.6, 0.3, 0.2]), np.array([0.5, 0.7, 0.4])
    frame = flat(PixelFormat.RGBX, (1280, 720), 0)
    frame.planes[0][..., :3] = np.rint(below * 255)
    out = rgb_of(once(frame, flat_player(tuple(above)), blend=blend))
    want = {
        "normal": above,
        "add": np.minimum(below + above, 1),
        "screen": 1 - (1 - below) * (1 - above),
        "multiply": below * above,
        "overlay": np.where(below < 0.5, 2 * below * above, 1 - 2 * (1 - below) * (1 - above)),
        "lighten": np.maximum(below, above),
        "difference": np.abs(below - above),
    }
    if blend == "luma":
        weights = np.array([0.2126, 0.7152, 0.0722])
        want["luma"] = above + weights @ (below - above)
    np.testing.assert_allclose(out, np.clip(want[blend], 0, 1), atol=3 / 255)


def test_saturation_and_fade() -> None:
    colour = flat_player((0.8, 0.4, 0.3))
    frame = flat(PixelFormat.UYVY, (1280, 720), 60)
    np.testing.assert_allclose(rgb_of(once(frame, colour)), [0.8, 0.4, 0.3], atol=3 / 255)
    grey = rgb_of(once(frame, colour, saturation=0))
    np.testing.assert_allclose(grey, np.full(3, 0.2126 * 0.8 + 0.7152 * 0.4 + 0.0722 * 0.3), atol=3 / 255)
    np.testing.assert_allclose(rgb_of(once(frame, colour, fade=0.5)), [0.4, 0.2, 0.15], atol=3 / 255)


@pytest.mark.parametrize("show", ["output", "input", "conditioned", "split"])
@pytest.mark.parametrize("values", [{}, {"mix": 0.5}, {"blend": "add"}])
def test_fade_takes_everything_that_is_shown_to_black(show: str, values: dict[str, object]) -> None:
    out = bytes_of(once(noise(PixelFormat.BGRX, SIZE), show=show, fade=1, **values))
    assert (out[:, 0::2] == 128).all() and (out[:, 1::2] == 16).all()


def test_show() -> None:
    frame = noise(PixelFormat.UYVY, SIZE, smooth=8)
    shown = {name: bytes_of(once(frame, show=name)) for name in ("output", "input", "conditioned", "split")}
    assert np.array_equal(shown["input"], bytes_of(frame))
    assert (shown["conditioned"][:, 0::2] == 128).all()
    assert np.array_equal(shown["split"][:, :192], shown["input"][:, :192])
    assert np.array_equal(shown["split"][:, 192:], shown["output"][:, 192:])


def test_upscale_is_smoother_or_crisper() -> None:
    frame = noise(PixelFormat.UYVY, SIZE, smooth=16)
    crisp, smooth = (bytes_of(once(frame, upscale=how, detail=64)) for how in ("bicubic", "bilinear"))
    assert np.abs(np.diff(crisp[:, 1::2])).max() > np.abs(np.diff(smooth[:, 1::2])).max()


def test_a_broken_picture_is_gone_with_the_next_one() -> None:
    """A generator that gives no numbers for once must not blacken the memory of the show for good."""
    broken = False

    def play(x: Tensor) -> Tensor:
        return torch.cat([x, x * 0.5, -x], 1) * (math.nan if broken else 1)

    frame = noise(PixelFormat.UYVY, SIZE)
    for values in ({}, {"output_smoothing": 0.01}, {"feedback": 0.5}):
        pipeline = playing(Player("breaks", play, CANVAS))
        broken = False
        pipeline.step(frame, knobs(**values), 0.0)
        broken = True
        pipeline.step(frame, knobs(**values), 0.1)
        broken = False
        out = pipeline.step(frame, knobs(**values), 60.0)
        assert np.abs(bytes_of(out) - bytes_of(once(frame))).max() <= 1


def test_what_moves_with_time_ages_while_nobody_looks() -> None:
    """An hour of `show input` later, nothing of the world's last picture is left, and nothing has grown too large."""
    first, second = (noise(PixelFormat.UYVY, SIZE, seed, smooth=16) for seed in (1, 2))
    values = {"input_smoothing": 5, "output_smoothing": 5, "feedback": 0.98, "auto_levels": 1}
    pipeline = playing()
    pipeline.step(first, knobs(**values), 0.0)
    for i in range(10):
        pipeline.step(second, knobs(show="input", **values), 1 + 400 * i)
    pipeline.step(second, knobs(show="input", **values), 3699.97)
    out = pipeline.step(second, knobs(**values), 3700.0)
    assert np.abs(bytes_of(out) - bytes_of(once(second, auto_levels=1))).max() <= 1


# --- worlds -----------------------------------------------------------------------------------------------------------


def changing(pipeline: Pipeline, to: Player, seconds: float, times: list[float], frame: Frame) -> list[np.ndarray]:
    """Mean RGB at `times` after the change to `to`."""
    pipeline.use(to, 10.0)
    return [rgb_of(pipeline.step(frame, knobs(crossfade=seconds), 10.0 + time)) for time in times]


def test_a_crossfade_takes_its_seconds() -> None:
    frame = noise(PixelFormat.UYVY, SIZE)
    pipeline = playing(flat_player((0, 0, 0)))
    pipeline.step(frame, knobs(), 9.9)
    shown = changing(pipeline, flat_player((1, 1, 1)), 2.0, [0.0, 0.5, 1.0, 1.5, 1.99, 2.0, 3.0], frame)
    np.testing.assert_allclose([rgb[0] for rgb in shown], [0, 0.25, 0.5, 0.75, 0.995, 1, 1], atol=3 / 255)
    assert not pipeline.crossfading


def test_no_crossfade_is_a_hard_cut() -> None:
    frame = noise(PixelFormat.UYVY, SIZE)
    pipeline = playing(flat_player((0, 0, 0)))
    pipeline.step(frame, knobs(), 9.9)
    assert changing(pipeline, flat_player((1, 1, 1)), 0.0, [0.0], frame)[0].min() > 0.99
    assert not pipeline.crossfading


def test_both_worlds_follow_the_input_during_a_crossfade() -> None:
    pipeline = playing()
    dark, bright = grey(np.full((128, 192), 40, np.uint8)), grey(np.full((128, 192), 200, np.uint8))
    pipeline.step(dark, knobs(), 0.0)
    pipeline.use(player(), 1.0)
    out = pipeline.step(bright, knobs(crossfade=1), 1.5)
    assert np.abs(bytes_of(out) - bytes_of(once(bright))).max() <= 1
    assert pipeline.crossfading


@pytest.mark.parametrize("framing", ["fit", "crop", "stretch"])
@pytest.mark.parametrize("canvases", [((224, 128), (128, 128)), ((128, 128), (224, 128)), ((96, 64), (64, 128))])
def test_on_another_canvas_the_last_picture_fades_out_where_it_was_seen(
    framing: str, canvases: tuple[tuple[int, int], tuple[int, int]]
) -> None:
    frame = noise(PixelFormat.UYVY, (320, 180))
    params = knobs(framing=framing, crossfade=1, saturation=1.4, flip_x=True)
    pipeline = playing(Player("a", gradient, canvases[0]))
    before = bytes_of(pipeline.step(frame, params, 0.0))
    pipeline.use(Player("b", gradient, canvases[1]), 1.0)
    shown = bytes_of(pipeline.step(frame, params, 1.0))
    inner = np.s_[10:-10, 20:-20]
    assert np.abs(shown - before)[inner].max() <= 8
    assert np.abs(shown - before)[inner].mean() <= 2


def test_a_third_world_in_the_middle_of_a_crossfade_makes_no_jump() -> None:
    frame = noise(PixelFormat.UYVY, SIZE)
    pipeline = playing(flat_player((0, 0, 0)))
    params = knobs(crossfade=1)
    pipeline.step(frame, params, 0.0)
    pipeline.use(flat_player((1, 1, 1)), 1.0)
    half = rgb_of(pipeline.step(frame, params, 1.5))
    pipeline.use(flat_player((1, 0, 0)), 1.5)
    np.testing.assert_allclose(rgb_of(pipeline.step(frame, params, 1.5)), half, atol=2 / 255)
    np.testing.assert_allclose(rgb_of(pipeline.step(frame, params, 2.5)), [1, 0, 0], atol=2 / 255)


def test_a_world_that_nobody_has_seen_does_not_fade() -> None:
    pipeline = playing(flat_player((0, 0, 0)))
    pipeline.use(flat_player((1, 1, 1), (64, 64)), 0.0)
    assert rgb_of(pipeline.step(noise(PixelFormat.UYVY, SIZE), knobs(crossfade=5), 0.1)).min() > 0.99


def test_a_change_before_the_next_frame_goes_on_from_what_is_seen() -> None:
    frame = noise(PixelFormat.UYVY, SIZE)
    pipeline = playing(flat_player((0, 0, 0)))
    pipeline.step(frame, knobs(), 0.0)
    pipeline.use(flat_player((1, 0, 0), (64, 64)), 1.0)
    pipeline.use(flat_player((1, 1, 1), (64, 64)), 1.0)
    shown = [rgb_of(pipeline.step(frame, knobs(crossfade=1), t))[1] for t in (1.0, 1.5, 2.0)]
    np.testing.assert_allclose(shown, [0, 0.5, 1], atol=2 / 255)


def test_a_generator_may_return_its_buffer() -> None:
    buffer = torch.rand(1, 3, 64, 96) * 2 - 1
    kept = buffer.clone()
    pipeline = playing(Player("buffer", lambda x: buffer, CANVAS))
    for i in range(3):
        pipeline.step(noise(PixelFormat.UYVY, SIZE), knobs(saturation=2, feedback=0.5, output_smoothing=1), i / 30)
    torch.testing.assert_close(buffer, kept, rtol=0, atol=0)


# --- what must not happen ---------------------------------------------------------------------------------------------


def test_no_value_of_any_knob_raises() -> None:
    frame = noise(PixelFormat.UYVY, (64, 48))
    pipeline = playing()
    now = 0.0
    for knob in KNOBS:
        if knob.kind is Kind.TEXT:
            continue
        for value in (-1e30, -1, 0, 0.5, 1, 7.3, 1e30):
            now += 0.01
            out = pipeline.step(frame, knobs(**{knob.name: value}), now)
            assert out.size == (64, 48)
    everything = {knob.name: 1e9 for knob in KNOBS if knob.kind in (Kind.FLOAT, Kind.BOOL)}
    nothing = {knob.name: -1e9 for knob in KNOBS if knob.kind in (Kind.FLOAT, Kind.BOOL)}
    for values in (everything, nothing):
        for blend in BLENDS:
            now += 0.01
            pipeline.step(frame, knobs(blend=blend, **values), now)


def test_time_may_stand_still_or_leap() -> None:
    frame = noise(PixelFormat.UYVY, (64, 48))
    pipeline = playing()
    params = knobs(feedback=0.9, output_smoothing=1, input_smoothing=1, auto_levels=1)
    for now in (5.0, 5.0, 4.0, 5.1, 1e7, 1e7):
        out = pipeline.step(frame, params, now)
        assert np.abs(bytes_of(out) - bytes_of(once(frame, auto_levels=1))).max() <= 80


def turned(i: int) -> dict[str, object]:
    """Everything moves all the time, as with an LFO on every knob."""
    wave = (i % 97) / 97
    return {
        "zoom": 1 + 3 * wave,
        "pan_x": 2 * wave - 1,
        "detail": 6 + 58 * wave,
        "mix": wave,
        "blend": BLENDS[i % len(BLENDS)],
        "feedback": wave,
        "fade": wave / 2,
        "auto_levels": wave,
        "output_smoothing": wave,
        "freeze": i % 50 > 40,
        "flip_x": i % 20 > 10,
        "framing": ("crop", "fit", "stretch")[i % 3],
    }


@pytest.mark.parametrize(("values", "slack"), [(lambda i: {}, 50_000), (turned, 4_000_000)], ids=["at rest", "turning"])
@pytest.mark.slow
def test_nothing_grows(values: Callable[[int], dict[str, object]], slack: int) -> None:
    """While everything is turned, a buffer may still meet its largest picture; a frame that leaks would be 460 kB."""
    pipeline = playing(player((448, 256)), (640, 360))
    frames = [noise(PixelFormat.UYVY, (640, 360), seed) for seed in range(3)]
    process = psutil.Process()

    def run(start: int, count: int) -> None:
        for i in range(start, start + count):
            pipeline.step(frames[i % 3], knobs(**values(i)), i / 30)

    run(0, 150)
    before = process.memory_info().rss
    tracemalloc.start()
    run(150, 31)
    first, _ = tracemalloc.get_traced_memory()
    run(181, 120)  # ends unfrozen, as the first part did: a frozen frame is a copy
    second, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert second - first < slack
    assert process.memory_info().rss - before < 12e6


def test_playing_leaves_training_its_gradients() -> None:
    """Constants that the show made first (without autograd) serve a loss that needs gradients."""
    condition._weights.cache_clear()
    condition.operator.cache_clear()
    condition._integer_operator.cache_clear()
    once(noise(PixelFormat.UYVY, SIZE), saturation=0.5, detail=13.5)
    rgb = torch.rand(1, 3, 64, 96, requires_grad=True)
    condition.shrink_and_grow(condition.luma_of(rgb), 13.5).sum().backward()
    assert rgb.grad is not None and bool(torch.isfinite(rgb.grad).all())


def test_an_engine_that_no_graph_can_hold_plays_step_by_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also while it is faded in or out; here without a GPU, so that nothing could be captured."""
    monkeypatch.setattr(GraphPipeline, "_new_output", Pipeline._new_output)
    plain, graphs = Pipeline(), GraphPipeline(torch.device("cpu"))
    for now, play, step in ((0.0, tint, None), (1.0, gradient, gradient), (9.0, tint, None)):
        for pipeline in (plain, graphs):
            pipeline.use(Player("tried", play, (96, 64), step), now)
        frame, params = noise(PixelFormat.UYVY, (192, 128), seed=1), knobs(crossfade=4, mix=0.7)
        want, got = (pipeline.step(frame, params, now + 1) for pipeline in (plain, graphs))
        assert all(np.array_equal(a, b) for a, b in zip(want.planes, got.planes, strict=True))
    assert not graphs._programs
