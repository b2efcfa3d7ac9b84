"""Notifications under a virtual clock: every change of phase arrives at least once and in order, and no endpoint is in anybody's way."""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import structlog

from agent.core.notify import DEADLINE_SECONDS, NotifyEnd, NotifyTarget, Progress
from agent.core.outgoing import Reply, SendTrouble, Unsent
from agent.core.webhook import sign
from agent.daemon.health import build_health
from agent.interfaces import OutgoingRequest, SecretFiles, StoreUnavailableError
from agent.jobs.health import CheckState
from tests.fakes.engine import Program
from tests.fakes.outgoing import take
from tests.shell.world import ME, Phase, World

pytestmark = pytest.mark.looptime

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
# A job that runs and ends by itself.
PATH = ["queued", "starting", "running", "stopping", "uploading", "finished"]


def notify(host: str = "hooks.example.org") -> dict[str, str]:
    return {"url": f"https://{host}/a?key=hush", "secret": SECRET}


@dataclass(frozen=True)
class Told:
    """One request as its receiver reads it, its signature checked."""

    id: str
    job: str
    n: int
    to: str


def read(request: OutgoingRequest) -> Told:
    headers = request.headers
    signed = sign(SECRET, headers["webhook-id"], int(headers["webhook-timestamp"]), request.body)
    assert headers["webhook-signature"] == signed["webhook-signature"]
    assert request.method == "POST"
    event: dict[str, Any] = json.loads(request.body)
    return Told(headers["webhook-id"], event["job"], event["n"], event["data"]["to"])


def told(world: World, job_id: str | None = None) -> list[Told]:
    every = map(read, world.outgoing.requests)
    return [one for one in every if job_id in {None, one.job}]


async def started(seconds: float = 5, **fields: object) -> tuple[World, str]:
    """A world with one job that runs for so long and wants to be told."""
    world = World()
    world.engine.program = Program(seconds=seconds)
    await world.start()
    return world, await world.submit(**{"notify": notify(), **fields})


async def progress(world: World, job_id: str) -> Progress:
    return (await world.store.notify_progress([job_id]))[job_id]


async def until_over(world: World, job_id: str, seconds: float = 2 * DEADLINE_SECONDS) -> Progress:
    async with asyncio.timeout(seconds):
        while (found := await progress(world, job_id)).state.end is None:
            await asyncio.sleep(0.5)
    return found


def failing(*outcomes: Reply | Unsent) -> Callable[[OutgoingRequest], Awaitable[Reply | Unsent]]:
    """These outcomes, one a request, then well."""
    left = list(outcomes)

    async def behave(request: OutgoingRequest) -> Reply | Unsent:
        return left.pop(0) if left else await take(request)

    return behave


async def hang(_request: OutgoingRequest) -> Reply | Unsent:
    await asyncio.Event().wait()
    raise AssertionError


async def down(_request: OutgoingRequest) -> Reply | Unsent:
    return Unsent(SendTrouble.CONNECT_FAILED)


async def test_each_change_of_phase_is_told_signed_and_in_order_and_then_the_secret_is_dropped() -> None:
    world, job_id = await started(secrets={"KEY": "s"})
    found = await until_over(world, job_id)
    assert [one.to for one in told(world)] == PATH
    assert len({one.id for one in told(world)}) == len(PATH)
    assert (found.state.delivered, found.state.dropped, found.pending) == (len(PATH), 0, 0)
    assert found.state.end is NotifyEnd.COMPLETE
    assert await world.folders.notify_target(job_id) is None
    assert json.loads(world.outgoing.requests[-1].body)["data"]["outcome"] == "succeeded"
    await world.crash()


async def test_what_happens_between_the_look_and_the_end_of_a_look_that_found_nothing_is_told() -> None:
    world, slow = World(), [True]
    after = world.store.after

    async def linger(step: str) -> None:
        await after(step)
        if step == "notice" and slow[0] and [one.to for one in told(world)] == PATH[:3]:
            slow[0] = False
            await asyncio.sleep(20)  # what was read is old by now: the job has run to its end

    world.store.after = linger
    world.engine.program = Program(seconds=5)
    await world.start()
    job_id = await world.submit(notify=notify())
    await until_over(world, job_id, seconds=100)
    assert not slow[0]
    assert [one.to for one in told(world)] == PATH
    await world.crash()


async def test_a_job_that_asks_for_nothing_is_told_of_to_nobody() -> None:
    world = World()
    world.engine.program = Program(seconds=1)
    await world.start()
    await world.finish(await world.submit())
    await world.quiesce()
    assert world.outgoing.requests == []
    await world.crash()


async def test_the_job_is_not_held_back_by_an_endpoint_that_hangs() -> None:
    world = World()
    world.outgoing.default = hang
    world.engine.program = Program(seconds=5)
    await world.start()
    began = world.clock.now()
    job_id = await world.submit(notify=notify(), secrets={"KEY": "s"})
    await world.finish(job_id)
    assert world.clock.now() - began < 15
    assert not world.folders.holds_secrets(job_id)
    assert await world.folders.notify_target(job_id) is not None
    await world.crash()


async def test_what_fails_is_sent_again_before_what_comes_after_it() -> None:
    world = World()
    outcomes = [Reply(503), Unsent(SendTrouble.TLS_FAILED), Reply(307), Reply(429), *[Reply(500)] * 5]
    world.outgoing.default = failing(*outcomes)
    world.engine.program = Program(seconds=1)
    await world.start()
    job_id = await world.submit(notify=notify())
    found = await until_over(world, job_id)
    assert [one.to for one in told(world)] == ["queued"] * 9 + PATH
    assert len({one.id for one in told(world)}) == len(PATH)
    assert (found.state.delivered, found.state.dropped) == (len(PATH), 0)
    assert found.state.trouble is not None
    assert (found.state.trouble.n, found.state.trouble.status) == (1, 500)
    await world.crash()


async def test_a_job_waits_to_be_told_of_until_its_endpoint_knows_all() -> None:
    world, job_id = await started(seconds=1)
    world.outgoing.default = hang
    assert world.shell is not None
    await world.finish(job_id)
    assert world.shell.notifier.waiting == 1
    world.outgoing.default = take
    await until_over(world, job_id)
    await asyncio.sleep(1)
    assert world.shell.notifier.waiting == 0
    await world.crash()


@pytest.mark.slow
async def test_a_try_is_signed_with_its_own_time() -> None:
    world = World()
    world.outgoing.default = failing(Reply(429, retry_after="600"))
    await world.start()
    await world.submit(notify=notify())
    await asyncio.sleep(700)
    first, second = (int(request.headers["webhook-timestamp"]) for request in world.outgoing.requests[:2])
    assert second - first == pytest.approx(600, abs=2)
    await world.crash()


async def test_one_endpoint_that_hangs_delays_nobody_else() -> None:
    world = World()
    world.outgoing.endpoints["stuck.example.org"] = hang
    world.engine.program = Program(seconds=1)
    await world.start()
    for _ in range(20):
        await world.submit(notify=notify("stuck.example.org"))
    job_id = await world.submit(notify=notify())
    await world.finish(job_id)
    await until_over(world, job_id, seconds=5)
    assert [one.to for one in told(world, job_id)] == PATH
    assert world.outgoing.at_once <= 4
    await world.crash()


async def test_jobs_whose_endpoint_is_down_wait_without_a_task_each_and_leave_none_behind() -> None:
    world = World()
    world.outgoing.default = down
    world.jitter = 0.9
    world.engine.program = Program(seconds=1)
    await world.start()
    jobs = [await world.submit(notify=notify()) for _ in range(20)]
    for job_id in jobs:
        await world.finish(job_id)
    await asyncio.sleep(3000)
    names = Counter(task.get_name().partition(" ")[0] for task in asyncio.all_tasks())
    assert names["notify"] <= 4
    await world.crash()
    count = len(told(world))
    await asyncio.sleep(3000)
    assert len(told(world)) == count
    world.outgoing.default = take
    await world.start()
    for job_id in jobs:
        assert (await until_over(world, job_id)).state.delivered == len(PATH)
    await world.crash()


@pytest.mark.slow
async def test_410_ends_it_and_leaves_the_job_its_own_secrets() -> None:
    world = World()
    world.outgoing.default = failing(Reply(204), Reply(410))
    world.engine.program = Program(seconds=600)
    await world.start()
    job_id = await world.submit(notify=notify(), secrets={"KEY": "s"})
    found = await until_over(world, job_id)
    assert (found.state.end, found.state.delivered) == (NotifyEnd.GONE, 1)
    await world.until_phase(job_id, Phase.RUNNING)
    assert await world.folders.notify_target(job_id) is None
    assert world.folders.holds_secrets(job_id)
    await world.finish(job_id, 1000)
    await world.quiesce()
    assert len(told(world)) == 2
    await world.crash()


async def test_a_refused_event_is_given_up_and_the_next_is_sent() -> None:
    world = World()
    world.outgoing.default = failing(Reply(404), Reply(401))
    world.engine.program = Program(seconds=1)
    await world.start()
    job_id = await world.submit(notify=notify())
    found = await until_over(world, job_id)
    assert [one.to for one in told(world)] == PATH
    assert (found.state.delivered, found.state.dropped) == (len(PATH) - 2, 2)
    await world.crash()


@pytest.mark.slow
async def test_an_endpoint_that_stays_down_is_tried_for_a_day_and_then_the_job_may_be_forgotten() -> None:
    world = World()
    world.outgoing.default = down
    world.engine.program = Program(seconds=1)
    world.settings = replace(world.settings, retention_seconds=100)
    await world.start()
    began = world.clock.now()
    job_id = await world.submit(notify=notify())
    await world.finish(job_id)
    await asyncio.sleep(DEADLINE_SECONDS - 1000)
    assert await world.folders.notify_target(job_id) is not None
    assert job_id in await world.store.job_ids()
    tries = Counter(one.to for one in told(world))
    assert set(tries) == {"queued"}
    assert 90 < tries["queued"] < 400
    await asyncio.sleep(2000)
    assert Counter(one.to for one in told(world)).keys() == set(PATH)
    last = int(world.outgoing.requests[-1].headers["webhook-timestamp"])
    assert DEADLINE_SECONDS - 1 <= last - began <= DEADLINE_SECONDS + 20
    assert await world.store.job_ids() == set()
    await world.crash()


async def test_what_came_while_the_daemon_was_away_for_days_is_tried_once_all_the_same() -> None:
    world, job_id = await started(seconds=1)
    world.outgoing.default = down
    await world.finish(job_id)
    await world.crash()
    await asyncio.sleep(3 * DEADLINE_SECONDS)
    world.outgoing.default = take
    await world.start()
    found = await until_over(world, job_id)
    assert found.state.dropped == 0
    assert {one.to for one in told(world)} == set(PATH)
    await world.crash()


async def test_a_forgotten_job_is_told_of_no_more() -> None:
    world = World()
    world.outgoing.default = down
    world.engine.program = Program(seconds=1)
    await world.start()
    job_id = await world.submit(notify=notify())
    await world.finish(job_id)
    await world.folders.remove(job_id)
    await world.store.forget(job_id, ME)
    await asyncio.sleep(1000)
    count = len(told(world))
    await asyncio.sleep(5000)
    assert len(told(world)) == count
    assert not world.is_dead
    await world.crash()


async def test_the_end_of_a_forgotten_jobs_notifications_leaves_a_later_job_of_its_name_its_own() -> None:
    world, job_id = await started()
    again: list[str] = []

    async def behave(request: OutgoingRequest) -> Reply | Unsent:
        if again or json.loads(request.body)["data"].get("to") != PATH[-1]:
            return await take(request)
        await world.folders.remove(job_id)
        await world.store.forget(job_id, ME)
        world.count = 0
        again.append(await world.submit(notify=notify()))
        return Reply(410)  # of the one that is forgotten

    world.outgoing.default = behave
    await world.finish(job_id)
    async with asyncio.timeout(60):
        while not again:
            await asyncio.sleep(0.1)
    assert again == [job_id]
    found = await until_over(world, job_id)
    assert (found.state.end, found.state.delivered) == (NotifyEnd.COMPLETE, len(PATH))
    await world.crash()


async def test_a_target_that_is_lost_ends_it() -> None:
    world = World()
    world.outgoing.default = down
    await world.start()
    job_id = await world.submit(notify=notify())
    await asyncio.sleep(1)
    world.folders.secrets_by_job.pop(job_id)
    found = await until_over(world, job_id)
    assert found.state.end is NotifyEnd.LOST
    assert found.state.trouble is not None
    assert found.state.trouble.code == "target_lost"
    await world.crash()


async def test_a_mistake_in_one_jobs_notifications_is_logged_and_neither_the_daemons_end_nor_others() -> None:
    world = World()
    world.engine.program = Program(seconds=1)
    await world.start()
    broken = await world.submit(notify=notify("broken.example.org"))
    world.folders.secrets_by_job[broken] = SecretFiles({}, notify=NotifyTarget("no URL", SECRET))
    job_id = await world.submit(notify=notify())
    await until_over(world, job_id)
    await asyncio.sleep(200)
    assert not world.is_dead
    assert [one.to for one in told(world)] == PATH
    world.folders.secrets_by_job[broken] = SecretFiles({}, notify=NotifyTarget("https://a/", SECRET))
    await until_over(world, broken)
    assert [one.to for one in told(world, broken)] == PATH
    await world.crash()


async def test_a_store_that_is_down_for_a_while_costs_a_repetition_and_nothing_else() -> None:
    world = World()
    world.engine.program = Program(seconds=1)
    is_down = [False]

    async def fail(step: str) -> None:
        await asyncio.sleep(0)
        if is_down[0] and step in {"keep_notify", "notify_since", "notice"}:
            raise StoreUnavailableError("the disk is full")

    async def think(request: OutgoingRequest) -> Reply | Unsent:
        await asyncio.sleep(1)  # so that the store goes down between the request and its note
        return await take(request)

    world.store.before = fail
    world.outgoing.default = think
    await world.start()
    job_id = await world.submit(notify=notify())
    await asyncio.sleep(0.5)
    is_down[0] = True
    await world.finish(job_id)
    await asyncio.sleep(60)
    is_down[0] = False
    with structlog.testing.capture_logs() as lines:
        found = await until_over(world, job_id, seconds=20)
    assert "notify.broke" not in {
        line["event"] for line in lines
    }  # a disk that is full is no mistake of ours
    assert found.state.delivered == len(PATH)
    assert_at_least_once_and_in_order(told(world))
    assert not world.is_dead
    await world.crash()


def assert_at_least_once_and_in_order(every: list[Told]) -> None:
    """A repetition comes before anything newer does: never a step back by more than to the event that was on its way."""
    numbers = [one.n for one in every]
    assert numbers == sorted(numbers)
    assert [one.to for one in {one.n: one for one in every}.values()] == PATH
    assert len({one.id for one in every}) == len(PATH)


# Which call of the store, and which time.
KILLS = [
    *[("notify_open", 1), ("notify_since", 1), ("notify_since", 3)],
    *[("notice", time) for time in (1, 2, 4, len(PATH))],
    *[("keep_notify", time) for time in (1, 2, 4, len(PATH), len(PATH) + 1)],
]


@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize(("step", "time"), KILLS)
async def test_a_kill_at_any_step_loses_nothing_and_turns_nothing_round(
    side: str, step: str, time: int
) -> None:
    world = World()
    world.engine.program = Program(seconds=1)
    reached, seen = asyncio.Event(), [0]
    hook = getattr(world.store, side)

    async def stop_at(name: str) -> None:
        await hook(name)
        seen[0] += name == step
        if name == step and seen[0] == time:
            reached.set()
            await asyncio.Event().wait()

    setattr(world.store, side, stop_at)
    await world.start()
    job_id = await world.submit(notify=notify(), secrets={"KEY": "s"})
    async with asyncio.timeout(200):
        await reached.wait()
    setattr(world.store, side, hook)
    await world.restart()
    found = await until_over(world, job_id)
    assert_at_least_once_and_in_order(told(world))
    assert found.state.end is NotifyEnd.COMPLETE
    assert await world.folders.notify_target(job_id) is None
    await world.assert_all_is_well()
    await world.crash()


@pytest.mark.parametrize("kept", [1, 2])
async def test_a_kill_between_410_and_its_end_is_the_same_end(kept: int) -> None:
    """After the first write the secret is still there, before the second it is gone."""
    world = World()
    world.outgoing.default = failing(Reply(410), Reply(410))
    reached, seen = asyncio.Event(), [0]
    before = world.store.before

    async def stop_at(name: str) -> None:
        await before(name)
        seen[0] += name == "keep_notify"
        if name == "keep_notify" and seen[0] == kept:
            reached.set()
            await asyncio.Event().wait()

    world.store.before = stop_at
    await world.start()
    job_id = await world.submit(notify=notify())
    await reached.wait()
    world.store.before = before
    await world.restart()
    assert (await until_over(world, job_id)).state.end is NotifyEnd.GONE
    assert await world.folders.notify_target(job_id) is None
    await world.crash()


async def test_a_failure_is_logged_without_what_opens_the_endpoint() -> None:
    world = World()
    world.outgoing.default = failing(Reply(503), Reply(404))
    world.engine.program = Program(seconds=1)
    with structlog.testing.capture_logs() as lines:
        await world.start()
        await until_over(world, await world.submit(notify=notify()))
        await world.crash()
    failed = [line for line in lines if line["event"] in {"notify.failed", "notify.given_up"}]
    assert [(line["event"], line["why"], line["endpoint"]) for line in failed] == [
        ("notify.failed", "HTTP 503", "https://hooks.example.org:443"),
        ("notify.given_up", "HTTP 404", "https://hooks.example.org:443"),
    ]
    assert "hush" not in repr(lines)
    assert SECRET not in repr(lines)


@pytest.mark.slow
async def test_health_warns_once_many_endpoints_fail_and_names_none() -> None:
    world = World()
    world.outgoing.default = down
    await world.start()
    assert world.shell is not None

    async def look() -> tuple[CheckState, str]:
        assert world.shell is not None
        health = build_health(world.outside(), world.shell, {})
        found = next(check for check in await health.look() if check.name == "notifications")
        return found.state, found.evidence

    for number in range(4):
        await world.submit(notify=notify(f"h{number}.example.org"))
    await asyncio.sleep(5)
    assert (await look())[0] is CheckState.OK
    await world.submit(notify=notify("h9.example.org"))
    await asyncio.sleep(5)
    assert await look() == (CheckState.WARN, "the notifications of 5 jobs fail, at 5 endpoints")
    world.outgoing.default = take
    await asyncio.sleep(2000)
    assert await look() == (CheckState.OK, "the notifications of 0 jobs fail, at 0 endpoints")
    await world.crash()
