"""Who may send now: no principal and no endpoint takes all places."""

import asyncio

import pytest

from agent.jobs.turns import MOST, MOST_OF_ONE, MOST_TO_ONE, Turns

pytestmark = pytest.mark.looptime


class Room:
    """Everybody who comes in stays."""

    def __init__(self) -> None:
        self.turns = Turns()
        self.inside: list[tuple[str, str]] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def come(self, owner: str, endpoint: str, count: int = 1) -> int:
        """How many of these are inside after a while."""
        self._tasks += [asyncio.ensure_future(self._stay(owner, endpoint)) for _ in range(count)]
        await asyncio.sleep(1)
        return self.inside.count((owner, endpoint))

    async def _stay(self, owner: str, endpoint: str) -> None:
        async with self.turns.turn(owner, endpoint):
            self.inside.append((owner, endpoint))
            try:
                await asyncio.Event().wait()
            finally:
                self.inside.remove((owner, endpoint))

    async def empty(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)


async def test_to_one_endpoint_go_few_at_once_and_others_pass() -> None:
    room = Room()
    assert await room.come("ann", "stuck", 50) == MOST_TO_ONE
    assert await room.come("ann", "well") == 1
    assert await room.come("bob", "stuck") == 1  # his own
    await room.empty()


async def test_a_principal_with_many_endpoints_that_hang_holds_up_himself_alone() -> None:
    room = Room()
    for number in range(100):
        await room.come("ann", f"stuck-{number}")
    assert len(room.inside) == MOST_OF_ONE
    assert await room.come("ann", "well") == 0
    assert await room.come("bob", "well") == 1
    await room.empty()


async def test_all_together_are_bounded() -> None:
    room = Room()
    for number in range(100):
        await room.come(f"owner-{number}", "endpoint")
    assert len(room.inside) == MOST
    await room.empty()


async def test_who_leaves_makes_room_and_nothing_is_kept_of_who_was_there() -> None:
    room = Room()
    await room.come("ann", "stuck", 50)
    await room.empty()
    assert await room.come("ann", "stuck", 50) == MOST_TO_ONE
    await room.empty()
    assert room.turns._gates == {}
