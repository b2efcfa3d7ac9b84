"""What a running job uses, over the API: once, or each second until it has ended; and what all GPUs do, to whom it is any business."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from agent.api.tokens import Scope
from agent.core.container import Container, ContainerState
from agent.core.gpu_findings import Slowdown
from agent.core.gpu_usage import GpuSample
from agent.core.gpus import Gpu
from agent.core.job import Job, Run, StartIntent
from agent.core.lease import Lease
from agent.errors import Phase
from tests.shell.api_world import ID, ApiWorld, api_world

GIB = 2**30
ONE, TWO = (Gpu(f"GPU-{n}", "NVIDIA H100", 80 * GIB, pci=f"0{n}") for n in (1, 2))


def busy(_uuid: str) -> GpuSample:
    joules = 300.0 * asyncio.get_running_loop().time()
    return GpuSample(80, 10 * GIB, 300.0, 60, frozenset({Slowdown.POWER_BRAKE}), joules)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[ApiWorld]:
    async with api_world(tmp_path) as made:
        made.gpus.gpus = (ONE, TWO)
        made.gpus.does = busy
        await made.care.look()
        yield made


async def run(world: ApiWorld, *gpus: str) -> Job:
    """A job whose container has run for ten seconds."""
    job_id = await world.submit()
    job = await world.store.read(job_id)
    assert job is not None
    started_at = world.clock.now() - 10
    container = f"c-{job_id}"
    world.engine._add(
        Container(container, f"n-{job_id}", ContainerState.RUNNING, started_at=started_at), None
    )
    run = Run(intent=StartIntent(container, "boot-1"), started_at=started_at)
    job = await world.store.save(replace(job, phase=Phase.RUNNING, lease=Lease(gpus), run=run))
    world.accounts.hold(job)
    await world.accounts._look()
    return job


async def end(world: ApiWorld, job_id: str) -> None:
    job = await world.store.read(job_id)
    assert job is not None
    await world.store.save(replace(job, phase=Phase.STOPPING))


@asynccontextmanager
async def following(world: ApiWorld, job_id: str) -> AsyncIterator[AsyncIterator[tuple[str, dict[str, Any]]]]:
    assert world.http is not None
    headers = {"Authorization": f"Bearer {world.token}", "Accept": "text/event-stream"}
    async with world.http.get(f"{world.url}/v1/jobs/{job_id}/stats", headers=headers) as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        yield told(answer)


async def told(answer: aiohttp.ClientResponse) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    while kind := await answer.content.readline():
        data = await answer.content.readline()
        assert await answer.content.readline() == b"\n"
        yield kind.decode().removeprefix("event: ").strip(), json.loads(data.removeprefix(b"data: "))


@pytest.mark.slow
async def test_asked_once_a_job_tells_its_container_its_gpus_and_its_sums(world: ApiWorld) -> None:
    job = await run(world, "GPU-1")
    for path, headers in (("?once=1", {}), ("", {"Accept": "application/json"})):
        reply = await world.call("GET", f"/v1/jobs/{job.id}/stats{path}", headers=headers)
        assert reply.status == 200
        assert reply.headers["Content-Type"].startswith("application/json")
        container = reply.json["container"]
        assert container["cpu_percent"] == pytest.approx(150, abs=5)
        assert (container["memory"], container["memory_limit"], container["pids"]) == (10_000_000, 2**30, 3)
        assert (container["network_received"], container["disk_written"]) == (1000, 8192)
        assert reply.json["gpus"] == [
            {"uuid": "GPU-1", "utilisation": 80, "memory_used": 10 * GIB, "power": 300.0, "temperature": 60, "slowdowns": ["power brake"]}
        ]  # fmt: skip
        usage = reply.json["gpu_usage"]
        assert usage["gpu_seconds"] == pytest.approx(11, abs=2)
        assert usage["energy"] == pytest.approx(300 * usage["energy_seconds"], rel=0.05)
        assert usage["energy_seconds"] > 0.5


@pytest.mark.slow
async def test_a_job_without_gpus_tells_of_none_and_asks_none(world: ApiWorld) -> None:
    job = await run(world)
    reply = await world.call("GET", f"/v1/jobs/{job.id}/stats?once=true")
    assert (reply.json["gpus"], reply.json["gpu_usage"]) == ([], None)
    assert world.gpus.sampled == []


@pytest.mark.slow
async def test_the_stream_tells_each_second_and_ends_with_the_job(world: ApiWorld) -> None:
    job = await run(world, "GPU-1")
    began = asyncio.get_running_loop().time()
    kinds = []
    async with following(world, job.id) as stream:
        async for kind, data in stream:
            kinds.append(kind)
            if kind == "end":
                assert data == {"phase": "stopping", "outcome": None}
            if len(kinds) == 3:
                assert data["gpu_usage"]["energy"] > 0
                await end(world, job.id)
    assert kinds == ["stats"] * 3 + ["end"]
    assert 2.9 < asyncio.get_running_loop().time() - began < 8


@pytest.mark.slow
async def test_another_attempt_is_another_stream(world: ApiWorld) -> None:
    job = await run(world)
    async with following(world, job.id) as stream:
        assert (await anext(stream))[0] == "stats"
        await world.store.save(replace(job, attempt=2))
        assert await anext(stream) == ("end", {"phase": "running", "outcome": None})


async def test_a_job_that_does_not_run_says_which_phase_it_is_in(world: ApiWorld) -> None:
    job_id = await world.submit()
    row = await world.store.read(job_id)
    assert row is not None
    await world.store.save(replace(row, waiting_for="gpus"))
    reply = await world.call("GET", f"/v1/jobs/{job_id}/stats")
    assert (reply.status, reply.json["code"], reply.json["blame"]) == (409, "job_not_running", "user")
    assert reply.json["detail"] == "the job is queued, waiting for gpus"
    await world.finish(job_id)
    reply = await world.call("GET", f"/v1/jobs/{job_id}/stats?once=1")
    assert (reply.status, reply.json["detail"]) == (409, "the job is finished")
    ran = await run(world, "GPU-1")
    await end(world, ran.id)
    reply = await world.call("GET", f"/v1/jobs/{ran.id}/stats?once=1")
    assert (reply.status, reply.json["detail"]) == (409, "the job is stopping")
    assert world.engine.calls == []


@pytest.mark.slow
async def test_what_is_anothers_or_nobodys_is_not_there(world: ApiWorld) -> None:
    job = await run(world, "GPU-1")
    other = await world.new_token("mallory")
    for path in (job.id, ID.format(999)):
        reply = await world.call("GET", f"/v1/jobs/{path}/stats", token=other)
        assert (reply.status, reply.json["code"]) == (404, "job_not_found")
    writer = await world.new_token("alice", (Scope.JOBS_WRITE,))
    assert (await world.call("GET", f"/v1/jobs/{job.id}/stats", token=writer)).json["code"] == "scope_missing"
    reply = await world.call("GET", f"/v1/jobs/{job.id}/stats?twice=1")
    assert (reply.status, reply.json["code"]) == (400, "bad_request")
    assert (await world.call("HEAD", f"/v1/jobs/{job.id}/stats")).status == 200


@pytest.mark.slow
async def test_many_who_look_at_one_job_cost_no_more_than_one_and_nobody_costs_nothing(
    world: ApiWorld,
) -> None:
    job, other = await run(world, "GPU-1"), await run(world, "GPU-2")
    world.gpus.sampled.clear()
    began = asyncio.get_running_loop().time()

    async def watch(job_id: str) -> None:
        async with following(world, job_id) as stream:
            async for kind, _ in stream:
                if kind == "end":
                    return

    async with asyncio.TaskGroup() as group:
        for one in (job, other):
            for _ in range(5):
                group.create_task(watch(one.id))
                await asyncio.sleep(0.07)
        await asyncio.sleep(3)
        for one in (job, other):
            await end(world, one.id)
    seconds = asyncio.get_running_loop().time() - began
    asked = [target for name, target in world.engine.calls if name == "stats"]
    assert 3 <= asked.count(job.run.intent.container if job.run.intent else "") <= seconds + 1
    assert 3 <= len(world.gpus.sampled) <= seconds + 1
    before = len(world.engine.calls), len(world.gpus.sampled)
    await asyncio.sleep(1.5)
    assert (len(world.engine.calls), len(world.gpus.sampled)) == before


@pytest.mark.slow
async def test_who_leaves_is_not_read_for_any_more(world: ApiWorld) -> None:
    job = await run(world)
    async with following(world, job.id) as stream:
        await anext(stream)
    await asyncio.sleep(0.5)
    before = len(world.engine.calls)
    await asyncio.sleep(1.5)
    assert len(world.engine.calls) == before


@pytest.mark.slow
async def test_an_engine_that_is_away_leaves_the_rest_to_be_told(world: ApiWorld) -> None:
    job = await run(world, "GPU-1")
    async with following(world, job.id) as stream:
        assert (await anext(stream))[1]["container"] is not None
        world.engine.is_up = False
        _, data = await anext(stream)
        assert data["container"] is None
        assert data["gpus"][0]["utilisation"] == 80
        world.engine.is_up = True
        for _ in range(2):
            _, data = await anext(stream)
        assert data["container"]["memory"] == 10_000_000


async def test_a_stream_ends_with_the_daemon(world: ApiWorld) -> None:
    job = await run(world)
    async with following(world, job.id) as stream:
        await anext(stream)
        assert world.sites is not None
        closing = asyncio.ensure_future(world.sites.close())
        async with asyncio.timeout(5):
            assert "end" not in await kinds_until_cut(stream)
        await closing


async def kinds_until_cut(stream: AsyncIterator[tuple[str, dict[str, Any]]]) -> list[str]:
    kinds = []
    with suppress(aiohttp.ClientError):
        async for kind, _ in stream:
            kinds.append(kind)
    return kinds


async def test_all_gpus_tell_what_they_do_where_it_is_asked_for(world: ApiWorld) -> None:
    await run(world, "GPU-1")
    world.gpus.sampled.clear()
    items = (await world.call("GET", "/v1/gpus")).json["items"]
    assert [gpu["sample"] for gpu in items] == [None, None]
    assert world.gpus.sampled == []
    items = (await world.call("GET", "/v1/gpus?sample=1")).json["items"]
    assert [gpu["sample"]["power"] for gpu in items] == [300.0, 300.0]
    assert (await world.call("GET", "/v1/gpus?sample=maybe")).json["code"] == "bad_request"


async def test_what_anothers_job_does_with_its_gpu_is_told_to_operators_only(world: ApiWorld) -> None:
    await run(world, "GPU-1")

    async def seen(principal: str, *scopes: Scope) -> list[bool]:
        token = await world.new_token(principal, (Scope.JOBS_READ, *scopes))
        items = (await world.call("GET", "/v1/gpus?sample=1", token=token)).json["items"]
        return [gpu["sample"] is not None for gpu in items]

    assert await seen("mallory") == [False, True]
    assert await seen("op", Scope.GPUS_ADMIN) == [True, True]
    assert await seen("root", Scope.JOBS_ALL) == [True, True]
    assert await seen("alice") == [True, True]
