"""Strangers' containers on a real engine: who has a GPU is seen while it runs, and each is looked at once."""

from dataclasses import replace

from conftest import DockerStage

from agent.adapters.docker.strangers import Strangers
from agent.core.container import Injection
from agent.core.gpu_strangers import GpuStranger, GpuStrangers
from tests.contract.engine_contract import FOREVER

GPU = "GPU-88888888-abcd"
OTHER_AGENT = {"gpu-agent.agent": "another-agent"}


async def test_who_runs_with_a_gpu_is_told_and_who_has_none_or_is_ours_is_not(stage: DockerStage) -> None:
    await stage.run_gpu_stranger("gpu-agent-theirs-1", GPU)
    given = {"HostConfig": {"DeviceRequests": [stage.write_gpu(GPU)]}, "Labels": OTHER_AGENT}
    await stage.run_as_stranger("gpu-agent-another-1", given)
    # No runtime of this engine reads that.
    await stage.run_as_stranger("gpu-agent-wishful-1", {"Env": ["NVIDIA_VISIBLE_DEVICES=all"]})
    await stage.run(replace(stage.plan("ours", FOREVER), gpus=(GPU,), injection=Injection.CDI))
    assert (await stage.engine.gpu_strangers()).found == (
        GpuStranger("gpu-agent-another-1", (GPU,), "another-agent"),
        GpuStranger("gpu-agent-theirs-1", (GPU,)),
    )
    await stage.request("POST", "/containers/gpu-agent-theirs-1/kill")
    await stage.request("POST", "/containers/gpu-agent-theirs-1/wait")
    assert [one.name for one in (await stage.engine.gpu_strangers()).found] == ["gpu-agent-another-1"]


async def test_of_more_containers_than_are_looked_at_at_once_the_rest_comes_next_time(
    stage: DockerStage,
) -> None:
    strangers = Strangers(stage.engine._calls, stage.agent, most=1)
    for number in range(3):
        await stage.run_gpu_stranger(f"gpu-agent-{number}-1", GPU)
    for unseen in (2, 1, 0):
        seen = await strangers.look()
        assert (len(seen.found), seen.unseen) == (3 - unseen, unseen)
    assert await strangers.look() == GpuStrangers(seen.found)
