"""Options: every verb of the command line with what it takes. Nothing but words: `cli` does what they say."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NoReturn

from l2s_node import __version__
from l2s_node.config import DEVICES, ENGINES, FAVOR, ON_LOSS, PRECISIONS, home
from l2s_node.params import SIZES

BENCHES = tuple(sorted(path.stem for path in (Path(__file__).parent / "bench").glob("[!_]*.py")))
"""What `l2s bench` can measure: the modules of `bench` that are no helpers."""


SCENES = tuple(sorted(path.stem for path in (Path(__file__).parent / "train" / "scenes").glob("[!_]*.py")))
"""What `l2s scenes` can draw: the modules of `train.scenes` that are no helpers."""

FOREIGN: dict[str, Any] = {"type": Path, "nargs": "+", "metavar": "FOLDER|VIDEO"}
"""`--foreign`: what belongs to no world."""


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence, without the whole usage before it."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def parser() -> argparse.ArgumentParser:
    """All verbs and options."""
    top = _Parser(
        prog="l2s",
        description='A real-time "learning to see" instrument: a camera sees a table, a trained world dreams over it.',
        epilog="Start here:  l2s doctor,  l2s list,  l2s run --in ndi:cam --out ndi:l2s",
        allow_abbrev=False,
    )
    top.add_argument("--version", action="version", version=f"l2s {__version__}")
    top.add_argument("-v", "--verbose", action="store_true", help="say more in the log")
    verbs = top.add_subparsers(required=True, metavar="VERB")
    playing = (_add_run, _add_list, _add_doctor, _add_apply, _add_build, _add_bench, _add_latency)
    for add in (*playing, _add_train, _add_score, _add_scenes, _add_gallery):
        add(verbs)
    return top


Verbs = "argparse._SubParsersAction[argparse.ArgumentParser]"


def _add_run(verbs: Verbs) -> None:  # type: ignore[valid-type]
    p = _verb(verbs, "run", "play: video in, a world out, until Ctrl-C", RUN_EXAMPLES)
    _add_pictures(p)
    _add_play(p)


def _add_pictures(p: argparse.ArgumentParser) -> None:
    g = p.add_argument_group("what is seen")
    g.add_argument(
        "--in",
        dest="source",
        metavar="URI",
        help="ndi:NAME, ndi:@HOST:PORT, camera:0, file:clip.mp4, pattern:, null: (l2s list sources)",
    )
    g.add_argument("--world", metavar="NAME", help="which trained world (l2s list worlds), or a .safetensors file")
    g.add_argument("--size", choices=SIZES, help="which size of it: larger sees more and takes longer")
    g.add_argument("--on-loss", choices=ON_LOSS, help="what is shown while the source is gone (hold the last picture)")
    g = p.add_argument_group("what goes out")
    g.add_argument(
        "--out",
        dest="sinks",
        metavar="URI",
        action="append",
        help="ndi:NAME, file:out.mp4 (records), window:, null:; repeat for several (ndi: and the node's name)",
    )
    g.add_argument(
        "--channel",
        metavar="NAME:IN>OUT",
        action="append",
        help="instead of --in and --out, for several at once; repeat, as in cam1:ndi:A>ndi:A-out (quote it)",
    )
    g.add_argument("--name", help="the node's name: its NDI sender and the first part of its OSC addresses (l2s)")
    g.add_argument("--fps", metavar="auto|N", help="pictures a second (auto: as they come in)")
    g.add_argument("--output-size", metavar="WxH|same", help="as in 1280x720 (same: as it comes in)")


def _add_play(p: argparse.ArgumentParser) -> None:
    g = p.add_argument_group("how it is played")
    g.add_argument("--preset", metavar="NAME", help="knobs to start with, saved under a name")
    g.add_argument(
        "--set",
        metavar="KNOB=VALUE",
        action="append",
        default=[],
        help="a knob to start with, over the preset's; repeat for several (l2s list knobs)",
    )
    g.add_argument(
        "--looks",
        metavar="DIR",
        action="append",
        help=f"folder of more looks, ISF shaders (beside the bundled and {home() / 'looks'}); repeat for several",
    )
    g.add_argument("--osc", metavar="PORT", help="UDP port of OSC (7400; 0 for none)")
    g.add_argument("--osc-feedback", metavar="HOST:PORT", help="where state is sent to (127.0.0.1 and OSC port + 1)")
    g.add_argument("--panel", metavar="PORT", help="port of the page with input and output (7480; 0 for none)")
    g.add_argument("--lan", action="store_true", default=None, help="let other machines reach OSC and the page")
    g = p.add_argument_group("what it runs on")
    g.add_argument("--device", choices=DEVICES, help="processor of the world (auto)")
    g.add_argument("--engine", choices=ENGINES, help="what runs the world (auto: the fastest that works here)")
    g.add_argument("--precision", choices=PRECISIONS, help="what it calculates in (auto; int8 wants l2s build before)")
    g.add_argument("--canvas", metavar="auto|WxH", help="size that the world works on (auto: 256 on the short side)")
    g.add_argument(
        "--favor", choices=FAVOR, help="what a GPU does: each frame at once (latency), or more, a frame later"
    )
    g = p.add_argument_group("the run itself")
    g.add_argument("--config", metavar="show.toml", type=Path, help="all of this in a file; what is said here wins")
    g.add_argument("--seconds", metavar="N", help="stop after so long")
    g.add_argument("--frames", metavar="N", help="stop after so many pictures went out")
    g.add_argument("--summary", metavar="FILE", help="write the run's numbers as JSON when it ends")
    g.add_argument("--trace", metavar="FILE", type=Path, help="write where its time went, for https://ui.perfetto.dev")


def _add_list(verbs: Verbs) -> None:  # type: ignore[valid-type]
    p = _verb(
        verbs,
        "list",
        "sources, sinks, worlds, looks, engines, built, devices, knobs: what is here, and why not",
    )
    p.add_argument(
        "what",
        nargs="?",
        choices=("sources", "sinks", "worlds", "looks", "engines", "built", "devices", "knobs"),
        help="only this (all but the knobs)",
    )


def _add_doctor(verbs: Verbs) -> None:  # type: ignore[valid-type]
    p = _verb(
        verbs,
        "doctor",
        "check everything that a show needs, a line each",
        "A line begins with ok, with note (a show runs all the same) or with FAIL; then the exit code is 1.",
    )
    other = p.add_mutually_exclusive_group()
    other.add_argument("--lan", action="store_true", help="instead: all l2s nodes on the network, and how they do")
    other.add_argument("--rooms", action="store_true", help="instead: a round trip through each room, to be reported")


def _add_apply(verbs: Verbs) -> None:  # type: ignore[valid-type]
    p = _verb(verbs, "apply", "the same for pictures, videos and folders of them", APPLY_EXAMPLES)
    p.add_argument("world", metavar="WORLD", help="a world's name, or a .safetensors file")
    p.add_argument("inputs", nargs="+", type=Path, metavar="PICTURE|VIDEO|FOLDER")
    p.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the results; made if it lacks")
    p.add_argument("--size", choices=SIZES, help="which size of the world (small)")
    p.add_argument("--preset", metavar="NAME", help="knobs, saved under a name")
    p.add_argument("--set", metavar="KNOB=VALUE", action="append", default=[], help="a knob; repeat for several")
    p.add_argument("--output-size", metavar="WxH|same", help="size of the results (same: as the inputs)")
    p.add_argument("--canvas", metavar="auto|WxH", help="size that the world works on (auto: 256 on the short side)")
    p.add_argument("--looks", metavar="DIR", action="append", help="folder of more looks; repeat for several")
    p.add_argument("--device", choices=DEVICES, help="processor of the world (auto; with --raw cpu)")
    p.add_argument("--engine", choices=ENGINES, help="what runs the world (auto; with --raw the bare network, float32)")
    p.add_argument(
        "--raw",
        action="store_true",
        help="inputs are float32 .npy of shape (n, h, w, c) in [-1, 1], results (n, h, w, 3)",
    )


def _add_build(verbs: Verbs) -> None:  # type: ignore[valid-type]
    p = _verb(verbs, "build", "compile worlds before the show, and measure which engine is the fastest", BUILD_EXAMPLES)
    p.add_argument("worlds", nargs="*", metavar="WORLD", help="a name (all its sizes), NAME/SIZE or a file")
    p.add_argument("--size", choices=SIZES, help="which size of them (all)")
    p.add_argument("--engine", choices=ENGINES, help="only this one (auto: all that run here, then they are compared)")
    p.add_argument("--precision", choices=PRECISIONS, help="only in this one (auto: each engine's own, and int8)")
    p.add_argument("--frame", default="1280x720", metavar="WxH", help="shape of the pictures that come in (1280x720)")
    p.add_argument("--canvas", metavar="auto|WxH", help="size that the world works on, as in the show (auto)")
    p.add_argument("--channels", type=int, default=1, metavar="N", help="also for so many that play it at once (1)")
    p.add_argument("--device", choices=DEVICES, help="processor of the worlds (auto)")
    p.add_argument(
        "--looks", metavar="DIR", action="append", help="folder of more looks to compile; repeat for several"
    )
    p.add_argument("--no-looks", action="store_true", help="worlds only")


def _add_bench(verbs: Verbs) -> None:  # type: ignore[valid-type]
    p = _verb(verbs, "bench", "measure this machine, each number beside its baseline in the same run", BENCH_EXAMPLES)
    p.add_argument("what", nargs="*", metavar="WHAT", help=f"{', '.join(BENCHES)}, or all (all)")
    p.add_argument("--seconds", type=_positive, default=10.0, metavar="N", help="length of each live run (10)")
    p.add_argument("--json", type=Path, metavar="FILE", help="keep the numbers")
    p.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw them")


def _add_latency(verbs: Verbs) -> None:  # type: ignore[valid-type]
    p = _verb(verbs, "latency", "how long a picture takes through a node, or any other program", LATENCY_EXAMPLES)
    p.add_argument("--to", required=True, metavar="URI", help="a sink that the program looks at: ndi:NAME")
    p.add_argument("--from", dest="back", required=True, metavar="URI", help="what the program sends: ndi:NAME")
    p.add_argument("--seconds", type=_positive, default=10.0, metavar="N", help="how long to count (10)")
    p.add_argument("--fps", default="60", metavar="N", help="pictures a second that are sent (60)")
    p.add_argument("--size", default="1280x720", metavar="WxH", help="of the pictures (1280x720)")
    p.add_argument("--osc", default="127.0.0.1:7400", metavar="HOST:PORT", help="an l2s node to ask for its own share")
    p.add_argument("--name", default="l2s", help="that node's name (l2s)")
    p.add_argument("--json", type=Path, metavar="FILE", help="keep every single number")
    p.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw the histogram")


def _add_train(verbs: Verbs) -> None:  # type: ignore[valid-type]
    p = _verb(verbs, "train", "make a world from a folder of pictures or a video", TRAIN_EXAMPLES)
    p.add_argument("pictures", nargs="+", type=Path, metavar="FOLDER|VIDEO", help="what the world is made of")
    p.add_argument("--name", required=True, help="the world's name")
    p.add_argument("--size", choices=SIZES, help="how large a network: small plays anywhere (small)")
    p.add_argument("--out", type=Path, metavar="DIR", help=f"folder of worlds ({home() / 'worlds'})")
    p.add_argument("--minutes", type=float, metavar="N", help="be done after so long (10, where --images isn't given)")
    p.add_argument("--images", type=int, metavar="N", help="train until so many pictures were seen")
    p.add_argument("--resume", action="store_true", default=None, help="go on where a training of this name stopped")
    p.add_argument("--from", dest="start", metavar="WORLD", help="start from that world's weights (a name, or a file)")
    p.add_argument("--preview", metavar="URI", help="show the contact sheet of the moment: ndi:NAME, file:growth.mp4")
    p.add_argument("--device", choices=DEVICES, help="what it trains on (auto: a GPU if there is one)")
    _add_expert(p)


def _add_expert(p: argparse.ArgumentParser) -> None:
    g = p.add_argument_group("for those who know what they want")
    g.add_argument("--recipe", metavar="NAME", help="how it is trained (dream)")
    g.add_argument("--foreign", **FOREIGN, help="other things that a camera may see (hands, tables), as inputs only")
    g.add_argument("--batch", type=int, metavar="N", help="pictures in a step, on each GPU (48, without one 4)")
    g.add_argument("--resolution", type=int, metavar="N", help="side of the square that is trained on (256)")
    g.add_argument("--channels", type=_integers, metavar="N,N,…", help="feature channels of each level (by --size)")
    g.add_argument("--frames", type=int, metavar="N", help="how many to take from each video (600)")
    g.add_argument("--seed", type=int, metavar="N", help="of everything that is drawn at random (0)")
    g.add_argument("--licence", metavar="TEXT", help="of the weights, for the world's card")
    g.add_argument("--save-seconds", type=float, metavar="N", help="between checkpoints (45)")
    g.add_argument("--sheet-seconds", type=float, metavar="N", help="between contact sheets (60)")


def _add_score(verbs: Verbs) -> None:  # type: ignore[valid-type]
    p = _verb(verbs, "score", "how good worlds are, in numbers, on pictures that they never saw", SCORE_EXAMPLES)
    p.add_argument("worlds", nargs="+", metavar="WORLD", help="a name (all its sizes), NAME/SIZE or a file")
    p.add_argument(
        "--pictures",
        type=Path,
        nargs="+",
        required=True,
        metavar="FOLDER|VIDEO",
        help="what the worlds were trained to make, never trained on",
    )
    p.add_argument("--against", nargs="+", default=[], metavar="WORLD", help="worlds to compare each one with")
    p.add_argument("--foreign", **FOREIGN, default=[], help="other things that a camera may see (the bundled clip)")
    p.add_argument("--most", type=_count, metavar="N", help="pictures of each kind that are used at most (1000)")
    p.add_argument("--device", choices=DEVICES, help="what the worlds play on (auto)")
    p.add_argument(
        "--precision",
        choices=PRECISIONS,
        help="WORLDs as an engine of a show plays them in it (not given: all as they are defined, in float32)",
    )
    p.add_argument("--no-timing", dest="timing", action="store_false", help="leave out the time of a picture")
    p.add_argument("--json", type=Path, metavar="FILE", help="keep the numbers")
    p.add_argument("--write", action="store_true", help="write the scores into the worlds' cards, for l2s list worlds")


def _add_scenes(verbs: Verbs) -> None:  # type: ignore[valid-type]
    p = _verb(verbs, "scenes", "make pictures to train on that are computed, not photographed", SCENES_EXAMPLES)
    p.add_argument("scene", choices=SCENES, help=", ".join(SCENES))
    p.add_argument("out", type=Path, metavar="OUT", help="folder for the pictures; made if it lacks")
    p.add_argument("count", type=_count, metavar="N", help="how many there are to be; those that are there are kept")
    p.add_argument("--size", type=_count, default=512, metavar="N", help="pixels of a side (512)")
    p.add_argument("--seed", type=int, default=1, metavar="N", help="another one gives other pictures (1)")
    p.add_argument("--device", choices=DEVICES, default="auto", help="what draws them (auto: a GPU if there is one)")


def _add_gallery(verbs: Verbs) -> None:  # type: ignore[valid-type]
    p = _verb(verbs, "gallery", "what worlds make of hands, bottles and shapes: a sheet and a moving picture")
    p.add_argument("out", type=Path, metavar="OUT", help="folder for gallery.jpg and gallery.webp, overwritten")
    p.add_argument("--worlds", nargs="+", default=[], metavar="NAME", help="which, in this order (all that are here)")
    p.add_argument(
        "--foreign", **FOREIGN, default=[], help="other things to show beside the bundled clip, such as faces"
    )
    p.add_argument("--device", choices=DEVICES, default="auto", help="what the worlds play on (auto)")


RUN_EXAMPLES = """\
examples:
  l2s run --in ndi:cam --out ndi:l2s --world flowers        a camera on the network
  l2s run --in camera:0 --out ndi:l2s --out file:show.mp4   the first camera here, recorded as well
  l2s run --in pattern: --set mix=0.5 --set detail=12       no camera at hand
  l2s run --channel 'a:ndi:A>ndi:A-out' --channel 'b:ndi:B>ndi:B-out' --set b/mix=0.5    two at once
"""
APPLY_EXAMPLES = """\
A picture becomes a .png, a video an .mp4 without sound, both of the input's name; of a folder every picture and video
in it, not those in folders within. Nothing is ever overwritten: if table.png exists, table-2.png is written. What
can't be read is said and passed over.

examples:
  l2s apply flowers table.jpg hands.mp4 --out flowered
  l2s apply flowers photos --out flowered --set detail=10 --set mix=0.8
"""
BUILD_EXAMPLES = f"""\
What is compiled is kept in {home() / "engines"}; a show takes it if nothing that it depends on has changed: the world,
the canvas, this machine, the versions. Without a world it says what is kept.

examples:
  l2s build flowers                         before the show; then: l2s run --world flowers
  l2s build moss/small --frame 1024x768     for a camera that isn't 16:9
  l2s build flowers --engine openvino       only that one, without a comparison
  l2s build flowers --channels 8            also as eight channels of a show play it at once, on an NVIDIA GPU
  l2s build flowers --precision int8        in 8 bits, for processors (pip install nncf)
"""
BENCH_EXAMPLES = """\
Nothing is concluded where the machine was too noisy meanwhile: end other programs, and measure again.

examples:
  l2s bench frame                                  a picture's whole way here, beside plain PyTorch
  l2s bench frame engines --json here.json --plot here.svg
"""
LATENCY_EXAMPLES = """\
Sends pictures of black and white blocks that are numbers, and reads them from what comes back, whatever the program
makes of them: it learns that first, for some ten seconds. THE PICTURE FLICKERS. The same name for both measures NDI
alone.

examples:
  l2s run --in ndi:test --out ndi:l2s              in one terminal, and in another:
  l2s latency --to ndi:test --from ndi:l2s --plot latency.svg
"""
TRAIN_EXAMPLES = """\
examples:
  l2s train photos --name moss                     ten minutes; then: l2s run --in camera:0 --world moss
  l2s train sea.mp4 --name sea --minutes 60        from a video; Ctrl-C stops it, --resume goes on
  l2s train moss.mp4 photos --name moss2 --from moss --preview ndi:moss2    from what is there, watched on any screen
  torchrun --nproc-per-node 2 -m l2s_node train photos --name moss          on two GPUs
"""
SCORE_EXAMPLES = """\
KID, precision and recall: how near what is made comes to the pictures, from their own luma and from foreign inputs.
Checkerboard: what up-sampling leaves in the picture, in excess of the pictures' own. Flicker: how much sensor noise of
1 % changes. Response: how much a moved object changes, over the input's change. Flat: texture over a flat input, over
that of the pictures. Luma: how well light and dark lie where the input has them. l2s_node/score/measures.py has the
formulas. The last row is the grey input itself, for scale.

examples:
  l2s score moss --pictures kept-back               all sizes of moss
  l2s score moss/small --pictures kept-back --against other.safetensors --json scores.json
  l2s score moss/small --pictures kept-back --precision int8 --against moss/small    what 8 bits cost
"""
SCENES_EXAMPLES = """\
The same scene, seed and size give the same pictures on the same device, and N only says how many: ask for more of them
whenever you like, or go on after Ctrl-C with the same command. OUT/SOURCES.md says what they are; they are CC0.

examples:
  l2s scenes clouds clouds 300                     then: l2s train clouds --name clouds
  l2s scenes fire fire 600 --size 320 --seed 2
"""


def _verb(
    verbs: Verbs,  # type: ignore[valid-type]
    name: str,
    help: str,
    more: str = "",
) -> argparse.ArgumentParser:
    p: argparse.ArgumentParser = verbs.add_parser(  # type: ignore[attr-defined]
        name,
        help=help,
        description=help[:1].upper() + help[1:] + ".",
        epilog=more,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    p.add_argument("-v", "--verbose", action="store_true", default=argparse.SUPPRESS, help="say more in the log")
    p.set_defaults(verb=name)
    return p


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"a number over 0, not {text!r}")
    return number


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"a whole number over 0, not {text!r}")
    return int(text)


def _integers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as err:
        raise argparse.ArgumentTypeError(f"whole numbers with commas between them, not {text!r}") from err
