"""The command line: `l2s VERB …`. Each verb imports its own wing, so that none waits for another's libraries."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from l2s_node import __version__
from l2s_node.config import DEVICES, ENGINES, ON_LOSS, load
from l2s_node.errors import ConfigError, L2SError
from l2s_node.params import SIZES


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code. What goes wrong on purpose is one sentence on standard error."""
    args = parser().parse_args(argv)
    logging.basicConfig(format="l2s: %(message)s", level=logging.DEBUG if args.verbose else logging.INFO)
    try:
        verb: Callable[[argparse.Namespace], int] = args.verb
        return verb(args)
    except L2SError as err:
        print(f"l2s: {err}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def parser() -> argparse.ArgumentParser:
    """All verbs and options."""
    top = argparse.ArgumentParser(prog="l2s", description='A real-time "learning to see" instrument.')
    top.add_argument("--version", action="version", version=f"l2s {__version__}")
    top.add_argument("-v", "--verbose", action="store_true", help="say more in the log")
    verbs = top.add_subparsers(required=True, metavar="VERB")
    for add in (_add_run, _add_list, _add_doctor, _add_apply, _add_bench, _add_train):
        add(verbs)
    return top


Verbs = "argparse._SubParsersAction[argparse.ArgumentParser]"


def _add_run(verbs: Verbs) -> None:  # type: ignore[valid-type]
    p = _verb(verbs, "run", _run, "play: video in, a world out, until Ctrl-C")
    p.add_argument("--in", dest="source", metavar="URI", help="ndi:NAME, camera:0, file:PATH, pattern:, null:")
    p.add_argument("--out", dest="sinks", metavar="URI", action="append", help="ndi:NAME, file:out.mp4, null: (repeat)")
    p.add_argument("--world", metavar="NAME", help="which world plays")
    p.add_argument("--size", choices=SIZES, help="which size of it")
    p.add_argument("--name", help="the node's name: NDI sender, OSC prefix (l2s)")
    p.add_argument("--fps", metavar="auto|N", help="frames a second going out (auto: as they come in)")
    p.add_argument("--output-size", metavar="WxH|same", help="size going out (same: as it comes in)")
    p.add_argument("--canvas", metavar="auto|WxH", help="size the generator works on (auto: 256 on the short side)")
    p.add_argument("--device", choices=DEVICES)
    p.add_argument("--engine", choices=ENGINES)
    p.add_argument("--osc", metavar="PORT", help="UDP port of OSC (7400; 0 for none)")
    p.add_argument("--osc-feedback", metavar="HOST:PORT", help="where state goes to (127.0.0.1, OSC port + 1)")
    p.add_argument("--panel", metavar="PORT", help="port of the panel (7480; 0 for none)")
    p.add_argument("--lan", action="store_true", default=None, help="let OSC and the panel listen beyond loopback")
    p.add_argument("--preset", metavar="NAME", help="knobs to start with")
    p.add_argument("--set", metavar="KNOB=VALUE", action="append", default=[], help="a knob to start with (repeat)")
    p.add_argument("--on-loss", choices=ON_LOSS, help="what is shown while there is no source (hold)")
    p.add_argument("--config", metavar="show.toml", type=Path, help="all of this in a file")
    p.add_argument("--seconds", metavar="N", help="stop after so long")
    p.add_argument("--frames", metavar="N", help="stop after so many frames")
    p.add_argument("--summary", metavar="FILE", help="write the run's numbers as flat JSON")


def _add_list(verbs: Verbs) -> None:  # type: ignore[valid-type]
    p = _verb(verbs, "list", _list, "sources, sinks, worlds, engines, devices: what is here, and why not")
    p.add_argument("what", nargs="?", choices=("sources", "sinks", "worlds", "engines", "devices", "knobs"))


def _add_doctor(verbs: Verbs) -> None:  # type: ignore[valid-type]
    _verb(verbs, "doctor", _doctor, "check everything that a show needs, a line each")


def _add_apply(verbs: Verbs) -> None:  # type: ignore[valid-type]
    p = _verb(verbs, "apply", _apply, "the same way for pictures, videos and folders of them")
    p.add_argument("world", help="a world's name, or a .safetensors file")
    p.add_argument("inputs", nargs="+", type=Path, metavar="PICTURE|VIDEO|FOLDER")
    p.add_argument("--out", type=Path, required=True, metavar="DIR")
    p.add_argument("--size", choices=SIZES, default="small")
    p.add_argument("--canvas", metavar="auto|WxH")
    p.add_argument("--device", choices=DEVICES, default="auto")
    p.add_argument("--engine", choices=ENGINES, default="auto")
    p.add_argument("--preset", metavar="NAME")
    p.add_argument("--set", metavar="KNOB=VALUE", action="append", default=[])
    p.add_argument("--raw", action="store_true", help="inputs are .npy (n, h, w, c) in [-1, 1], straight through")


def _add_bench(verbs: Verbs) -> None:  # type: ignore[valid-type]
    p = _verb(verbs, "bench", _bench, "measure this machine, each number beside its baseline in the same run")
    p.add_argument("what", nargs="?", default="all", choices=("all", "step", "generator", "show", "memory"))
    p.add_argument("--seconds", type=float, default=10.0, help="of each live run")
    p.add_argument("--json", type=Path, metavar="FILE", help="keep the numbers")


def _add_train(verbs: Verbs) -> None:  # type: ignore[valid-type]
    p = _verb(verbs, "train", _train, "make a world from a folder of pictures or a video")
    p.add_argument("inputs", nargs="+", type=Path, metavar="FOLDER|VIDEO")
    p.add_argument("--name", required=True, help="the world's name")
    p.add_argument("--size", choices=SIZES, default="small")


def _verb(
    verbs: Verbs,  # type: ignore[valid-type]
    name: str,
    run: Callable[[argparse.Namespace], int],
    help: str,
) -> argparse.ArgumentParser:
    p: argparse.ArgumentParser = verbs.add_parser(name, help=help, description=help)  # type: ignore[attr-defined]
    p.set_defaults(verb=run)
    return p


# --- verbs -----------------------------------------------------------------------------------------------------------

RUN_FLAGS = ("verb", "verbose", "config", "set")


def _run(args: argparse.Namespace) -> int:
    from l2s_node.node import Node

    given = {key: value for key, value in vars(args).items() if key not in RUN_FLAGS}
    config = load(args.config, {**given, "knobs": knobs(args.set) or None})
    summary = Node(config).run()
    if config.summary:
        _write(config.summary, json.dumps(summary, indent=2) + "\n")
    return 0


def _list(args: argparse.Namespace) -> int:
    from l2s_node.doctor import listing

    for line in listing(args.what):
        print(line)
    return 0


def _doctor(args: argparse.Namespace) -> int:
    from l2s_node.doctor import examine

    healthy = True
    for check in examine():
        print(check.line())
        healthy = healthy and check.good
    return 0 if healthy else 1


def _apply(args: argparse.Namespace) -> int:
    from l2s_node.apply import apply, apply_raw

    settings = load(
        None,
        {
            "source": "null:",
            "world": args.world,
            "size": args.size,
            "canvas": args.canvas,
            "device": args.device,
            "engine": args.engine,
            "preset": args.preset,
            "knobs": knobs(args.set) or None,
        },
    )
    written = apply_raw(settings, args.inputs, args.out) if args.raw else apply(settings, args.inputs, args.out)
    for path in written:
        print(path)
    return 0


def _bench(args: argparse.Namespace) -> int:
    from l2s_node.bench import bench

    table = bench(args.what, args.seconds)
    print(table.text())
    if args.json:
        _write(args.json, table.json())
    return 0


def _train(args: argparse.Namespace) -> int:
    raise NotImplementedError


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
