"""What the engine is removing already is no orphan: only strays count."""

import asyncio

import pytest

from agent.core.container import Container, ContainerState
from tests.shell.world import AGENT, World

pytestmark = pytest.mark.looptime


@pytest.mark.parametrize(("state", "counted"), [(ContainerState.REMOVING, 0), (ContainerState.EXITED, 1)])
async def test_a_container_that_is_going_already_is_not_counted(state: ContainerState, counted: int) -> None:
    world = World()
    stray = Container("c" * 64, "gpu-agent-x-1", state, agent=AGENT, job="no-such-job", attempt=1)
    world.engine._add(stray, None)
    await world.start()
    assert world.shell is not None
    async with asyncio.timeout(60):
        while stray.id in world.engine.boxes:
            await asyncio.sleep(0.1)
    assert world.shell.janitor.orphans_removed == counted
    await world.crash()
