"""The formulas once more, in plain NumPy on float64, straight from the books: slow, and independent of the product."""

from __future__ import annotations

import numpy as np

from l2s_node.frame import Frame, PixelFormat

Array = np.ndarray
KR_KB = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722)}


# --- colour (ITU-R BT.601-7, BT.709-6: luma, colour differences, 8-bit quantisation) ----------------------------------


def to_ycbcr(rgb: Array, standard: str) -> Array:
    """``(…, 3)`` RGB 0…1 to Y 16…235, Cb and Cr 16…240, not rounded."""
    kr, kb = KR_KB[standard]
    r, g, b = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    y = kr * r + (1 - kr - kb) * g + kb * b
    cb, cr = (b - y) / (2 * (1 - kb)), (r - y) / (2 * (1 - kr))
    return np.stack([16 + 219 * y, 128 + 224 * cb, 128 + 224 * cr], -1)


def to_rgb(ycbcr: Array, standard: str) -> Array:
    """The way back, clipped to 0…1."""
    kr, kb = KR_KB[standard]
    y, cb, cr = (ycbcr[..., 0] - 16) / 219, (ycbcr[..., 1] - 128) / 224, (ycbcr[..., 2] - 128) / 224
    r, b = y + 2 * (1 - kr) * cr, y + 2 * (1 - kb) * cb
    g = (y - kr * r - kb * b) / (1 - kr - kb)
    return np.clip(np.stack([r, g, b], -1), 0, 1)


def as_byte(values: Array) -> Array:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def split(uyvy: Array) -> tuple[Array, Array]:
    """(luma ``(h, w)``, Cb and Cr ``(h, w/2, 2)``) as floats."""
    return uyvy[:, 1::2].astype(float), np.stack([uyvy[:, 0::4], uyvy[:, 2::4]], -1).astype(float)


def joined(luma: Array, chroma: Array) -> Array:
    out = np.empty((luma.shape[0], 2 * luma.shape[1]), np.uint8)
    out[:, 1::2], out[:, 0::4], out[:, 2::4] = as_byte(luma), as_byte(chroma[..., 0]), as_byte(chroma[..., 1])
    return out


def rgb_of(uyvy: Array, standard: str) -> Array:
    """``(h, w, 3)`` RGB 0…1 of UYVY bytes; two neighbours share their colour."""
    luma, chroma = split(uyvy)
    return to_rgb(np.dstack([luma, chroma.repeat(2, 1)]), standard)


# --- resampling -------------------------------------------------------------------------------------------------------


def area(plane: Array, box: tuple[float, float, float, float], size: tuple[int, int]) -> Array:
    """The exact integral of the pixels (little squares) under each of (width, height) cells of `box`."""
    rows = _boxes(plane.astype(float), np.linspace(box[1], box[3], size[1] + 1))
    return _boxes(rows.T, np.linspace(box[0], box[2], size[0] + 1)).T


def _boxes(plane: Array, edges: Array) -> Array:
    """Means over axis 0 between neighbouring `edges`."""
    sums = np.concatenate([np.zeros_like(plane[:1]), np.cumsum(plane, 0)])
    low = np.minimum(np.floor(edges).astype(int), plane.shape[0] - 1)
    integral = sums[low] + plane[low] * (edges - low)[:, None]
    return np.diff(integral, axis=0) / np.diff(edges)[:, None]


def enlarge(plane: Array, size: tuple[int, int], mode: str, box: tuple[float, ...] | None = None) -> Array:
    """``(h, w)`` or ``(h, w, c)`` to (width, height): half-pixel centres, the border goes on outside."""
    box = box or (0, 0, plane.shape[1], plane.shape[0])
    rows = _axis(plane.astype(float), size[1], mode, box[1], box[3])
    return np.moveaxis(_axis(np.moveaxis(rows, 1, 0), size[0], mode, box[0], box[2]), 0, 1)


def _axis(plane: Array, samples: int, mode: str, start: float, stop: float) -> Array:
    at = start + (np.arange(samples) + 0.5) * (stop - start) / samples - 0.5
    kernel, reach = (_triangle, 1) if mode == "bilinear" else (_keys, 2)
    low = np.floor(at).astype(int)
    out = np.zeros((samples, *plane.shape[1:]))
    for tap in range(1 - reach, 1 + reach):
        weight = kernel(np.abs(at - (low + tap))).reshape(-1, *[1] * (plane.ndim - 1))
        out += weight * plane[np.clip(low + tap, 0, plane.shape[0] - 1)]
    return out


def _triangle(x: Array) -> Array:
    return np.maximum(1 - x, 0)


def _keys(x: Array, a: float = -0.75) -> Array:
    """R. Keys, "Cubic convolution interpolation for digital image processing" (1981), with a = -0.75."""
    near = (a + 2) * x**3 - (a + 3) * x**2 + 1
    far = a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0))


def detail(luma: Array, cells: float) -> Array:
    """Shrunk by area to `cells` across the short side, then bicubic back; fractions lie between their neighbours."""
    height, width = luma.shape
    short = min(luma.shape)
    rows = _shrunk_and_grown(luma, cells * height / short)
    return np.clip(_shrunk_and_grown(rows.T, cells * width / short).T, 0, 1)


def _shrunk_and_grown(plane: Array, cells: float) -> Array:
    cells = round(cells * 16) / 16
    low, rest = int(cells), cells - int(cells)
    size = plane.shape[0]
    made = [
        weight * _axis(_boxes(plane, np.linspace(0, size, count + 1)), size, "bicubic", 0, count)
        for count, weight in ((low, 1 - rest), (low + 1, rest))
        if weight
    ]
    return np.sum(made, axis=0)


# --- blending (W3C, Compositing and Blending Level 1, §10.1; Cb is the backdrop, Cs the source) -----------------------


def _multiply(cb: Array, cs: Array) -> Array:
    return cb * cs


def _screen(cb: Array, cs: Array) -> Array:
    return cb + cs - cb * cs


def _hard_light(cb: Array, cs: Array) -> Array:
    return np.where(cs <= 0.5, _multiply(cb, 2 * cs), _screen(cb, 2 * cs - 1))


BLENDS = {
    "add": lambda cb, cs: np.minimum(cb + cs, 1),  # "plus" of the same document, §9.1.14
    "screen": _screen,
    "multiply": _multiply,
    "overlay": lambda cb, cs: _hard_light(cs, cb),
    "lighten": np.maximum,
    "difference": lambda cb, cs: np.abs(cb - cs),
}


def paint(
    rgb: Array,
    dry: Array | None,
    size: tuple[int, int],
    *,
    blend: str = "normal",
    upscale: str = "bicubic",
    standard: str = "bt709",
    split_at: int = 0,
    mix: float = 1.0,
    light: float = 1.0,
) -> Array:
    """``(h, 2w)`` UYVY bytes of ``(h', w', 3)`` RGB over `dry` bytes; the left `split_at` pixels show `dry`."""
    ycbcr = to_ycbcr(np.clip(rgb, 0, 1), standard)
    luma = np.clip(enlarge(ycbcr[..., 0], size, upscale), 0, 255)
    chroma = enlarge(ycbcr[..., 1:], (size[0] // 2, size[1]), "bilinear")
    if dry is not None:
        dry_luma, dry_chroma = split(dry)
        if blend in BLENDS:
            above = to_rgb(np.dstack([luma, chroma.repeat(2, 1)]), standard)
            below = rgb_of(dry, standard)
            both = to_ycbcr(BLENDS[blend](below, above), standard)
            luma, chroma = both[..., 0], (both[:, 0::2, 1:] + both[:, 1::2, 1:]) / 2
        elif blend == "luma":
            luma = dry_luma
        luma, chroma = dry_luma + (luma - dry_luma) * mix, dry_chroma + (chroma - dry_chroma) * mix
        luma[:, :split_at], chroma[:, : split_at // 2] = dry_luma[:, :split_at], dry_chroma[:, : split_at // 2]
    return joined(16 + (luma - 16) * light, 128 + (chroma - 128) * light)


# --- frames -----------------------------------------------------------------------------------------------------------


def luma_plane(frame: Frame) -> Array:
    """``(h, w)`` luma 0…1, not clipped: Y' of a Y'CbCr format, BT.709 luma of an RGB one."""
    plane = frame.planes[0].astype(float)
    if frame.format.is_rgb:
        red, blue = (2, 0) if frame.format in (PixelFormat.BGRA, PixelFormat.BGRX) else (0, 2)
        return (0.2126 * plane[..., red] + 0.7152 * plane[..., 1] + 0.0722 * plane[..., blue]) / 255
    if frame.format in (PixelFormat.UYVY, PixelFormat.UYVA):
        plane = plane[:, 1::2]
    return (plane - 16) / 219


def sampled(
    frame: Frame,
    taken: tuple[float, float, float, float],
    into: tuple[int, int, int, int],
    canvas: tuple[int, int],
    flip: tuple[bool, bool] = (False, False),
) -> Array:
    """``(h, w)`` luma 0…1: `taken` of the frame by area (or bilinear, where it grows), at `into`, border outwards."""
    left, top, width, height = into
    rows = _resampled(luma_plane(frame), height, taken[1], taken[3])
    picture = _resampled(rows.T, width, taken[0], taken[2]).T
    picture = np.clip(picture, 0, 1)
    picture = picture[:, ::-1] if flip[0] else picture
    picture = picture[::-1] if flip[1] else picture
    pads = ((top, canvas[1] - top - height), (left, canvas[0] - left - width))
    return np.pad(picture, pads, mode="edge")


def _resampled(plane: Array, samples: int, start: float, stop: float) -> Array:
    """Along axis 0: by area where it shrinks, bilinear where it grows."""
    if stop - start >= samples:
        return _boxes(plane, np.linspace(start, stop, samples + 1))
    return _axis(plane, samples, "bilinear", start, stop)


def ycbcr_planes(frame: Frame, standard: str) -> tuple[Array, Array]:
    """(luma ``(h, w)``, Cb and Cr ``(h, ⌈w/2⌉ or w/2, 2)``) of a whole frame at its own size, as floats."""
    planes = [plane.astype(float) for plane in frame.planes]
    if frame.format.is_rgb:
        order = [2, 1, 0] if frame.format in (PixelFormat.BGRA, PixelFormat.BGRX) else [0, 1, 2]
        ycbcr = to_ycbcr(planes[0][..., order] / 255, standard)
        return ycbcr[..., 0], (ycbcr[:, 0::2, 1:] + ycbcr[:, 1::2, 1:]) / 2
    if frame.format is PixelFormat.NV12:
        return planes[0], _rows_doubled(planes[1].reshape(planes[1].shape[0], -1, 2), frame.height)
    if frame.format is PixelFormat.I420:
        return planes[0], _rows_doubled(np.dstack(planes[1:]), frame.height)
    return split(frame.planes[0])


def _rows_doubled(chroma: Array, height: int) -> Array:
    """4:2:0 to 4:2:2: a colour sample lies in the middle between its two rows."""
    return _axis(chroma, height, "bilinear", 0, height / 2)
