"""The store: what is saved comes back, what is broken is refused with one sentence, worlds are found by name."""

from __future__ import annotations

import dataclasses
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from nets import CLASSIC, SUBPIXEL, lively, picture
from safetensors.torch import load_file, save_file
from torch import nn

from l2s_node.errors import ModelError
from l2s_node.models import store
from l2s_node.models.card import ModelCard
from l2s_node.models.pix2pix import Dropout, Norm

TINY = ModelCard("tiny", "small", "subpixel", (4, 6, 8), multiple=8, seed=2, sources="drawn", licence="CC0")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tiny" / "small.safetensors"


def header_of(path: Path) -> dict[str, dict[str, str]]:
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header: dict[str, dict[str, str]] = json.loads(data[8 : 8 + length])
    return header


def rewrite(path: Path, tensors: dict[str, torch.Tensor], card: ModelCard) -> None:
    """What a stranger could write: any tensors, any card, with a hash that fits."""
    card = dataclasses.replace(card, hash=store._hash(tensors))
    save_file(tensors, path, {"card": card.to_json()})


# --- there and back ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 0.0), ("float16", 0.001), ("int8", 0.02)])
@pytest.mark.parametrize("card", [SUBPIXEL, CLASSIC], ids=lambda c: c.architecture)
def test_round_trip(path: Path, card: ModelCard, dtype: str, tolerance: float) -> None:
    generator = lively(card)
    saved = store.save(path, generator, card, dtype)
    again, read = store.load(path)
    assert read == saved == store.read_card(path)
    assert dataclasses.replace(read, hash="") == card and len(read.hash) == 64
    assert not again.training and {p.dtype for p in again.parameters()} == {torch.float32}
    x = picture()
    generator.draw_field(64, 64, 1)
    again.draw_field(64, 64, 1)
    assert (again(x) - generator(x)).abs().mean() <= tolerance


def test_smaller_types_make_smaller_files(tmp_path: Path) -> None:
    generator = lively(SUBPIXEL)
    sizes = []
    for dtype in ("float32", "float16", "int8"):
        store.save(tmp_path / "w.safetensors", generator, SUBPIXEL, dtype)
        sizes.append((tmp_path / "w.safetensors").stat().st_size)
    assert sizes[0] > 1.9 * sizes[1] > 3.5 * sizes[2]


def test_only_kernels_lose_precision(path: Path) -> None:
    """A running variance of 1e-7 would be nothing in half precision, one of 1e5 infinite."""
    generator = lively(TINY)
    assert isinstance(generator.ups[0].norm.running_var, torch.Tensor)
    generator.ups[0].norm.running_var[:2] = torch.tensor([1e-7, 1e5])
    store.save(path, generator, TINY, "int8")
    stored = {str(t.dtype) for name, t in load_file(path).items() if not name.endswith("conv.weight")}
    assert stored == {"torch.float32", "torch.int8"}  # the head's kernel
    again, _ = store.load(path)
    assert torch.equal(again.ups[0].norm.running_var, generator.ups[0].norm.running_var)


def test_norm_mode_and_dropout_come_from_the_card(path: Path) -> None:
    card = dataclasses.replace(CLASSIC, norm="frame", dropout=True)
    store.save(path, lively(CLASSIC), card)
    again, _ = store.load(path)
    assert {m.mode for m in again.modules() if isinstance(m, Norm)} == {"frame"}
    assert {m.live for m in again.modules() if isinstance(m, Dropout)} == {True}


def test_a_loaded_generator_can_be_trained_on(path: Path) -> None:
    store.save(path, lively(TINY), TINY)
    again, _ = store.load(path)
    again.train()
    again(picture(16, 16), again.random_field(1, 16, 16)).mean().backward()
    assert all(p.grad is not None for p in again.parameters())


def test_the_hash_is_of_the_tensors_alone(tmp_path: Path) -> None:
    generator = lively(TINY)
    one = store.save(tmp_path / "one.safetensors", generator, TINY)
    two = store.save(tmp_path / "two.safetensors", generator, dataclasses.replace(TINY, licence="MIT"))
    nn.init.zeros_(generator.head.bias)
    three = store.save(tmp_path / "three.safetensors", generator, TINY)
    assert one.hash == two.hash != three.hash


def test_instantiate_gives_a_network_to_train() -> None:
    generator = store.instantiate(TINY)
    assert generator.training and generator.channels == (4, 6, 8)


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_a_changed_byte_is_noticed(path: Path) -> None:
    store.save(path, lively(TINY), TINY)
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelError, match=r"small\.safetensors was changed"):
        store.load(path)


@pytest.mark.parametrize("keep", [0, 4, 100, 3000, -1])
def test_a_file_cut_short_is_refused(path: Path, keep: int) -> None:
    store.save(path, lively(TINY), TINY)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ModelError, match=r"small\.safetensors"):
        store.load(path)


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    with pytest.raises(ModelError, match="there is no file"):
        store.load(path)
    path.write_text("a pickle, perhaps")
    with pytest.raises(ModelError, match="not a safetensors file"):
        store.load(path)
    save_file({"a": torch.zeros(2)}, path)
    with pytest.raises(ModelError, match="no model card"):
        store.load(path)
    save_file({"a": torch.zeros(2)}, path, {"card": "{"})
    with pytest.raises(ModelError, match=r"x\.safetensors: the model card is not JSON"):
        store.load(path)
    with pytest.raises(ModelError, match="can't read"):
        store.load(tmp_path)


def test_tensors_must_be_those_of_the_card(path: Path) -> None:
    store.save(path, lively(TINY), TINY)
    good = load_file(path)
    rewrite(path, {k: v for k, v in good.items() if k != "head.bias"}, TINY)
    with pytest.raises(ModelError, match=r"lacks head\.bias"):
        store.load(path)
    rewrite(path, {**good, "more": torch.zeros(1)}, TINY)
    with pytest.raises(ModelError, match="has unexpected more"):
        store.load(path)
    rewrite(path, {**good, "head.bias": torch.zeros(13)}, TINY)
    with pytest.raises(ModelError, match=r"head\.bias is \(13,\), should be \(12,\)"):
        store.load(path)
    rewrite(path, {**good, "head.bias.scale": torch.zeros(5)}, TINY)
    with pytest.raises(ModelError, match=r"small\.safetensors.*head\.bias"):
        store.load(path)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"architecture": "resnet"}, "resnet"),
        ({"channels": (4096,) * 12, "multiple": 4096, "resolution": 4096}, "lacks|unexpected|should be"),
        ({"channels": (10**9, 2)}, "channels"),
        ({"channels": ("4", "6", "8")}, "channels"),
        ({"input_channels": 0}, "input channels"),
        ({"multiple": 12}, "multiple of 8"),
        ({"resolution": 100}, "100"),
        ({"norm": "none"}, "norm"),
        ({"seed": -1}, "seed"),
        ({"format": 99}, "format 99"),
    ],
    ids=lambda v: next(iter(v)) if isinstance(v, dict) else "",
)
def test_a_card_that_cant_be_followed(path: Path, change: dict[str, object], text: str) -> None:
    """A stranger's card can't make the node allocate: it is refused by its shapes alone."""
    store.save(path, lively(TINY), TINY)
    rewrite(path, load_file(path), dataclasses.replace(TINY, **change))  # type: ignore[arg-type]
    with pytest.raises(ModelError, match=text) as caught:
        store.load(path)
    assert str(path) in str(caught.value)


def test_save_refuses_what_it_couldnt_load(path: Path) -> None:
    with pytest.raises(ModelError, match="float12"):
        store.save(path, lively(TINY), TINY, "float12")
    folded = lively(TINY)
    folded.fold_norms()
    with pytest.raises(ModelError, match="doesn't fit its card"):
        store.save(path, folded, TINY)
    for value, dtype in ((float("nan"), "float32"), (float("inf"), "int8"), (1e6, "float16")):
        ran_away = lively(TINY)
        ran_away.head.weight[0, 0] = value
        with pytest.raises(ModelError, match=r"head\.weight"):
            store.save(path, ran_away, TINY, dtype)
    assert not path.exists()


def test_a_failed_write_leaves_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = store.save(path, lively(TINY), TINY)

    def full(source: str, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(ModelError, match="No space left on device"):
        store.save(path, lively(TINY, seed=1), TINY)
    assert store.read_card(path) == before
    assert [p.name for p in path.parent.iterdir()] == ["small.safetensors"]


# --- worlds -----------------------------------------------------------------------------------------------------------


def make(folder: Path, *names: str) -> None:
    for name in names:
        store.save(folder / f"{name}.safetensors", lively(TINY), TINY)


def test_worlds_are_listed_first_folder_first(tmp_path: Path) -> None:
    mine, theirs = tmp_path / "mine", tmp_path / "theirs"
    make(mine, "sea/small")
    make(theirs, "sea/large", "sea/small", "fire/medium", ".hidden/small", "sea/best")
    found = store.worlds([mine, theirs, tmp_path / "nowhere"])
    assert [(w.name, w.size, w.folder) for w in found] == [
        ("fire", "medium", theirs),
        ("sea", "small", mine),
        ("sea", "large", theirs),
    ]
    assert store.find([mine, theirs], "sea", "small").path == mine / "sea" / "small.safetensors"


def test_an_unknown_world_lists_what_there_is(tmp_path: Path) -> None:
    make(tmp_path, "flowers/small", "sea/small", "sea/large")
    with pytest.raises(ModelError, match=r"no world 'flower' \(did you mean flowers\?\); there are flowers, sea"):
        store.find([tmp_path], "flower", "small")
    with pytest.raises(ModelError, match="sea has no size 'medium'; it has small, large"):
        store.find([tmp_path], "sea", "medium")
    with pytest.raises(ModelError, match="l2s train"):
        store.find([tmp_path / "nowhere"], "sea", "small")


@pytest.mark.parametrize("name", ["../sea", "/etc", "a\\b", "..", "", "sea\0"])
def test_a_name_is_never_a_path(tmp_path: Path, name: str) -> None:
    make(tmp_path, "sea/small")
    with pytest.raises(ModelError, match="not the name of a world"):
        store.find([tmp_path / "sea"], name, "small")


def test_a_file_anywhere_is_named_by_its_path(tmp_path: Path) -> None:
    make(tmp_path, "export")
    world = store.at(tmp_path / "export.safetensors")
    assert (world.name, world.size, world.path) == ("tiny", "small", tmp_path / "export.safetensors")
    with pytest.raises(ModelError, match="there is no file"):
        store.at(tmp_path / "other.safetensors")


# --- the start --------------------------------------------------------------------------------------------------------


def test_loading_and_building_leave_torchs_compiler_alone(path: Path) -> None:
    """Importing it takes longer than loading and building a world together."""
    store.save(path, lively(TINY), TINY)
    code = (
        "import sys, torch; from pathlib import Path; from l2s_node.models import engines, store\n"
        f"generator, card = store.load(Path({str(path)!r})); generator.draw_field(8, 8, 2)\n"
        "engines.build('auto', generator, card, (1, 1, 8, 8), torch.device('cpu'))[0](torch.zeros(1, 1, 8, 8))\n"
        "print(*sys.modules)"
    )
    loaded = subprocess.check_output([sys.executable, "-W", "error", "-c", code], text=True).split()
    assert not {"torch._dynamo", "sympy", "onnxruntime"} & set(loaded)
