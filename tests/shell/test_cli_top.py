"""`gpu-agent top` and `gpu-agent stats`: one look for scripts, a live table on a terminal, and an agent that is away meanwhile."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from agent.cli import top
from agent.cli.screen import Form, Screen
from agent.core.gpu_usage import GpuSample
from agent.core.gpus import Gpu
from agent.errors import Phase
from tests.fakes.engine import Program
from tests.shell.api_world import until
from tests.shell.cli_world import CliWorld, Seen, cli_world

GIB = 2**30
GPUS = tuple(Gpu(f"GPU-{n}", "NVIDIA H100", 80 * GIB, pci=str(n)) for n in (1, 2))


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[CliWorld]:
    async with cli_world(tmp_path) as made:
        made.api.gpus.gpus = GPUS
        made.api.gpus.does = lambda _uuid: GpuSample(80, 20 * GIB, 300, 61)
        made.api.engine.program = Program()
        await made.api.care.look()
        await made.api.shell.tools.gpu_care.look()
        yield made


async def running(world: CliWorld, **fields: object) -> str:
    job_id = await world.api.submit(**fields)
    await until(lambda: _phase(world, job_id) is Phase.RUNNING)
    return job_id


def _phase(world: CliWorld, job_id: str) -> Phase | None:
    job = world.api.store.peek(job_id)
    return None if job is None else job.phase


class Terminal(Seen):
    """A screen that is a terminal."""

    @property
    def screen(self) -> Screen:
        out = Console(file=self.out, width=80, force_terminal=True, color_system=None, legacy_windows=False)
        return replace(super().screen, out=out)


async def test_one_look_shows_the_gpus_and_the_jobs_on_them(world: CliWorld) -> None:
    job_id = await running(world, gpus=1)
    code, seen = await world.run(top.top, once=True)
    shown = seen.out.getvalue()
    assert code == 0
    assert all(len(line) <= 80 for line in shown.splitlines())
    assert shown.count("80%") == 2
    assert (shown.count("leased"), shown.count("free")) == (1, 1)
    assert shown.count(job_id[:13]) == 2  # beside its GPU, and in the list of jobs


async def test_where_this_is_no_terminal_one_look_is_all(world: CliWorld) -> None:
    async with asyncio.timeout(5):
        code, seen = await world.run(top.top)
    assert code == 0
    assert "\x1b" not in seen.out.getvalue()


@pytest.mark.slow
async def test_scripts_get_one_document(world: CliWorld) -> None:
    job_id = await running(world, gpus=1)
    _, seen = await world.run(top.top, form=Form.JSON)
    shown = json.loads(seen.out.getvalue())
    assert [gpu["sample"]["power"] for gpu in shown["gpus"]["items"]] == [300, 300]
    assert [job["id"] for job in shown["jobs"]["items"]] == [job_id]
    _, seen = await world.run(top.stats, job_id[:20], form=Form.JSON)
    shown = json.loads(seen.out.getvalue())
    assert (shown["job"], shown["container"]["pids"], len(shown["gpus"])) == (job_id, 3, 1)


async def test_a_job_that_does_not_run_is_refused_with_its_phase(world: CliWorld) -> None:
    world.api.engine.images.clear()
    job_id = await world.api.submit(image="nowhere")
    code, seen = await world.run(top.stats, job_id)
    assert code == -1
    assert "job_not_running" in seen.err.getvalue()
    assert seen.out.getvalue() == ""


@pytest.mark.slow
async def test_on_a_terminal_a_job_is_watched_until_it_ends_also_through_an_absence_of_the_agent(
    world: CliWorld,
) -> None:
    job_id = await running(world)
    seen = Terminal()
    watching = asyncio.ensure_future(world.run_on(seen, top.stats, job_id))
    await until(lambda: seen.out.getvalue().count("processes") >= 2)
    await world.proxy.close()
    await until(lambda: "the agent is away" in seen.out.getvalue())
    await world.proxy.reopen()
    before = seen.out.getvalue().count("processes")
    await until(lambda: seen.out.getvalue().count("processes") >= before + 2)
    await world.api.call("POST", f"/v1/jobs/{job_id}/cancel?grace=0")
    async with asyncio.timeout(10):
        assert await watching == 0
    assert "gpu-agent show" in seen.err.getvalue()


@pytest.mark.slow
async def test_on_a_terminal_the_table_is_drawn_anew_each_second_until_it_is_left(world: CliWorld) -> None:
    seen = Terminal()
    watching = asyncio.ensure_future(world.run_on(seen, top.top))
    await until(lambda: seen.out.getvalue().count("BUSY") >= 3)
    watching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watching
    # The terminal is given back as it was.
    assert seen.out.getvalue().rstrip().endswith("\x1b[?25h\x1b[?1049l")
