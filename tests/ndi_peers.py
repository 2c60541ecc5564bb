"""An NDI sender and an NDI receiver that have nothing of l2s-node in them: ndi-python, a process each.

    ndi_peers.py send NAME [NAME …] --size=640x360 --fps=30 --fourcc=UYVY [--interlaced=1] [--start=0]
    ndi_peers.py receive NAME [--color=UYVY_BGRA]

Both print one JSON object a line. The sender takes {"size": …, "fps": …, "fourcc": …, "interlaced": …, "paused": …}
on standard input at any time, and says {"sent": counter} once a second, {"tally": …} and {"metadata": …}. The
receiver says {"counter", "size", "fourcc", "rate", "interlaced", "t"} of each picture and {"metadata": …}; `t` is
CLOCK_MONOTONIC. Both end with their standard input.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import sys
import threading
import time
from fractions import Fraction
from typing import Any

import ndi_stamp
import NDIlib as ndi  # noqa: N813
import numpy as np

ROWS = {"UYVY": 2, "UYVA": 2, "NV12": 1, "I420": 1, "BGRA": 4, "BGRX": 4, "RGBA": 4, "RGBX": 4}  # bytes a pixel
MORE = {"UYVA": 1.5, "NV12": 1.5, "I420": 1.5}  # the whole, as a multiple of the first plane


def say(**event: Any) -> None:
    print(json.dumps(event), flush=True)


def orders() -> queue.SimpleQueue[dict[str, Any] | None]:
    """What arrives on standard input, line by line; None at its end."""
    inbox: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()

    def read() -> None:
        for line in sys.stdin:
            inbox.put(json.loads(line))
        inbox.put(None)

    threading.Thread(target=read, name="peer-orders", daemon=True).start()
    return inbox


class Picture:
    """A picture that changes: a grey ramp, a counter, and where there is alpha, alpha 0…255 from left to right."""

    def __init__(self, size: str, fps: str, fourcc: str, interlaced: bool) -> None:
        width, height = (int(n) for n in size.split("x"))
        rate = Fraction(fps)
        pitch = ROWS[fourcc] * width
        memory = np.full((int(height * MORE.get(fourcc, 1)), pitch), 128, np.uint8)
        first = memory[:height].reshape(height, width, -1) if ROWS[fourcc] == 4 else memory[:height]
        self._luma = ndi_stamp.luma((first,), fourcc)
        ramp = np.linspace(30, 220, width).astype(np.uint8)
        self._luma[:] = ramp[:, None] if self._luma.ndim == 3 else ramp
        alpha = np.linspace(0, 255, width).astype(np.uint8)
        if fourcc == "UYVA":
            memory[height:].reshape(height, width)[:] = alpha
        elif fourcc in ("BGRA", "RGBA"):
            first[..., 3] = alpha
        if interlaced:
            self._luma[height // 2 :: 2], self._luma[height // 2 + 1 :: 2] = 180, 60
        self._bar = height * 3 // 4
        self.frame = frame = ndi.VideoFrameV2()
        frame.data = memory
        frame.xres, frame.yres, frame.line_stride_in_bytes = width, height, pitch
        frame.FourCC = getattr(ndi, f"FOURCC_VIDEO_TYPE_{fourcc}")
        frame.frame_rate_N, frame.frame_rate_D = rate.numerator, rate.denominator
        kind = ndi.FRAME_FORMAT_TYPE_INTERLEAVED if interlaced else ndi.FRAME_FORMAT_TYPE_PROGRESSIVE
        frame.frame_format_type = kind
        self.period = float(1 / rate)

    def stamp(self, counter: int) -> None:
        ndi_stamp.write(self._luma, counter)


def make_sender(name: str) -> Any:
    create = ndi.SendCreate()
    create.ndi_name, create.clock_video, create.clock_audio = name, False, False
    sender = ndi.send_create(create)
    if sender is None:
        sys.exit(f"the name {name} is taken")
    return sender


def report_peer(sender: Any, tally: Any, known: list[bool]) -> None:
    """Say what receivers tell this sender."""
    meta = ndi.MetadataFrame()
    while ndi.send_capture(sender, meta, 0) == ndi.FRAME_TYPE_METADATA:
        say(metadata=meta.data)
        ndi.send_free_metadata(sender, meta)
    ndi.send_get_tally(sender, tally, 0)
    if known[0] != tally.on_program:
        known[0] = tally.on_program
        say(tally=tally.on_program)


def send(args: argparse.Namespace) -> None:
    senders = [make_sender(name) for name in args.names]
    settings = {"size": args.size, "fps": args.fps, "fourcc": args.fourcc, "interlaced": args.interlaced}
    picture, inbox, paused = Picture(**settings), orders(), False
    for sender in senders:
        say(name=ndi.send_get_source_name(sender).ndi_name)
    tally, known = ndi.Tally(), [False]
    counter, due = args.start, time.monotonic()
    while True:
        if not inbox.empty():
            order = inbox.get()
            if order is None:
                break
            paused = order.pop("paused", paused)
            settings |= order
            picture = Picture(**settings)
        if not paused:
            for number, sender in enumerate(senders):
                picture.stamp(counter + number * 1_000_000)
                ndi.send_send_video_v2(sender, picture.frame)
            if counter % 10 == 0:
                say(sent=counter, t=time.monotonic())
            counter += 1
        report_peer(senders[0], tally, known)
        due = max(due + picture.period, time.monotonic() - 0.1)
        time.sleep(max(0.0, due - time.monotonic()))
    for sender in senders:
        ndi.send_destroy(sender)


def find(name: str) -> Any:
    finder = ndi.find_create_v2()
    while True:
        for source in ndi.find_get_current_sources(finder):
            if source.ndi_name == name or source.ndi_name.endswith(f" ({name})"):
                found = ndi.Source()
                found.ndi_name, found.url_address = source.ndi_name, source.url_address
                say(found=found.ndi_name, address=found.url_address, t=time.monotonic())
                return found
        time.sleep(0.01)


def receive(args: argparse.Namespace) -> None:
    inbox = orders()
    create = ndi.RecvCreateV3()
    create.color_format = getattr(ndi, f"RECV_COLOR_FORMAT_{args.color}")
    create.bandwidth = ndi.RECV_BANDWIDTH_HIGHEST
    create.allow_video_fields = True
    receiver = ndi.recv_create_v3(create)
    ndi.recv_connect(receiver, find(args.names[0]))
    while inbox.empty():
        kind, video, _, meta = ndi.recv_capture_v2(receiver, 100, True, False, True)
        if kind == ndi.FRAME_TYPE_VIDEO:
            report_picture(video)
            ndi.recv_free_video_v2(receiver, video)
        elif kind == ndi.FRAME_TYPE_METADATA:
            say(metadata=meta.data)
            ndi.recv_free_metadata(receiver, meta)
    if not ndi.recv_get_no_connections(receiver):
        os._exit(0)  # a proper goodbye to a dead sender takes libndi 16 s
    ndi.recv_destroy(receiver)


def report_picture(video: Any) -> None:
    now = time.monotonic()
    fourcc = str(video.FourCC).rsplit("_", 1)[-1]
    pixels = np.asarray(video.data)
    event = {
        "counter": ndi_stamp.read(ndi_stamp.luma((pixels,), fourcc)),
        "size": [video.xres, video.yres],
        "fourcc": fourcc,
        "rate": [video.frame_rate_N, video.frame_rate_D],
        "t": now,
    }
    if fourcc in ("BGRA", "RGBA"):
        event["alpha"] = pixels[-1, :: max(1, video.xres // 8), 3].tolist()
    say(**event)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=("send", "receive"))
    parser.add_argument("names", nargs="+", metavar="NAME")
    parser.add_argument("--size", default="320x240")
    parser.add_argument("--fps", default="30", help="a number or a fraction: 30, 30000/1001")
    parser.add_argument("--fourcc", default="UYVY", choices=sorted(ROWS))
    parser.add_argument("--interlaced", type=int, default=0)
    parser.add_argument("--start", type=int, default=0, help="the first counter")
    parser.add_argument("--color", default="UYVY_BGRA")
    args = parser.parse_args()
    {"send": send, "receive": receive}[args.verb](args)


if __name__ == "__main__":
    main()
