"""chutes/testing/loops — an event loop for one coroutine, left in bounded time whatever its tasks do. Sets no thread's loop."""

from __future__ import annotations

import asyncio
from typing import Any, Coroutine, TypeVar

T = TypeVar("T")
LEAVE_SECONDS = 1.0


def run_to_its_end(work: Coroutine[Any, Any, T]) -> T:
    if is_in_a_loop():
        work.close()
        raise RuntimeError("this is a coroutine already: await run_async(…) instead of calling run(…)")
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(work)
    finally:
        leave(loop)


def is_in_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def leave(loop: asyncio.AbstractEventLoop) -> None:
    """asyncio.run would wait for ever for a task that swallows its cancellation."""
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    if left:
        loop.run_until_complete(asyncio.wait(left, timeout=LEAVE_SECONDS))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
