"""GPU events in the stream: to whom they are told and to whom not, by one cursor with those of jobs, and on the command line."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.api.limits import ApiLimits
from agent.api.tokens import Scope
from agent.cli import events
from agent.cli.screen import Form
from agent.core.gpu_findings import Asked, Request
from agent.core.gpus import Gpu
from agent.core.job import NewEvent
from tests.shell.api_world import ApiWorld, api_world
from tests.shell.cli_world import cli_world
from tests.shell.test_api_streams import Follower

GIB = 2**30
ONE = Gpu("GPU-1", "NVIDIA H100", 80 * GIB, pci="01")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[ApiWorld]:
    async with api_world(tmp_path) as made:
        await with_a_gpu(made)
        yield made


async def with_a_gpu(world: ApiWorld) -> None:
    world.gpus.gpus = (ONE,)
    await world.care.look()


async def ask(world: ApiWorld, asked: Asked, words: str = "") -> None:
    assert await world.care.request("GPU-1", Request(asked, words)) is None


async def operator(world: ApiWorld, *scopes: Scope) -> str:
    return await world.new_token("op", (Scope.JOBS_READ, *scopes))


@pytest.mark.parametrize("scope", [Scope.GPUS_ADMIN, Scope.HOST_ADMIN])
async def test_an_operator_follows_what_becomes_of_gpus_and_goes_on_behind_the_last(
    world: ApiWorld, scope: Scope
) -> None:
    world.token = await operator(world, scope)
    async with Follower(world, "after=0") as follower:
        await ask(world, Asked.QUARANTINE, "a fan rattles")
        told = await follower.next()
    assert (told["sse_event"], told["sse_id"]) == ("gpu.state", told["seq"])
    assert (told["job"], told["n"]) == (None, None)
    assert told["data"] == {
        "gpu": "GPU-1",
        "from": "ok",
        "to": "quarantined",
        "reason": "operator",
        "words": "a fan rattles",
        "needs": ["operator"],
    }
    await ask(world, Asked.RESTORE)
    async with Follower(world, "", {"Last-Event-ID": str(told["seq"])}) as follower:
        again = await follower.next()
    assert (again["seq"], again["data"]["to"]) == (told["seq"] + 1, "ok")


@pytest.mark.parametrize("scopes", [(), (Scope.JOBS_WRITE, Scope.EXEC), (Scope.JOBS_ALL,)])
async def test_who_is_no_operator_is_told_nothing_of_the_host(
    world: ApiWorld, scopes: tuple[Scope, ...]
) -> None:
    await ask(world, Asked.QUARANTINE)
    alice, his = world.token, await world.new_token("bob", (Scope.JOBS_READ, *scopes))
    async with Follower(world, "after=0") as hers:
        world.token = his
        async with Follower(world, "after=0") as his_own:
            world.token = alice
            await ask(world, Asked.RESTORE)
            her_job = await world.submit()
            world.token = await world.new_token("bob")
            his_job = await world.submit()
            await ask(world, Asked.QUARANTINE)
            his_last = await world.submit(image="busybox:2")
            assert (await hers.next())["job"] == her_job
            seen = [*([her_job] if Scope.JOBS_ALL in scopes else []), his_job, his_last]
            assert [(await his_own.next())["job"] for _ in seen] == seen


async def test_one_cursor_serves_gpus_and_jobs_in_the_order_of_what_happened(world: ApiWorld) -> None:
    first = await world.submit()
    await ask(world, Asked.QUARANTINE)
    second = await world.submit()
    world.token = await operator(world, Scope.GPUS_ADMIN, Scope.JOBS_ALL)
    async with Follower(world, "after=0") as follower:
        told = [await follower.next() for _ in range(3)]
    assert [event["job"] for event in told] == [first, None, second]
    assert [event["seq"] for event in told] == list(range(told[0]["seq"], told[0]["seq"] + 3))


async def test_a_stream_of_one_job_has_nothing_of_the_host(world: ApiWorld) -> None:
    job_id = await world.submit()
    await ask(world, Asked.QUARANTINE)
    await world.finish(job_id)
    world.token = await operator(world, Scope.GPUS_ADMIN, Scope.JOBS_ALL)
    async with Follower(world, f"after=0&job={job_id}") as follower:
        assert [(await follower.next())["type"] for _ in range(2)] == ["job.accepted", "job.finished"]


async def test_events_of_some_types_only_come_and_the_cursor_passes_the_others(world: ApiWorld) -> None:
    world.token = await operator(world, Scope.GPUS_ADMIN, Scope.JOBS_WRITE)
    job_id = await world.submit()
    for number in range(600):  # more than a page of what is not asked for
        await world.store.append_event(job_id, NewEvent("job.noted", {"number": number}))
    await ask(world, Asked.QUARANTINE)
    async with Follower(world, "after=0&type=gpu.state&type=job.finished,job.never") as follower:
        assert (await follower.next())["type"] == "gpu.state"
        assert follower.answer is not None
        assert b": caught up" in await follower.answer.content.readuntil(b"\n\n")
        await world.finish(job_id)
        assert (await follower.next())["type"] == "job.finished"
    for wrong in ("gpu", "gpu.state;", "%0A"):
        assert (await world.call("GET", f"/v1/events?type={wrong}")).status == 400


async def test_a_stream_of_which_nothing_is_asked_for_is_kept_alive_while_others_are_told(
    tmp_path: Path,
) -> None:
    limits = ApiLimits(stream_seconds=5, keep_alive_seconds=0.05)
    async with api_world(tmp_path, api_limits=limits) as world:
        job_id = await world.submit()

        async def tell_again(step: str) -> None:
            if step == "events":
                await world.store.append_event(job_id, NewEvent("job.noted", {}))

        world.store.after = tell_again  # there is always one more
        async with Follower(world, "type=gpu.state") as follower:
            assert follower.answer is not None
            assert await follower.answer.content.readuntil(b"still here\n\n")


async def test_the_command_line_shows_what_becomes_of_gpus_a_line_each(tmp_path: Path) -> None:
    async with cli_world(tmp_path) as world:
        await with_a_gpu(world.api)
        await ask(world.api, Asked.QUARANTINE, "a fan rattles")
        await world.api.submit()
        _, seen = await world.run(events.events, type_=["gpu.state"])
        (line,) = seen.out.getvalue().splitlines()
        assert line.split("  ", 1)[1].lstrip() == (
            "host           GPU-1  ok → quarantined  a fan rattles (needs operator)"
        )
        _, seen = await world.run(events.events, form=Form.JSON)
        told = [json.loads(line) for line in seen.out.getvalue().splitlines()]
        assert [event["type"] for event in told[:2]] == ["gpu.state", "job.accepted"]
        _, seen = await world.run(events.events, after=told[0]["seq"], type_=["gpu.state"])
        assert seen.out.getvalue() == ""
        code, seen = await world.run(events.events, type_=["gpu state"])
        assert code == -1
        assert "type" in seen.err.getvalue()
