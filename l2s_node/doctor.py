"""Doctor: whether what is here does for a show. Everything is tried, nothing is assumed.

What needs torch imports it in its own function, so that a machine without it gets its lines all the same.
"""

from __future__ import annotations

import os
import platform
import shutil
import socket
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import psutil

from l2s_node import config, texture, video
from l2s_node.config import RunConfig, preset_folders, worlds_folders
from l2s_node.control.presets import Presets
from l2s_node.errors import L2SError, ModelError
from l2s_node.frame import Frame, PixelFormat, blank
from l2s_node.loader import Loaded, Request, load, prepare
from l2s_node.machine import processor
from l2s_node.models.worlds import World, worlds
from l2s_node.packages import packages_wanted, python_wanted, within
from l2s_node.params import Params
from l2s_node.picture.looks import Library
from l2s_node.stage import world_names
from l2s_node.video.base import SYSTEM, Options

if TYPE_CHECKING:
    import torch

WANTED = {"ndi": True, "file": True, "camera": False}
"""Rooms that a show needs (True) or that are good to have; the others are ours alone or for other systems."""
PATIENCE = 3.0
"""Seconds for an NDI sender to be found by name: it takes 0.1 to 1 s where discovery works."""
UNFOUND = (
    "a sender here isn't found by its name: on Linux sudo apt install avahi-daemon (or list hosts in NDI's "
    "ndi-config.v1.json, or use ndi:@HOST:PORT), elsewhere let the firewall pass UDP 5353 and TCP from 5960"
)
PICTURE = (1280, 720)
"""What the world is tried on."""
ROOM_GB = (1.0, 10.0)
"""Free disk space without which a recording is in danger, and with which it isn't: an hour of 720p takes 2 to 5 GB."""


@dataclass(frozen=True, slots=True)
class Check:
    """What was looked at, and what was seen.

    Attributes:
        name: a word or two.
        good: a show can do with it.
        text: what was seen; where it isn't as it should be, the remedy as well.
        advice: good enough, and yet there is something to know.
    """

    name: str
    good: bool
    text: str
    advice: bool = False

    def line(self) -> str:
        mark = "FAIL" if not self.good else "note" if self.advice else "ok"
        return f"{mark:<5} {self.name:<14} {self.text}"


def examine() -> Iterator[Check]:
    """Try everything that a show needs, one after the other; takes some ten seconds."""
    looks: dict[str, Callable[[], Iterator[Check]]] = {
        "python": _python,
        "processor": _processor,
        "clock": _clock,
        "rooms": _rooms,
        "ndi": _ndi,
        "recording": _recording,
        "disk": _disk,
        "osc": _ports,
        "presets": _presets,
        "looks": _looks,
        "engines": _engines,
        "worlds": _worlds,
        "show": _show,
    }
    for name, look in looks.items():
        try:
            yield from look()
        except (L2SError, ImportError) as err:
            yield Check(name, False, str(err))


def _python() -> Iterator[Check]:
    """This Python, and every package, against what the installed l2s-node asks for."""
    version, wanted = platform.python_version(), python_wanted()
    if wanted is None:
        text = "versions aren't known to fit, since l2s-node isn't installed but only lies here: python3 start.py"
        yield Check("python", True, f"{version}; {text}", advice=True)
        return
    fits = within(version, wanted)
    yield Check(
        "python", fits, version + ("" if fits else f", but l2s-node needs {wanted}: python3 start.py finds one")
    )
    seen = []
    for package in packages_wanted():
        remedy = f"pip install '{package.name}{package.wanted}'"
        if package.system not in ("", SYSTEM):
            continue
        if package.version is None:
            yield Check("package", package.depends, f"{package.name} isn't installed: {remedy}", advice=True)
        elif not within(package.version, package.wanted):
            yield Check("package", False, f"{package.name} is {package.version}, not {package.wanted}: {remedy}")
        else:
            seen.append(f"{package.name} {package.version}")
    yield Check("packages", True, ", ".join(seen))


def _processor() -> Iterator[Check]:
    free = psutil.virtual_memory().available / 1e9
    yield Check("processor", True, f"{processor()}, {psutil.cpu_count()} cores")
    text = f"{free:.1f} GB free" + ("" if free > 2 else ": a show with a large world takes 2")
    yield Check("memory", True, text, advice=free <= 2)


def _engines() -> Iterator[Check]:
    import torch

    from l2s_node.models import engines

    device, reason = engines.pick_device()
    if device.type == "cpu":
        text = "none that torch can use: worlds play on the processor, for which small ones are made"
        yield Check("gpu", True, text, advice=True)
    else:
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor()
        yield Check("gpu", True, f"{device.type}, {name} ({reason})")
    for engine, why_not in engines.survey():
        yield Check("engine", True, f"{engine}: {why_not or 'can be used'}", advice=why_not is not None)


def _clock() -> Iterator[Check]:
    """How late a short sleep ends: pictures go out that much late."""
    late = []
    for _ in range(40):
        start = time.monotonic()
        time.sleep(0.005)
        late.append((time.monotonic() - start - 0.005) * 1e3)
    worst = statistics.quantiles(late, n=10)[-1]
    yield Check("clock", True, f"a sleep of 5 ms ends {statistics.median(late):.2f} ms late, one in ten {worst:.2f} ms"
                + ("" if worst < 3 else ": something else keeps this machine busy"), advice=worst >= 3)  # fmt: skip


def _rooms() -> Iterator[Check]:
    """Each room's own word, and what it lists."""
    sources, sinks = video.survey(), video.survey_sinks()
    for scheme in video.schemes():
        mine, taking = ([row for row in rows if row[0].startswith(f"{scheme}:")] for rows in (sources, sinks))
        mine = taking if mine[0][1] else mine  # some rooms only take pictures
        reason = mine[0][1]
        uris = [uri for uri, _ in mine if uri != f"{scheme}:"]
        text = reason or (f"sees {', '.join(uris)}" if uris else "can be used")
        needed = WANTED.get(scheme, False)
        yield Check(f"{scheme}:", reason is None or not needed, text, advice=reason is not None)


def _ndi() -> Iterator[Check]:
    """A sender that this very process finds by its name, and a picture through it."""
    name = f"l2s doctor {os.getpid()}"
    with ExitStack() as stack:
        sink = stack.enter_context(closing(video.open_sink(f"ndi:{name}", Options())))
        source = stack.enter_context(closing(video.open_source(f"ndi:{name}", Options())))
        sent, start, seen = _grey(), time.monotonic(), None
        while seen is None and time.monotonic() - start < PATIENCE:
            sink.write(sent)
            seen = source.read(1 / 30)
        seconds = time.monotonic() - start
    if seen is None:
        yield Check("ndi by name", False, UNFOUND)
        return
    same = seen.size == sent.size and abs(float(seen.planes[0].mean()) - float(sent.planes[0].mean())) < 4
    yield Check("ndi by name", same, f"sent to itself and found within {seconds:.1f} s" + (
        "" if same else f", but what came is another picture ({seen})"))  # fmt: skip


def _grey(number: int = 0) -> Frame:
    planes = blank(PixelFormat.UYVY, *PICTURE)
    planes[0][:, 1::2] = 90 + 8 * number
    return Frame(planes, PixelFormat.UYVY, *PICTURE, seconds=number / 30, number=number)


def _recording() -> Iterator[Check]:
    """Ten pictures recorded and played back: PyAV's FFmpeg has its H.264 encoder and decoder."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "doctor.mp4"
        with closing(video.open_sink(f"file:{target}?wait", Options())) as sink:
            for number in range(10):
                sink.write(_grey(number))
        count = 0
        with closing(video.open_source(f"file:{target}?once&unpaced", Options())) as source:
            while source.state != "ended":
                count += source.read(0.0) is not None
    yield Check("recording", count == 10, f"{count} of 10 pictures encoded as H.264 came back" + (
        "" if count == 10 else ": pip install --force-reinstall av"))  # fmt: skip


def _disk() -> Iterator[Check]:
    here = Path.cwd()
    free = shutil.disk_usage(here).free / 1e9
    text = f"{free:.1f} GB free for recordings into {here}; an hour of 720p takes 2 to 5"
    yield Check("disk", free >= ROOM_GB[0], text, advice=free < ROOM_GB[1])


def _ports() -> Iterator[Check]:
    settings = RunConfig("null:", ())
    for name, protocol, port in (("osc", "UDP", settings.osc), ("panel", "TCP", settings.panel)):
        try:
            _listen(protocol, port)
        except OSError as err:
            why = err.strerror or err
            yield Check(name, False, f"{protocol} port {port}: {why} (a node that runs? else take --{name} PORT)")
        else:
            yield Check(name, True, f"{protocol} port {port} is free")


def _listen(protocol: str, port: int) -> None:
    """Listen for a moment, as the node itself would."""
    if protocol == "TCP":
        socket.create_server(("127.0.0.1", port)).close()
        return
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", port))


def _presets() -> Iterator[Check]:
    presets = Presets(preset_folders(), world_names, Library(config.looks_folders(), quiet=True).knobs)
    names = presets.names()
    for name in names:
        try:
            presets.read(name)
        except L2SError as err:
            yield Check("preset", False, str(err))
    yield Check("presets", True, ", ".join(names) or "none")


def _looks() -> Iterator[Check]:
    """Every look's file, and whether something here can draw it."""
    library = Library(config.looks_folders(), quiet=True)
    for reason in library.broken.values():
        yield Check("look", False, reason)
    names, lacking = ", ".join(library.looks) or "none", texture.missing()
    yield Check("looks", True, f"{names}; can't be drawn here: {lacking}" if lacking else names, advice=bool(lacking))


def _worlds() -> Iterator[Check]:
    """Every world: readable, unchanged since it was written, trained on what this node conditions."""
    found = worlds(worlds_folders())
    for world in found:
        yield _world(world)
    if not found:
        yield Check("worlds", False, f"there are none: l2s train, or put one into {config.home() / 'worlds'}")


def _world(world: World) -> Check:
    from l2s_node.models import store
    from l2s_node.picture import condition

    name = f"{world.name}/{world.size}"
    try:
        generator, card = store.load(world.path)
        condition.check(card.condition)
    except ModelError as err:
        return Check("world", False, f"{name}: {err}")
    count = sum(p.numel() for p in generator.parameters()) / 1e6
    text = f"{name}: {card.architecture}, {count:.1f} million parameters, hash and conditioning as they should be"
    return Check("world", True, text)


def _show() -> Iterator[Check]:
    """The world that a run starts with (or the first there is), played on the fastest engine here."""
    found = worlds(worlds_folders())
    if not found:
        return
    start, settings = Params(), RunConfig("null:", ())
    world = next((w for w in found if (w.name, w.size) == (start.world, start.size)), found[0])
    device, _ = prepare(settings)
    *slower, loaded = load(Request(world.name, world.size, PICTURE), settings, device)
    try:
        ms = statistics.median(_steps(loaded, device, start))
    finally:
        for each in [*slower, loaded]:
            each.close()
    text = f"{world.name}/{world.size} on {loaded.engine}: {ms:.1f} ms a picture at {PICTURE[0]}x{PICTURE[1]}"
    slow = ms >= 1e3 / 30
    yield Check("show", True, text + (", too slow for 30 a second" if slow else ""), advice=slow)


def _steps(loaded: Loaded, device: torch.device, params: Params) -> list[float]:
    """Milliseconds from picture to picture, sample to compose, after some to warm up."""
    from l2s_node.cuda.graph import create

    pipeline = create(device)
    pipeline.use(loaded.player, 0.0)
    frames = [replace(_grey(), planes=(_noise(seed),)) for seed in range(4)]
    times = []
    for number in range(40):
        begin = time.perf_counter()
        pipeline.step(frames[number % 4], params, number / 30)
        times.append((time.perf_counter() - begin) * 1e3)
        pipeline.settle()
    pipeline.close()
    return times[10:]


def _noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(16, 235, (PICTURE[1], 2 * PICTURE[0]), np.uint8)
