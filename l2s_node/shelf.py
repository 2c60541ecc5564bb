"""Shelf: the worlds that are ready, for whichever channels play them. No torch until one of them asks for it."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from l2s_node.errors import EngineError

if TYPE_CHECKING:
    import torch

    from l2s_node.cuda.chorus import Choir
    from l2s_node.models.engines import Engine

log = logging.getLogger(__name__)

REST = 4
"""Engines of a show that took long to be built and nobody plays: who comes back to their world has them at once."""


class Shelf:
    """What channels share: engines that are ready, by what they play on what canvas, and so a world's weights.

    Sharing is safe because every engine is called by the one thread of the frame loop, and what it returns is taken
    before the next call; graphs of its `step` share nothing (`engines.base.Step`). Any loader's thread may ask; who
    wishes for what is being built waits for it.
    """

    def __init__(self, channels: int = 1, rest: int = 0) -> None:
        """
        Args:
            channels: how many there are.
            rest: how many engines stay that took long to be built, after the last user; the longest unused go first.
        """
        self.channels = channels
        self._rest = rest
        self._choir: Choir | None = None
        self._lock = threading.Lock()
        self._built = threading.Condition(self._lock)
        self._building: dict[tuple[object, ...], bool] = {}
        self._held: dict[tuple[object, ...], tuple[Engine, str]] = {}
        self._users: Counter[tuple[object, ...]] = Counter()
        self._long: set[tuple[object, ...]] = set()
        self._resting: dict[tuple[object, ...], None] = {}
        self._said: set[str] = set()

    def say_once(self, sentence: str) -> None:
        """Log what is the same for all channels."""
        with self._lock:
            new = sentence not in self._said
            self._said.add(sentence)
        if new:
            log.info("%s", sentence)

    def choir(self, device: torch.device) -> Choir | None:
        """Where channels that play one world find together; None where that can't be."""
        from l2s_node.cuda.chorus import Choir

        with self._lock:
            if self._choir is None and self.channels > 1 and device.type == "cuda":
                self._choir = Choir(device)
            return self._choir

    def close(self) -> None:
        """Let go of what channels shared, all of which are closed."""
        if self._choir is not None:
            self._choir.close()
        self.tidy()

    def tidy(self, rest: int = 0) -> None:
        """Let go of engines that nobody plays but so many, those used last."""
        with self._lock:
            gone = list(self._resting)[: max(len(self._resting) - rest, 0)]
            closed = [self._dropped(key) for key in gone]
        for engine in closed:
            engine.close()

    def holds(self, key: tuple[object, ...]) -> bool:
        """Whether `take` would find it."""
        with self._lock:
            return key in self._held

    def take(
        self, key: tuple[object, ...], build: Callable[[], tuple[Engine, str]], *, long: bool = False
    ) -> tuple[Engine, str]:
        """(engine, reason) of `key`, built where none is there; `give_back` it once.

        `long` is whether that may take long. Only who says so waits for somebody else's build that does.

        Raises:
            EngineError: see `engines.build`; or it is being built, and that takes long.
        """
        with self._lock:
            self._built.wait_for(lambda: key not in self._building or self._building[key] > long)
            if key in self._building:
                raise EngineError("it is still being built")
            if key in self._held:
                self._users[key] += 1
                self._resting.pop(key, None)
                return self._held[key]
            self._building[key] = long
        made: tuple[Engine, str] | None = None
        try:
            made = build()
            return made
        finally:
            with self._lock:
                del self._building[key]
                if made is not None:
                    self._held[key], self._users[key] = made, 1
                    if long:
                        self._long.add(key)
                self._built.notify_all()

    def give_back(self, key: tuple[object, ...]) -> None:
        """One user less; after the last one it is closed, or rests."""
        closed: Engine | None = None
        with self._lock:
            self._users[key] -= 1
            if self._users[key] == 0:
                if key in self._long:
                    self._resting[key] = None
                else:
                    closed = self._dropped(key)
        if closed is not None:
            closed.close()
        self.tidy(self._rest)

    def _dropped(self, key: tuple[object, ...]) -> Engine:
        """What is held of `key`, and from now on isn't; `_lock` is held."""
        self._long.discard(key)
        self._resting.pop(key, None)
        del self._users[key]
        return self._held.pop(key)[0]
