"""The training loop: `run(settings)` reads the pictures, trains, and leaves a world that `l2s run` plays."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import importlib.util
import logging
import math
import time
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
from l2s_node.train import checkpoint, pictures
from l2s_node.train.checkpoint import Progress
from l2s_node.train.data import Album, Batches
from l2s_node.train.nets import Losses, Nets, capture
from l2s_node.train.recipes import RECIPES
from l2s_node.train.settings import TrainSettings, check, choose_device, draft_card
from l2s_node.train.sheet import Sheet

LOOK = 25
"""Steps between looks at the losses; each makes the host wait for the device. Odd: losses that take turns both show."""

GIVE_UP = 5
"""Rollbacks after which a training counts as lost."""

Step = Callable[[], Losses]
"""One step of both nets and of the average."""

log = logging.getLogger(__name__)


def run(settings: TrainSettings) -> Path:
    """Train and write the world; returns its path.

    Raises:
        TrainError: the settings can't be, there are too few pictures, nothing to resume, too little memory, or the
            losses keep running away. What was trained until then can be resumed.
    """
    check(settings)
    device = choose_device(settings.device)
    torch.manual_seed(settings.seed)
    torch.backends.cudnn.benchmark = device.type == "cuda"
    recipe = RECIPES[settings.recipe]
    nets = Nets(store.instantiate(draft_card(settings)), recipe.critic(), recipe.rates, device)
    try:
        material = read(settings, device)
        step = prepare(settings, nets, material.batches)
        progress = begin(settings, nets)
        train(settings, nets, material, step, progress)
    except torch.OutOfMemoryError as err:
        raise TrainError("the device's memory is too small for this batch: give a smaller --batch") from err
    return finish(settings, nets, material, progress)


# --- before ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Material:
    """What is learned from and looked at, and what the card says of it."""

    batches: Batches
    sheet: Sheet
    summary: dict[str, Any]
    sources: str


def read(settings: TrainSettings, device: torch.device) -> Material:
    """Read all pictures and put them on the device."""
    side = settings.resolution * 5 // 4
    gathered = pictures.gather_world(settings.pictures, side, settings.frames, settings.seed)
    clip = [path for path in (config.demo_clip(),) if path.exists()]
    strange = pictures.gather([*settings.foreign, *clip], settings.resolution, frames=64, hold=0.0)
    foreign = Album(strange.train, device)
    batch = settings.batch or (32 if device.type == "cuda" else 4)
    own = math.ceil(batch * RECIPES[settings.recipe].own)
    summary = {
        "pictures": len(gathered.train),
        "held_back": len(gathered.held),
        "skipped": len(gathered.skipped),
        "foreign": len(strange.train),
        "batch": batch,
    }
    log.info("pictures: %s", ", ".join(f"{key} {value}" for key, value in summary.items()))
    return Material(
        Batches(Album(gathered.train, device), foreign, settings.resolution, batch, own),
        Sheet(Album(gathered.held, device), foreign, settings.resolution),
        summary,
        pictures.sources_text(settings.pictures, len(gathered.train) + len(gathered.held)),
    )


def prepare(settings: TrainSettings, nets: Nets, batches: Batches) -> Step:
    """The step, as CUDA graphs where there is CUDA; nets and random numbers stay as they were."""
    recipe = RECIPES[settings.recipe]

    def take(turn: int) -> Losses:
        return recipe.step(nets, batches.draw(), turn)

    turns: list[Step] = [functools.partial(take, turn) for turn in (0, 1)]
    if nets.device.type == "cuda":
        started = time.monotonic()
        log.info("compiling for %s", torch.cuda.get_device_name(nets.device))
        with torch.random.fork_rng([nets.device]), nets.unchanged():
            compile_nets(nets, turns)
            turns = [capture(turn) for turn in turns]
        log.info("compiled in %.0f s, which don't count as training", time.monotonic() - started)

    def step() -> Losses:
        losses = turns[nets.steps % 2]()
        nets.follow()
        return losses

    return step


def compile_nets(nets: Nets, turns: list[Step]) -> None:
    """Compile what `turns` call if this machine can; training without is a few times slower, and else the same."""
    if importlib.util.find_spec("triton") is None:
        log.warning("training is not compiled: this PyTorch has no Triton")
        return
    from torch._dynamo.exc import TorchDynamoException  # takes seconds to import

    nets.compile()
    try:
        for turn in turns:
            turn()
    except TorchDynamoException as err:
        log.warning("training is not compiled: %s", str(err).strip().splitlines()[0])
        nets.compile(False)


def begin(settings: TrainSettings, nets: Nets) -> Progress:
    """The progress of the training to resume, or a first checkpoint, so that there is always one to go back to."""
    if settings.resume:
        progress = checkpoint.load(settings.checkpoint, nets, settings.identity())
        log.info("going on after %d images and %.0f s", progress.images, progress.seconds)
        return progress
    try:
        settings.workshop.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise TrainError(f"can't make the folder {settings.workshop}: {err.strerror or err}") from err
    checkpoint.save(settings.checkpoint, nets, Progress(), settings.identity())
    return Progress()


# --- the loop --------------------------------------------------------------------------------------------------------


def train(settings: TrainSettings, nets: Nets, material: Material, step: Step, progress: Progress) -> None:
    """Step until images or time are used up; checkpoints and contact sheets in between, outside the counted time.

    A loss that is no number rolls back to the last checkpoint, and other pictures are drawn from there.
    """
    saved = sheeted = now = time.monotonic()
    rollbacks = 0
    with logging_redirect_tqdm(), Bar(settings, progress) as bar:
        while (part := settings.part(progress.images, progress.seconds)) < 1:
            nets.set_pace(part)
            losses = step()
            progress.images += material.batches.batch
            before, now = now, time.monotonic()
            progress.seconds += now - before
            if nets.steps % LOOK and settings.part(progress.images, progress.seconds) < 1:
                continue
            if not look(losses, nets, progress):
                rollbacks += 1
                roll_back(settings, nets, progress, rollbacks)
                continue
            bar.show(progress)
            if now - saved > settings.save_seconds:
                checkpoint.save(settings.checkpoint, nets, progress, settings.identity())
                saved = now = time.monotonic()  # saving and looking don't count
            if now - sheeted > settings.sheet_seconds:
                write_sheet(settings, nets, material.sheet, progress)
                sheeted = now = time.monotonic()
    checkpoint.save(settings.checkpoint, nets, progress, settings.identity())


def look(losses: Losses, nets: Nets, progress: Progress) -> bool:
    """Note the losses in `progress`; False if one of them, or a weight, is no number."""
    values = {name: float(value.detach()) for name, value in losses.items()}
    if not all(math.isfinite(value) for value in values.values()) or not nets.finite():
        return False
    progress.losses |= values
    return True


def roll_back(settings: TrainSettings, nets: Nets, progress: Progress, count: int) -> None:
    """Back to the last checkpoint; the time is spent all the same, so that this ends."""
    if count > GIVE_UP:
        raise TrainError(f"the losses ran away {count} times: try other pictures, another seed or a larger batch")
    good = checkpoint.load(settings.checkpoint, nets, settings.identity())
    log.warning("a loss or a weight was no number after %d images: back to %d", progress.images, good.images)
    progress.images, progress.losses = good.images, good.losses
    torch.manual_seed(settings.seed + 1000 * count)


def write_sheet(settings: TrainSettings, nets: Nets, sheet: Sheet, progress: Progress) -> None:
    path = settings.workshop / f"sheet-{progress.images:08d}.jpg"
    try:
        sheet.write(path, nets.average, settings.seed)
    except OSError as err:  # a full disk must not end the training
        log.warning("can't write the contact sheet %s: %s", path, err)


class Bar:
    """The progress bar: part done, time left, images, images/s and losses."""

    def __init__(self, settings: TrainSettings, progress: Progress) -> None:
        self.settings = settings
        self.images, self.seconds = progress.images, progress.seconds
        done = settings.part(progress.images, progress.seconds)
        form = "{desc} {percentage:3.0f}%|{bar:20}| {elapsed}<{remaining}{postfix}"
        self.bar = tqdm(total=1.0, initial=min(done, 1.0), desc=settings.name, bar_format=form)

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def show(self, progress: Progress) -> None:
        rate = (progress.images - self.images) / max(progress.seconds - self.seconds, 1e-9)
        losses = " ".join(f"{name} {value:.3f}" for name, value in progress.losses.items())
        self.bar.set_postfix_str(f"{progress.images} images, {rate:.0f}/s, {losses}", refresh=False)
        self.bar.update(min(self.settings.part(progress.images, progress.seconds), 1.0) - self.bar.n)


# --- after -----------------------------------------------------------------------------------------------------------


def finish(settings: TrainSettings, nets: Nets, material: Material, progress: Progress) -> Path:
    """Write the averaged generator as a world, its last contact sheet beside it, and drop the checkpoint.

    Raises:
        TrainError: the world can't be written; the training can be resumed.
    """
    device = torch.cuda.get_device_name(nets.device) if nets.device.type == "cuda" else nets.device.type
    training = {
        **material.summary,
        "recipe": settings.recipe,
        "images": progress.images,
        "minutes": round(progress.seconds / 60, 2),
        "device": device,
        "torch": torch.__version__,
        "date": datetime.date.today().isoformat(),
        "losses": {name: round(value, 4) for name, value in progress.losses.items()},
    }
    card = dataclasses.replace(draft_card(settings), training=training, sources=material.sources)
    write_sheet(settings, nets, material.sheet, progress)
    try:
        store.save(settings.world, nets.average, card)
    except ModelError as err:
        raise TrainError(f"the world can't be stored, --resume tries again: {err}") from err
    settings.checkpoint.unlink()
    rate = progress.images / max(progress.seconds, 1e-9)
    log.info("wrote %s: %d images in %.0f s (%.0f/s)", settings.world, progress.images, progress.seconds, rate)
    return settings.world
