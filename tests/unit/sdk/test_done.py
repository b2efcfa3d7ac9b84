"""What tells the platform something is done when it was called, by whoever calls it."""

import asyncio
import gc

from chutes import Chute

chute = Chute(username="me", name="mine")


def recorded() -> list[object]:
    return [value for _, value in chute.record_metric.__self__.metrics]


def test_a_plain_function_tells_without_awaiting() -> None:
    chute.record_metric("plain", "told")
    # A coroutine that nobody awaited would warn here, and a warning is an error.
    gc.collect()
    assert "told" in recorded()


async def test_it_may_be_a_task_as_any_coroutine() -> None:
    await asyncio.gather(
        asyncio.create_task(chute.record_metric("task", "one")), chute.record_metric("task", "two")
    )
    assert {"one", "two"} <= set(recorded())


async def test_a_coroutine_that_does_nothing_but_tell_can_be_cancelled() -> None:
    async def tell_for_ever() -> None:
        while True:
            await chute.update_job_progress(progress=1)

    task = asyncio.create_task(tell_for_ever())
    await asyncio.sleep(0)
    task.cancel()
    assert isinstance((await asyncio.gather(task, return_exceptions=True))[0], asyncio.CancelledError)
