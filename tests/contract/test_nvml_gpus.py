"""The port on NVML: what stays known of GPUs that vanish, who is clean, what is idle, and hosts that are sick or have none."""

import asyncio
import json
from pathlib import Path

import pytest

from agent.adapters.nvml.client import NvmlClient
from agent.adapters.nvml.errors import NvmlError
from agent.adapters.nvml.gpus import NvmlGpus, Reading
from agent.adapters.nvml.hung import Hung
from agent.adapters.nvml.wire import Wire, kill
from agent.core.gpu_findings import Absence, Fabric, Facts, Gate, GateVerdict
from agent.core.gpus import Inventory
from agent.core.topology import LinkClass
from tests.contract.nvml_world import STEP_SECONDS, Make, gpus_in, gpus_on, reading_port, until
from tests.nvml_standin import profiles
from tests.nvml_standin.library import environ_without
from tests.nvml_standin.profiles import Host, uuid_of

GIB = 1 << 30


def uuids(inventory: Inventory) -> list[str]:
    return [gpu.uuid for gpu in inventory.gpus]


async def absences(gpus: NvmlGpus) -> dict[str, Absence]:
    """Of all that is known, what the driver says nothing of."""
    facts = await reading_port(gpus).facts(uuids(await gpus.inventory()))
    return {uuid: told for uuid, told in facts.items() if isinstance(told, Absence)}


async def unclean(gpus: NvmlGpus, *asked: str) -> dict[str, Gate]:
    gates = await reading_port(gpus).gates(asked)
    return {uuid: gate for uuid, gate in gates.items() if gate.verdict is not GateVerdict.PASSED}


async def looked_anew(gpus: NvmlGpus) -> None:
    """As if the time had come to have a new child look for what is missing."""
    gpus._anew_at = 0.0
    await gpus.look()


async def test_the_inventory_has_all_gpus_and_what_links_them(standin: Make, tmp_path: Path) -> None:
    async with gpus_on(standin(profiles.l40s_pcie()), tmp_path / "record") as gpus:
        found = await gpus.inventory()
        assert await absences(gpus) == {}
        assert await gpus.condition() is None
    assert uuids(found) == [uuid_of(place) for place in range(4)]
    assert [gpu.numa_node for gpu in found.gpus] == [0, 0, 1, 1]
    assert found.links.pairs == {
        frozenset((uuid_of(0), uuid_of(1))): LinkClass.SAME_PCIE_SWITCH,
        frozenset((uuid_of(2), uuid_of(3))): LinkClass.SAME_HOST_BRIDGE,
    }


async def test_a_gpu_in_mig_mode_is_its_instances(standin: Make, tmp_path: Path) -> None:
    async with gpus_on(standin(profiles.a100_mig()), tmp_path / "record") as gpus:
        found = await gpus.inventory()
    assert {gpu.uuid: gpu.mig for gpu in found.gpus if gpu.mig is not None} == {
        "MIG-2-0": "1g.10gb",
        "MIG-2-3": "1g.10gb",
        "MIG-2-6": "2g.20gb",
        "MIG-5-1": "3g.40gb",
        "MIG-5-4": "1c.2g.20gb",
    }
    assert [gpu.uuid for gpu in found.gpus if gpu.mig is None] == [
        uuid_of(place) for place in (0, 1, 3, 4, 6, 7)
    ]


@pytest.mark.slow
async def test_on_a_sick_host_the_well_are_told_of_and_the_others_are_missing(
    standin: Make, tmp_path: Path
) -> None:
    machine = standin(profiles.l40s_pcie())
    async with gpus_on(machine, tmp_path / "record") as gpus:
        before = await gpus.inventory()
        machine.become(profiles.sick())
        await gpus.look()
        assert await gpus.inventory() == before
        # The lost one does not tell its name: it may be the one that hangs, which is left alone.
        assert await absences(gpus) == dict.fromkeys([uuid_of(1), uuid_of(2)], Absence.DRIVER_SILENT)
        assert list(await unclean(gpus, *(uuid_of(place) for place in range(4)))) == [uuid_of(1), uuid_of(2)]


@pytest.mark.slow
async def test_a_gpu_that_hung_is_not_touched_at_the_next_look(standin: Make, tmp_path: Path) -> None:
    machine = standin(profiles.l40s_pcie())
    now = asyncio.get_running_loop().time
    async with gpus_on(machine, tmp_path / "record") as gpus:
        await gpus.inventory()
        machine.become(profiles.l40s_pcie().but(2, "hang *"))
        await gpus.look()
        began = now()
        await gpus.look()
        assert await absences(gpus) == {uuid_of(2): Absence.DRIVER_SILENT}
        assert now() - began < STEP_SECONDS


@pytest.mark.slow
async def test_the_inventory_is_told_at_once_while_a_look_hangs(standin: Make, tmp_path: Path) -> None:
    machine = standin(profiles.l40s_pcie())
    async with gpus_on(machine, tmp_path / "record") as gpus:
        before = await gpus.inventory()
        machine.become(profiles.l40s_pcie().but(2, "hang *"))
        looking = asyncio.ensure_future(gpus.look())
        await asyncio.sleep(0.05)
        async with asyncio.timeout(0.5):
            assert await gpus.inventory() == before
        assert not looking.done()
        await looking


async def test_what_nobody_has_looked_at_yet_is_not_said_to_be_none(standin: Make, tmp_path: Path) -> None:
    """Else the first job after the first start is refused, since it could never fit."""
    async with gpus_on(standin(profiles.l40s_pcie()), tmp_path / "record") as gpus:
        looking = asyncio.ensure_future(gpus.look())
        await until(lambda: gpus._record is not None)
        assert not looking.done()
        assert len((await gpus.inventory()).gpus) == 4
        await looking


@pytest.mark.slow
async def test_a_gpu_that_holds_a_process_for_ever_is_not_touched_again(
    standin: Make, tmp_path: Path
) -> None:
    """Else it would use up all the processes that we may lose to the driver, and with them the other GPUs."""
    machine = standin(profiles.l40s_pcie())
    held: list[Wire] = []
    client = NvmlClient(environ=machine.environ, end=held.append)
    gpus = NvmlGpus(client, tmp_path / "record", STEP_SECONDS)
    await gpus.inventory()
    machine.become(profiles.l40s_pcie().but(2, "hang *"))
    await gpus.look()
    gpus._hung = Hung()  # as if its time to be left alone were over
    await gpus.look()
    assert await absences(gpus) == {uuid_of(2): Absence.DRIVER_SILENT}
    assert len([wire for wire in held if wire.at is not None]) == 1
    kill(held[0])
    await gpus.close()
    for wire in held:
        kill(wire)
    await until(lambda: client.stuck() == 0)


async def test_a_gpu_whose_fabric_is_not_ready_is_unwell(standin: Make, tmp_path: Path) -> None:
    host = profiles.hgx_h100().but(1, "fabric 2 0 0").but(6, "fabric 3 999 0")
    async with gpus_on(standin(host), tmp_path / "record") as gpus:
        facts = await reading_port(gpus).facts(uuids(await gpus.inventory()))
    fabrics = {uuid: told.fabric for uuid, told in facts.items() if isinstance(told, Facts)}
    assert {uuid: fabric for uuid, fabric in fabrics.items() if fabric is not Fabric.READY} == {
        uuid_of(1): Fabric.STARTING,
        uuid_of(6): Fabric.FAILED,
    }


async def test_a_gpu_that_vanished_is_missing_and_comes_back_under_another_index(
    standin: Make, tmp_path: Path
) -> None:
    host = profiles.l40s_pcie()
    machine = standin(host)
    async with gpus_on(machine, tmp_path / "record") as gpus:
        before = await gpus.inventory()
        machine.become(host.without(0))
        await gpus.look()
        assert await gpus.inventory() == before
        assert await absences(gpus) == {uuid_of(0): Absence.GONE}
        assert list(await unclean(gpus, uuid_of(0), uuid_of(1))) == [uuid_of(0)]
        machine.become(Host((host.cards[3], *host.cards[:3]), host.links))
        await looked_anew(gpus)
        assert await gpus.inventory() == before
        assert await absences(gpus) == {}
        sheets = await gpus.read(Reading.SAMPLE, [uuid_of(place) for place in range(4)])
    assert [sheets[uuid_of(place)]["energy_millijoules"] for place in range(4)] == [1000, 2000, 3000, 4000]


async def test_what_was_known_survives_a_restart_without_a_driver(standin: Make, tmp_path: Path) -> None:
    machine = standin(profiles.l40s_pcie())
    async with gpus_on(machine, tmp_path / "record") as gpus:
        before = await gpus.inventory()
    machine.become(profiles.mismatch())
    async with gpus_on(machine, tmp_path / "record") as gpus:
        assert await gpus.inventory() == before
        assert await absences(gpus) == dict.fromkeys(uuids(before), Absence.DRIVER_SILENT)
        await gpus.look()
        assert "different versions" in str(await gpus.condition())
        machine.become(profiles.l40s_pcie())
        await gpus.look()
        assert await absences(gpus) == {}
        assert await gpus.condition() is None


async def test_what_is_known_from_disk_is_told_at_once_while_the_driver_hangs(
    standin: Make, tmp_path: Path
) -> None:
    machine = standin(profiles.a100_mig())
    async with gpus_on(machine, tmp_path / "record") as gpus:
        before = (await gpus.inventory()).wholes
    machine.become(Host(init="hang"))
    async with gpus_on(machine, tmp_path / "record") as gpus, asyncio.timeout(STEP_SECONDS / 2):
        assert (await gpus.inventory()).wholes == before
    assert (before["MIG-2-3"], before[uuid_of(0)]) == (uuid_of(2), uuid_of(0))


async def test_an_instance_that_the_operator_took_away_is_forgotten(standin: Make, tmp_path: Path) -> None:
    host = profiles.a100_mig()
    machine = standin(host)
    async with gpus_on(machine, tmp_path / "record") as gpus:
        await gpus.inventory()
        machine.become(host.but(2, "mig_mode 0"))
        await gpus.look()
        found = uuids(await gpus.inventory())
        assert await absences(gpus) == {}
    assert uuid_of(2) in found
    assert not [uuid for uuid in found if uuid.startswith("MIG-2")]


async def test_an_instance_is_missing_with_its_gpu(standin: Make, tmp_path: Path) -> None:
    host = profiles.a100_mig()
    machine = standin(host)
    async with gpus_on(machine, tmp_path / "record") as gpus:
        await gpus.inventory()
        machine.become(host.without(5))
        await gpus.look()
        assert await absences(gpus) == {"MIG-5-1": Absence.GONE, "MIG-5-4": Absence.GONE}


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"form": 1, "known": 3, "links": [], "idle_bytes": {}}'])
async def test_a_damaged_record_is_made_anew(standin: Make, tmp_path: Path, damage: str) -> None:
    record = tmp_path / "record"
    record.write_text(damage)
    async with gpus_on(standin(profiles.l40s_pcie()), record) as gpus:
        assert len((await gpus.inventory()).gpus) == 4
    assert len(json.loads(record.read_text())["known"]) == 4


async def test_a_record_that_can_not_be_written_stops_nothing(standin: Make, tmp_path: Path) -> None:
    async with gpus_on(standin(profiles.l40s_pcie()), tmp_path / "nowhere" / "record") as gpus:
        assert len((await gpus.inventory()).gpus) == 4


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        (("compute 4711 1024",), "process 4711"),
        (("graphics 4712 1024",), "process 4712"),
        (("rows 0 1 1 0",), "wants a reset"),
        (("rows 0 1 0 1",), "could not be taken out"),
        (("retired 1",), "wants a reset"),
        (("recovery 1",), "recovery action 1"),
        ((f"memory {45 * GIB} 0 {GIB}",), "1024 MiB in use, at most 260 MiB"),
        ((f"fail MemoryInfo {profiles.GPU_IS_LOST}",), "can't be told"),
        ((f"fail ComputeRunningProcesses {profiles.NOT_SUPPORTED}",), "can't be listed"),
    ],
)
async def test_what_makes_a_gpu_unclean(
    standin: Make, tmp_path: Path, facts: tuple[str, ...], why: str
) -> None:
    host = profiles.l40s_pcie()
    machine = standin(host)
    async with gpus_on(machine, tmp_path / "record") as gpus:
        await gpus.inventory()
        await gpus.learn_idle(frozenset())
        machine.become(host.but(1, *facts))
        found = await unclean(gpus, uuid_of(0), uuid_of(1))
    assert list(found) == [uuid_of(1)]
    assert why in found[uuid_of(1)].holders


async def test_idle_is_learnt_where_there_is_neither_lease_nor_process_and_kept(
    standin: Make, tmp_path: Path
) -> None:
    host = profiles.l40s_pcie()
    for place in range(3):
        host = host.but(place, f"memory {45 * GIB} 0 {600 << 20}")
    machine = standin(host.but(1, "compute 4711 1024"))
    async with gpus_on(machine, tmp_path / "record") as gpus:
        await gpus.inventory()
        await gpus.learn_idle({uuid_of(2)})
    full = Host(tuple(card.having(f"memory {45 * GIB} 0 {900 << 20}") for card in host.cards), host.links)
    machine.become(full.but(0, f"memory {45 * GIB} 0 {800 << 20}"))
    async with gpus_on(machine, tmp_path / "record") as gpus:
        # The first has its level, 600 MiB; the last was at 4 MiB; the others have none yet, and so the widest.
        assert list(await unclean(gpus, *(uuid_of(place) for place in range(4)))) == [uuid_of(3)]


async def test_memory_that_somebody_left_behind_is_not_learnt_as_idle(standin: Make, tmp_path: Path) -> None:
    host = profiles.l40s_pcie().but(0, f"memory {45 * GIB} 0 {20 * GIB}")
    async with gpus_on(standin(host), tmp_path / "record") as gpus:
        await gpus.inventory()
        await gpus.learn_idle(frozenset())
        assert list(await unclean(gpus, uuid_of(0))) == [uuid_of(0)]


async def test_what_the_driver_keeps_for_itself_is_not_in_use(standin: Make, tmp_path: Path) -> None:
    host = profiles.l40s_pcie().but(0, f"memory {45 * GIB} {2 * GIB} 0")
    async with gpus_on(standin(host), tmp_path / "record") as gpus:
        assert await unclean(gpus, uuid_of(0)) == {}


async def test_a_host_without_the_library_has_no_gpus_and_says_why(tmp_path: Path) -> None:
    async with gpus_in(environ_without(tmp_path), tmp_path / "record") as gpus:
        assert await gpus.inventory() == Inventory()
        assert await absences(gpus) == {}
        assert "is not on this host" in str(await gpus.condition())
        assert gpus._client._wire is None


async def test_a_host_without_the_driver_has_no_gpus_until_it_is_loaded(
    standin: Make, tmp_path: Path
) -> None:
    machine = standin(profiles.no_driver())
    async with gpus_on(machine, tmp_path / "record") as gpus:
        assert await gpus.inventory() == Inventory()
        assert "driver is not loaded" in str(await gpus.condition())
        machine.become(profiles.l40s_pcie())
        await gpus.look()
        assert len((await gpus.inventory()).gpus) == 4


@pytest.mark.slow
async def test_where_nothing_can_be_asked_nothing_is_clean(standin: Make, tmp_path: Path) -> None:
    machine = standin(profiles.l40s_pcie())
    async with gpus_on(machine, tmp_path / "record") as gpus:
        await gpus.inventory()
        machine.become(Host(init=str(profiles.DRIVER_NOT_LOADED)))
        assert list(await unclean(gpus, uuid_of(0))) == [uuid_of(0)]
        machine.become(Host(init="hang"))
        with pytest.raises(NvmlError):
            await gpus.read(Reading.HEALTH, [uuid_of(0)])
