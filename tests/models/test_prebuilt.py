"""What is kept of compiled engines: taken only if it is this user's, undamaged, and nothing else has changed either."""

from __future__ import annotations

import dataclasses
import logging
import os
from pathlib import Path

import pytest
import torch
from nets import SUBPIXEL, lively, picture

from l2s_node.errors import EngineError
from l2s_node.models import engines, identity, prebuilt
from l2s_node.models.card import ModelCard
from l2s_node.models.engines import onnxruntime, openvino
from l2s_node.models.engines.base import READY, Engine
from l2s_node.models.prebuilt import NotKeptError, Prebuilt, Slot

CPU = torch.device("cpu")
SHAPE = (1, 1, 64, 64)
CARD = dataclasses.replace(SUBPIXEL, channels=(4, 8), multiple=4, hash="0" * 64)
PARTS = {"engine": "openvino", "weights": "abc", "canvas": "64x64", "device": "a CPU", "precision": "float32"}
DATA = bytes(range(256)) * 8
KEEPERS = ["openvino", "onnxruntime"]
"""Engines of a CPU that keep what they compile."""


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("L2S_HOME", str(tmp_path))


@pytest.fixture
def store() -> Prebuilt:
    return Prebuilt(building=True)


def file_of(store: Prebuilt) -> Path:
    (path,) = store.folder.glob("*")
    return path


# --- files ------------------------------------------------------------------------------------------------------------


def test_what_is_kept_is_taken(store: Prebuilt, tmp_path: Path) -> None:
    assert store.take(PARTS) is None
    assert store.put(PARTS, "flowers/small", DATA)
    assert store.take(PARTS) == DATA and Prebuilt().take(dict(reversed(PARTS.items()))) == DATA
    (entry,) = store.entries()
    assert (entry.about, entry.parts, entry.path) == ("flowers/small", PARTS, file_of(store))
    assert entry.size == entry.path.stat().st_size > len(DATA)
    assert os.stat(tmp_path / "seal").st_mode & 0o077 == 0 and os.stat(store.folder).st_mode & 0o077 == 0


@pytest.mark.parametrize("part", PARTS)
def test_a_changed_part_is_another_engine(store: Prebuilt, part: str) -> None:
    """Also where its file lies under the name of what is wanted."""
    store.put(PARTS, "flowers/small", DATA)
    wanted = {**PARTS, part: PARTS[part] + " another"}
    assert store.take(wanted) is None
    os.rename(file_of(store), store.folder / prebuilt._name(wanted))
    assert store.take(wanted) is None and not list(store.folder.glob("*"))


@pytest.mark.parametrize("kept", [0, 1, 12, 13, 40, 200, 400, -2049, -2048, -1000, -1])
def test_a_truncated_file_is_removed_with_one_sentence(
    store: Prebuilt, kept: int, caplog: pytest.LogCaptureFixture
) -> None:
    store.put(PARTS, "flowers/small", DATA)
    path = file_of(store)
    path.write_bytes(path.read_bytes()[:kept])
    assert store.take(PARTS) is None
    assert len(caplog.messages) == 1 and "openvino of 64x64 is built anew" in caplog.text
    assert not path.exists()


def test_no_bit_of_it_may_change(store: Prebuilt) -> None:
    store.put(PARTS, "flowers/small", DATA)
    path = file_of(store)
    whole = path.read_bytes()
    for at in [*range(0, len(whole) - len(DATA), 3), len(whole) - len(DATA), len(whole) - 1]:
        for bit in (1, 4, 128):
            changed = bytearray(whole)
            changed[at] ^= bit
            path.write_bytes(changed)
            store.entries()
            assert store.take(PARTS) is None, at
    path.write_bytes(whole + b"\0")
    assert store.take(PARTS) is None
    path.write_bytes(whole)
    assert store.take(PARTS) == DATA


@pytest.mark.parametrize(
    "line",
    [b"[" * 60000, b"{}", b"[]", b"\xff\xfe", b'{"about": {}, "parts": {}}', b'{"about": "", "parts": {"engine": 1}}',
     b'{"about": "\\u001b[2J", "parts": {}}', b'{"about": "", "parts": []}', b"1" * 60000],
    ids=lambda line: line[:20].decode("latin-1"),
)  # fmt: skip
def test_no_beginning_breaks_it(line: bytes, store: Prebuilt, caplog: pytest.LogCaptureFixture) -> None:
    store.put(PARTS, "flowers/small", DATA)
    file_of(store).write_bytes(b"\n".join([prebuilt.MAGIC, line, b"0" * 64, DATA]))
    assert store.entries() == []
    assert store.take(PARTS) is None and "its beginning is damaged" in caplog.text


def test_what_a_power_cut_left_is_removed(store: Prebuilt) -> None:
    store.put(PARTS, "flowers/small", DATA)
    (store.folder / ".half").write_bytes(DATA)
    (store.folder / ".other").write_bytes(DATA)
    os.utime(store.folder / ".half", (0, 0))
    store.put({**PARTS, "engine": "onnxruntime"}, "flowers/small", DATA)
    assert {path.name for path in store.folder.glob(".*")} == {".other"}


def test_what_another_user_made_is_not_taken(store: Prebuilt, tmp_path: Path) -> None:
    store.put(PARTS, "flowers/small", DATA)
    seal = (tmp_path / "seal").read_bytes()
    (tmp_path / "seal").write_bytes(bytes(32))  # as when a folder of engines is copied from elsewhere
    assert store.take(PARTS) is None
    (tmp_path / "seal").write_bytes(seal)
    store.put(PARTS, "flowers/small", DATA)
    file_of(store).chmod(0o666)
    assert store.take(PARTS) is None


def test_a_damaged_secret_is_drawn_anew(store: Prebuilt, tmp_path: Path) -> None:
    (tmp_path / "seal").write_bytes(b"short")
    assert store.put(PARTS, "flowers/small", DATA) and store.take(PARTS) == DATA


def test_a_full_or_foreign_folder_is_one_sentence(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    store = Prebuilt(tmp_path / "file")
    assert not store.put(PARTS, "flowers/small", DATA)
    assert len(caplog.messages) == 1 and "can't be kept in" in caplog.text
    assert store.entries() == []


def test_the_longest_unused_goes_first(
    store: Prebuilt, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(prebuilt, "LIMIT", 6000)
    parts = [{**PARTS, "weights": str(n)} for n in range(3)]
    for n, each in enumerate(parts[:2]):
        store.put(each, "flowers/small", DATA)
        os.utime(store.folder / prebuilt._name(each), (n, n))
    assert store.take(parts[0])  # now it is the newest
    store.put(parts[2], "flowers/small", DATA)
    assert [store.take(each) is not None for each in parts] == [True, False, True]
    assert not store.put(PARTS, "flowers/small", bytes(6001)) and "over the limit" in caplog.text


def test_only_what_is_kept() -> None:
    with pytest.raises(NotKeptError, match="l2s build"):
        Slot(Prebuilt(only=True), PARTS).take("float32")
    assert prebuilt.NOWHERE.take("float32") is None and not prebuilt.NOWHERE.has("float32")
    prebuilt.NOWHERE.keep("float32", DATA)
    prebuilt.NOWHERE.refused("float32", "nothing")


# --- engines ----------------------------------------------------------------------------------------------------------


def build(name: str, store: Prebuilt, card: ModelCard = CARD, side: int = 64) -> tuple[Engine, float]:
    """(engine, how far its picture is from eager's)."""
    reason = engines.room(name).missing()
    if reason is not None:
        pytest.skip(reason)
    generator = lively(card)
    generator.draw_field(side, side, card.seed or 0)
    engine, _ = engines.build(name, generator, card, (1, 1, side, side), CPU, "float32", store)
    x = picture(side, side)
    with torch.inference_mode():
        error = (engine(x) - generator(x)).abs().max().item()
    engine.close()
    return engine, error


@pytest.mark.parametrize("name", KEEPERS)
def test_an_engine_is_taken_and_plays_the_same(name: str, store: Prebuilt, caplog: pytest.LogCaptureFixture) -> None:
    for ready in (False, True):
        engine, error = build(name, store)
        assert error < 1e-4 and (READY in engine.reason) is ready
    engine, error = build(name, Prebuilt(only=True))
    assert error < 1e-4 and READY in engine.reason
    assert len(store.entries()) == 1 and "anew" not in caplog.text


def test_a_show_keeps_nothing_that_takes_time() -> None:
    build("openvino", Prebuilt())
    assert Prebuilt().entries() == []


@pytest.mark.parametrize("name", KEEPERS)
def test_what_its_library_refuses_is_built_anew(name: str, store: Prebuilt, caplog: pytest.LogCaptureFixture) -> None:
    slot = engines.slot(name, CARD, SHAPE, CPU, store)
    slot.keep("float32", b"neither XML nor protobuf")
    engine, error = build(name, store)
    assert error < 1e-4 and READY not in engine.reason
    assert len([m for m in caplog.messages if "is built anew: what was kept is of no use" in m]) == 1
    assert READY in build(name, store)[0].reason


@pytest.mark.parametrize("change", [{"hash": "1" * 64}, {"seed": 6}, {"norm": "frame"}, {"channels": (4, 4)}], ids=str)
def test_another_world_takes_its_own(change: dict[str, object], store: Prebuilt) -> None:
    build("openvino", store)
    engine, error = build("openvino", store, dataclasses.replace(CARD, **change))  # type: ignore[arg-type]
    assert READY not in engine.reason and error < 1e-4


def test_another_canvas_precision_or_engine_takes_its_own(store: Prebuilt) -> None:
    build("openvino", store)
    assert READY not in build("openvino", store, side=128)[0].reason
    assert engines.slot("openvino", CARD, SHAPE, CPU, store).has("float32")
    assert not engines.slot("openvino", CARD, SHAPE, CPU, store).has("bfloat16")
    assert not engines.slot("onnxruntime", CARD, SHAPE, CPU, store).has("float32")


@pytest.mark.parametrize("changed", ["processor", "instructions", "threads", "torch", "library", "l2s", "code"])
def test_another_machine_or_version_takes_its_own(
    changed: str, store: Prebuilt, monkeypatch: pytest.MonkeyPatch
) -> None:
    build("openvino", store)
    for cached in (identity.device_name, identity.versions, identity._code):
        cached.cache_clear()
    version = identity.importlib.metadata.version
    with monkeypatch.context() as patch:
        if changed in ("processor", "instructions"):
            patch.setattr(identity, changed, lambda: "another")
        elif changed == "threads":
            patch.setattr(identity, "threads", lambda: 77)
        elif changed == "torch":
            patch.setattr(torch, "__version__", "9.9")
        elif changed == "library":
            patch.setattr(
                identity.importlib.metadata, "version", lambda name: "9.9" if name == "openvino" else version(name)
            )
        elif changed == "l2s":
            patch.setattr(identity, "__version__", "9.9")
        else:
            patch.setattr(identity, "_code", lambda: "another")
        parts = store.entries()[0].parts
        told = identity.outdated(parts)
        assert READY not in build("openvino", store)[0].reason
    for cached in (identity.device_name, identity.versions, identity._code):
        cached.cache_clear()
    assert told and identity.outdated(parts) is None
    assert READY in build("openvino", store)[0].reason


def test_a_world_without_a_hash_is_kept_nowhere(store: Prebuilt) -> None:
    build("openvino", store, dataclasses.replace(CARD, hash=""))
    assert store.entries() == []


def test_what_is_asked_only_if_kept_is_not_built(monkeypatch: pytest.MonkeyPatch, store: Prebuilt) -> None:
    monkeypatch.setattr(openvino, "written", None)
    monkeypatch.setattr(onnxruntime, "exported", None)
    for name in KEEPERS:
        with pytest.raises(EngineError, match="isn't built yet"):
            build(name, Prebuilt(only=True))
        engines.slot(name, CARD, SHAPE, CPU, store).keep("float32", b"damaged")
        with pytest.raises(NotKeptError, match="of no use"):
            build(name, Prebuilt(only=True))


def test_damage_is_logged_as_a_warning(store: Prebuilt, caplog: pytest.LogCaptureFixture) -> None:
    store.put(PARTS, "flowers/small", DATA)
    file_of(store).write_bytes(b"")
    store.take(PARTS)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
