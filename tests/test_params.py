"""The table of knobs, and the board where control threads and the frame loop meet."""

from __future__ import annotations

import dataclasses
import threading

import pytest

from l2s_node.errors import ConfigError
from l2s_node.params import KNOB, KNOBS, Board, Change, Kind, Knob, Params, nearest, parse_all

NUMBERS = [k for k in KNOBS if k.kind in (Kind.FLOAT, Kind.INT)]


def knob_id(knob: Knob) -> str:
    return knob.name


# the table


def test_params_are_the_knobs_in_order_with_their_defaults() -> None:
    fields = dataclasses.fields(Params)
    assert [f.name for f in fields] == [*(k.name for k in KNOBS), "more"]
    start = Params()
    assert all(getattr(start, k.name) == k.default for k in KNOBS)
    assert Board().snapshot() == start


@pytest.mark.parametrize("knob", KNOBS, ids=knob_id)
def test_every_knob_is_whole(knob: Knob) -> None:
    assert knob.name.isidentifier() and knob.name == knob.name.lower()
    assert knob.help and knob.help[0] == knob.help[0].lower() and not knob.help.endswith(".")
    assert knob.parse(knob.default) == knob.default, "the default is in its own range"
    assert (knob.kind is Kind.CHOICE) == bool(knob.choices)
    assert knob.range_text()


def test_every_name_is_there_once() -> None:
    assert len(KNOB) == len(KNOBS)


def test_only_a_new_model_needs_a_rebuild() -> None:
    assert {k.name for k in KNOBS if k.change is Change.REBUILD} == {"world", "size"}


# reading values


@pytest.mark.parametrize("knob", NUMBERS, ids=knob_id)
def test_numbers_are_clamped(knob: Knob) -> None:
    assert knob.parse(-1e9) == knob.low
    assert knob.parse(1e9) == knob.high
    assert knob.low <= knob.parse("0.5") <= knob.high  # type: ignore[operator]


@pytest.mark.parametrize("raw", [1, 1.0, True, "1", " 1.0 ", "1e0"])
def test_a_number_may_come_as_anything_that_is_one(raw: object) -> None:
    assert KNOB["mix"].parse(raw) == 1.0


@pytest.mark.parametrize("raw", ["", "much", None, [1], "nan", "inf", float("nan")])
def test_what_is_no_number_is_refused_with_the_range(raw: object) -> None:
    with pytest.raises(ConfigError, match=r"detail takes 6 … 64 cells"):
        KNOB["detail"].parse(raw)


@pytest.mark.parametrize(
    "raw, value",
    [
        (True, True),
        (0, False),
        (1, True),
        (0.4, False),
        ("on", True),
        ("Off", False),
        ("true", True),
        ("no", False),
        ("1", True),
    ],
)
def test_switches(raw: object, value: bool) -> None:
    assert KNOB["invert"].parse(raw) is value


@pytest.mark.parametrize(
    "raw, value",
    [
        ("screen", "screen"),
        (" SCREEN ", "screen"),
        (2, "screen"),
        (2.2, "screen"),
        ("2", "screen"),
        (-5, "normal"),
        (99, "luma"),
    ],
)
def test_a_choice_goes_by_name_or_index(raw: object, value: str) -> None:
    assert KNOB["blend"].parse(raw) == value


def test_a_choice_that_is_not_there_lists_the_others_and_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"normal, add, screen.*did you mean multiply"):
        KNOB["blend"].parse("multipy")


def test_an_unknown_knob_names_the_nearest() -> None:
    assert nearest("brightnes") == "brightness"
    assert nearest("xyzzy") is None
    with pytest.raises(ConfigError, match="no knob 'brightnes'; did you mean 'brightness'"):
        parse_all({"brightnes": 1})


# the board


def test_what_is_set_is_seen_by_the_next_snapshot() -> None:
    board = Board(mix="0.25", blend=1)
    before = board.snapshot()
    assert (before.mix, before.blend) == (0.25, "add")
    assert board.snapshot() is before, "the same object as long as nothing changes"
    assert board.set({"detail": 1000, "freeze": 1}) == {"detail": 64, "freeze": True}
    after = board.snapshot()
    assert (after.detail, after.freeze, after.mix) == (64.0, True, 0.25)
    assert before.detail == KNOB["detail"].default, "a snapshot never changes"
    assert board.get("detail") == 64 and board.values()["blend"] == "add"


def test_floats_stay_floats() -> None:
    board = Board()
    board.set({"zoom": 2, "mix": True})
    assert type(board.snapshot().zoom) is float and type(board.snapshot().mix) is float


def test_a_set_is_whole_or_nothing() -> None:
    board = Board()
    before, revision = board.snapshot(), board.revision
    for bad in ({"mix": 0.1, "nonsense": 1}, {"mix": 0.1, "blend": "nonsense"}):
        with pytest.raises(ConfigError):
            board.set(bad)
    assert board.snapshot() is before and board.revision == revision


def test_many_threads_never_mix_two_sets() -> None:
    board, stop = Board(pan_x=0, pan_y=0), threading.Event()

    def turn(sign: int) -> None:
        for n in range(1500):
            board.set({"pan_x": sign * n / 1500, "pan_y": sign * n / 1500})

    seen = []

    def look() -> None:
        while not stop.is_set():
            params = board.snapshot()
            seen.append(params.pan_x == params.pan_y)

    watcher = threading.Thread(target=look)
    turners = [threading.Thread(target=turn, args=(sign,)) for sign in (1, -1)]
    for thread in (watcher, *turners):
        thread.start()
    for thread in turners:
        thread.join()
    stop.set()
    watcher.join()
    assert seen and all(seen)
    assert board.revision == 3000


def test_changes_say_who_made_them_and_only_since_when_they_were_asked_for() -> None:
    board = Board()
    start = board.revision
    board.set({"mix": 0.5, "fade": 0.1}, origin="surface")
    middle = board.revision
    board.set({"mix": 0.6})
    assert {(n, v, who) for n, v, who in board.changes_since(start)} == {("mix", 0.6, None), ("fade", 0.1, "surface")}
    assert list(board.changes_since(middle)) == [("mix", 0.6, None)]
    assert not list(board.changes_since(board.revision))


# what is declared to the board

MODE = Knob("look/x/mode", Kind.CHOICE, "soft", choices=("soft", "hard"))
POINT = Knob("look/x/at", Kind.VECTOR, (0.5, 0.5), 0, 1)
COLOUR = Knob("look/x/tint", Kind.VECTOR, (1.0, 1.0, 1.0, 1.0), 0, 1)
PRESS = Knob("look/x/clear", Kind.EVENT, False)


def test_declared_knobs_are_knobs() -> None:
    board = Board()
    before = board.revision
    board.declare([MODE, POINT, PRESS])
    assert dict(board.snapshot().more) == {"look/x/mode": "soft", "look/x/at": (0.5, 0.5), "look/x/clear": 0}
    assert {name for name, _, _ in board.changes_since(before)} == {"look/x/mode", "look/x/at"}
    board.set({"look/x/mode": 1, "mix": 0.5})
    assert board.snapshot().more["look/x/mode"] == "hard" and board.get("look/x/mode") == "hard"
    with pytest.raises(ConfigError, match="no knob 'look/x/mod'; did you mean 'look/x/mode'"):
        board.set({"look/x/mod": 1})
    assert Board().knobs.keys() == {knob.name for knob in KNOBS}, "of this board only"


@pytest.mark.parametrize("raw, value", [((0, 2), (0.0, 1.0)), ([0.25, "1"], (0.25, 1.0)), ("0.25, 0.75", (0.25, 0.75))])
def test_a_point_is_two_numbers(raw: object, value: tuple[float, ...]) -> None:
    assert POINT.parse(raw) == value


def test_a_colour_may_come_without_alpha() -> None:
    assert COLOUR.parse([0, 0.5, 2]) == (0, 0.5, 1, 1)
    for bad in ([0, 1], 1, "red", [0, 0, 0, 0, 0], [0, 0, 0, "x"]):
        with pytest.raises(ConfigError, match="look/x/tint takes 4 numbers, 0 … 1"):
            COLOUR.parse(bad)


@pytest.mark.parametrize(
    "raw, value",
    [
        ("grain", "grain"),
        ("Grain, bloom", "grain, bloom"),
        (["bloom", "grain"], "bloom, grain"),
        ("bloom,,bloom", "bloom"),
        ("", ""),
        (0, ""),
        (2, "grain"),
        (99, "grain"),
    ],
)
def test_a_list_takes_names_in_order_and_indices(raw: object, value: str) -> None:
    assert Knob("look", Kind.LIST, "", choices=("bloom", "grain")).parse(raw) == value


def test_a_list_names_what_there_is() -> None:
    with pytest.raises(ConfigError, match=r"look takes names .* of bloom, grain, not 'grian' \(did you mean grain"):
        Knob("look", Kind.LIST, "", choices=("bloom", "grain")).parse("bloom, grian".split(", "))


def test_a_button_counts_and_is_neither_kept_nor_echoed() -> None:
    board = Board()
    board.declare([PRESS])
    before = board.revision
    for raw in (1, 0, True, "on"):
        board.set({"look/x/clear": raw})
    assert board.snapshot().more["look/x/clear"] == 3
    assert "look/x/clear" not in board.values()
    assert not list(board.changes_since(before))


def test_what_was_turned_outlives_a_new_declaration_as_far_as_it_can_be_read() -> None:
    board = Board()
    board.declare([MODE, POINT, PRESS, Knob("look/y/a", Kind.FLOAT, 0.5)])
    board.set({"look/x/mode": "hard", "look/x/at": (0.1, 0.9), "look/x/clear": 1, "look/y/a": 1})
    board.declare([Knob("look/x/mode", Kind.CHOICE, "thin", choices=("thin", "thick")),
                   Knob("look/x/at", Kind.VECTOR, (0.5, 0.5), 0.25, 1)], instead_of="look/x/")  # fmt: skip
    assert dict(board.snapshot().more) == {"look/x/mode": "thin", "look/x/at": (0.25, 0.9), "look/y/a": 1.0}
