"""What GPUs do just now, through the port: on a list of a test's own and on NVML. What is not told is None, and never made up."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from agent.adapters.no_gpus import NoGpus
from agent.core.gpu_findings import Absence, Slowdown
from agent.core.gpu_usage import GpuSample
from agent.core.gpus import Gpu
from agent.interfaces import Gpus
from tests.contract.nvml_world import Make, gpus_on, reading_port
from tests.fakes.gpus import FakeGpus
from tests.nvml_standin import profiles
from tests.nvml_standin.profiles import GIB, uuid_of

Open = Callable[[Make, Path], AbstractAsyncContextManager[Gpus]]
FOUR = [uuid_of(place) for place in range(4)]
# What the stand-in's L40S does.
IDLE = GpuSample(7, 4 << 20, 70.5, 31, frozenset(), 1.0)


@asynccontextmanager
async def fake(standin: Make, folder: Path) -> AsyncIterator[Gpus]:
    """Four, of which the third is missing."""
    gpus = FakeGpus()
    gpus.gpus = tuple(Gpu(uuid, "NVIDIA L40S", 45 * GIB) for uuid in FOUR)
    gpus.does = lambda _uuid: IDLE
    gpus.absent = {uuid_of(2): Absence.GONE}
    yield gpus


@asynccontextmanager
async def real(standin: Make, folder: Path) -> AsyncIterator[Gpus]:
    host = profiles.l40s_pcie().but(1, "energy 1000").but(3, "energy 1000")
    machine = standin(host)
    async with gpus_on(machine, folder / "record") as gpus:
        port = reading_port(gpus)
        await port.look(frozenset())
        machine.become(host.without(2))
        yield port


@pytest.mark.parametrize("opened", [fake, real], ids=["fake", "nvml"])
async def test_each_gpu_tells_what_it_does_and_one_that_is_missing_hides_no_other(
    opened: Open, standin: Make, tmp_path: Path
) -> None:
    async with opened(standin, tmp_path) as gpus:
        samples = await gpus.samples(FOUR)
        assert samples == {FOUR[0]: IDLE, FOUR[1]: IDLE, FOUR[2]: None, FOUR[3]: IDLE}
        assert await gpus.samples([]) == {}


async def test_what_a_consumer_card_does_not_tell_is_none_and_the_rest_is_told(
    standin: Make, tmp_path: Path
) -> None:
    host = profiles.consumer().but(0, "utilisation 99 50", "reasons 64")
    bare = profiles.Card(
        uuid_of(1), tuple(f for f in host.cards[1].facts if f.split()[0] in {"name", "pci", "memory"})
    )
    async with gpus_on(standin(profiles.Host((host.cards[0], bare))), tmp_path / "record") as gpus:
        samples = await reading_port(gpus).samples(FOUR[:2])
    assert samples[FOUR[0]] == GpuSample(
        99, 4 << 20, 70.5, 31, frozenset({Slowdown.HARDWARE_THERMAL}), energy_joules=None
    )
    assert samples[FOUR[1]] == GpuSample(used_bytes=4 << 20)


async def test_of_a_mig_instance_the_power_of_its_whole_gpu_is_not_told(
    standin: Make, tmp_path: Path
) -> None:
    async with gpus_on(standin(profiles.a100_mig()), tmp_path / "record") as gpus:
        samples = await reading_port(gpus).samples(["MIG-2-3", uuid_of(2)])
    assert samples["MIG-2-3"] == GpuSample(used_bytes=1 << 20, celsius=31, slowdowns=frozenset())
    whole = samples[uuid_of(2)]
    assert whole is not None
    assert (whole.power_watts, whole.energy_joules) == (70.5, 3.0)


@pytest.mark.slow
async def test_a_gpu_that_hangs_or_is_lost_tells_nothing_and_the_others_do(
    standin: Make, tmp_path: Path
) -> None:
    machine = standin(profiles.l40s_pcie())
    async with gpus_on(machine, tmp_path / "record") as gpus:
        port = reading_port(gpus)
        await port.look(frozenset())
        machine.become(profiles.sick())
        samples = await port.samples(FOUR)
    assert [samples[uuid] is None for uuid in FOUR] == [False, True, True, False]


async def test_a_host_without_a_driver_tells_of_none(standin: Make, tmp_path: Path) -> None:
    async with gpus_on(standin(profiles.no_driver()), tmp_path / "record") as gpus:
        assert await reading_port(gpus).samples(FOUR[:1]) == {FOUR[0]: None}
    assert await NoGpus().samples(FOUR[:1]) == {FOUR[0]: None}
