"""Stage: which world plays. Asks the loader for the world that the knobs name, and changes over between two frames."""

from __future__ import annotations

import dataclasses
import gc
import logging
import time
from typing import TYPE_CHECKING

from l2s_node.config import RunConfig, worlds_folders
from l2s_node.errors import L2SError
from l2s_node.loader import Loaded, Loader, Request
from l2s_node.params import Board, Params

if TYPE_CHECKING:
    from l2s_node.pipeline import Pipeline

log = logging.getLogger(__name__)


class Stage:
    """Owns the loader and every world that it loaded; lives on the frame loop's thread.

    Attributes:
        pipeline: None until torch is there.
        playing: the world that plays; None before the first one.
    """

    def __init__(self, config: RunConfig, board: Board) -> None:
        self.pipeline: Pipeline | None = None
        self.playing: Loaded | None = None
        self._board = board
        self._asked: Request | None = None
        self._retired: list[Loaded] = []
        self._loader = Loader(config)

    def follow(self, params: Params, frame: tuple[int, int]) -> None:
        """Between two frames: ask for the world of `params` on an input of (width, height), take what is ready.

        Raises:
            L2SError: there is nothing to play: the very first world can't be loaded.
        """
        self._ask(Request(params.world, params.size, frame))
        self.pipeline = self.pipeline or self._loader.pipeline.take()
        loaded = self._loader.ready.take() if self.pipeline else None
        if loaded is not None:
            self._play(loaded)
        failure = self._loader.failed.take()
        if failure is not None:
            self._refuse(*failure)
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
        for loaded in [*self._retired, *([self.playing] if self.playing else [])]:
            loaded.close()

    def _ask(self, wanted: Request) -> None:
        """Ask once for another world or size, or for another canvas where the input's shape wants one."""
        if self._asked is not None and self._asked.name == wanted.name:
            if self._asked.frame == wanted.frame:
                return
            if self.playing is None or not self._reshapes(wanted):
                return
        self._asked = wanted
        self._loader.ask(wanted)

    def _reshapes(self, wanted: Request) -> bool:
        assert self._asked is not None and self.playing is not None
        return self.playing.canvas_for(wanted.frame) != self.playing.canvas_for(self._asked.frame)

    def _play(self, loaded: Loaded) -> None:
        assert self.pipeline is not None
        self.pipeline.use(loaded.player, time.monotonic())
        if self.playing is not None:
            self._retired.append(self.playing)
        else:
            # what was imported to get here stays for good: the collector need not walk it while the show runs
            gc.collect()
            gc.freeze()
        self.playing = loaded

    def _refuse(self, request: Request, message: str) -> None:
        """A world that can't be played: one sentence, the old one plays on, and the knobs say so again."""
        if self.playing is None:
            raise L2SError(message)
        log.error("%s; %s plays on", message, self.playing.request.name)
        if self._asked is not None and self._asked.name == request.name:
            self._asked = dataclasses.replace(self.playing.request, frame=request.frame)
            self._board.set({"world": self._asked.world, "size": self._asked.size})


def world_names() -> list[str]:
    """The names of all worlds there are."""
    from l2s_node.models import store

    return sorted({world.name for world in store.worlds(worlds_folders())})
