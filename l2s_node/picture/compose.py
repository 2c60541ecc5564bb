"""Compose: the generator's picture becomes the output frame, straight into UYVY.

First at the canvas's size, on RGB in 0…1 (`saturate`, `feed_back`; the memory of past pictures is in `way`), then
`paint` enlarges it, lays it over the input and packs bytes. This is the definition, in torch for any device;
`host.paint` is the twin of `paint` for a CPU, `gl.Painter` that of `paint_rgb` for textures.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from l2s_node.picture.colour import luma_and_chroma, yuv_to_rgb
from l2s_node.picture.condition import Scalar, luma_of
from l2s_node.picture.geometry import Rect

Matrices = tuple[Tensor, Tensor]

FEEDBACK_ZOOM = 1.02
"""How much larger the last picture lies under the new one, per 1/30 s."""


@dataclass(frozen=True, slots=True)
class Style:
    """What decides which steps `paint` takes (its numbers come apart, so that a captured graph can reuse the steps).

    Attributes:
        blend: one of `params.BLENDS`.
        mixed: the input shows through (mix < 1 or a blend other than normal).
        upscale: "bilinear" or "bicubic", of the picture; colour differences are always bilinear.
        standard: "bt601" or "bt709".
        split: the left half shows the input.
        faded: the light is turned down.
    """

    blend: str = "normal"
    mixed: bool = False
    upscale: str = "bicubic"
    standard: str = "bt709"
    split: bool = False
    faded: bool = False

    @property
    def needs_dry(self) -> bool:
        return self.mixed or self.split


def saturate(rgb: Tensor, saturation: Scalar) -> Tensor:
    """``(1, 3, h, w)``: 0 is grey (BT.709 luma), 1 as it is."""
    return torch.lerp(luma_of(rgb), rgb, saturation)


def feed_back(rgb: Tensor, last: Tensor, keep: Scalar, zoom: Scalar) -> Tensor:
    """The last picture, `zoom` times larger about the middle, shows through with weight `keep`."""
    return torch.lerp(rgb, _larger(_larger(last, 2, zoom), 3, zoom), keep)


def _larger(picture: Tensor, axis: int, zoom: Scalar) -> Tensor:
    """`zoom` ≥ 1 times larger about the middle of one axis, linear between pixels (8 times faster than a grid)."""
    size = picture.shape[axis]
    middle = (size - 1) / 2
    at = (torch.arange(size, device=picture.device) - middle) / zoom + middle
    low = at.floor().clamp(0, size - 1)
    weight = (at - low).view(-1, *[1] * (3 - axis))
    after = (low + 1).clamp_max(size - 1)
    return torch.lerp(picture.index_select(axis, low.long()), picture.index_select(axis, after.long()), weight)


def paint(
    rgb: Tensor,
    dry: Tensor | None,
    out: Tensor,
    style: Style,
    mix: Scalar,
    light: Scalar,
    larger: tuple[Matrices, Matrices] | None = None,
) -> None:
    """Fill `out` ``(h, w / 2)``, `words` of UYVY, from `rgb` ``(3, h', w')`` in 0…1 and `dry` ``(h, 2w)`` uint8 UYVY.

    `dry` is the same region of the input at the output's size, needed where ``style.needs_dry``; `mix` 0…1 lays the
    picture over it, `light` 0…1 takes everything towards black. `larger` has `enlarging` of luma and of chroma, for
    a GPU that multiplies matrices faster than it interpolates; `rgb` is a whole canvas then.
    """
    height, width = out.shape[0], 2 * out.shape[1]
    luma, chroma = luma_and_chroma(rgb.clamp(0, 1), style.standard)
    if larger is None:
        luma = enlarge(luma, (height, width), style.upscale)
        chroma = enlarge(chroma, (height, width // 2), "bilinear")
    else:
        luma, chroma = multiply(luma, larger[0]), multiply(chroma, larger[1])
    luma = luma.clamp(0, 255)  # bicubic overshoots
    if dry is not None and style.needs_dry:
        dry_luma, dry_chroma = unpack(dry)
        if style.mixed:
            over_luma, over_chroma = over(dry_luma, dry_chroma, luma, chroma, style)
            luma = dry_luma + (over_luma - dry_luma) * mix
            chroma = dry_chroma + (over_chroma - dry_chroma) * mix
        if style.split:
            half = width // 4  # pairs of pixels
            luma = torch.cat([dry_luma[..., : 2 * half], luma[..., 2 * half :]], -1)
            chroma = torch.cat([dry_chroma[..., :half], chroma[..., half:]], -1)
    if style.faded:
        luma, chroma = (luma - 16) * light + 16, (chroma - 128) * light + 128
    out.copy_(words(luma, chroma))


def paint_rgb(rgb: Tensor, dry: Tensor | None, out: Tensor, style: Style, mix: Scalar, light: Scalar) -> None:
    """`paint` for who takes RGB, with all of its colour: `out` ``(3, h, w)`` uint8, `dry` the same in 0…1 float."""
    height, width = out.shape[1:]
    luma, chroma = luma_and_chroma(rgb.clamp(0, 1), style.standard)
    luma = enlarge(luma, (height, width), style.upscale).clamp(0, 255)
    chroma = enlarge(chroma, (height, width), "bilinear")
    made = yuv_to_rgb(torch.cat([luma, chroma]), style.standard)
    if dry is not None and style.mixed:
        if style.blend == "luma":
            below, _ = luma_and_chroma(dry, style.standard)
            made = yuv_to_rgb(torch.cat([below, chroma]), style.standard)
        elif style.blend != "normal":
            made = blend(style.blend, dry, made)
        made = dry + (made - dry) * mix
    if dry is not None and style.split:
        half = width // 4 * 2
        made = torch.cat([dry[..., :half], made[..., half:]], -1)
    if style.faded:
        made = made * light
    out.copy_((made * 255).round_())


def pack_rgb(rgb: Tensor, out: Tensor, standard: str) -> None:
    """``(3, h, w)`` RGB in 0…1 into `out` ``(h, 2w)`` uint8 UYVY; two neighbours share the mean of their colour."""
    luma, chroma = luma_and_chroma(rgb, standard)
    out.view(torch.int32).copy_(words(luma, chroma.unflatten(-1, (-1, 2)).mean(-1)))


def unpack_rgb(uyvy: Tensor, standard: str) -> Tensor:
    """``(3, h, w)`` RGB in 0…1 of ``(h, 2w)`` UYVY bytes; two neighbours share their colour."""
    luma, chroma = unpack(uyvy)
    return yuv_to_rgb(torch.cat([luma, chroma.repeat_interleave(2, -1)]), standard)


def enlarge(planes: Tensor, size: tuple[int, int], mode: str) -> Tensor:
    """``(c, h', w')`` float to ``(c, h, w)``: half-pixel centres, a = -0.75 for bicubic."""
    return F.interpolate(planes[None], size=size, mode=mode, align_corners=False)[0]


def enlarging(
    canvas: tuple[int, int], shown: Rect, size: tuple[int, int], upscale: str, device: torch.device
) -> tuple[Matrices, Matrices]:
    """(rows ``(H, h)``, columns ``(W, w)``) that do what `enlarge` does to the part `shown` of a canvas.

    Those of luma, and those of chroma, half as wide. In float16, within 0.2 of 255. `canvas` is its (h, w), `size`
    (H, W). What isn't shown is multiplied by 0: a product over 252 rows of a picture takes a GPU three times as long as
    one over all of its 256.
    """
    left, top, width, height = shown

    def along(n: int, m: int, before: int, whole: int, mode: str) -> Tensor:
        matrix = F.interpolate(torch.eye(n)[None, None], size=(m, n), mode=mode, align_corners=False)[0, 0]
        return F.pad(matrix, (before, whole - before - n)).to(device).half()

    def both(wide: int, mode: str) -> Matrices:
        return along(height, size[0], top, canvas[0], mode), along(width, wide, left, canvas[1], mode)

    return both(size[1], upscale), both(size[1] // 2, "bilinear")


def multiply(planes: Tensor, matrices: Matrices) -> Tensor:
    """``(c, h', w')`` in 0…255 to ``(c, h, w)`` float16."""
    rows, columns = matrices
    return rows @ (planes.half() @ columns.T)


def words(luma: Tensor, chroma: Tensor) -> Tensor:
    """(``(1, h, w)``, ``(2, h, w/2)``) in 0…255 to U Y V Y, ``(h, w / 2)`` int32 with U lowest.

    A GPU writes bytes by fours in half the time.
    """
    luma, chroma = (each.round().clamp(0, 255).int() for each in (luma, chroma))
    return chroma[0] | luma[0, :, 0::2] << 8 | chroma[1] << 16 | luma[0, :, 1::2] << 24


def unpack(uyvy: Tensor) -> tuple[Tensor, Tensor]:
    """(``(1, h, w)``, ``(2, h, w/2)``) float from ``(h, 2w)`` bytes."""
    return uyvy[None, :, 1::2].float(), torch.stack([uyvy[:, 0::4], uyvy[:, 2::4]]).float()


def over(dry_luma: Tensor, dry_chroma: Tensor, luma: Tensor, chroma: Tensor, style: Style) -> tuple[Tensor, Tensor]:
    """Luma and chroma of the blend of the input with the picture."""
    if style.blend == "normal":
        return luma, chroma
    if style.blend == "luma":
        return dry_luma, chroma
    below = yuv_to_rgb(torch.cat([dry_luma, dry_chroma.repeat_interleave(2, -1)]), style.standard)
    above = yuv_to_rgb(torch.cat([luma, chroma.repeat_interleave(2, -1)]), style.standard)
    luma, chroma = luma_and_chroma(blend(style.blend, below, above), style.standard)
    return luma, chroma.unflatten(-1, (-1, 2)).mean(-1)


def blend(mode: str, below: Tensor, above: Tensor) -> Tensor:
    """RGB in 0…1; `below` is the input, `above` the world (W3C Compositing and Blending Level 1, §10.1)."""
    if mode == "add":
        return (below + above).clamp_max(1)
    if mode == "screen":
        return below + above - below * above
    if mode == "multiply":
        return below * above
    if mode == "overlay":
        return torch.where(below < 0.5, 2 * below * above, 1 - 2 * (1 - below) * (1 - above))
    if mode == "lighten":
        return torch.maximum(below, above)
    if mode == "difference":
        return (below - above).abs()
    raise ValueError(f"no blend called {mode!r}")
