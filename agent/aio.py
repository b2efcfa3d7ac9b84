"""aio — tasks, pokes and bounded threads. The only place that creates tasks or thread pools; knows nothing of jobs."""

import asyncio
import errno
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, ParamSpec, TypeVar, cast

import structlog

log = structlog.get_logger()

P = ParamSpec("P")
T = TypeVar("T")


class TaskEndedError(Exception):
    """A standing task returned. It never should: the daemon leaves, and its service manager starts it again."""


def spawn(group: asyncio.TaskGroup, work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
    """Run `work` in `group` under a name that shows in logs and in debuggers."""
    return group.create_task(work, name=name)


def stand(group: asyncio.TaskGroup, work: Coroutine[Any, Any, object], name: str) -> asyncio.Task[None]:
    """Run a standing loop in `group`: if it ends, for whatever reason, the whole group does."""
    return group.create_task(_standing(work, name), name=name)


async def _standing(work: Coroutine[Any, Any, object], name: str) -> None:
    await work
    raise TaskEndedError(f"the task {name} ended")


@asynccontextmanager
async def beside(work: Coroutine[Any, Any, None], name: str) -> AsyncIterator[None]:
    """Run `work` for as long as the block does, which it neither holds up nor ends; what the block raises comes as it is.

    What `work` raises, unforeseen, is in the log.
    """
    task = asyncio.get_running_loop().create_task(work, name=name)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("task.broke", task=name, exc_info=error)


async def first_of(*works: Coroutine[Any, Any, T]) -> T:
    """Run all until one has ended, then cancel the others and see them end. What the first returned or raised is the answer."""
    loop = asyncio.get_running_loop()
    tasks = [loop.create_task(work, name="first of") for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        first = next(task for task in tasks if task.done())
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        # One that failed at the same moment has nobody who asks.
        for task in tasks:
            if not task.cancelled():
                task.exception()
    return first.result()


_END = object()


async def one_ahead(items: AsyncGenerator[T]) -> AsyncGenerator[T]:
    """The items of `items`, the next of which is made while the last is used. Closes `items`; close it, too."""

    async def make() -> T | object:
        return await anext(items, _END)

    loop = asyncio.get_running_loop()
    task = loop.create_task(make(), name="one ahead")
    try:
        while (item := await task) is not _END:
            task = loop.create_task(make(), name="one ahead")
            # Or it would begin when the item is used up: who uses it may never wait.
            await asyncio.sleep(0)
            yield cast(T, item)
    finally:
        task.cancel()
        await asyncio.wait({task})
        if not task.cancelled():
            task.exception()  # who asked for it has left
        await items.aclose()


class Flag:
    """A poke. It is a flag and not an edge: clear it before you read the world, wait for it after.

    A poke that comes between the look and the wait is thus never lost (the checker's trace 15).
    """

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def set(self) -> None:
        self._event.set()

    def clear(self) -> None:
        self._event.clear()

    def is_set(self) -> bool:
        return self._event.is_set()

    async def wait(self, seconds: float | None = None) -> bool:
        """Return when poked (true), or after `seconds` (false); the caller looks at the world in either case."""
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            return False
        return True


class Apart:
    """Calls that may block for minutes and can't be told to stop: each in a thread that nobody waits for, not even Python at its exit.

    At most `most` at once: a call keeps its place until it has ended, also when nobody waits for it any more.
    """

    def __init__(self, name: str, most: int) -> None:
        self._name = name
        self._places = asyncio.Semaphore(most)

    async def run(self, function: Callable[[], T]) -> T:
        """What `function` returns or raises. Raises OSError where there is no thread to be had."""
        await self._places.acquire()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def settle(result: T | None, error: Exception | None) -> None:
            self._places.release()
            if future.done():
                return  # nobody waits any more
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)  # type: ignore[arg-type] # where there is no error there is a result

        def call() -> None:
            settled: tuple[T | None, Exception | None]
            try:
                settled = (function(), None)
            except Exception as error:  # noqa: BLE001 - it is handed to who waits
                settled = (None, error)
            with suppress(RuntimeError):  # the loop is closed: the daemon has left
                loop.call_soon_threadsafe(settle, *settled)

        try:
            threading.Thread(target=call, name=self._name, daemon=True).start()
        except RuntimeError as error:
            self._places.release()
            raise OSError(errno.EAGAIN, "no thread to be had") from error
        return await future


class Threads:
    """A bounded pool for calls that block. Cancelling the await does not stop the thread: give each call its own time-out."""

    def __init__(self, name: str, size: int) -> None:
        self._pool = ThreadPoolExecutor(size, thread_name_prefix=name)

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(
            self._pool, partial(function, *args, **kwargs)
        )

    async def run_within(
        self, seconds: float, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """As `run`. Raises TimeoutError once the call itself has lasted `seconds`: its wait for a thread doesn't count."""
        loop = asyncio.get_running_loop()
        begun_at: float | None = None

        def call() -> T:
            nonlocal begun_at
            begun_at = loop.time()
            return function(*args, **kwargs)

        timer: asyncio.TimerHandle

        def look_at_the_clock() -> None:
            # The thread does not tell the loop that it begins: that would wake it once more for each call.
            nonlocal timer
            due = (loop.time() if begun_at is None else begun_at) + seconds
            if due > loop.time():
                timer = loop.call_at(due, look_at_the_clock)
            else:
                limit.reschedule(due)

        timer = loop.call_later(seconds, look_at_the_clock)
        try:
            async with asyncio.timeout(None) as limit:
                return await loop.run_in_executor(self._pool, call)
        finally:
            timer.cancel()

    def close(self) -> None:
        """Waits for the calls that have begun; those that have not are cancelled."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def abandon(self) -> None:
        """As `close`, and waits for nothing. Python itself waits for each thread as it exits: end what they wait for."""
        self._pool.shutdown(wait=False, cancel_futures=True)
