"""Stage: which world plays. Asks the loader for the world that the knobs name, and changes over between two frames."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from l2s_node import collector
from l2s_node.config import RunConfig, worlds_folders
from l2s_node.errors import L2SError
from l2s_node.loader import Loaded, Loader, Request
from l2s_node.models import worlds
from l2s_node.params import Board, Params
from l2s_node.shelf import Shelf

if TYPE_CHECKING:
    from l2s_node.pipeline import Pipeline

log = logging.getLogger(__name__)


class Stage:
    """Owns the loader and every world that it loaded; lives on the frame loop's thread.

    Attributes:
        pipeline: None until torch is there.
        playing: the world that plays; None before the first one.
    """

    def __init__(self, config: RunConfig, board: Board, shelf: Shelf | None = None) -> None:
        self.pipeline: Pipeline | None = None
        self.playing: Loaded | None = None
        self._board = board
        self._first: Request | None = None
        self._asked: Request | None = None
        self._retired: list[Loaded] = []
        self._loader = Loader(config, shelf)

    def follow(self, params: Params, frame: tuple[int, int]) -> None:
        """Between two frames: ask for the world of `params` on an input of (width, height), take what is ready.

        Raises:
            L2SError: there is nothing to play: the world that the run started with can't be loaded.
        """
        self._ask(Request(params.world, params.size, frame))
        self.pipeline = self.pipeline or self._loader.pipeline.take()
        loaded = self._loader.ready.take() if self.pipeline else None
        if loaded is not None:
            self._take(loaded)
        broken = self._loader.broken
        failure = self._loader.failed.take()
        if failure is not None:
            self._refuse(*failure)
        elif broken and self.loading:
            self._refuse(self._asked if self.playing else None, "worlds can't be loaded any more (see the error above)")
        if self._retired and self.pipeline is not None and not self.pipeline.crossfading:
            self._retired.pop().close()

    @property
    def loading(self) -> str:
        """ "world/size" that is being loaded, or ""."""
        if self._asked is None or (self.playing is not None and self.playing.request.name == self._asked.name):
            return ""
        return self._asked.name

    def close(self) -> None:
        """Join the loader, release every world."""
        self._loader.close()
        if self.pipeline is not None:
            self.pipeline.close()  # first: what it still prepares plays the worlds
        for loaded in [*self._retired, *([self.playing] if self.playing else [])]:
            loaded.close()

    def _ask(self, wanted: Request) -> None:
        """Ask once for another world or size, or for another canvas where the input's shape wants one."""
        self._first = self._first or wanted
        asked, playing = self._asked, self.playing
        if asked is not None and asked.name == wanted.name:
            if asked.frame == wanted.frame or (playing is not None and _same_canvas(playing, asked, wanted)):
                return
        elif playing is not None and playing.request.name == wanted.name:
            if _same_canvas(playing, playing.request, wanted):
                self._stay(playing)  # back to what still plays
                return
        self._asked = wanted
        self._loader.ask(wanted)

    def _stay(self, playing: Loaded) -> None:
        """Want what plays; what was asked for meanwhile is let go."""
        self._asked = playing.request
        self._loader.stay(playing)

    def _take(self, loaded: Loaded) -> None:
        """Play what was loaded, unless something else is wanted by now."""
        assert self._asked is not None
        if self.playing is None or loaded.request.name == self._asked.name:
            self._play(loaded)
        else:
            loaded.close()

    def _play(self, loaded: Loaded) -> None:
        assert self.pipeline is not None
        self.pipeline.use(loaded.player, time.monotonic())
        if self.playing is not None:
            self._retired.append(self.playing)
        else:
            collector.keep()  # what was imported to get here
        self.playing = loaded

    def _refuse(self, request: Request | None, message: str) -> None:
        """A world that can't be played: one sentence, the old one plays on, and the knobs say so again."""
        stays = self.playing.request if self.playing else self._first
        if stays is None or request is None or (self.playing is None and request.name == stays.name):
            raise L2SError(message)
        log.error("%s; it stays with %s", message, stays.name)
        if self._asked is None or self._asked.name != request.name or request.name == stays.name:
            return  # something else is wanted by now; or it plays, and is not asked for again with every frame
        if self.playing is not None:
            self._stay(self.playing)
        else:
            self._asked = None
        if self._board.get("world") == request.world:
            self._board.set({"world": stays.world, "size": stays.size})


def _same_canvas(playing: Loaded, one: Request, other: Request) -> bool:
    return playing.canvas_for(one.frame) == playing.canvas_for(other.frame)


def world_names() -> list[str]:
    """The names of all worlds there are."""
    return sorted({world.name for world in worlds.worlds(worlds_folders())})
