"""chutes/_runtime/cords/watching — finds that every place is taken by a call which nobody waits for any more, so that none will be answered again."""

from __future__ import annotations

from math import inf
from typing import Callable

from chutes._runtime.stopping import Stopping

_LOOK_SECONDS = 1.0

# So many times the grace of a stop: a function that only takes its time has as much.
_PATIENCE_IN_GRACES = 4


class StuckError(Exception):
    def __init__(self) -> None:
        super().__init__(
            "every call that the chute takes at a time was given up and has not ended: "
            "the process ends, so that another one can take its place; the traceback is where they are"
        )


class Watching:
    """In the wire's thread, since the loop itself may be held up."""

    def __init__(self, is_stuck: Callable[[], bool], stopping: Stopping, act: Callable[[], None]) -> None:
        self._is_stuck = is_stuck
        self._stopping = stopping
        self._act = act
        self._since = inf

    def tick(self, now: float) -> float:
        """When to come again."""
        if self._stopping.is_asked:
            return inf  # the stop has an end of its own
        if not self._is_stuck():
            self._since = inf
        elif self._since == inf:
            self._since = now
        elif now - self._since >= _PATIENCE_IN_GRACES * self._stopping.grace:
            self._since = inf
            self._act()
        return now + _LOOK_SECONDS
