"""The port `Gpus`: what holds on a list of a test's own, on NVML, and on a host that has none."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from agent.adapters.no_gpus import NoGpus
from agent.adapters.nvml.record import read_record
from agent.core.gpu_findings import Absence, Fabric, Facts, GateVerdict
from agent.core.gpus import Gpu
from agent.interfaces import Gpus
from tests.contract.nvml_world import Make, gpus_on, port_on, reading_port
from tests.fakes.gpus import FakeGpus
from tests.nvml_standin import profiles
from tests.nvml_standin.profiles import GIB, uuid_of

Open = Callable[[Make, Path], AbstractAsyncContextManager[Gpus]]
FOUR = [uuid_of(place) for place in range(4)]


@asynccontextmanager
async def fake(standin: Make, folder: Path) -> AsyncIterator[Gpus]:
    """Four, of which the second is not clean and the third is missing."""
    gpus = FakeGpus()
    gpus.gpus = tuple(Gpu(uuid_of(place), "NVIDIA L40S", 45 * GIB) for place in range(4))
    gpus.dirty = {uuid_of(1)}
    gpus.absent = {uuid_of(2): Absence.GONE}
    yield gpus


@asynccontextmanager
async def real(standin: Make, folder: Path) -> AsyncIterator[Gpus]:
    host = profiles.l40s_pcie().but(1, "compute 4711 1024")
    machine = standin(host)
    async with port_on(machine, folder) as port:
        await port.look(frozenset())
        machine.become(host.without(2))
        await port.look(frozenset())
        yield port


@pytest.mark.parametrize("opened", [fake, real], ids=["fake", "nvml"])
async def test_what_is_missing_stays_listed_and_each_gpu_is_told_of(
    opened: Open, standin: Make, tmp_path: Path
) -> None:
    async with opened(standin, tmp_path) as gpus:
        assert [gpu.uuid for gpu in (await gpus.inventory()).gpus] == FOUR
        assert await gpus.condition() is None
        facts = await gpus.facts(FOUR)
        assert [isinstance(facts[uuid], Facts) for uuid in FOUR] == [True, True, False, True]
        assert facts[uuid_of(2)] is Absence.GONE
        gates = await gpus.gates(FOUR)
        passed, foreign, unseen = GateVerdict.PASSED, GateVerdict.FOREIGN, GateVerdict.NOT_LOOKED
        assert [gates[uuid].verdict for uuid in FOUR] == [passed, foreign, unseen, passed]
        assert "4711" in gates[uuid_of(1)].holders
        assert (await gpus.facts([]), await gpus.gates([])) == ({}, {})


async def test_a_host_without_gpus_says_why_and_vouches_for_none() -> None:
    gpus: Gpus = NoGpus()
    assert (await gpus.inventory()).gpus == ()
    assert await gpus.condition()
    assert (await gpus.facts(["GPU-1"]))["GPU-1"] is Absence.GONE
    assert (await gpus.gates(["GPU-1"]))["GPU-1"].verdict is not GateVerdict.PASSED


async def test_an_nvlink_that_was_up_and_is_not_is_down_and_one_that_never_was_is_none(
    standin: Make, tmp_path: Path
) -> None:
    links = ["nvlink 1 00000000:C1:00.0"] * 17
    host = profiles.hgx_h100().but(0, *links, "nvlink 0 00000000:C1:00.0")
    machine = standin(host)
    async with port_on(machine, tmp_path) as port:
        for down in (frozenset[int](), frozenset({16})):
            facts = (await port.facts([uuid_of(0)]))[uuid_of(0)]
            assert isinstance(facts, Facts)
            assert (facts.nvlink_down, facts.fabric) == (down, Fabric.READY)
            machine.become(host.but(0, *links[:16], *["nvlink 0 00000000:C1:00.0"] * 2))


async def test_an_nvlink_that_went_down_while_the_daemon_was_away_is_down(
    standin: Make, tmp_path: Path
) -> None:
    up = ["nvlink 1 00000000:C1:00.0"] * 18
    machine = standin(profiles.hgx_h100().but(0, *up))
    async with gpus_on(machine, tmp_path / "record") as gpus:
        await reading_port(gpus).look(frozenset())
        await reading_port(gpus).facts([uuid_of(0)])
    machine.become(profiles.hgx_h100().but(0, *up[1:], "nvlink 0 00000000:C1:00.0").but(7, "numa 0"))
    async with gpus_on(machine, tmp_path / "record") as gpus:
        await reading_port(gpus).look(frozenset())  # which writes the record anew: one GPU has another node
        facts = (await reading_port(gpus).facts([uuid_of(0)]))[uuid_of(0)]
        assert isinstance(facts, Facts)
        assert facts.nvlink_down == frozenset({17})


async def test_what_two_calls_learn_of_gpus_at_once_is_both_kept(standin: Make, tmp_path: Path) -> None:
    machine = standin(profiles.hgx_h100())
    uuids = [uuid_of(place) for place in range(8)]
    async with gpus_on(machine, tmp_path / "record") as gpus:
        port = reading_port(gpus)
        await asyncio.gather(port.facts(uuids[:4]), gpus.look())
        await asyncio.gather(port.facts(uuids), gpus.learn_idle(frozenset()))
    kept = read_record(tmp_path / "record")
    assert {known.gpu.uuid for known in kept.known} == kept.nvlinks_up.keys() == kept.idle_bytes.keys()


async def test_an_xid_comes_with_the_name_that_is_leased(standin: Make, tmp_path: Path) -> None:
    host = profiles.l40s_pcie()
    machine = standin(host)
    async with port_on(machine, tmp_path) as port:
        heard: list[tuple[str, int]] = []
        port.listen(lambda uuid, xid: heard.append((uuid, xid)))
        await port.look(frozenset())
        machine.tell_xid(uuid_of(1), 62)
        async with asyncio.timeout(10):
            while not heard:
                await asyncio.sleep(0.01)
        assert heard == [(uuid_of(1), 62)]


async def test_what_a_job_leaves_behind_never_becomes_what_is_idle(standin: Make, tmp_path: Path) -> None:
    host = profiles.l40s_pcie()
    machine = standin(host)
    async with port_on(machine, tmp_path) as port:
        await port.look(frozenset())
        machine.become(host.but(0, f"memory {45 * GIB} {500 << 20} {700 << 20}"))
        for _ in range(3):
            await port.look(frozenset())
            assert (await port.gates([uuid_of(0)]))[uuid_of(0)].verdict is GateVerdict.LEFTOVER


@pytest.mark.slow
async def test_a_gpu_that_hangs_is_silent_and_not_gone_and_the_others_answer(
    standin: Make, tmp_path: Path
) -> None:
    host = profiles.l40s_pcie()
    machine = standin(host)
    async with port_on(machine, tmp_path) as port:
        await port.look(frozenset())
        machine.become(host.but(2, "hang *"))
        facts = await port.facts(FOUR)
        assert [type(facts[uuid]) for uuid in FOUR] == [Facts, Facts, Absence, Facts]
        assert facts[uuid_of(2)] is Absence.DRIVER_SILENT
