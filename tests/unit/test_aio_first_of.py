"""The first of several works that has ended is the answer; nothing is left of the others."""

import asyncio

import pytest

from agent.aio import first_of

pytestmark = pytest.mark.looptime


async def after(seconds: float, answer: object, ends: list[object]) -> object:
    try:
        await asyncio.sleep(seconds)
        if isinstance(answer, Exception):
            raise answer
        return answer
    finally:
        ends.append(answer)


async def test_the_first_to_end_is_the_answer_and_the_others_are_seen_to_end() -> None:
    ends: list[object] = []
    assert await first_of(after(5, "late", ends), after(1, "first", ends), after(9, "last", ends)) == "first"
    assert set(ends) == {"late", "first", "last"}
    assert asyncio.get_running_loop().time() == 1
    assert len(asyncio.all_tasks()) == 1


async def test_an_error_that_comes_first_is_the_answer_as_it_is() -> None:
    ends: list[object] = []
    with pytest.raises(ValueError, match="bad"):
        await first_of(after(5, "late", ends), after(1, ValueError("bad"), ends))
    assert len(ends) == 2


async def test_who_is_cancelled_leaves_nothing_running() -> None:
    ends: list[object] = []
    task = asyncio.ensure_future(first_of(after(5, "one", ends), after(6, "two", ends)))
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(ends) == 2


async def test_of_two_that_end_at_once_neither_error_is_left_over() -> None:
    ends: list[object] = []
    with pytest.raises(ValueError, match="bad"):
        await first_of(after(1, ValueError("bad 1"), ends), after(1, ValueError("bad 2"), ends))
    assert len(ends) == 2
