"""chutes/_runtime/cords/threads — plain functions run in threads of their own, so that the loop goes on. Judges nothing they do."""

from __future__ import annotations

from asyncio import CancelledError, Future, wait, wrap_future
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from os import _exit, getpid
from threading import get_ident, stack_size
from typing import Any, Callable

from chutes._runtime.aside import STACK_BYTES
from chutes._runtime.cords.calls import CALL
from chutes._runtime.leaving import flush


class Threads:
    def __init__(self, most: int) -> None:
        self._pool = ThreadPoolExecutor(most, thread_name_prefix="chutes-cord")

    async def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """What it returns or raises. Nobody can cancel it: cancelled, this waits for its end, since it takes one's place until then."""
        context = copy_context()
        before = stack_size(STACK_BYTES)
        try:
            done = wrap_future(self._pool.submit(context.run, _contain, function, args))
        finally:
            stack_size(before)
        await _see_out(done)
        value, error = done.result()
        if error is not None:
            raise error
        return value


def leave_if_forked(pid: int) -> None:
    """A child that the author forked and that came out of the function as well: the answer is the parent's."""
    if getpid() != pid:
        flush()
        _exit(0)


async def _see_out(done: Future[Any]) -> None:
    """Raises a CancelledError when it is over, and not before."""
    try:
        await wait({done})
    except CancelledError:
        # However often that is asked for.
        while not done.done():
            with suppress(CancelledError):
                await wait({done})
        raise


def _contain(function: Callable[..., Any], args: tuple[Any, ...]) -> tuple[Any, BaseException | None]:
    # Given and not raised: a StopIteration can't come out of a future.
    call, pid = CALL.get(), getpid()
    if call is not None:
        call.thread = get_ident()
    try:
        return function(*args), None
    except BaseException as error:  # noqa: BLE001 — the author's code may raise anything, SystemExit included
        return None, error
    finally:
        leave_if_forked(pid)
        if call is not None:
            call.thread = None
