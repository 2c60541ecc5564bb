"""The training loop: `run(settings)` reads the pictures, trains, and leaves a world that `l2s run` plays.

Time counts from the first line on: what reading, compiling, saving and looking take is not there for training, so that
`--minutes` are minutes on the clock. Under `torchrun` all processes take the same steps and agree on when to stop.
"""

from __future__ import annotations

import dataclasses
import datetime
import importlib.util
import logging
import math
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from l2s_node import config
from l2s_node.errors import ModelError, TrainError
from l2s_node.models import store
from l2s_node.models.pix2pix import Generator
from l2s_node.train import checkpoint, pictures
from l2s_node.train.checkpoint import Progress
from l2s_node.train.data import Album, Batches
from l2s_node.train.group import Group, join
from l2s_node.train.nets import Losses, Nets, capture
from l2s_node.train.recipes import RECIPES
from l2s_node.train.schedule import LOOK, Schedule
from l2s_node.train.settings import LEAST, TrainSettings, check, choose_device, draft_card
from l2s_node.train.sheet import Sheet, Show

COMPILE_FROM = 5.0
"""Minutes of training from which compiling it pays: it takes one, and a step then 0.73 of the time (on one H100)."""

GIVE_UP = 5
"""Rollbacks after which a training counts as lost."""

ENOUGH = 400_000
"""Pictures that a world takes to look like one, about; to tell how long that would be here."""

Step = Callable[[], Losses]
"""One step of both nets and of the average."""

log = logging.getLogger(__name__)


def run(settings: TrainSettings, show: Show | None = None) -> Path:
    """Train and write the world; returns its path.

    Args:
        settings: what to train from what.
        show: is given the contact sheet of the moment every now and then, ``(h, w, 3)`` uint8 RGB, and returns at once.

    Raises:
        TrainError: the settings can't be, there are too few pictures, nothing to resume, too little memory, or the
            losses keep running away. What was trained until then can be resumed.
    """
    began = time.monotonic()
    check(settings)
    with join(choose_device(settings.device)) as group:
        group.wait()  # the first one's checkpoint must not look like a former training to the others
        torch.manual_seed(settings.seed)
        if group.device.type == "cuda":
            torch.backends.cudnn.benchmark = True
            torch.set_num_threads(2)  # little is left to the CPU, and several trainings' pools fight on a large machine
        nets = make_nets(settings, group)
        try:
            material = read(settings, group)
        except RuntimeError as err:
            if not short_of_memory(err):
                raise
            raise TrainError("the pictures don't fit the device's memory: give fewer, or fewer --frames") from err
        progress = begin(settings, nets, group)
        training = Training(settings, group, nets, material, Schedule(settings, progress, began), show)
        try:
            training.train()
        finally:
            training.step = None  # as a graph it would keep the group from being left: see `Nets.spread`
        return finish(training) if group.first else settings.world


# --- before ----------------------------------------------------------------------------------------------------------


@dataclass
class Material:
    """What is learned from and looked at, and what the card says of it."""

    batches: Batches
    sheet: Sheet
    summary: dict[str, Any]
    sources: str


def make_nets(settings: TrainSettings, group: Group) -> Nets:
    """Fresh nets, or such that start from another world's weights; the same in every process."""
    recipe = RECIPES[settings.recipe]
    generator = store.instantiate(draft_card(settings))
    if settings.start is not None:
        start_from(settings, generator)
    nets = Nets(generator, recipe.critic(group.device), recipe.rates, group.device)
    if not group.alone:
        nets.spread()
        group.share(nets.tensors().values())
    return nets


def start_from(settings: TrainSettings, generator: Generator) -> None:
    """Copy the weights of ``settings.start`` into `generator`.

    Raises:
        TrainError: there is no such world, it can't be read, or it is another kind of network.
    """
    start, ours = settings.start or "", draft_card(settings)
    try:
        if start.endswith(store.SUFFIX):
            path = Path(start)
        else:
            path = store.find(config.worlds_folders((settings.out,)), start, settings.size).path
        theirs, card = store.load(path)
    except ModelError as err:
        raise TrainError(f"can't start from {start}: {err}") from err
    kinds = [(c.architecture, c.channels, c.input_channels) for c in (card, ours)]
    if kinds[0] != kinds[1]:
        have, want = (f"{kind[0]} of {','.join(map(str, kind[1]))} channels" for kind in kinds)
        raise TrainError(f"can't start from {path}: it is a {have}, this is to be a {want} (see --size and --recipe)")
    generator.load_state_dict(theirs.state_dict())
    log.info("starting from %s", path)


def read(settings: TrainSettings, group: Group) -> Material:
    """Read all pictures and put them on the device."""
    device = group.device
    side = settings.resolution * 5 // 4
    gathered = pictures.gather_world(settings.pictures, side, settings.frames, settings.seed)
    clip = [path for path in (config.demo_clip(),) if path.exists()]
    strange = pictures.gather_all([*settings.foreign, *clip], settings.resolution, frames=64)
    foreign = Album(strange, device)
    batch = settings.batch or (48 if device.type == "cuda" else 4)
    summary = {
        "pictures": len(gathered.train),
        "held_back": len(gathered.held),
        "skipped": len(gathered.skipped),
        "alike": gathered.alike,
        "foreign": len(strange),
        "batch": batch,
        "processes": group.size,
    }
    log.info("pictures: %s", ", ".join(f"{key} {value}" for key, value in summary.items()))
    return Material(
        make_batches(settings, Album(gathered.train, device), foreign, batch),
        Sheet(Album(gathered.held, device), foreign, settings.resolution),
        summary,
        pictures.sources_text(settings.pictures, len(gathered.train) + len(gathered.held)),
    )


def make_batches(settings: TrainSettings, world: Album, foreign: Album, batch: int) -> Batches:
    own = math.ceil(batch * RECIPES[settings.recipe].own)
    return Batches(world, foreign, settings.resolution, batch, own)


def begin(settings: TrainSettings, nets: Nets, group: Group) -> Progress:
    """The progress of the training to resume, or a first checkpoint, so that there is always one to go back to."""
    if settings.resume:
        progress = go_back(settings, nets, group)
        log.info("going on after %d images and %.0f s", progress.images, progress.seconds)
        return progress
    if group.first:
        try:
            settings.workshop.mkdir(parents=True, exist_ok=True)
        except OSError as err:
            raise TrainError(f"can't make the folder {settings.workshop}: {err.strerror or err}") from err
        checkpoint.save(settings.checkpoint, nets, Progress(), settings.identity())
    if group.rank:
        torch.manual_seed(settings.seed + 1_000_003 * group.rank)  # batches of its own
    return Progress()


def go_back(settings: TrainSettings, nets: Nets, group: Group) -> Progress:
    """To the last checkpoint, which only the first process needs to have."""
    progress = checkpoint.load(settings.checkpoint, nets, settings.identity()) if group.first else Progress()
    images, seconds, steps = group.agree(progress.images, progress.seconds, nets.steps if group.first else 0)
    group.share(nets.tensors().values())
    nets.steps = int(steps)
    if group.rank:
        torch.manual_seed(settings.seed + int(images) + 1_000_003 * group.rank)
    return dataclasses.replace(progress, images=int(images), seconds=seconds)


def prepare(settings: TrainSettings, nets: Nets, batches: Batches, group: Group | None = None) -> Step:
    """The step, as CUDA graphs where there is CUDA; nets and random numbers stay as they were."""
    recipe = RECIPES[settings.recipe]

    def take() -> Losses:
        return recipe.step(nets, nets.fused(batches.draw)())

    if nets.device.type == "cuda":
        started = time.monotonic()
        with torch.random.fork_rng([nets.device]), nets.unchanged():
            compile_step(settings, nets, take)
            take = capture(take, warm=3 if group is None or group.alone else 11)
        log.info("ready to train after %.0f s", time.monotonic() - started)

    def step() -> Losses:
        losses = take()
        nets.follow()
        return losses

    return step


def compile_step(settings: TrainSettings, nets: Nets, take: Step) -> None:
    """Let the compiler fuse the step where that pays: it takes a minute."""
    if settings.minutes is not None and settings.minutes < COMPILE_FROM:
        log.info("not compiled: that takes a minute, too much for %g minutes of training", settings.minutes)
        return
    if importlib.util.find_spec("triton") is None:
        log.warning("not compiled: this PyTorch has no Triton")
        return
    from torch._dynamo.exc import TorchDynamoException  # takes seconds to import

    nets.compile()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it looks through our caches
            take()
    except TorchDynamoException as err:
        log.warning("not compiled: %s", str(err).strip().splitlines()[0])
        nets.compile(False)


def short_of_memory(err: BaseException | None) -> bool:
    """Whether this, or what it came from, is a device or a host without memory left."""
    if err is None:
        return False
    words = ("can't allocate memory", "cannot allocate memory", "not enough memory", "out of memory")
    mine = isinstance(err, torch.OutOfMemoryError) or any(word in str(err).lower() for word in words)
    return mine or short_of_memory(err.__cause__ or err.__context__)


# --- the loop --------------------------------------------------------------------------------------------------------


@dataclass
class Training:
    """All that takes part in the loop.

    Attributes:
        step: made at the first step, and again when the batch had to be halved.
        rollbacks: how often a loss was no number.
        show: see `run`.
    """

    settings: TrainSettings
    group: Group
    nets: Nets
    material: Material
    schedule: Schedule
    show: Show | None = None
    step: Step | None = None
    rollbacks: int = 0

    @property
    def progress(self) -> Progress:
        return self.schedule.progress

    def train(self) -> None:
        """Step until images or time are used up; look, save and show in between."""
        saved = sheeted = shown = time.monotonic()
        pause = 0.0  # from one showing to the next
        with logging_redirect_tqdm(), Bar(self) as bar:
            while self.schedule.part < 1:
                self.nets.set_pace(self.schedule.part)
                losses = self.attempt()
                if losses is None:
                    self.halve()
                    continue
                if not self.schedule.stepped(self.material.batches.batch * self.group.size):
                    continue
                good = self.look(losses)
                if not good:
                    self.roll_back()
                    continue
                if not self.group.first:
                    continue
                bar.update()
                now = time.monotonic()
                if now - saved > self.settings.save_seconds:
                    self.save()
                    saved = time.monotonic()
                if now - sheeted > self.settings.sheet_seconds:
                    write_sheet(self)
                    sheeted = time.monotonic()
                if self.show is not None and now - shown > pause:
                    self.show(self.material.sheet.picture(self.nets.average, self.settings.seed))
                    shown = time.monotonic()
                    pause = max(1.0, 50 * (shown - now))  # at most 2 % of the time
        if self.group.first:
            self.save()

    def attempt(self) -> Losses | None:
        """One step; None where it doesn't fit the memory."""
        try:
            if self.step is None:
                self.step = prepare(self.settings, self.nets, self.material.batches, self.group)
            return self.step()
        except RuntimeError as err:
            if not short_of_memory(err):
                raise
            if not self.group.alone:  # the others would wait for this one for ever
                raise TrainError("a GPU's memory is too small for this batch: give a smaller --batch") from err
            return None

    def halve(self) -> None:
        """Half the batch, from the last checkpoint on: a step that failed halfway may have moved one of the nets."""
        batches = self.material.batches
        batch = batches.batch // 2
        if batch < LEAST:
            raise TrainError(
                f"the memory is too small for a batch of {batches.batch}: take a smaller --size or --resolution"
            )
        self.step = None
        for optimiser in self.nets.optimisers:
            optimiser.zero_grad(set_to_none=True)
        if self.nets.device.type == "cuda":
            torch.cuda.empty_cache()
        good = go_back(self.settings, self.nets, self.group)
        log.warning("the memory is too small for a batch of %d: going on with %d", batches.batch, batch)
        self.material.batches = make_batches(self.settings, batches.world, batches.foreign, batch)
        self.material.summary["batch"] = batch
        self.schedule.go_back(good)

    def look(self, losses: Losses) -> bool:
        """Note the losses; False if one of them, or a weight, is no number, here or elsewhere in the group."""
        values = {name: float(value.detach()) for name, value in losses.items()}
        broken = not all(math.isfinite(value) for value in values.values()) or not self.nets.finite()
        anywhere, now = self.group.agree(broken, self.schedule.clock() * self.group.first)
        self.schedule.looked(now)
        if anywhere:
            return False
        self.progress.losses |= values
        return True

    def roll_back(self) -> None:
        """Back to the last checkpoint, on with other pictures; the time is spent all the same, so that this ends."""
        self.rollbacks += 1
        if self.rollbacks > GIVE_UP:
            raise TrainError(
                f"the losses ran away {self.rollbacks} times: try other pictures, another seed or a larger batch"
            )
        images = self.progress.images
        good = go_back(self.settings, self.nets, self.group)
        log.warning("a loss or a weight was no number after %d images: back to %d", images, good.images)
        self.schedule.go_back(good)
        torch.manual_seed(self.settings.seed + 1000 * self.rollbacks + 1_000_003 * self.group.rank)

    def save(self) -> None:
        checkpoint.save(self.settings.checkpoint, self.nets, self.progress, self.settings.identity())


def write_sheet(training: Training) -> None:
    settings = training.settings
    path = settings.workshop / f"sheet-{training.progress.images:08d}.jpg"
    try:
        training.material.sheet.write(path, training.nets.average, settings.seed)
    except OSError as err:  # a full disk must not end the training
        log.warning("can't write the contact sheet %s: %s", path, err)


class Bar:
    """The progress bar: part done, time left, images, images/s and losses. Slow devices are told how slow they are."""

    FORM = "{desc} {percentage:3.0f}%|{bar:20}| {elapsed}<{remaining}{postfix}"

    def __init__(self, training: Training) -> None:
        self.training = training
        self.told = training.group.device.type == "cuda"
        self.bar = tqdm(
            total=1.0,
            initial=min(training.schedule.part, 1.0),
            desc=training.settings.name,
            bar_format=self.FORM,
            disable=not training.group.first,
        )

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def update(self) -> None:
        progress, schedule = self.training.progress, self.training.schedule
        losses = " ".join(f"{name} {value:.3f}" for name, value in progress.losses.items())
        self.bar.set_postfix_str(f"{progress.images} images, {schedule.rate:.3g}/s, {losses}", refresh=False)
        self.bar.update(min(schedule.part, 1.0) - self.bar.n)
        if not self.told and schedule.rate and schedule.steps >= 3:
            self.told = True
            log.info("%s", slowly(self.training.group.device.type, schedule.rate, self.training.settings.seconds))


def slowly(device: str, rate: float, seconds: float | None) -> str:
    """What to expect of training at `rate` images a second on a device that is no NVIDIA GPU."""
    inside = "" if seconds is None else f", {round(rate * seconds):,} in {seconds / 60:g} minutes"
    hours = ENOUGH / max(rate, 1e-9) / 3600
    return (
        f"training on {device}: {rate:.2g} images a second{inside}; a world worth showing takes some {ENOUGH:,}, "
        f"here {hours:.0f} hours, on an NVIDIA GPU minutes"
    )


# --- after -----------------------------------------------------------------------------------------------------------


def finish(training: Training) -> Path:
    """Write the averaged generator as a world, its last contact sheet beside it, and drop the checkpoint.

    Raises:
        TrainError: the world can't be written; the training can be resumed.
    """
    settings, nets, progress = training.settings, training.nets, training.progress
    device = torch.cuda.get_device_name(nets.device) if nets.device.type == "cuda" else nets.device.type
    summary = {
        **training.material.summary,
        "recipe": settings.recipe,
        "from": settings.start or "",
        "images": progress.images,
        "minutes": round(training.schedule.clock() / 60, 2),
        "device": device,
        "torch": torch.__version__,
        "date": datetime.date.today().isoformat(),
        "losses": {name: round(value, 4) for name, value in progress.losses.items()},
    }
    card = dataclasses.replace(draft_card(settings), training=summary, sources=training.material.sources)
    write_sheet(training)
    try:
        store.save(settings.world, nets.average, card, RECIPES[settings.recipe].stored)
    except ModelError as err:
        raise TrainError(f"the world can't be stored, --resume tries again: {err}") from err
    settings.checkpoint.unlink()
    rate, seconds = training.schedule.rate, training.schedule.clock()
    log.info("wrote %s: %d images in %.0f s (%.3g/s once it ran)", settings.world, progress.images, seconds, rate)
    return settings.world


__all__ = ["LOOK", "Training", "prepare", "run"]
