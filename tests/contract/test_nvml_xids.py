"""XIDs on their way from the driver to the daemon: each arrives, and a storm of them is counted instead of carried."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from agent.adapters.nvml.gpus import Reading, Xid
from tests.contract.nvml_world import Make, call, child_of, client_on, gpus_on, rows, until
from tests.nvml_standin import profiles
from tests.nvml_standin.profiles import uuid_of


async def test_an_xid_is_told_with_its_gpu(standin: Make, tmp_path: Path) -> None:
    machine = standin(profiles.l40s_pcie())
    told: list[Xid] = []
    async with gpus_on(machine, tmp_path / "record") as gpus:
        gpus.listen(told.append)
        await gpus.look()
        machine.tell_xid(uuid_of(2), 48)
        await until(lambda: len(told) == 1)
        machine.tell_xid(uuid_of(0), 94)
        await until(lambda: len(told) == 2)
    assert told == [Xid(uuid_of(2), 48, None, 1), Xid(uuid_of(0), 94, None, 1)]


async def test_the_xid_of_a_gpu_that_fell_off_the_bus_has_its_uuid(standin: Make, tmp_path: Path) -> None:
    host = profiles.l40s_pcie()
    machine = standin(host)
    told: list[Xid] = []
    async with gpus_on(machine, tmp_path / "record") as gpus:
        gpus.listen(told.append)
        await gpus.look()
        machine.become(host.but(1, f"fail * {profiles.GPU_IS_LOST}"))
        machine.tell_xid(uuid_of(1), 79)
        await until(lambda: bool(told))
    assert told[0] == Xid(uuid_of(1), 79, None, 1)


async def test_a_gpu_that_can_not_be_watched_hides_no_other(standin: Make) -> None:
    host = profiles.l40s_pcie().but(0, f"fail RegisterEvents {profiles.NOT_SUPPORTED}")
    async with client_on(standin(host)) as client:
        watched = await call(client, "events")
    assert watched == {"watched": [uuid_of(1), uuid_of(2), uuid_of(3)], "faults": {"0": "not_supported"}}


async def test_a_child_started_anew_watches_again_from_the_next_look_on(
    standin: Make, tmp_path: Path
) -> None:
    machine = standin(profiles.l40s_pcie())
    told: list[Xid] = []
    async with gpus_on(machine, tmp_path / "record") as gpus:
        gpus.listen(told.append)
        await gpus.look()
        gpus._client.retire()
        await gpus.look()
        machine.tell_xid(uuid_of(3), 31)
        await until(lambda: bool(told))
    assert told == [Xid(uuid_of(3), 31, None, 1)]


@pytest.mark.slow
async def test_a_storm_of_xids_is_counted_and_holds_up_nothing(standin: Make) -> None:
    """10,000 a second of one kind: a few lines a second, no more memory, and requests are answered. A slow host counts fewer."""
    host = profiles.hgx_h100()
    machine = standin(host)
    times: list[int] = []
    now = asyncio.get_running_loop().time
    async with client_on(machine) as client:
        client.listen(lambda message: times.append(message["times"]))
        await rows(client)
        await call(client, "events")
        began, before_kib = now(), resident_kib(child_of(client))
        machine.become(replace(host, storm=f"{uuid_of(1)} 31 10000"))
        await until(lambda: sum(times) > 2_000)
        seconds, grown_kib = now() - began, resident_kib(child_of(client)) - before_kib
        assert len(await rows(client)) == 8
    assert len(times) <= seconds / 0.1 + 3
    assert grown_kib < 1024


def resident_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])


async def test_a_child_started_anew_by_any_request_watches_from_then_on(
    standin: Make, tmp_path: Path
) -> None:
    machine = standin(profiles.l40s_pcie())
    told: list[Xid] = []
    async with gpus_on(machine, tmp_path / "record") as gpus:
        gpus.listen(told.append)
        await gpus.look()
        gpus._client.retire()
        await gpus.read(Reading.SAMPLE, [uuid_of(0)])
        machine.tell_xid(uuid_of(3), 31)
        await until(lambda: bool(told))
    assert told == [Xid(uuid_of(3), 31, None, 1)]
