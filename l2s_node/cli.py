"""The command line: `l2s VERB …`. Each verb imports its own wing, so that none waits for another's libraries."""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from l2s_node.config import home, load, looks_folders
from l2s_node.errors import ConfigError, L2SError
from l2s_node.options import BENCHES, parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code.

    0: done; 1: `doctor` found something amiss; 2: the command line or the machine doesn't allow it, which is said in
    one sentence on standard error; 130: Ctrl-C.
    """
    args = parser().parse_args(argv)
    logging.basicConfig(format="l2s: %(message)s", level=logging.WARNING)  # libraries speak up when it matters
    logging.getLogger("l2s_node").setLevel(logging.DEBUG if args.verbose else logging.INFO)
    try:
        return VERBS[args.verb](args)
    except L2SError as err:
        print(f"l2s: {err}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as err:
        print(f"l2s: the Python package {err.name!r} is missing: install l2s-node again", file=sys.stderr)
        return 2
    except BrokenPipeError:  # l2s list | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 2
    except KeyboardInterrupt:
        return 130


_say = functools.partial(print, flush=True)


def _run(args: argparse.Namespace) -> int:
    from l2s_node.node import Node
    from l2s_node.trace import tracing

    config = load(args.config, {**_given(args, "config", "set", "trace"), "knobs": knobs(args.set) or None})
    if config.summary and not config.summary.absolute().parent.is_dir():
        raise ConfigError(f"can't write {config.summary}: there is no folder {config.summary.absolute().parent}")
    with tracing(args.trace):
        summary = Node(config, _say).run()
    if config.summary:
        _write(config.summary, json.dumps(summary, indent=2) + "\n")
    return 0


def _list(args: argparse.Namespace) -> int:
    from l2s_node.listing import listing

    for line in listing(args.what):
        _say(line)
    return 0


def _doctor(args: argparse.Namespace) -> int:
    from l2s_node.doctor import examine
    from l2s_node.lan import examine_lan
    from l2s_node.rooms import examine_rooms

    logging.getLogger("l2s_node").setLevel(logging.ERROR)  # what is amiss is in the lines
    healthy = True
    for check in examine_rooms() if args.rooms else examine_lan() if args.lan else examine():
        _say(check.line())
        healthy = healthy and check.good
    return 0 if healthy else 1


def _apply(args: argparse.Namespace) -> int:
    from l2s_node.apply import apply, apply_raw

    if not args.verbose:
        logging.getLogger("l2s_node.video").setLevel(logging.WARNING)  # each file's beginning and end
    if args.raw and args.device is None:
        args.device = "cpu"
    settings = _given(args, "inputs", "out", "raw", "set")
    config = load(None, {**settings, "source": "null:", "knobs": knobs(args.set) or None})
    results = apply_raw(config, args.inputs, args.out) if args.raw else apply(config, args.inputs, args.out)
    for path in results:
        _say(path)
    return 0


def _bench(args: argparse.Namespace) -> int:
    from l2s_node.bench import bench, plot

    logging.getLogger("l2s_node").setLevel(logging.ERROR)  # which engine runs is in the rows
    wanted = args.what or ["all"]
    unknown = [what for what in wanted if what not in (*BENCHES, "all")]
    if unknown:
        raise ConfigError(f"there is no l2s bench {unknown[0]}: there are {', '.join(BENCHES)} and all")
    measured = bench(BENCHES if "all" in wanted else wanted, args.seconds, _say)
    if args.json:
        _write(args.json, json.dumps(measured, indent=2) + "\n")
    if args.plot:
        _write(args.plot, plot(measured))
    return 0


def _build(args: argparse.Namespace) -> int:
    if not args.worlds:
        from l2s_node.listing import listing

        for line in listing("built"):
            _say(line)
        return 0
    from l2s_node.build import build
    from l2s_node.picture.looks import Library
    from l2s_node.picture.rehearse import rehearse

    if not args.verbose:
        logging.getLogger("l2s_node.models.engines").setLevel(logging.ERROR)  # all of it is in the lines
    settings = _given(args, "worlds", "size", "frame", "channels", "no_looks")
    asked = load(None, {**settings, "source": "null:", "output_size": args.frame})
    build(args.worlds, args.size, asked, _say, args.channels)
    if not args.no_looks:
        rehearse(Library(looks_folders(asked.looks)), _say)
    return 0


def _latency(args: argparse.Namespace) -> int:
    from l2s_node.chart import histogram
    from l2s_node.latency import latency

    logging.getLogger("l2s_node").setLevel(logging.WARNING)
    asked = load(None, {"source": args.back, "sinks": args.to, "fps": args.fps, "output_size": args.size,
                        "osc_feedback": args.osc, "name": args.name})  # fmt: skip
    if asked.fps is None or asked.output_size is None:
        raise ConfigError("the pictures that are sent need a rate and a size of their own: --fps 60 --size 1280x720")
    trip = latency(
        asked.sinks[0], asked.source, seconds=args.seconds, fps=asked.fps, size=asked.output_size,
        osc=asked.osc_feedback, name=asked.name, say=_say,
    )  # fmt: skip
    for line in trip.lines():
        _say(line)
    if args.json:
        _write(args.json, json.dumps(trip.as_dict(), indent=2) + "\n")
    if args.plot:
        marks = {f"p{q}": trip.percentile(q) for q in (50, 95, 99)}
        _write(args.plot, histogram(trip.milliseconds, marks, f"Round trip, {trip.way}", "ms"))
    return 0


def _train(args: argparse.Namespace) -> int:
    from l2s_node.preview import Preview

    given = {key: value for key, value in _given(args, "preview").items() if value is not None}
    for key in ("pictures", "foreign"):
        given[key] = tuple(given.get(key, ()))
    first = os.environ.get("RANK", "0") == "0"  # of the processes that train together, see `train.group`
    with contextlib.ExitStack() as stack:
        preview = stack.enter_context(Preview(args.preview)) if args.preview and first else None
        from l2s_node.train.loop import run  # takes seconds, in which the preview is there already
        from l2s_node.train.settings import TrainSettings

        path = run(TrainSettings(**{"out": home() / "worlds", **given}), preview.show if preview else None)
    if first:
        _say(path)
    return 0


def _score(args: argparse.Namespace) -> int:
    from l2s_node.score import Asked, score

    if not args.verbose:
        logging.getLogger("l2s_node.models").setLevel(logging.WARNING)  # which engine each world is timed on
    given: dict[str, Any] = {key: value for key, value in _given(args, "json").items() if value is not None}
    for key in ("worlds", "pictures", "against", "foreign"):
        given[key] = tuple(given[key])
    found = score(Asked(**given), _say)
    if args.json:
        _write(args.json, json.dumps(found, indent=2, ensure_ascii=False) + "\n")
    return 0


def _scenes(args: argparse.Namespace) -> int:
    from l2s_node.train.scenes import Asked, make

    _say(make(Asked(**_given(args)))[-1].parent)
    return 0


def _gallery(args: argparse.Namespace) -> int:
    from l2s_node.gallery import Asked, gallery

    if not args.verbose:
        logging.getLogger("l2s_node.models").setLevel(logging.WARNING)
    given = _given(args)
    for path in gallery(Asked(**{**given, "worlds": tuple(given["worlds"]), "foreign": tuple(given["foreign"])})):
        _say(path)
    return 0


def _given(args: argparse.Namespace, *but: str) -> dict[str, Any]:
    """The options of a verb by name, without those named in `but`."""
    return {key: value for key, value in vars(args).items() if key not in ("verb", "verbose", *but)}


def knobs(pairs: Sequence[str]) -> dict[str, str]:
    """`["detail=10", …]` as a table; values are read by `params.parse_all`.

    Raises:
        ConfigError: one has no "=".
    """
    table = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise ConfigError(f"--set takes KNOB=VALUE, as in detail=10, not {pair!r}")
        table[name.strip()] = value.strip()
    return table


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as err:
        raise ConfigError(f"can't write {path}: {err.strerror or err}") from err


VERBS: dict[str, Callable[[argparse.Namespace], int]] = {
    "run": _run,
    "list": _list,
    "doctor": _doctor,
    "apply": _apply,
    "bench": _bench,
    "latency": _latency,
    "train": _train,
    "score": _score,
    "scenes": _scenes,
    "gallery": _gallery,
    "build": _build,
}
