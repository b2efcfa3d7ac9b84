"""chutes/_runtime/loop — runs the author's functions, plain or async, to their ends in the calling thread. Judges no ending."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Awaitable, Callable

from chutes._runtime.failures import awaiting
from chutes._runtime.stopping import Stopping

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

_SWEEP_SECONDS = 1.0


class AuthorLoop:
    """One event loop for all of a run, so that what on_startup opens works in the function. Made when it is first needed."""

    def __init__(self, stopping: Stopping) -> None:
        self._stopping = stopping
        self._loop: AbstractEventLoop | None = None
        self._awaited: Any = None

    def whereabouts(self) -> str | None:
        """Where what is awaited now waits; None where it is running, or nothing is awaited. For any thread."""
        return awaiting(self._awaited)

    def run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """What it returns. Raises what it raises, BaseException included."""
        value = function(*args, **kwargs)
        return self._wait_for(value) if isinstance(value, Awaitable) else value

    def run_stoppable(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """As `run`; a stop cancels it where it can be cancelled."""
        value = function(*args, **kwargs)
        if not isinstance(value, Awaitable):
            return value
        try:
            return self._wait_for(value, self._stopping.cancel_by)
        finally:
            self._stopping.cancel_by(None)

    def sweep(self) -> None:
        """Cancel what the author left running, and give it a moment."""
        if self._loop is None:
            return
        import asyncio  # noqa: PLC0415

        left = asyncio.all_tasks(self._loop)
        for task in left:
            task.cancel()
        if left:
            self._loop.run_until_complete(asyncio.wait(left, timeout=_SWEEP_SECONDS))
        self._loop.run_until_complete(asyncio.wait_for(self._loop.shutdown_asyncgens(), _SWEEP_SECONDS))

    def _wait_for(
        self, value: Awaitable[Any], cancellable: Callable[[Callable[[], None]], None] | None = None
    ) -> Any:
        loop = self._made()
        self._awaited = value
        raised: list[BaseException] = []
        task = loop.create_task(_contain(value, raised))
        if cancellable is not None:
            cancellable(lambda: _cancel(loop, task))
        # What another task of the author's raises, as SystemExit, comes out here as well.
        returned = loop.run_until_complete(task)
        self._awaited = None
        if raised:
            raise raised[0]
        return returned

    def _made(self) -> AbstractEventLoop:
        if self._loop is None:
            from asyncio import new_event_loop, set_event_loop  # noqa: PLC0415 — a plain `def` job starts without it

            self._loop = _set_by_the_file() or new_event_loop()
            set_event_loop(self._loop)
        return self._loop


def _set_by_the_file() -> AbstractEventLoop | None:
    """The loop of this thread, which what was made at the import may belong to: in 3.8 and 3.9 each lock and queue does."""
    from asyncio import get_event_loop  # noqa: PLC0415
    from warnings import catch_warnings, simplefilter  # noqa: PLC0415

    try:
        with catch_warnings():
            # 3.12 and 3.13 make one where there is none, and complain.
            simplefilter("ignore")
            loop = get_event_loop()
    except RuntimeError:
        return None
    return None if loop.is_closed() or loop.is_running() else loop


async def _contain(value: Awaitable[Any], raised: list[BaseException]) -> Any:
    # SystemExit and KeyboardInterrupt out of a task would stop the loop, and the shutdown hooks still need it.
    try:
        return await value
    except BaseException as error:  # noqa: BLE001 — raised again outside the loop
        raised.append(error)


def _cancel(loop: Any, task: Any) -> None:
    try:
        loop.call_soon_threadsafe(task.cancel)
    except RuntimeError:
        return  # the author closed the loop: there is nothing left to cancel
