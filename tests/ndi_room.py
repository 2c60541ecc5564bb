"""The room `ndi:` in a process of its own, reporting as ``ndi_peers.py`` does.

ndi_room.py names
ndi_room.py source ADDRESS [--pause=0]      reads; --pause: seconds between two reads
ndi_room.py sink NAME [--size= --fps= --alpha=]   sends pictures with a counter; {"size": …} on standard input
ndi_room.py through ADDRESS --name=NAME     a source whose pictures go straight to a sink
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from fractions import Fraction
from typing import Any

import ndi_stamp
import numpy as np
from ndi_peers import orders, say

from l2s_node.frame import Frame, PixelFormat, blank
from l2s_node.video import ndi
from l2s_node.video.base import Options


class _Say(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        say(log=record.getMessage(), level=record.levelname)


def describe(frame: Frame) -> dict[str, Any]:
    event: dict[str, Any] = {
        "counter": ndi_stamp.read(ndi_stamp.luma(frame.planes, frame.format.value)),
        "number": frame.number,
        "size": list(frame.size),
        "format": frame.format.value,
        "rate": [frame.rate.numerator, frame.rate.denominator] if frame.rate else None,
        "seconds": frame.seconds,
        "t": time.monotonic(),
        "rows": ndi_stamp.luma(frame.planes, frame.format.value)[-4:, frame.width // 2].tolist(),
    }
    if frame.format is PixelFormat.UYVA:
        event["alpha"] = frame.planes[1][-1, :: max(1, frame.width // 8)].tolist()
    return event


def source(args: argparse.Namespace, options: Options) -> None:
    room = ndi.Source(args.address, options)
    inbox, state = orders(), ""
    while inbox.empty():
        frame = room.read(0.05)
        if room.state != state:
            state = room.state
            say(state=state, uri=room.uri, t=time.monotonic())
        if frame is not None:
            say(**describe(frame), dropped=room.dropped)
        time.sleep(args.pause)
    room.close()


def sink(args: argparse.Namespace, options: Options) -> None:
    room = ndi.Sink(args.address, options)
    say(uri=room.uri)
    inbox, counter, due = orders(), 0, time.monotonic()
    settings = {"size": args.size, "fps": args.fps, "alpha": args.alpha}
    frame = picture(**settings)
    while True:
        if not inbox.empty():
            order = inbox.get()
            if order is None:
                break
            settings |= order
            frame = picture(**settings)
        ndi_stamp.write(ndi_stamp.luma(frame.planes, frame.format.value), counter)
        room.write(frame)
        if counter % 10 == 0:
            say(sent=counter, t=time.monotonic())
        counter += 1
        assert frame.rate is not None
        due += float(1 / frame.rate)
        time.sleep(max(0.0, due - time.monotonic()))
    room.close()


def picture(size: str, fps: str, alpha: int) -> Frame:
    width, height = (int(n) for n in size.split("x"))
    fmt = PixelFormat.UYVA if alpha else PixelFormat.UYVY
    planes = blank(fmt, width, height)
    if alpha:
        planes[1][:] = np.linspace(0, 255, width).astype(np.uint8)
    return Frame(planes, fmt, width, height, time.monotonic(), 0, Fraction(fps))


def through(args: argparse.Namespace, options: Options) -> None:
    room, out, inbox = ndi.Source(args.address, options), ndi.Sink(args.name, options), orders()
    while inbox.empty():
        frame = room.read(0.05)
        if frame is not None:
            out.write(frame)
    room.close()
    out.close()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("verb", choices=("names", "source", "sink", "through"))
    parser.add_argument("address", nargs="?", default="")
    parser.add_argument("--pause", type=float, default=0.0)
    parser.add_argument("--name", default="l2s")
    parser.add_argument("--size", default="320x240")
    parser.add_argument("--fps", default="30")
    parser.add_argument("--alpha", type=int, default=0)
    args = parser.parse_args()
    logger = logging.getLogger("l2s_node")
    logger.addHandler(_Say())
    logger.setLevel(logging.INFO)
    if args.verb == "names":
        print(json.dumps({"names": ndi.names()}))
        return
    {"source": source, "sink": sink, "through": through}[args.verb](args, Options(name=args.name, version="1.2.3"))


if __name__ == "__main__":
    main()
