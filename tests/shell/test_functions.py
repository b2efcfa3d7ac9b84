"""Functions on fakes: what they tell and how they end, through the daemon's death, the database's absence and their own lies."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence

import pytest

from agent.core.function import FaultKind, FunctionCall
from agent.core.job import Job
from agent.core.metrics import MOST_POINTS
from agent.core.told import News, Told
from agent.interfaces import StateFullError, StoreUnavailableError, Telling
from agent.interfaces.job_socket import Call, CallFault, CallRefusedError
from agent.jobs.functions.keeper import Keeper
from tests.fakes.engine import Program
from tests.shell.world import ME, Outcome, Phase, World

pytestmark = pytest.mark.looptime
CALL = FunctionCall(
    "trainer", "22222222-0000-7000-8000-000000000001", "train", "main.py", parent="p", depth=1
)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    world.engine.program = Program(on_term=143)
    await world.start()
    yield world
    await world.crash()


async def running(world: World, **fields: object) -> str:
    job_id = await world.submit(call=CALL, payload=b'{"a":\n1}', **fields)
    await world.until(job_id, lambda job: job.phase is Phase.RUNNING)
    return job_id


def exit_now(world: World, code: int = 0) -> None:
    (container,) = world.engine.running()
    world.engine.exit_now(container.id, code)


def code_of(job: Job) -> str | None:
    return None if job.reason is None else job.reason.code


async def test_hello_says_all_that_the_launcher_needs(world: World) -> None:
    job_id = await running(world, grace=7)
    line = await world.sockets.call(job_id, "hello", sdk="1", pid=1)
    assert b"\n" not in line
    assert json.loads(line) == {
        "kind": "function",
        "job": {"id": job_id, "attempt": 1, "function": "train", "chute": "trainer", "parent": "p"},
        "entry": {"file": "main.py", "chute": "chute"},
        "payload": {"a": 1},
        "output_dir": "/outputs",
        "ports": [{"name": "web"}],
        "grace": 7,
        "stopping": False,
    }


async def test_the_socket_is_open_before_the_container_starts_and_closed_when_the_job_has_ended(
    world: World,
) -> None:
    job_id = await running(world)
    assert world.sockets.opened == [job_id]
    await world.sockets.succeed(job_id, b"5")
    exit_now(world)
    await world.finish(job_id)
    assert (world.sockets.closed, world.sockets.calls) == ([job_id], {})


async def test_a_result_and_exit_0_are_a_success(world: World) -> None:
    job_id = await running(world)
    await world.sockets.succeed(job_id, b'{"loss": 0.5}')
    exit_now(world)
    assert (await world.finish(job_id)).outcome is Outcome.SUCCEEDED
    stored = await world.folders.report(job_id, 1, 99)
    assert stored is not None
    assert stored.result == b'{"loss": 0.5}'


async def test_an_exit_0_without_a_result_is_none(world: World) -> None:
    job_id = await running(world)
    exit_now(world)
    job = await world.finish(job_id)
    assert (job.outcome, code_of(job)) == (Outcome.FAILED, "no_result")


async def test_an_exception_fails_the_job_with_its_words_and_is_retried(world: World) -> None:
    job_id = await running(world, retry={"count": 1, "backoff": 1})
    await world.sockets.fail(job_id, FaultKind.RAISED, "first")
    exit_now(world, 1)
    await world.until(job_id, lambda job: job.attempt == 2 and job.phase is Phase.RUNNING)
    await world.sockets.fail(job_id, FaultKind.PERMANENT, "second")
    exit_now(world, 1)
    job = await world.finish(job_id)
    attempts = await world.store.attempts(job_id)
    assert [attempt.reason.code for attempt in attempts if attempt.reason] == [
        "function_raised",
        "function_refused",
    ]
    assert job.reason is not None
    assert job.reason.message == "ValueError: second"


async def test_a_secret_of_the_job_in_its_exceptions_words_is_in_no_row(world: World) -> None:
    job_id = await running(world, secrets={"TOKEN": "correct-horse"})
    assert world.shell is not None
    world.shell.tools.hiding.add(job_id, await world.folders.secrets(job_id))
    await world.sockets.fail(job_id, FaultKind.RAISED, "no answer from https://x/?token=correct-horse")
    exit_now(world, 1)
    job = await world.until(job_id, lambda job: job.outcome is not None)
    assert "no answer from" in str(job.reason)
    assert "correct-horse" not in repr(job) + repr(await world.store.attempts(job_id))


async def test_a_function_that_would_be_retried_is_not_once_it_says_that_it_is_of_no_use(
    world: World,
) -> None:
    job_id = await running(world, retry={"count": 3, "backoff": 1})
    await world.sockets.fail(job_id, FaultKind.PAYLOAD)
    exit_now(world, 1)
    job = await world.finish(job_id)
    assert (job.attempt, code_of(job)) == (1, "payload_mismatch")


async def test_the_first_end_of_an_attempt_counts(world: World) -> None:
    job_id = await running(world)
    await world.sockets.succeed(job_id, b"1")
    await world.sockets.fail(job_id)
    exit_now(world)
    assert (await world.finish(job_id)).outcome is Outcome.SUCCEEDED


async def test_the_first_end_counts_also_where_the_daemon_died_after_it(world: World) -> None:
    job_id = await running(world)
    await world.sockets.fail(job_id, FaultKind.RAISED, "the first")
    await world.restart()
    await opened(world, job_id)
    await world.sockets.succeed(job_id)
    exit_now(world)
    job = await world.finish(job_id)
    assert job.reason is not None
    assert job.reason.message == "ValueError: the first"


async def opened(world: World, job_id: str) -> None:
    async with asyncio.timeout(10):
        while job_id not in world.sockets.calls:
            await asyncio.sleep(0.01)


async def test_an_end_that_came_while_nobody_looked_at_the_container_is_found(world: World) -> None:
    job_id = await running(world)
    await world.sockets.succeed(job_id, b"1")
    await world.crash()
    exit_now(world)
    await world.start()
    assert (await world.finish(job_id)).outcome is Outcome.SUCCEEDED


async def test_a_restarted_daemon_hears_a_function_that_is_being_stopped(world: World) -> None:
    world.engine.program = Program(on_term=None)
    job_id = await running(world)
    await world.cancel(job_id, grace=60)
    await world.until(job_id, lambda job: job.run.signalled_at is not None)
    await world.restart()
    await opened(world, job_id)
    assert json.loads(await world.sockets.call(job_id, "hello"))["stopping"] is True
    await world.sockets.fail(job_id, FaultKind.CANCELLED, "it was told to")
    exit_now(world, 1)
    job = await world.finish(job_id)
    assert (job.outcome, job.run.report is not None) == (Outcome.CANCELLED, True)


async def test_a_timeout_stays_one_whatever_the_function_makes_of_it(world: World) -> None:
    job_id = await running(world, timeout=30)
    await world.until(job_id, lambda job: job.run.signalled_at is not None or job.phase is Phase.FINISHED)
    job = await world.finish(job_id)
    assert (job.outcome, code_of(job)) == (Outcome.TIMED_OUT, "timeout")


# what it tells


async def test_what_is_told_is_durable_when_it_is_answered(world: World) -> None:
    job_id = await running(world)
    progress = {"percent": 40, "message": "epoch 4"}
    await world.sockets.report(
        job_id, 1, ["loss", 0.5, 1.0], ["note", "ok", 1.0], progress=progress, statuses={"a": "b"}
    )
    told = await world.store.told(job_id)
    assert (told.attempt, told.seq, told.statuses) == (1, 1, {"a": "b"})
    assert told.progress is not None
    assert (told.progress.percent, told.progress.message) == (40, "epoch 4")
    assert (told.metrics["loss"].points, told.metrics["note"].labels) == ([(1.0, 0.5)], {"ok": 1})


async def test_a_report_that_comes_again_is_counted_once_also_by_the_next_daemon(world: World) -> None:
    job_id = await running(world)
    for _ in range(2):
        for _ in range(2):
            await world.sockets.report(job_id, 7, ["loss", 0.5, 1.0])
        await world.restart()
        await opened(world, job_id)
    await world.sockets.report(job_id, 8, ["loss", 0.4, 2.0])
    assert (await world.store.told(job_id)).metrics["loss"].count == 2


async def test_a_job_is_written_once_a_second_however_often_it_reports(world: World) -> None:
    job_id = await running(world)
    writes = 0

    async def count(step: str) -> None:
        nonlocal writes
        writes += step == "keep_told"

    world.store.before = count
    reports = [
        asyncio.create_task(
            world.sockets.report(job_id, seq, ["loss", 1, 1], progress={"percent": seq / 10, "message": None})
        )
        for seq in range(1, 101)
    ]
    for report in reports:
        await report
    assert writes <= 3
    assert (await world.store.told(job_id)).metrics["loss"].count == 100
    events = [event for event in await world.store.events(ME, 0, job_id, 999) if event.type == "job.progress"]
    assert len(events) == writes
    assert events[-1].data == {"percent": 10, "message": None}


async def test_a_function_that_has_ended_waits_no_second_for_its_last_report(world: World) -> None:
    job_id = await running(world)
    await world.sockets.report(job_id, 1, ["loss", 1, 1])
    began = asyncio.get_running_loop().time()
    last = asyncio.create_task(world.sockets.report(job_id, 2, ["loss", 2, 2]))
    await asyncio.sleep(0)
    await world.sockets.succeed(job_id, b"{}")
    await last
    assert asyncio.get_running_loop().time() - began < 0.5


async def test_what_was_told_just_before_the_end_is_written(world: World) -> None:
    job_id = await running(world)
    await world.sockets.report(job_id, 1, ["loss", 1, 1])
    calls = world.sockets.calls[job_id]
    await calls.take_report(Call("report", {"seq": 2}, None, [[["loss", 2, 2]]]))
    exit_now(world)
    await world.finish(job_id)
    assert (await world.store.told(job_id)).metrics["loss"].count == 2


async def test_the_next_attempts_first_report_is_new_and_its_metrics_go_on(world: World) -> None:
    job_id = await running(world, retry={"count": 1, "backoff": 1})
    await world.sockets.report(job_id, 5, ["loss", 1, 1])
    exit_now(world, 1)
    await world.until(job_id, lambda job: job.attempt == 2 and job.phase is Phase.RUNNING)
    await world.sockets.report(job_id, 1, ["loss", 2, 2])
    told = await world.store.told(job_id)
    assert (told.attempt, told.seq, told.metrics["loss"].count) == (2, 1, 2)


async def test_a_database_that_is_away_delays_the_answer_and_loses_nothing(world: World) -> None:
    job_id = await running(world)
    away = True

    async def be_away(step: str) -> None:
        if away and step == "keep_told":
            raise StoreUnavailableError("disk I/O error")

    world.store.before = be_away
    report = asyncio.create_task(world.sockets.report(job_id, 1, ["loss", 1, 1]))
    await asyncio.sleep(5)
    assert not report.done()
    away = False
    await report
    assert (await world.store.told(job_id)).metrics["loss"].count == 1


async def test_jobs_that_tell_much_are_written_one_after_the_other_and_others_together(world: World) -> None:
    writes: list[int] = []
    keep_told, may_write = world.store.keep_told, asyncio.Event()

    async def note(tellings: Sequence[Telling]) -> None:
        await may_write.wait()
        writes.append(len(tellings))
        await keep_told(tellings)

    world.store.keep_told = note  # type: ignore[method-assign] # to see what is written at once
    much = [[f"m{number % 40}", number, 1] for number in range(40 * MOST_POINTS)]
    first, *others = [await running(world) for _ in range(5)]
    async with asyncio.TaskGroup() as group:
        group.create_task(world.sockets.report(first, 1, ["a", 1, 1]))
        await asyncio.sleep(1)
        for job_id, points in zip(others, (much, much, [["a", 1, 1]], [["a", 1, 1]]), strict=True):
            group.create_task(world.sockets.report(job_id, 1, *points))
        await asyncio.sleep(1)
        may_write.set()
    assert writes == [1, 1, 1, 2]
    assert {(await world.store.told(job_id)).seq for job_id in others} == {1}


async def test_half_a_report_is_never_written() -> None:
    keeper = Keeper("job", 1, Told())
    await keeper.take(News(1, None, {}), [("loss", 1, 1.0)])
    taking = asyncio.create_task(keeper.take(News(2, None, {}), [("loss", 1, 1.0)] * 5000))
    await asyncio.sleep(0)
    telling = await keeper.telling()
    assert (telling.seq, telling.metrics["loss"].count) == (2, 5001)
    await taking


@pytest.mark.parametrize("metric", [["loss"], ["loss", None, 1], "loss"])
async def test_a_report_that_is_none_is_refused_whole(world: World, metric: list[object]) -> None:
    job_id = await running(world)
    with pytest.raises(CallRefusedError) as refused:
        await world.sockets.report(job_id, 1, ["fine", 1, 1], metric)
    assert refused.value.fault is CallFault.BAD_CALL
    assert (await world.store.told(job_id)).metrics == {}


async def test_names_beyond_the_most_are_not_kept_and_the_statuses_of_longest_ago_go(world: World) -> None:
    job_id = await running(world)
    metrics = [[f"m{number}", 1, 1] for number in range(150)]
    await world.sockets.report(job_id, 1, *metrics, statuses={f"t{number}": "x" for number in range(100)})
    await world.sockets.report(job_id, 2, statuses={"t0": "y", "new": "z"})
    told = await world.store.told(job_id)
    assert len(told.metrics) == 100
    assert (len(told.statuses), "t1" in told.statuses, told.statuses["t0"]) == (100, False, "y")


# what is not there


async def test_what_another_job_is_asked_for_is_answered_elsewhere(world: World) -> None:
    job_id = await running(world)
    asked = [
        ("start_job", {"name": "x"}),
        ("get_job_status", {"job_id": "j"}),
        ("cancel_job", {"job_id": "j"}),
    ]
    answers = [json.loads(await world.sockets.call(job_id, name, **fields)) for name, fields in asked]
    assert answers == [{"job_id": "child"}, {"id": "j"}, True]


async def test_a_call_that_nobody_knows_is_refused(world: World) -> None:
    job_id = await running(world)
    with pytest.raises(CallRefusedError) as refused:
        await world.sockets.call(job_id, "format_disk")
    assert refused.value.fault is CallFault.BAD_CALL


async def test_a_daemon_that_has_just_started_asks_for_another_try() -> None:
    world = World()
    world.neighbours = None
    await world.start()
    job_id = await world.submit(call=CALL)
    await world.until(job_id, lambda job: job.phase is Phase.RUNNING)
    with pytest.raises(CallRefusedError) as refused:
        await world.sockets.call(job_id, "start_job", name="x")
    assert refused.value.fault is CallFault.UNAVAILABLE
    await world.crash()


async def test_a_job_whose_chutes_files_are_gone_is_not_started(world: World) -> None:
    world.folders.chutes_missing = {CALL.version}
    job = await world.finish(await world.submit(call=CALL))
    assert (job.outcome, code_of(job)) == (Outcome.FAILED, "chute_files_missing")


async def test_a_job_whose_folder_is_gone_is_not_started(world: World) -> None:
    world.sockets.missing = {"00000000-0000-7000-8000-000000000001"}
    job = await world.finish(await world.submit(call=CALL))
    assert (job.outcome, code_of(job)) == (Outcome.FAILED, "job_folder_missing")


async def test_a_job_whose_folder_goes_while_the_daemon_is_away_runs_on_unheard(world: World) -> None:
    job_id = await running(world)
    world.sockets.missing = {job_id}
    await world.restart()
    await asyncio.sleep(60)
    assert (await world.job(job_id)).phase is Phase.RUNNING
    exit_now(world, 3)
    assert code_of(await world.finish(job_id)) == "exit_nonzero"


async def test_a_full_disk_keeps_no_function_from_its_timeout_and_with_room_it_is_heard_again(
    world: World,
) -> None:
    job_id, heard = await running(world, timeout=60), await running(world)
    world.sockets.trouble = StateFullError("no space is left")
    await world.restart()
    job = await world.finish(job_id)
    assert (job.outcome, heard in world.sockets.calls) == (Outcome.TIMED_OUT, False)
    world.sockets.trouble = None
    world.wake(heard)
    await opened(world, heard)


async def test_a_container_job_has_no_socket(world: World) -> None:
    job_id = await world.submit()
    await world.until(job_id, lambda job: job.phase is Phase.RUNNING)
    assert world.sockets.opened == []
