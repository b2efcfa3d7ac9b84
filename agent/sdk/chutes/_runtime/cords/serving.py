"""chutes/_runtime/cords/serving — all places for calls at once, from the first connection to the end of a stop. Answers none itself."""

from __future__ import annotations

import asyncio
from math import inf
from threading import get_ident
from typing import Any

from chutes._runtime.cords.seat import Seat, Stage
from chutes._runtime.failures import stack_of
from chutes._runtime.lines import warn
from chutes._runtime.stopping import Stopping
from chutes._runtime.wire import Wire

MOST_AT_ONCE = 64


class Serving:
    """`run` is what a job's function is elsewhere: a stop cancels it after half the grace."""

    def __init__(self, stage: Stage, wire: Wire, stopping: Stopping, most: int) -> None:
        self._seats = [Seat(stage) for _ in range(min(max(most, 1), MOST_AT_ONCE))]
        self._wire = wire
        self._stopping = stopping
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_stopping = False
        self._thread = 0

    @property
    def has_begun(self) -> bool:
        return self._loop is not None

    async def run(self, _chute: Any) -> None:
        """Until a stop. Raises PlatformError where the host refuses every seat for good."""
        self._loop, self._thread = asyncio.get_running_loop(), get_ident()
        tasks = [seat.begin() for seat in self._seats]
        self._wire.each_turn(self._tick)
        try:
            await asyncio.wait(tasks)
        except asyncio.CancelledError:
            await self._give_up(tasks)
            return
        faults = [task.exception() for task in tasks if not task.cancelled()]
        for fault in faults:
            if fault is not None and not self._is_stopping:
                raise fault

    def whereabouts(self) -> str | None:
        """Where the calls under way are, as tracebacks. For any thread."""
        places = [seat.answering.whereabouts() for seat in self._seats if seat.answering is not None]
        # The one that computes in the loop's thread shows no place of its own.
        computing = [stack_of(self._thread)] if "" in places else []
        return "".join(computing + places) or None

    def is_stuck(self) -> bool:
        """Whether no place is left for a call that somebody waits for. For any thread."""
        return all(seat.is_abandoned for seat in self._seats)

    def _tick(self, _now: float) -> float:
        """In the wire's thread, which hears of a stop at once."""
        if self._stopping.is_asked and not self._is_stopping and self._loop is not None:
            self._is_stopping = True
            try:
                self._loop.call_soon_threadsafe(self._stop)
            except RuntimeError:
                return inf  # the author closed the loop: the end of the grace is left
        return inf

    def _stop(self) -> None:
        for seat in self._seats:
            seat.stop()

    async def _give_up(self, tasks: list[asyncio.Task[None]]) -> None:
        # Half the stop's grace is over, and the hooks want some of the rest.
        for seat in self._seats:
            seat.give_up()
        _, left = await asyncio.wait(tasks, timeout=self._stopping.grace / 8)
        if left:
            warn(f"{len(left)} calls did not end in time for the on_shutdown hooks, which run beside them")
