"""What /health says of containers that are not ours and have GPUs."""

import pytest

from agent.core.gpu_strangers import GpuStranger
from agent.core.gpus import Gpu
from agent.jobs.health import CheckState, Finding
from agent.jobs.stranger_probe import MOST_NAMED, gpu_strangers_probe
from tests.fakes.clock import FakeClock
from tests.fakes.engine import FakeEngine
from tests.fakes.gpus import FakeGpus

pytestmark = pytest.mark.looptime


async def finding(
    *strangers: GpuStranger, use: tuple[str, ...] = ("*",), uuids: tuple[str, ...] = ("GPU-1",)
) -> Finding:
    engine, gpus = FakeEngine(FakeClock()), FakeGpus()
    engine.strangers = list(strangers)
    gpus.gpus = tuple(Gpu(uuid, "NVIDIA L40S", 45 << 30) for uuid in uuids)
    return await gpu_strangers_probe(engine, gpus, lambda: use)()


async def test_who_has_gpus_of_ours_is_named_with_them_and_with_his_agent() -> None:
    found = await finding(
        GpuStranger("miner", ("all",)),
        GpuStranger("gpu-agent-x-1", ("GPU-1",), "agent-2"),
        GpuStranger("disjoint", ("GPU-7",), "agent-2"),
    )
    assert found.state is CheckState.WARN
    assert "miner" not in found.evidence
    assert "container miner has all" in found.private
    assert "container gpu-agent-x-1 of gpu-agent agent-2 has GPU-1" in found.private
    assert "disjoint" not in found.private
    assert found.remedy


async def test_disjoint_containers_are_counted_and_nothing_is_to_be_done() -> None:
    found = await finding(GpuStranger("theirs", ("GPU-7",)), use=("GPU-1",), uuids=("GPU-1", "GPU-7"))
    assert (found.state, found.remedy) == (CheckState.OK, "")
    assert found.evidence.endswith("none that the agent leases: 1")


async def test_of_very_many_the_first_are_named_and_the_others_counted() -> None:
    found = await finding(*(GpuStranger(f"c{number:02}", ("all",)) for number in range(MOST_NAMED + 2)))
    assert f"c{MOST_NAMED - 1:02} has all; and 2 more" in found.private
    assert f"c{MOST_NAMED:02}" not in found.private


@pytest.mark.parametrize("settings", [{"use": ()}, {"uuids": ()}])
async def test_where_no_gpu_is_ours_the_engine_is_not_even_asked(
    settings: dict[str, tuple[str, ...]],
) -> None:
    found = await finding(GpuStranger("theirs", ("all",)), **settings)
    assert (found.state, found.evidence) == (CheckState.OK, "there is no GPU to lease")
