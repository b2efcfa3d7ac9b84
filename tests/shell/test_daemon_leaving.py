"""The order in which the daemon leaves: nobody is let in any more before the tasks that would run his job end."""

import asyncio
from pathlib import Path

import pytest

from agent.aio import spawn
from agent.daemon.serve import LeaveError, leave_when
from tests.shell.api_world import ApiWorld, api_world


async def is_open(world: ApiWorld, port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


@pytest.mark.parametrize("reason", ["a signal", "a fault"])
async def test_the_api_is_closed_while_the_jobs_tasks_are_there(tmp_path: Path, reason: str) -> None:
    was_open = asyncio.Event()
    async with api_world(tmp_path) as world:
        assert world.sites is not None
        port = world.sites.port
        assert await is_open(world, port)
        with pytest.raises(BaseExceptionGroup) as ends:
            await leave(world, reason, was_open)
        assert ends.group_contains(LeaveError if reason == "a signal" else ValueError)
        assert not was_open.is_set()
        assert not await is_open(world, port)


async def leave(world: ApiWorld, reason: str, was_open: asyncio.Event) -> None:
    asked = asyncio.Event()
    assert world.sites is not None
    async with asyncio.TaskGroup() as group:
        spawn(group, leave_when(asked, world.sites), "leave")
        await asyncio.sleep(0)  # it stands by now, as in any daemon
        if reason == "a signal":
            spawn(group, _note_when_cancelled(world, world.sites.port, was_open), "a job's task")
            asked.set()
        else:
            raise ValueError


async def _note_when_cancelled(world: ApiWorld, port: int, was_open: asyncio.Event) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        if await is_open(world, port):
            was_open.set()
