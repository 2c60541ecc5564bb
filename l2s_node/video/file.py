"""The room `file:`: plays video files and pictures, records video files (PyAV).

``file:clip.mp4`` plays in a loop without a gap, at the times in the file; ``file:clip.mp4?once`` stops at its end;
``?unpaced`` hands out every picture as fast as it is fetched, its `seconds` those of the clip, for work that isn't a
show (``?once&unpaced``). A still is a source that repeats it at `options.rate`. ``file:out.mp4`` as a sink records,
see `Sink`.
"""

from __future__ import annotations

import difflib
import logging
import time
from pathlib import Path

from l2s_node.errors import NotFoundError, RoomError
from l2s_node.frame import Frame, PixelFormat
from l2s_node.video._clip import Clip
from l2s_node.video._record import SUFFIXES, Recorder
from l2s_node.video.base import Options

log = logging.getLogger(__name__)

_VIDEOS = frozenset({".avi", ".gif", ".m4v", ".mkv", ".mov", ".mp4", ".mpg", ".mts", ".mxf", ".ts", ".webm"})
_STILLS = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
_HOPELESS = 0.5  # seconds behind the file's time after which the show goes on from here instead of catching up
_MOST_SKIPPED = 8  # pictures passed over in one read: decoding them takes time as well


def missing() -> str | None:
    """Always None: PyAV is there if this module is."""
    return None


def names() -> list[str]:
    """Nothing: a file is named by its path."""
    return []


class Source:
    """Plays the file at `address`.

    The next picture is decoded before it is due, so that it goes out in time. A reader that is late gets the newest
    one that is due; one that is half a second late (or a decoder that is too slow) makes the file wait instead.

    Raises:
        NotFoundError: no such file; the message lists the videos beside it.
        RoomError: it can't be read or holds no picture.
    """

    blocks = True

    def __init__(self, address: str, options: Options) -> None:
        path, flags = _path_and_flags(address, {"once", "unpaced"})
        if not path.is_file():
            raise _not_found(path)
        self.uri = f"file:{path}" + ("?" + "&".join(sorted(flags)) if flags else "")
        self.state = "connected"
        self.dropped = 0
        self._unpaced = "unpaced" in flags
        self._clip = Clip(path, "once" in flags, options.rate)
        self._start: float | None = None
        self._number = -1
        self._next = next(self._clip.pictures, None)
        if self._next is None:
            self._clip.close()
            raise RoomError(f"{path} can't be played: no picture in it can be decoded")

    def read(self, timeout: float) -> Frame | None:
        """See `base.Source`."""
        if self._next is None:
            self._next = next(self._clip.pictures, None)
        if self._next is None:
            self._end()
            time.sleep(max(timeout, 0.0))
            return None
        if not self._unpaced and not self._wait(timeout):
            return None
        picture, self._next = self._next, None
        self._number += 1
        seconds = picture.seconds if self._unpaced else time.monotonic()
        return Frame(picture.planes, *picture[1:4], seconds, self._number, self._clip.rate)

    def close(self) -> None:
        """Close the file."""
        self._clip.close()

    def _wait(self, timeout: float) -> bool:
        """Wait until the next picture is due; False if that is more than `timeout` away."""
        assert self._next is not None
        now = time.monotonic()
        if self._start is None:
            self._start = now
        wait = self._start + self._next.seconds - now
        if wait > timeout:
            time.sleep(max(timeout, 0.0))
            return False
        if wait > 0:
            time.sleep(wait)
        else:
            self._catch_up()
        return True

    def _catch_up(self) -> None:
        """Pass over what is late already; what is hopelessly late moves the start."""
        for _ in range(_MOST_SKIPPED):
            assert self._next is not None and self._start is not None
            late = time.monotonic() - self._start - self._next.seconds
            if late > _HOPELESS:
                self._start += late
            if not 1 / self._clip.rate < late <= _HOPELESS:
                return
            following = next(self._clip.pictures, None)
            if following is None:
                return
            self._next = following
            self._number += 1
            self.dropped += 1

    def _end(self) -> None:
        if self.state != "ended":
            self.state = "ended"
            log.info("%s is over", self.uri)


class Sink:
    """Records into a new .mp4, .mov or .mkv file, H.264.

    A recording is never overwritten: if the file exists, ``out-2.mp4`` is written and the log says so. Encoding runs
    in a thread of its own, `l2s-record`; pictures wait for it in a short buffer, and what doesn't fit any more is
    dropped and counted, so that a slow disk never stalls the show. With ``?wait`` `write` waits instead.

    Raises:
        RoomError: not a name that can be recorded into, or the file can't be made.
    """

    format = PixelFormat.UYVY
    live = False

    def __init__(self, address: str, options: Options) -> None:
        path, flags = _path_and_flags(address, {"wait"})
        if path.suffix.lower() not in SUFFIXES:
            raise RoomError(f"can't record into {path.name!r}: its name must end in {', '.join(SUFFIXES)}")
        if not path.parent.is_dir():
            raise RoomError(f"can't record into {path}: the folder {path.parent} doesn't exist")
        self.dropped = 0
        path = _claim(path)
        self.uri = f"file:{path}"
        self._recorder = Recorder(path, options.rate, wait="wait" in flags)
        log.info("recording into %s", path)

    def write(self, frame: Frame) -> None:
        """See `base.Sink`. Times in the file are those of `frame.seconds`."""
        if not self._recorder.put(frame):
            self.dropped += 1

    def close(self) -> None:
        """Encode what waits, write the file's end and join `l2s-record`."""
        self._recorder.close()


def _path_and_flags(address: str, known: set[str]) -> tuple[Path, set[str]]:
    """The path and the flags after ``?``; a tail that is no flag of ours belongs to the path."""
    head, mark, tail = address.rpartition("?")
    flags = set(tail.split("&"))
    if not mark or not flags <= known:
        head, flags = address, set()
    head = head.removeprefix("//")  # file:///home/… is the absolute path /home/…
    if not head:
        raise RoomError("file: needs a path, as in file:clip.mp4")
    return Path(head).expanduser().absolute(), flags


def _not_found(path: Path) -> NotFoundError:
    folder = path if path.is_dir() else path.parent
    if not folder.is_dir():
        return NotFoundError(f"there is no folder {folder} to play {path.name} from")
    try:
        there = sorted(p.name for p in folder.iterdir() if p.suffix.lower() in _VIDEOS | _STILLS)
    except PermissionError:
        there = []
    close = difflib.get_close_matches(path.name, there, 1)
    hint = f" (did you mean {close[0]}?)" if close else ""
    more = f" and {len(there) - 12} more" if len(there) > 12 else ""
    listing = f"there are {', '.join(there[:12])}{more}" if there else "no videos or pictures are there"
    if path.is_dir():
        return NotFoundError(f"{path} is a folder, not a file; in it {listing}")
    return NotFoundError(f"there is no file {path.name} in {folder}{hint}; {listing}")


def _claim(path: Path) -> Path:
    """Make the empty file at `path`, or at the first of ``name-2``, ``name-3``, … that isn't there yet."""
    number, free = 1, path
    while True:
        try:
            free.open("xb").close()
        except FileExistsError:
            number += 1
            free = path.with_stem(f"{path.stem}-{number}")
        except OSError as err:
            raise RoomError(f"can't record into {path}: {err.strerror or err}") from err
        else:
            if free != path:
                log.warning("%s exists and is kept; recording into %s", path, free.name)
            return free
