"""`gpu-agent gpus`: a table that fits, a picture of the links, and an operator's word from the command line."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.cli import gpus
from agent.cli.screen import Form
from agent.core.gpu_findings import Absence
from agent.core.gpus import Gpu
from agent.core.topology import LinkClass, Links
from tests.shell.api_world import until
from tests.shell.cli_world import CliWorld, cli_world

GIB = 2**30
NAMES = ("GPU-8a2c3b7e-5d1f-4e6a-9c0b-1f2e3d4c5b6a", "GPU-9a2c3b7e-5d1f-4e6a-9c0b-1f2e3d4c5b6a")
WHOLE = tuple(Gpu(uuid, "NVIDIA H100 80GB HBM3", 80 * GIB, pci=str(n)) for n, uuid in enumerate(NAMES))
INSTANCE = Gpu("MIG-3a2c3b7e-5d1f-4e6a-9c0b-1f2e3d4c5b6a", "NVIDIA A100", 10 * GIB, pci="9", mig="1g.10gb")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[CliWorld]:
    async with cli_world(tmp_path) as made:
        made.api.gpus.gpus = (*WHOLE, INSTANCE)
        made.api.gpus.links = Links({frozenset(NAMES): LinkClass.NVLINK})
        await made.api.care.look()
        yield made


async def test_the_list_has_each_uuid_whole_in_80_columns_and_a_picture_of_the_links(world: CliWorld) -> None:
    code, seen = await world.run(gpus.ls)
    shown = seen.out.getvalue()
    assert code == 0
    assert all(len(line) <= 80 for line in shown.splitlines())
    assert all(gpu.uuid in shown for gpu in (*WHOLE, INSTANCE))
    assert "MIG 1g.10gb" in shown
    assert shown.count("free") == 3
    rows = [line.split() for line in shown.splitlines()]
    assert ["0", "·", "NV"] in rows
    assert ["1", "NV", "·"] in rows


async def test_an_operator_takes_a_gpu_out_says_why_and_gives_it_back(world: CliWorld) -> None:
    code, seen = await world.run(gpus.quarantine, NAMES[1], why="the fan rattles")
    assert (code, seen.out.getvalue()) == (0, f"{NAMES[1]} is quarantined\n")
    _, seen = await world.run(gpus.ls)
    assert " 1  the fan rattles" in seen.out.getvalue()
    _, seen = await world.run(gpus.show, NAMES[1])
    assert "waits for" in seen.out.getvalue()
    assert "operator" in seen.out.getvalue()
    code, seen = await world.run(gpus.restore, NAMES[1])
    assert (code, seen.out.getvalue()) == (0, f"{NAMES[1]} is free\n")
    _, seen = await world.run(gpus.show, NAMES[1], form=Form.JSON)
    assert [change["to"] for change in json.loads(seen.out.getvalue())["history"]] == ["quarantined", "ok"]


@pytest.fixture
async def watched(world: CliWorld) -> AsyncIterator[CliWorld]:
    world.api.gpus.reset_seconds = 0.2
    watching = asyncio.ensure_future(world.api.care.watch())
    yield world
    watching.cancel()
    await asyncio.wait({watching})


@pytest.mark.slow
async def test_a_reset_is_waited_for_and_its_end_is_shown(watched: CliWorld) -> None:
    code, seen = await watched.run(gpus.reset, NAMES[1], why="it is stuck")
    assert seen.err.getvalue() == f"{NAMES[1]} is resetting\n"
    assert code == 0
    told = rf"{NAMES[1]} was reset, and is quarantined; well again in (59\d|600) s, if nothing more is seen\n"
    assert re.fullmatch(told, seen.out.getvalue())
    code, seen = await watched.run(gpus.reset, NAMES[0], form=Form.JSON)
    assert (code, seen.err.getvalue()) == (0, "")
    assert json.loads(seen.out.getvalue())["needs"] == ["probation"]


async def test_a_reset_that_failed_is_an_error_with_what_to_do(watched: CliWorld) -> None:
    watched.api.gpus.reset_failures[NAMES[1]] = "in use; end that and ask again"
    code, seen = await watched.run(gpus.reset, NAMES[1])
    line = f"{NAMES[1]} is quarantined: the reset failed: in use; end that and ask again\n"
    assert (code, seen.out.getvalue()) == (1, line)
    _, seen = await watched.run(gpus.show, NAMES[1])
    assert "the reset failed: in use" in " ".join(seen.out.getvalue().split())


async def test_a_gpu_that_does_not_come_back_is_an_error(watched: CliWorld) -> None:
    running = asyncio.ensure_future(watched.run(gpus.reset, NAMES[1]))
    await until(lambda: watched.api.gpus.under_reset == {NAMES[1]})
    watched.api.gpus.absent[NAMES[1]] = Absence.GONE
    code, seen = await running
    assert (code, seen.out.getvalue()) == (1, f"{NAMES[1]} is missing: the driver no longer has this GPU\n")


@pytest.mark.slow
async def test_an_agent_that_is_away_during_the_reset_is_waited_for(watched: CliWorld) -> None:
    watched.api.gpus.reset_seconds = 1.0
    running = asyncio.ensure_future(watched.run(gpus.reset, NAMES[1]))
    await until(lambda: watched.api.gpus.under_reset == {NAMES[1]})
    await watched.proxy.close()
    await asyncio.sleep(1.0)
    await watched.proxy.reopen()
    code, seen = await running
    assert code == 0
    assert "the agent is away; it goes on with the reset when it is back" in seen.err.getvalue()


async def test_a_gpu_that_is_not_there_is_refused_with_where_to_look(world: CliWorld) -> None:
    code, seen = await world.run(gpus.show, "GPU/../x")
    assert code == -1
    assert "gpu_not_found" in seen.err.getvalue()


async def test_a_host_without_gpus_says_why(world: CliWorld) -> None:
    world.api.gpus.gpus = ()
    _, seen = await world.run(gpus.ls)
    assert seen.out.getvalue() == "no GPUs: the host has none\n"
