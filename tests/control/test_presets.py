"""Presets as files: whole or nothing, one sentence for each mistake, no name that is a path."""

import tomllib
from pathlib import Path

import pytest

from l2s_node.control.presets import MAX_PRESETS, Presets, check_name, known_world
from l2s_node.errors import ConfigError
from l2s_node.params import KNOBS, Board, Params, parse_all

BUNDLED = Path(__file__).parents[2] / "presets"


@pytest.fixture
def folders(tmp_path):
    own, ship = tmp_path / "own", tmp_path / "ship"
    own.mkdir()
    ship.mkdir()
    return own, ship


@pytest.fixture
def presets(folders):
    return Presets(folders, lambda: ["clouds", "flowers"])


def test_load_turns_the_named_knobs_and_no_others(presets, folders):
    (folders[1] / "dream.toml").write_text('detail = 9\nblend = "screen"\ninvert = true\nmix = 7\nworld = "Clouds"\n')
    board = Board(fade=0.5)
    presets.load("Dream", board)
    assert board.snapshot() == Params(detail=9.0, blend="screen", invert=True, mix=1.0, world="clouds", fade=0.5)
    assert presets.current == "dream"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("mix = 0.5\ndetial = 9", r"bad\.toml can't be used: there is no knob 'detial'; did you mean 'detail'\?"),
        ('mix = 0.5\nblend = "sceen"', r"bad\.toml .*blend takes normal, .*'sceen' \(did you mean screen\?\)"),
        ("mix = 0.5\ndetail = nan", r"bad\.toml .*detail takes 6 … 64 cells, not nan"),
        ("mix = 0.5\n[detail]\nx = 1", r"bad\.toml .*detail takes"),
        ('mix = 0.5\nworld = "../../x"', r"bad\.toml .*no world '\.\./\.\./x'; there is clouds, flowers"),
        ("mix = ", r"bad\.toml is not TOML: Invalid value"),
        (b"\xff\xfe", r"bad\.toml is not TOML"),
    ],
)
def test_a_bad_preset_turns_nothing_and_names_file_and_key(presets, folders, text, sentence):
    (folders[0] / "bad.toml").write_bytes(text if isinstance(text, bytes) else text.encode())
    board = Board()
    with pytest.raises(ConfigError, match=sentence):
        presets.load("bad", board)
    assert board.snapshot() == Params() and board.revision == 0


def test_a_preset_that_is_not_there(presets, folders):
    with pytest.raises(ConfigError, match="there is no preset 'x'; there is none"):
        presets.read("x")
    (folders[0] / "still water.toml").write_text("")
    with pytest.raises(ConfigError, match=r"did you mean 'still water'\?"):
        presets.read("still-water")
    (folders[0] / "folder.toml").mkdir()
    with pytest.raises(ConfigError, match=r"folder\.toml can't be read"):
        presets.read("folder")


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "a\\b", "C:x", "x.toml", "con", "a\0b", "a\n", "é", "x" * 65]
)
def test_names_that_are_refused(presets, folders, name):
    if name.strip() != "a":
        with pytest.raises(ConfigError):
            check_name(name)
        with pytest.raises(ConfigError):
            presets.save(name, {"mix": 1.0})
    assert list(folders[0].iterdir()) == []


def test_save_and_load_return_every_knob(presets, folders):
    board = Board(mix=0.1, detail=33.3, blend="luma", invert=True, world="clouds", size="large", pan_x=-0.3)
    path = presets.save(" My Look-2 ", board.values())
    assert path == folders[0] / "My Look-2.toml"
    assert tomllib.loads(path.read_text()).keys() == {knob.name for knob in KNOBS}
    other = Board()
    presets.load("my look-2", other)
    assert other.snapshot() == board.snapshot()


def test_save_replaces_ones_own_and_shadows_the_bundled(presets, folders):
    (folders[1] / "dream.toml").write_text("mix = 0.1\n")
    presets.save("Dream", {"mix": 0.2})
    presets.save("dREAM", {"mix": 0.3})
    assert [path.name for path in folders[0].iterdir()] == ["Dream.toml"]
    assert presets.names() == ["Dream"]
    assert presets.read("dream") == {"mix": 0.3}
    assert (folders[1] / "dream.toml").read_text() == "mix = 0.1\n"


def test_a_save_that_fails_leaves_the_old_one(presets, folders, monkeypatch):
    presets.save("mine", {"mix": 0.25})

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(ConfigError, match=r"mine\.toml can't be written: No space left"):
        presets.save("mine", {"mix": 0.5})
    assert [path.name for path in folders[0].iterdir()] == ["mine.toml"]
    assert presets.read("mine") == {"mix": 0.25}


def test_there_is_an_end_to_saving(presets, folders):
    for number in range(MAX_PRESETS):
        (folders[0] / f"{number}.toml").touch()
    with pytest.raises(ConfigError, match="delete some first"):
        presets.save("one more", {})
    presets.save("7", {"mix": 0.5})


def test_next_and_previous_go_round(presets, folders):
    for name in ("Beta", "alpha", "gamma"):
        (folders[1] / f"{name}.toml").write_text("mix = 0.5\n")
    seen = []
    for by in (1, 1, 1, 1, -1, -1):
        presets.step(by)
        seen.append(presets.current)
    assert seen == ["alpha", "Beta", "gamma", "alpha", "gamma", "Beta"]


def test_next_gets_past_a_broken_one(presets, folders):
    for name, text in {"a": "", "b": "nonsense", "c": ""}.items():
        (folders[1] / f"{name}.toml").write_text(text)
    presets.step(1)
    with pytest.raises(ConfigError, match=r"b\.toml"):
        presets.step(1)
    presets.step(1)
    assert presets.current == "c"


def test_no_presets_at_all(tmp_path):
    presets = Presets([tmp_path / "none"])
    assert presets.names() == []
    with pytest.raises(ConfigError, match="no presets yet"):
        presets.step(1)
    assert presets.save("first", {"mix": 1.0}).exists()


@pytest.mark.parametrize(
    ("raw", "world"), [("fire", "fire"), ("FIRE", "fire"), (0, "clouds"), (1.4, "fire"), (99, "sea"), ("-3", "clouds")]
)
def test_worlds_by_name_or_index(raw, world):
    assert known_world(raw, lambda: ("sea", "fire", "clouds")) == world


@pytest.mark.parametrize(
    ("raw", "world"), [("Fire+SEA@.25", "fire+sea@0.25"), ("fire+sea", "fire+sea@0.5"), ("0+2@1", "clouds+sea@1")]
)
def test_worlds_between_two(raw, world):
    assert known_world(raw, lambda: ("sea", "fire", "clouds")) == world


@pytest.mark.parametrize("raw", ["fire+../x", "fire+moss@0.2", "fire+", "fire+clouds@2", "fire+clouds@../x"])
def test_worlds_between_two_that_are_refused(raw):
    with pytest.raises(ConfigError, match=r"there is clouds, fire|write it as"):
        known_world(raw, lambda: ("fire", "clouds"))


@pytest.mark.parametrize("raw", ["fir", "", "../fire", "a/b", float("nan"), float("inf"), None, b"fire", True])
def test_worlds_that_are_refused(raw):
    with pytest.raises(ConfigError, match="there is clouds, fire"):
        known_world(raw, lambda: ("fire", "clouds"))


def test_without_a_list_of_worlds_a_path_is_still_none():
    assert known_world("my world-2", None) == "my world-2"
    for raw in ("../x", "a/b", "a\\b", ".", ""):
        with pytest.raises(ConfigError):
            known_world(raw, None)


def test_the_bundled_presets_are_in_range():
    names = Presets([BUNDLED]).names()
    assert {"dream", "crisp", "still-water"} <= set(names)
    for name in names:
        raw = tomllib.loads((BUNDLED / f"{name}.toml").read_text(encoding="utf-8"))
        assert parse_all(raw) == raw, "a value was clamped"
        assert not {"world", "size", "fade", "freeze", "show"} & raw.keys(), "a look leaves the rest alone"
