"""chutes/testing/attempts — one attempt of a job: startup hooks, function, shutdown hooks, within its time. Tries nothing again."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import json
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Callable, Dict, Tuple

from chutes._runtime.endings import Ending, StillRunningError, raised, returned, still_running
from chutes._runtime.failures import awaiting, stack_of
from chutes.chute import Chute
from chutes.chute.job import Job
from chutes.testing.platform import LocalPlatform
from chutes.testing.results import Failure
from chutes.testing.stopping import Stop

# Raised by a person at the terminal, and by the interpreter as it closes a coroutine: not by the job.
OURS_TO_HEED = (KeyboardInterrupt, GeneratorExit)


@dataclass(frozen=True)
class Limits:
    """Seconds. `timeout` None: as long as it takes. `grace`: between the request to stop and giving up on it."""

    timeout: float | None
    grace: float


@dataclass(frozen=True)
class Ended:
    """`is_over` False: it did not stop within its grace, and goes on in this process."""

    outcome: str
    value: Any = None
    note: str | None = None
    error: Failure | None = None
    is_over: bool = True
    seconds: float = 0.0


Arguments = Tuple[Tuple[Any, ...], Dict[str, Any]]


class OneAttempt:
    def __init__(self, chute: Chute, job: Job, platform: LocalPlatform, limits: Limits, stop: Stop) -> None:
        self._chute = chute
        self._job = job
        self._platform = platform
        self._limits = limits
        self._stop = stop
        # Of a plain function, while it runs.
        self._thread: int | None = None

    async def run(self, arguments: Arguments) -> Ended:
        began = time.monotonic()
        work = asyncio.ensure_future(self._work(arguments))
        try:
            why = await self._until_over_or_to_stop(work, began)
            if why is not None and not work.done():
                await self._bring_to_an_end(work)
        except asyncio.CancelledError:
            # The test itself is being cancelled: nothing of the job may outlive it.
            await self._bring_to_an_end(work)
            raise
        if not work.done():
            where = awaiting(work.get_coro()) if self._thread is None else stack_of(self._thread)
            work.cancel()
            error, seconds = StillRunningError(), time.monotonic() - began
            ended = ended_with(still_running(where or ""), error)
            return replace(ended, outcome=why or "cancelled", is_over=False, seconds=seconds)
        ended = work.result()
        return replace(ended, outcome=why or ended.outcome, seconds=time.monotonic() - began)

    async def _until_over_or_to_stop(self, work: asyncio.Future[Ended], began: float) -> str | None:
        timeout = self._limits.timeout
        with self._stop.watched() as asked:
            both: set[asyncio.Future[Any]] = {work, asked}
            await asyncio.wait(both, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            # A function that holds the loop up past its time is seen too late, and has passed it all the same.
            if timeout is not None and time.monotonic() - began >= timeout:
                return "timed_out"
            return None if work.done() else "cancelled"

    async def _bring_to_an_end(self, work: asyncio.Future[Ended]) -> None:
        """As on a host: it is told first, and cancelled after half of the grace, which a plain function can't be."""
        self._platform.stopping = True
        await asyncio.wait({work}, timeout=self._limits.grace / 2)
        if self._thread is None:
            work.cancel()
        await asyncio.wait({work}, timeout=self._limits.grace / 2)

    async def _work(self, arguments: Arguments) -> Ended:
        ended = await self._start_up() or await self._call(arguments)
        await self._shut_down()
        return ended

    async def _start_up(self) -> Ended | None:
        try:
            for hook in self._chute.startup_hooks:
                await call_hook(hook, self._chute)
        except OURS_TO_HEED:
            raise
        except BaseException as error:  # noqa: BLE001 — the author's code may raise anything, and that is the result then
            return self._failed(error, "startup")
        return None

    async def _call(self, arguments: Arguments) -> Ended:
        args, kwargs = arguments
        function, error = self._job.function, None
        try:
            if inspect.iscoroutinefunction(function):
                value = await function(self._chute, *args, **kwargs)
            else:
                value, error = await self._call_in_thread(function, *args, **kwargs)
                value = await value if inspect.isawaitable(value) else value
        except OURS_TO_HEED:
            raise
        except BaseException as raised_here:  # noqa: BLE001 — as above
            error = raised_here
        return ended_with(returned(value), None) if error is None else self._failed(error, "raised")

    async def _call_in_thread(
        self, function: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> tuple[Any, BaseException | None]:
        def follow() -> Any:
            self._thread = threading.get_ident()
            return function(self._chute, *args, **kwargs)

        try:
            return await call_in_thread(follow, f"job {function.__name__}")
        finally:
            self._thread = None

    def _failed(self, error: BaseException, kind: str) -> Ended:
        if isinstance(error, asyncio.CancelledError) and self._platform.stopping:
            kind = "cancelled"
        return ended_with(raised(error, kind), error)

    async def _shut_down(self) -> None:
        for hook in self._chute.shutdown_hooks:
            await self._shut_down_by(hook)

    async def _shut_down_by(self, hook: Callable[..., Any]) -> None:
        try:
            await call_hook(hook, self._chute)
        except (asyncio.CancelledError, *OURS_TO_HEED):
            raise
        except BaseException as error:
            # The others are called all the same, and the job was what it was.
            self._platform.logger.exception("a shutdown hook raised %s", type(error).__name__)


def ended_with(ending: Ending, error: BaseException | None) -> Ended:
    """sys.exit(0) is a success."""
    if ending.error is not None:
        return Ended(ending.status, error=Failure.of(ending, error))
    return Ended(ending.status, json.loads(ending.result), ending.note)


async def call_hook(hook: Callable[..., Any], chute: Chute) -> None:
    done = hook(chute)
    if inspect.isawaitable(done):
        await done


async def call_in_thread(function: Callable[[], Any], name: str) -> tuple[Any, BaseException | None]:
    """A plain function, which nobody can cancel: its thread goes on where the wait for it ends, and keeps no process from ending.

    What it raised is given and not raised: a StopIteration could not come out of a coroutine.
    """
    loop, context = asyncio.get_running_loop(), contextvars.copy_context()
    done: asyncio.Future[tuple[Any, BaseException | None]] = loop.create_future()

    def tell(outcome: tuple[Any, BaseException | None]) -> None:
        if not done.done():
            done.set_result(outcome)

    def work() -> None:
        outcome: tuple[Any, BaseException | None]
        try:
            outcome = (context.run(function), None)
        except BaseException as error:  # noqa: BLE001 — as above
            outcome = (None, error)
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(tell, outcome)

    threading.Thread(target=work, daemon=True, name=name).start()
    return await done
