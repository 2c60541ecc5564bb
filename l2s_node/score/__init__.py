"""Score: how good a world is, in numbers that mean the same for everybody's.

`measures` has the formulas, `play` what the worlds are played on, `table` how it is said. All are made on pictures that
the world never saw (*own* inputs) and on frames of other things (*foreign* inputs), at the detail that a show starts
with, on the square that the world was trained on.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from l2s_node import __version__, config
from l2s_node.bench import timed
from l2s_node.errors import ConfigError
from l2s_node.loader import find
from l2s_node.models import engines, store
from l2s_node.models.worlds import SUFFIX, worlds
from l2s_node.params import SIZES, Params
from l2s_node.picture import condition
from l2s_node.score import measures
from l2s_node.score.play import Material, Play, World, as_grey, engine_for, exactly, flats, read
from l2s_node.score.table import Score, Table
from l2s_node.train import features
from l2s_node.train.data import SENSOR_NOISE

__all__ = ["Asked", "Score", "Targets", "measure", "score"]

MOST = 1000
"""Pictures of each kind that are used at most."""

FEW = 96
"""Pictures that flicker and response are measured on: they hardly differ from one to the next."""

GREY = "(grey input)"
"""The last row: what the conditioned input itself would score."""

Net = Callable[[Tensor], Tensor]
"""Pictures ``(n, 3, h, w)`` in [-1, 1] to features ``(n, d)``."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What to score.

    Attributes:
        worlds: names (all sizes that are there), names with a size as in "sea/large", or .safetensors files.
        pictures: folders or videos of what the worlds were trained to make, never trained on.
        against: worlds to compare each of `worlds` with.
        foreign: folders or videos of other things; the bundled clip where none are given.
        most: pictures of each kind that are used at most.
        device: where worlds play: "auto", "cpu", "cuda" or "mps".
        timing: also measure how long a picture takes (an engine is built for each world).
        write: also write the scores into the cards of `worlds`.
        precision: `worlds` play on the engine of a show in it; None for the definition, as those in `against` do.
    """

    worlds: tuple[str, ...]
    pictures: tuple[Path, ...]
    against: tuple[str, ...] = ()
    foreign: tuple[Path, ...] = ()
    most: int = MOST
    device: str = "auto"
    timing: bool = True
    write: bool = False
    precision: str | None = None


def score(asked: Asked, say: Callable[[str], None]) -> dict[str, Any]:
    """Score all worlds, each row handed to `say` as soon as it is there; returns what `--json` keeps.

    Raises:
        L2SError: a world or the pictures can't be used, the weights of the features are missing, or a card can't be
            written.
    """
    if asked.write and asked.precision:
        raise ConfigError("a card keeps the scores of a world as it is defined: --write goes without --precision")
    device, _ = engines.pick_device(asked.device)
    net = features.load(device)
    ours = [Player(path, asked.precision) for path in _files(asked.worlds)]
    theirs = [Player(path, None) for path in _files(asked.against)]
    labels = _labels([*ours, *theirs])
    table = Table([*labels.values(), GREY])
    jury = _Jury(asked, device, net)
    for player, label in labels.items():
        found = jury.score(player)
        if player == next(iter(labels)):  # what is wrong with the pictures is said before any table
            for line in table.header():
                say(line)
        say(table.row(label, found))
    say(table.row(GREY, jury.grey()))
    for player in ours:
        for other in theirs:
            for line in table.comparison((labels[player], jury.score(player)), (labels[other], jury.score(other))):
                say(line)
    if asked.write:
        for player in ours:
            _keep(player.path, jury.facts(player))
    return {
        "l2s": __version__,
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "worlds": {labels[player]: jury.facts(player) for player in ours},
        "against": {labels[player]: jury.facts(player) for player in theirs},
        "grey": jury.grey().as_dict(),
    }


# --- worlds ----------------------------------------------------------------------------------------------------------


def _files(names: Iterable[str]) -> list[Path]:
    """The weights files that `names` mean, each once; see `Asked.worlds`.

    Raises:
        ModelError: one means none.
    """
    return list(dict.fromkeys(path for name in names for path in _files_of(name)))


def _files_of(name: str) -> list[Path]:
    world, _, size = name.rpartition("/")
    if name.endswith(SUFFIX) or size in SIZES:
        return [find(world if size in SIZES else name, size)]
    sizes = [each.path for each in worlds(config.worlds_folders()) if each.name == name]
    return sizes or [find(name, Params().size)]


class Player(NamedTuple):
    """A world's file, and the precision in which an engine plays it; None for the definition."""

    path: Path
    precision: str | None


def _labels(players: Sequence[Player]) -> dict[Player, str]:
    """What each is called in the table: name/size, or the file's whole path where that is not clear; and precision."""
    short = {player: f"{player.path.parent.name}/{player.path.stem}" for player in players}
    files = {(player.path, name) for player, name in short.items()}
    twice = {name for _, name in files if sum(name == other for _, other in files) > 1}
    named = {player: str(player.path) if name in twice else name for player, name in short.items()}
    return {player: " ".join(filter(None, (name, player.precision))) for player, name in named.items()}


def _keep(path: Path, facts: dict[str, Any]) -> None:
    """Write scores into the card of a world; milliseconds are this machine's and stay out."""
    card = store.read_card(path)
    scores = {name: value for name, value in facts.items() if name not in ("ms", "mb")}
    store.rewrite_card(path, dataclasses.replace(card, training={**card.training, "scores": scores}))


# --- scores ----------------------------------------------------------------------------------------------------------


class _Jury:
    """Scores files, each once; pictures, and what they look like to the features, are read once for each size."""

    def __init__(self, asked: Asked, device: torch.device, net: Net) -> None:
        self._asked = asked
        self._device = device
        self._net = net
        self._targets: dict[int, Targets] = {}
        self._scores: dict[Player | None, Score] = {}  # None: of the grey input
        self._sides: dict[Player, int] = {}

    def score(self, player: Player) -> Score:
        if player not in self._scores:
            with closing(World(player.path, self._device, player.precision)) as world:
                self._sides[player] = world.side
                found = measure(world, world.cells, self._at(world.side), self._net)
            ms = milliseconds(player, self._device) if self._asked.timing else None
            self._scores[player] = dataclasses.replace(found, ms=ms, mb=player.path.stat().st_size / 1e6)
        return self._scores[player]

    def grey(self) -> Score:
        """Of the input itself, at the size of the first world."""
        if None not in self._scores:
            self._scores[None] = measure(as_grey, Params().detail, next(iter(self._targets.values())), self._net)
        return self._scores[None]

    def facts(self, player: Player) -> dict[str, Any]:
        """The score of `player` by name, and how many pictures it was made of."""
        score, material = self.score(player), self._at(self._sides[player]).material
        return score.as_dict() | {"pictures": len(material.own), "foreign": len(material.foreign)}

    def _at(self, side: int) -> Targets:
        if side not in self._targets:
            clip = [path for path in (config.demo_clip(),) if path.exists()]
            own, foreign = list(self._asked.pictures), list(self._asked.foreign) or clip
            self._targets[side] = Targets.of(read(own, foreign, side, self._asked.most, self._device), self._net)
        return self._targets[side]


@dataclass(frozen=True)
class Seen:
    """What many pictures look like: their features, their spectrum, their `measures.texture`."""

    features: Tensor
    spectrum: Tensor
    texture: float

    @classmethod
    def of(cls, batches: Iterable[Tensor], net: Net) -> Seen:
        looked = [(len(x), net(x).float().cpu(), measures.spectrum(x), measures.texture(x)) for x in batches]
        counts, found, spectra, textures = zip(*looked, strict=True)
        weights = [count / sum(counts) for count in counts]
        spectrum = torch.stack([spectrum * w for spectrum, w in zip(spectra, weights, strict=True)]).sum(0)
        return cls(torch.cat(found), spectrum, sum(t * w for t, w in zip(textures, weights, strict=True)))


@dataclass(frozen=True)
class Targets:
    """What a world's pictures are held against."""

    material: Material
    real: Seen

    @classmethod
    def of(cls, material: Material, net: Net) -> Targets:
        with exactly():
            return cls(material, Seen.of(material.real(), net))


def measure(play: Play, cells: float, targets: Targets, net: Net) -> Score:
    """All scores of `play` at a detail of `cells`, without time and size."""
    material, real = targets.material, targets.real
    with exactly():
        own, own_moments = _played(play, cells, material.luma(False, cells), net)
        moments, kid_foreign = own_moments, None
        if len(material.foreign):
            foreign, foreign_moments = _played(play, cells, material.luma(True, cells), net)
            moments, kid_foreign = own_moments + foreign_moments, measures.kid(foreign.features, real.features)
        precision, recall = measures.precision_recall(own.features, real.features)
        usual = measures.checkerboard(real.spectrum)
        return Score(
            kid=measures.kid(own.features, real.features),
            kid_foreign=kid_foreign,
            precision=precision,
            recall=recall,
            checkerboard=measures.checkerboard(own.spectrum) - usual,
            checkerboard_targets=usual,
            flicker=_flicker(play, material.luma(False, cells, FEW)),
            response=_response(play, material.objects(cells, FEW)),
            flat=measures.texture(play(flats(material.side, material.device))) / max(real.texture, 1e-9),
            luma=measures.fidelity(moments),
        )


def _played(play: Play, cells: float, batches: Iterable[Tensor], net: Net) -> tuple[Seen, Tensor]:
    """What is made of inputs, and `measures.moments` of both."""
    moments = []

    def made() -> Iterable[Tensor]:
        for luma in batches:
            pictures = play(luma)
            kept = condition.shrink_and_grow(condition.luma_of(pictures) * 0.5 + 0.5, cells)
            moments.append(measures.moments(luma, kept))
            yield pictures

    seen = Seen.of(made(), net)
    return seen, torch.stack(moments).sum(0)


def _flicker(play: Play, batches: Iterable[Tensor]) -> float:
    rng = torch.Generator().manual_seed(0)  # on the CPU: the same noise on every machine
    changes = []
    for luma in batches:
        noise = SENSOR_NOISE * torch.randn(luma.shape, generator=rng).to(luma.device)
        changes.append((len(luma), measures.change(play(luma + noise), play(luma))))
    return sum(count * change for count, change in changes) / sum(count for count, _ in changes)


def _response(play: Play, batches: Iterable[tuple[Tensor, Tensor]]) -> float:
    found = []
    for before, after in batches:
        made, given = (play(before), play(after)), (before * 2 - 1, after * 2 - 1)
        found.append((len(before), measures.response(made, given)))
    return sum(count * each for count, each in found) / sum(count for count, _ in found)


def milliseconds(player: Player, device: torch.device) -> float:
    """The median time of one picture on the engine that a show would take here.

    Raises:
        EngineError: no engine can play it.
    """
    generator, card = store.load(player.path)
    side = card.resolution
    x = torch.rand((1, 1, side, side), device=device) * 2 - 1
    threads = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(1)  # as `loader.prepare` does for a show
    try:
        with closing(engine_for(generator, card, device, player.precision)) as engine:
            return statistics.median(timed(lambda: _finished(engine, x), budget=1.5))
    finally:
        torch.set_num_threads(threads)


def _finished(engine: engines.Engine, x: Tensor) -> None:
    engine(x)
    if x.device.type == "cuda":
        torch.cuda.synchronize(x.device)
    elif x.device.type == "mps":
        torch.mps.synchronize()
