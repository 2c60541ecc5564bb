"""Store: generators as safetensors files with their card in the header, and the folders that worlds lie in.

Nothing is ever unpickled. A world is ``FOLDER/<name>/<size>.safetensors``; kernels are stored in half precision (or in
8 bits with a scale per output channel), everything else in float32, and all come back as float32. What the header says
is checked against the network that the card describes before anything is allocated.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialise
from torch import Tensor, nn

from l2s_node.errors import ModelError
from l2s_node.models.card import ModelCard
from l2s_node.models.pix2pix import ARCHITECTURES, Dropout, Generator, Norm
from l2s_node.models.worlds import SUFFIX, World, find, worlds
from l2s_node.params import SIZES

__all__ = [
    "DTYPES", "SCALE", "SIZES", "SUFFIX", "World", "at", "find", "instantiate", "load", "read_card", "rewrite_card",
    "save", "worlds",
]  # fmt: skip

SCALE = ".scale"
"""What is added to a kernel's name for its 8-bit scales, float32, one per output channel, shaped to broadcast."""

DTYPES = {"float32": torch.float32, "float16": torch.float16, "int8": torch.int8}


# --- networks --------------------------------------------------------------------------------------------------------


def instantiate(card: ModelCard) -> Generator:
    """The network that `card` describes, freshly initialised float32 in training mode, its settings as the card says.

    Raises:
        ModelError: the card asks for something that can't be built.
    """
    _check(card)
    generator = ARCHITECTURES[card.architecture](card.channels, card.input_channels)
    for module in generator.modules():
        if isinstance(module, Norm):
            module.mode = card.norm
        elif isinstance(module, Dropout):
            module.live = card.dropout
    return generator


def _check(card: ModelCard) -> None:
    """Refuse a card that `instantiate` can't follow (it may come from a stranger's file)."""
    if card.architecture not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise ModelError(f"the model card names the architecture {card.architecture!r}; this version knows {known}")
    if not all(_whole(c, 1, 4096) for c in card.channels) or not 2 <= len(card.channels) <= 12:
        raise ModelError(f"the model card's channels must be 2 to 12 whole numbers up to 4096, not {card.channels!r}")
    if not _whole(card.input_channels, 1, 64):
        raise ModelError(f"the model card's input channels must be 1 to 64, not {card.input_channels!r}")
    step = 2 ** len(card.channels)
    if not _whole(card.multiple, 1, 8192) or card.multiple % step:
        raise ModelError(f"{len(card.channels)} levels need a multiple of {step}, the card says {card.multiple!r}")
    if not _whole(card.resolution, 1, 8192) or card.resolution % card.multiple:
        raise ModelError(f"the card's resolution {card.resolution!r} is not a multiple of {card.multiple}")
    if card.norm not in ("running", "frame") or not isinstance(card.dropout, bool):
        raise ModelError(f"the card asks for norm {card.norm!r} (running or frame) and dropout {card.dropout!r}")
    if card.seed is not None and not _whole(card.seed, 0, 2**48):
        raise ModelError(f"the model card's seed must be a whole number from 0, not {card.seed!r}")


def _whole(value: object, low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high


# --- files -----------------------------------------------------------------------------------------------------------


def save(path: Path, generator: nn.Module, card: ModelCard, dtype: str = "float16") -> ModelCard:
    """Write `generator` and its card to `path`, at once or not at all; returns the card with its hash.

    Args:
        path: ``….safetensors``; its folder is made where it lacks.
        generator: the network that `card` describes, with its norms not folded; on any device, in any mode.
        card: its card; `hash` is filled in.
        dtype: how kernels are stored: "float16", "float32" or "int8".

    Raises:
        ModelError: the network is not the card's, has numbers that can't be stored, or the file can't be written.
    """
    if dtype not in DTYPES:
        raise ModelError(f"weights are stored as {', '.join(DTYPES)}, not {dtype!r}")
    state = {k: v.detach().cpu() for k, v in generator.state_dict().items() if _stored(k)}
    _match(path, _expected(card), state)
    tensors: dict[str, Tensor] = {}
    for name, tensor in state.items():
        tensors.update(_packed(name, tensor.float(), DTYPES[dtype], _output_axis(generator, name)))
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise ModelError(f"{name} holds numbers that {dtype} can't store (the training ran away?)")
    card = dataclasses.replace(card, hash=_hash(tensors))
    _write(path, serialise(tensors, {"card": card.to_json()}))
    return card


def load(path: Path) -> tuple[Generator, ModelCard]:
    """The generator in `path`, float32 on the CPU, in eval mode with the card's norm mode and dropout, and its card.

    Its seed field is not drawn yet (`Generator.draw_field`).

    Raises:
        ModelError: the file is missing, cut short, changed, or not a world that this version can play.
    """
    try:
        with safe_open(path, framework="pt") as file:
            card = _card_of(path, file.metadata())
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (OSError, SafetensorError) as err:
        raise _unreadable(path, err) from err
    if _hash(tensors) != card.hash:
        raise ModelError(f"{path} was changed after it was written (its hash differs): copy or train it again")
    try:
        with torch.device("meta"):  # shapes only; nothing is initialised to be thrown away
            generator = instantiate(card)
        state = _unpacked(tensors)
    except ModelError as err:
        raise ModelError(f"{path}: {err}") from err
    _match(path, _shapes(generator), state)
    generator.load_state_dict(state, strict=False, assign=True)
    for module in generator.modules():
        if isinstance(module, Norm):
            module.num_batches_tracked = torch.tensor(0)
    return generator.eval(), card


def rewrite_card(path: Path, card: ModelCard) -> None:
    """Give the world in `path` another card, at once or not at all; its tensors stay as they are, and so its hash.

    Raises:
        ModelError: as `load`, `card` is not of these tensors, or the file can't be written.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (OSError, SafetensorError) as err:
        raise _unreadable(path, err) from err
    if _hash(tensors) != card.hash:
        raise ModelError(f"{path} was changed after its card was read: nothing is written")
    _write(path, serialise(tensors, {"card": card.to_json()}))


def read_card(path: Path) -> ModelCard:
    """The card in `path`, without reading its tensors.

    Raises:
        ModelError: as `load`.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return _card_of(path, file.metadata())
    except (OSError, SafetensorError) as err:
        raise _unreadable(path, err) from err


def _card_of(path: Path, metadata: Mapping[str, str] | None) -> ModelCard:
    if not metadata or "card" not in metadata:
        raise ModelError(f"{path} has no model card in its header: it was not made by l2s train")
    try:
        return ModelCard.from_json(metadata["card"])
    except ModelError as err:
        raise ModelError(f"{path}: {err}") from err


def _unreadable(path: Path, err: Exception) -> ModelError:
    if isinstance(err, FileNotFoundError):
        return ModelError(f"there is no file {path}")
    if isinstance(err, SafetensorError):
        return ModelError(f"{path} is not a safetensors file or is cut short ({err}): copy it again")
    return ModelError(f"can't read {path}: {err}")


def _write(path: Path, data: bytes) -> None:
    """`data` to a neighbour of `path` first, then in its place in one step."""
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.stem}-", delete=False) as file:
            temporary = file.name
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # a temporary file is its maker's alone
        os.replace(temporary, path)
    except OSError as err:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise ModelError(f"can't write {path}: {err.strerror or err}") from err


# --- tensors ---------------------------------------------------------------------------------------------------------


def _stored(name: str) -> bool:
    return not name.endswith("num_batches_tracked")


def _shapes(generator: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(t.shape) for name, t in generator.state_dict().items() if _stored(name)}


def _expected(card: ModelCard) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        return _shapes(instantiate(card))


def _match(path: Path, expected: Mapping[str, tuple[int, ...]], state: Mapping[str, Tensor]) -> None:
    """Refuse tensors that aren't exactly those of the card's network."""
    for text, names in (("lacks", expected.keys() - state.keys()), ("has unexpected", state.keys() - expected.keys())):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise ModelError(f"{path} doesn't fit its card: it {text} {min(names)}{more}")
    for name, shape in expected.items():
        if tuple(state[name].shape) != shape:
            raise ModelError(f"{path} doesn't fit its card: {name} is {tuple(state[name].shape)}, should be {shape}")


def _output_axis(generator: nn.Module, name: str) -> int | None:
    """The axis of output channels if `name` is a kernel."""
    module = generator.get_submodule(name.rpartition(".")[0])
    if not name.endswith(".weight") or not isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        return None
    return 1 if isinstance(module, nn.ConvTranspose2d) else 0


def _packed(name: str, tensor: Tensor, dtype: torch.dtype, axis: int | None) -> dict[str, Tensor]:
    """`tensor` as it is stored: vectors as they are, kernels as `dtype`; symmetric 8 bits for int8."""
    if axis is None or not bool(torch.isfinite(tensor).all()):
        return {name: tensor.contiguous()}
    if dtype is not torch.int8:
        return {name: tensor.to(dtype).contiguous()}
    others = [i for i in range(tensor.dim()) if i != axis]
    scale = (tensor.abs().amax(others, keepdim=True) / 127).clamp_min(1e-12)
    return {name: (tensor / scale).round().to(torch.int8).contiguous(), name + SCALE: scale.contiguous()}


def _unpacked(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What `_packed` stored, as float32 tensors that don't hang on the file."""
    state = {name: t.to(torch.float32, copy=True) for name, t in tensors.items() if not name.endswith(SCALE)}
    for name in state:
        scale = tensors.get(name + SCALE)
        if scale is None:
            continue
        if scale.dim() != state[name].dim() or any(
            a not in (1, b) for a, b in zip(scale.shape, state[name].shape, strict=True)
        ):
            raise ModelError(f"the scales of {name} don't fit it")
        state[name] *= scale
    return state


def _hash(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, dtypes, shapes and bytes of all tensors as they are stored, in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


# --- worlds -----------------------------------------------------------------------------------------------------------


def at(path: Path) -> World:
    """The world in a file that the person at the desk names by its path, wherever it lies.

    Raises:
        ModelError: as `load`.
    """
    card = read_card(path)
    return World(card.name, card.size, path, path.parent)
