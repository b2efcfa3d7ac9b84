"""The jobs' bridge is taken away at an uninstall: ours alone, and only when nothing is on it."""

import uuid
from collections.abc import AsyncIterator

import pytest

from agent.interfaces import EngineRefusedError
from tests.docker.conftest import DockerStage


@pytest.fixture
async def bridge(stage: DockerStage) -> AsyncIterator[str]:
    name = f"gar{uuid.uuid4().hex[:10]}"
    yield name
    await stage.request("POST", "/networks/prune")


async def test_ours_is_removed_once_and_then_there_is_none(stage: DockerStage, bridge: str) -> None:
    await stage.engine.ensure_bridge(bridge, None)
    assert await stage.engine.remove_bridge(bridge) is True
    assert await stage.engine.remove_bridge(bridge) is False


async def test_a_strangers_of_that_name_stays(stage: DockerStage, bridge: str) -> None:
    await stage.request("POST", "/networks/create", {"Name": bridge, "Driver": "bridge"})
    with pytest.raises(EngineRefusedError, match="not gpu-agent's"):
        await stage.engine.remove_bridge(bridge)
    await stage.request("GET", f"/networks/{bridge}")


async def test_containers_that_are_on_it_keep_it_and_are_told_how_to_find(
    stage: DockerStage, bridge: str
) -> None:
    await stage.engine.ensure_bridge(bridge, None)
    name = f"on-{bridge}"
    await stage.run_as_stranger(name, {"HostConfig": {"NetworkMode": bridge}})
    with pytest.raises(
        EngineRefusedError, match=f"remove them first .docker ps -a --filter network={bridge}."
    ):
        await stage.engine.remove_bridge(bridge)
    await stage.request("DELETE", f"/containers/{name}?force=1")
    assert await stage.engine.remove_bridge(bridge) is True
