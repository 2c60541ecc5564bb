"""ModelCard: what a weights file says of itself, as JSON in its safetensors header."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any

from l2s_node.errors import ModelError

FORMAT = 1
"""Version of the card's layout; a file with a newer one is refused with both numbers named."""


@dataclass(frozen=True, slots=True)
class ModelCard:
    """Everything needed to rebuild a generator and to feed it what it was trained on.

    Attributes:
        name: the world ("flowers").
        size: "small", "medium" or "large".
        architecture: a key of `pix2pix.ARCHITECTURES` ("classic" or "subpixel").
        channels: feature channels of each down level, outermost first.
        resolution: side of the square that it was trained on, pixels; the short side of its canvas when played.
        multiple: both sides of a canvas must be multiples of this.
        input_channels: 1 for luma.
        input_range: (low, high) of the generator's input values.
        output_range: (low, high) of its output values.
        norm: "running" (statistics from training, folded away for speed) or "frame" (of each picture).
        dropout: dropout stays on when playing (off unless a model needs it).
        seed: the seed field is drawn from it; None for a network without one.
        condition: settings of `picture.condition` that it was trained with: {"version", "detail": [low, high], …}.
        training: summary: images seen, minutes, device, losses, date, scores.
        sources: where the pictures came from.
        licence: of the weights.
        hash: SHA-256 of the tensors, hex; engines are cached by it.
        format: version of this layout.
    """

    name: str
    size: str
    architecture: str
    channels: tuple[int, ...]
    resolution: int = 256
    multiple: int = 64
    input_channels: int = 1
    input_range: tuple[float, float] = (-1.0, 1.0)
    output_range: tuple[float, float] = (-1.0, 1.0)
    norm: str = "running"
    dropout: bool = False
    seed: int | None = None
    condition: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    sources: str = ""
    licence: str = ""
    hash: str = ""
    format: int = FORMAT

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> ModelCard:
        """The card in `text`.

        Raises:
            ModelError: not a card, a newer format, or a field that this version doesn't know.
        """
        try:
            raw = json.loads(text)
        except ValueError as err:
            raise ModelError("the model card is not JSON") from err
        if not isinstance(raw, dict):
            raise ModelError("the model card is not a JSON object")
        if raw.get("format", FORMAT) > FORMAT:
            raise ModelError(f"the model card has format {raw['format']}, this version reads up to {FORMAT}: update it")
        unknown = raw.keys() - {f.name for f in dataclasses.fields(cls)}
        if unknown:
            raise ModelError(f"the model card has fields that this version doesn't know: {', '.join(sorted(unknown))}")
        tuples = {k: tuple(raw[k]) for k in ("channels", "input_range", "output_range") if k in raw}
        try:
            return cls(**{**raw, **tuples})
        except TypeError as err:
            raise ModelError(f"the model card is incomplete: {err}") from err
