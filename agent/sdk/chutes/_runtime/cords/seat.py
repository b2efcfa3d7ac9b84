"""chutes/_runtime/cords/seat — one of the places for calls: a connection, dialled again and again, and one call at a time on it. Decides no ending."""

from __future__ import annotations

import asyncio
from json import loads
from os import getpid
from typing import NamedTuple

from chutes._runtime.cords.answering import Answering
from chutes._runtime.cords.heads import Asked, read_call, serve_line
from chutes._runtime.cords.line import Line, dial
from chutes._runtime.cords.threads import Threads
from chutes._runtime.failures import traceback_of
from chutes._runtime.lines import warn
from chutes.chute import Chute
from chutes.errors import PlatformError

_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 0.05, 1.0

# After this the author is told that a call takes its place in vain.
_PATIENCE_SECONDS = 10.0


class Stage(NamedTuple):
    """What all seats share."""

    path: str
    chute: Chute
    threads: Threads


class Seat:
    """A call that was given up keeps its seat until it is over: so there are never more at once than the chute allows."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._line: Line | None = None
        self._is_stopping = False
        self._task: asyncio.Task[None] | None = None
        self.answering: Answering | None = None

    @property
    def is_abandoned(self) -> bool:
        """Whether a call is on it that nobody waits for any more. For any thread."""
        line = self._line
        return self.answering is not None and (line is None or line.is_left)

    def begin(self) -> asyncio.Task[None]:
        """Its task ends after `stop`, or raises PlatformError where the host refuses the seat for good."""
        self._task = asyncio.get_running_loop().create_task(self._keep())
        return self._task

    def stop(self) -> None:
        """Take no call any more; the one under way goes on."""
        self._is_stopping = True
        is_needed = self.answering is not None or (self._line is not None and self._line.has_some)
        if self._task is not None and not is_needed:
            self._task.cancel()

    def give_up(self) -> None:
        """The call under way, too."""
        self.stop()
        if self._line is not None:
            self._line.close()

    async def _keep(self) -> None:
        wait = _FIRST_WAIT_SECONDS
        while not self._is_stopping:
            if await self._try_to_sit():
                wait = _FIRST_WAIT_SECONDS
            if not self._is_stopping:
                await asyncio.sleep(wait)
                wait = min(2 * wait, _LONGEST_WAIT_SECONDS)

    async def _try_to_sit(self) -> bool:
        try:
            return await self._sit()
        except OSError:
            return False  # the daemon is away, or has left
        except PlatformError as refused:
            warn(f"the host refuses a place for calls of cords: {refused.message:.500}")
            raise
        except Exception as error:  # noqa: BLE001 — the place is needed: what failed is told and tried anew
            warn(f"a place for calls of cords failed: {traceback_of(error)}")
            return False

    async def _sit(self) -> bool:
        """Answer calls for as long as the connection lasts. Whether the host took it."""
        self._line = line = await dial(self._stage.path)
        try:
            await line.send(serve_line(getpid()))
            if not is_welcome(await line.next()):
                return False
            while not self._is_stopping or line.has_some:
                called = await line.next()
                if called is None:
                    break
                await self._answer(line, called)
            return True
        finally:
            self._line = None
            line.close()

    async def _answer(self, line: Line, called: bytes) -> None:
        answering = self.answering = Answering(
            self._stage.chute, self._stage.threads, line, read_call(called)
        )
        loop = asyncio.get_running_loop()
        task = loop.create_task(answering.run())
        timers: list[asyncio.TimerHandle] = []

        def give_up() -> None:
            task.cancel()
            timers.append(loop.call_later(_PATIENCE_SECONDS, warn_of, answering.asked))

        line.when_lost(give_up)
        try:
            await asyncio.wait({task})
        finally:
            line.when_lost(None)
            self.answering = None
            for timer in timers:
                timer.cancel()
        fault = None if task.cancelled() else task.exception()
        if fault is not None:
            # Ours, for whatever the author's code does is an answer. Nobody may wait for the rest of this one.
            warn(f"a call of {answering.asked.function} could not be answered: {traceback_of(fault)}")
            line.close()


def is_welcome(line: bytes | None) -> bool:
    """False: try again later. Raises PlatformError where that would be in vain."""
    error = {"code": "unavailable"} if line is None else loads(line).get("error")
    if error is None:
        return True
    if error["code"] != "unavailable":
        raise PlatformError(error["code"], error["message"])
    return False


def warn_of(asked: Asked) -> None:
    warn(
        f"a call of {asked.function} was given up and is still running: until it ends, one call fewer can be taken at a time"
    )
