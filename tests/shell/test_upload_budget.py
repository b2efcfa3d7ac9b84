"""Places for files that leave: never more than there are, and fairly shared, whoever gives up waiting."""

import asyncio
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.jobs.uploads.budget import Budget

pytestmark = pytest.mark.looptime


async def test_a_place_goes_to_who_has_the_fewest_and_then_to_who_came_first() -> None:
    budget, order = Budget(2), list[str]()

    async def send(owner: str, job: str) -> None:
        await budget.enter(owner, job)
        order.append(f"{owner}/{job}")
        await asyncio.sleep(1)
        budget.leave(owner, job)

    crowd = [("ann", "1")] * 5 + [("ann", "2")] * 2 + [("bob", "3")] * 2
    async with asyncio.TaskGroup() as group:
        for owner, job in crowd:
            group.create_task(send(owner, job))
    # The first two found free places; when both leave, bob has none, and then ann's second job has none.
    assert order[:4] == ["ann/1", "ann/1", "bob/3", "ann/2"] or order[:4] == [
        "ann/1",
        "ann/1",
        "bob/3",
        "ann/1",
    ]
    assert order.index("bob/3") < order.index("ann/2")
    assert Counter(order) == Counter(f"{owner}/{job}" for owner, job in crowd)


async def test_a_wait_that_is_given_up_as_its_place_comes_loses_no_place_and_breaks_nobody() -> None:
    budget = Budget(1)
    await budget.enter("ann", "1")
    waiting = [asyncio.ensure_future(budget.enter("bob", str(number))) for number in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()  # cancelled, and not run since: as its place is given back just now
    budget.leave("ann", "1")
    waiting[1].cancel()  # granted a moment ago
    await asyncio.wait(waiting)
    assert [task.cancelled() for task in waiting] == [True, True, False]
    budget.leave("bob", "2")
    await asyncio.wait_for(budget.enter("ann", "1"), 1)


async def test_a_budget_that_grows_lets_more_in_at_once_and_one_that_shrinks_none_before_it_fits() -> None:
    budget = Budget(1)
    await budget.enter("ann", "first")
    waiting = [asyncio.ensure_future(budget.enter("ann", str(number))) for number in range(3)]
    await asyncio.sleep(0)
    budget.allow(3)
    await asyncio.sleep(0.1)
    assert [task.done() for task in waiting] == [True, True, False]
    budget.allow(1)
    for number in (1, 0):
        budget.leave("ann", str(number))
        await asyncio.sleep(0.1)
        assert not waiting[2].done()
    budget.leave("ann", "first")
    await asyncio.wait_for(waiting[2], 1)


@given(
    most=st.integers(1, 4),
    files=st.lists(
        st.tuples(st.sampled_from("ab"), st.sampled_from("123"), st.integers(0, 5), st.booleans()),
        max_size=30,
    ),
)
def test_never_more_are_in_than_there_are_places_and_everyone_gets_in(
    most: int, files: list[tuple[str, str, int, bool]]
) -> None:
    async def run() -> None:
        budget, inside, entered = Budget(most), 0, 0

        async def send(owner: str, job: str, ticks: int) -> None:
            nonlocal inside, entered
            await budget.enter(owner, job)
            inside, entered = inside + 1, entered + 1
            assert inside <= most
            try:
                for _ in range(ticks):
                    await asyncio.sleep(0)
            finally:
                inside -= 1
                budget.leave(owner, job)

        tasks = [asyncio.ensure_future(send(owner, job, ticks)) for owner, job, ticks, _ in files]
        await asyncio.sleep(0)
        for task, (*_, is_cancelled) in zip(tasks, files, strict=True):
            if is_cancelled:
                task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            assert result is None or isinstance(result, asyncio.CancelledError)
        for number in range(most):  # no place was lost
            await asyncio.wait_for(budget.enter("c", str(number)), 1)

    asyncio.run(run())
