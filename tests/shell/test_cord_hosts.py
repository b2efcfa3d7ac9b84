"""Which job answers the cords of a chute: started by the first call, kept warm, stopped when idle, replaced when it dies or is outdated."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from agent.core.function import FunctionCall
from agent.core.job import StopCause, Viewer
from agent.errors import Phase
from agent.interfaces import ChuteInUseError, StoreUnavailableError
from agent.jobs.cords import CordTimes
from agent.jobs.cords.host import MOST_WAITING, PAUSE_SECONDS, QUICK_ENDS
from agent.jobs.cords.hosts import START_SECONDS
from agent.jobs.cords.probe import REMEDY, cords_probe
from agent.jobs.health import CheckState
from tests.fakes.cord_lines import Said, whole
from tests.fakes.upload_store import go_on
from tests.shell.cord_world import LINES, CordWorld, cord_world
from tests.shell.world import ME, OWNER, Outcome

pytestmark = pytest.mark.looptime


@pytest.fixture
async def stage() -> AsyncIterator[CordWorld]:
    async with cord_world() as made:
        yield made


def now() -> float:
    return asyncio.get_running_loop().time()


async def until(holds: Any, seconds: float = 60) -> None:  # noqa: ANN401 - a question without an argument
    async with asyncio.timeout(seconds):
        while not holds():
            await asyncio.sleep(0.05)


async def test_the_first_call_starts_a_job_that_answers_those_after_it(stage: CordWorld) -> None:
    assert (await stage.call(body={"a": 1})).json == {"a": 1}
    before = now()
    assert (await stage.call(body=2)).json == 2
    assert now() - before < 0.01
    (job,) = stage.jobs()
    assert job.call is not None
    assert (job.call.function, job.call.chute, job.spec.queue, job.spec.grace) == (
        None,
        "trainer",
        "cords",
        10,
    )
    assert (job.spec.timeout, job.spec.retry.count, job.spec.gpus.count) == (None, 0, 0)
    assert stage.hosts.warm == 1


async def test_calls_at_once_share_one_job(stage: CordWorld) -> None:
    await stage.ready()
    replies = await asyncio.gather(*[stage.call(body=number) for number in range(200)])
    assert [reply.json for reply in replies] == list(range(200))
    assert len(stage.jobs()) == 1


async def test_no_more_run_at_once_than_the_chute_says_first_come_first_served(stage: CordWorld) -> None:
    running, most, order = 0, 0, []

    async def author(request: dict[str, Any]) -> Said:
        nonlocal running, most
        running, order_before = running + 1, order.append(request["body"])
        most = max(most, running)
        await asyncio.sleep(1)
        running -= 1
        return whole(order_before)

    stage.author = author
    await stage.ready()
    await asyncio.gather(*[stage.call(body=number) for number in range(10)])
    assert (most, order) == (LINES, list(range(10)))


async def test_more_calls_than_may_wait_are_refused_as_busy(stage: CordWorld) -> None:
    await stage.call()
    never = asyncio.Event()

    async def author(_request: dict[str, Any]) -> Said:
        await never.wait()
        return whole(1)

    stage.author = author
    async with asyncio.TaskGroup() as group:
        calls = [group.create_task(stage.call()) for _ in range(MOST_WAITING + LINES)]
        await asyncio.sleep(1)
        assert (await stage.refusal()).code == "cord_busy"
        never.set()
    assert all(call.result().status == 200 for call in calls)


async def test_a_job_that_nobody_calls_is_stopped_and_its_end_says_why(stage: CordWorld) -> None:
    await stage.call()
    await asyncio.sleep(299)
    assert stage.alive()
    await stage.call()  # it is as good as new
    await asyncio.sleep(299)
    assert stage.alive()
    await asyncio.sleep(20)
    (job,) = stage.jobs()
    assert (job.phase, job.outcome) == (Phase.FINISHED, Outcome.CANCELLED)
    assert job.job_stop is not None
    assert job.job_stop.cause is StopCause.NOT_NEEDED
    assert job.reason is not None
    assert (job.reason.code, job.reason.message) == ("cord_host_not_needed", "no call for 300 s")


async def test_a_long_call_is_no_idleness(stage: CordWorld) -> None:
    stage.times = CordTimes(idle_seconds=5, call_seconds=600)

    async def author(_request: dict[str, Any]) -> Said:
        await asyncio.sleep(500)
        return whole("late")

    stage.author = author
    assert (await stage.call()).json == "late"
    assert len(stage.jobs()) == 1


@pytest.mark.parametrize("late", [0.0, 0.005, 0.01, 0.02, 0.05, 0.3, 1.0, 5.0])
async def test_a_call_at_the_moment_of_the_stop_is_answered(stage: CordWorld, late: float) -> None:
    stage.times = CordTimes(idle_seconds=30, call_seconds=60)
    await stage.call()
    await asyncio.sleep(30 + late)
    assert (await stage.call(body="still")).json == "still"
    assert len(stage.jobs()) <= 2


async def test_a_stop_that_could_not_be_written_is_written_later(stage: CordWorld) -> None:
    stage.times = CordTimes(idle_seconds=10, call_seconds=60)
    await stage.call()
    failures = 3

    async def fail(step: str) -> None:
        nonlocal failures
        if step == "change" and failures:
            failures -= 1
            raise StoreUnavailableError("disk I/O error")

    stage.world.store.before = fail
    await asyncio.sleep(60)
    assert failures == 0
    assert not stage.alive()


async def test_a_database_that_is_away_is_not_asked_in_a_circle(stage: CordWorld) -> None:
    stage.times = CordTimes(idle_seconds=10, call_seconds=60)
    await stage.call()
    await stage.deploy(name="other")
    await stage.call(chute="other")
    asked = 0

    async def fail(step: str) -> None:
        nonlocal asked
        asked += step == "change"
        raise StoreUnavailableError("disk I/O error")

    stage.world.store.before = fail
    await asyncio.sleep(100)
    assert 10 < asked < 200
    stage.world.store.before = go_on
    await asyncio.sleep(30)
    assert not stage.alive()


async def test_a_newer_version_takes_the_calls_and_the_older_job_is_stopped_once_its_calls_are_over(
    stage: CordWorld,
) -> None:
    go_on = asyncio.Event()

    async def author(_request: dict[str, Any]) -> Said:
        await go_on.wait()
        return whole("done")

    await stage.call()
    stage.author = author
    old = asyncio.get_running_loop().create_task(stage.call())
    await asyncio.sleep(1)
    await stage.deploy()
    new = asyncio.get_running_loop().create_task(stage.call())
    await asyncio.sleep(30)
    assert len(stage.alive()) == 2
    go_on.set()
    assert [(await call).json for call in (old, new)] == ["done", "done"]
    await asyncio.sleep(15)
    first, second = stage.jobs()
    assert first.reason is not None
    assert (first.phase, first.reason.message) == (
        Phase.FINISHED,
        "a newer version of the chute was deployed",
    )
    assert second.phase is Phase.RUNNING


async def test_a_call_that_crosses_a_deploy_leaves_no_job_of_the_older_version_warm(stage: CordWorld) -> None:
    await stage.ready()
    has_deployed = False

    async def deploy(step: str) -> None:
        nonlocal has_deployed
        if step == "chute" and not has_deployed:
            has_deployed = True
            await stage.deploy()

    stage.world.store.after = deploy
    assert (await stage.call(body="late")).json == "late"
    await asyncio.sleep(15)
    assert not stage.alive()


async def test_a_named_call_that_waited_is_of_the_version_that_is_the_newest_then(stage: CordWorld) -> None:
    async def author(_request: dict[str, Any]) -> Said:
        await asyncio.sleep(20)
        return whole("slow")

    await stage.ready()
    stage.author = author
    loop = asyncio.get_running_loop()
    first = loop.create_task(stage.call(key="k"))
    await asyncio.sleep(5)
    second = loop.create_task(stage.call(key="k"))
    await asyncio.sleep(1)
    newer = await stage.deploy()
    first.cancel()
    assert (await second).json == "slow"
    assert [job.call and job.call.version for job in stage.jobs()][-1] == newer.id


async def test_a_job_that_dies_in_a_call_fails_it_and_the_next_call_gets_another(stage: CordWorld) -> None:
    await stage.call()
    await asyncio.sleep(30)

    async def author(_request: dict[str, Any]) -> Said:
        stage.die(137)
        await asyncio.sleep(60)
        return whole(1)

    stage.author = author
    error = await stage.refusal()
    assert error.code == "cord_host_ended"
    assert "signal 9" in str(error)

    async def well(_request: dict[str, Any]) -> Said:
        return whole("again")

    stage.author = well
    assert (await stage.call()).json == "again"
    assert len(stage.jobs()) == 2


async def test_calls_that_wait_outlive_a_job_that_dies(stage: CordWorld) -> None:
    stage.starts_in = 5
    waiting = asyncio.get_running_loop().create_task(stage.call(body="patient"))
    await until(stage.world.engine.running)
    stage.die()
    assert (await waiting).json == "patient"
    assert len(stage.jobs()) == 2


async def test_a_job_that_always_dies_at_once_is_not_started_for_ever(stage: CordWorld) -> None:
    stage.starts_in = None

    async def kill_all() -> None:
        while True:
            for container in stage.world.engine.running():
                stage.world.engine.exit_now(container.id, 1)
            await asyncio.sleep(0.1)

    killing = asyncio.get_running_loop().create_task(kill_all())
    error = await stage.refusal()
    assert error.code == "cord_host_not_ready"
    assert "exited with code 1" in str(error)
    assert len(stage.jobs()) == QUICK_ENDS
    before = now()
    assert (await stage.refusal()).code == "cord_host_not_ready"
    assert now() - before < 0.01, "it is told at once, for a while"
    assert stage.cords is not None
    told = await cords_probe(stage.cords)()
    assert (told.state, told.remedy) == (CheckState.OK, REMEDY)
    assert told.evidence.endswith("; 1 chutes could not answer")
    killing.cancel()
    await asyncio.gather(killing, return_exceptions=True)
    stage.starts_in = 0.3
    await asyncio.sleep(PAUSE_SECONDS + 1)
    assert (await stage.call(body="well")).json == "well"


async def test_a_call_waits_no_longer_than_a_start_may_take_and_is_told_for_what(stage: CordWorld) -> None:
    stage.world.settings.queue_limits = {"default": 8, "cords": 0}
    before = now()
    error = await stage.refusal()
    assert now() - before == pytest.approx(START_SECONDS, abs=1)
    assert error.code == "cord_host_not_ready"
    assert "waits for queue" in str(error)


async def test_where_no_more_may_be_warm_the_one_that_is_idle_for_longest_makes_way(stage: CordWorld) -> None:
    stage.world.settings.queue_limits = {"default": 8, "cords": 2}
    await stage.call(body=1)
    for name in ("second", "third"):
        await stage.deploy(name=name)
        await asyncio.sleep(5)
        assert (await stage.call(body=name, chute=name)).json == name
    first, second, third = stage.jobs()
    assert first.reason is not None
    assert (first.phase, first.reason.code) == (Phase.FINISHED, "cord_host_not_needed")
    assert (second.phase, third.phase) == (Phase.RUNNING, Phase.RUNNING)


async def test_of_those_that_are_idle_the_callers_own_makes_way_first(stage: CordWorld) -> None:
    stage.world.settings.queue_limits = {"default": 8, "cords": 2}
    await stage.call(body=1)
    await stage.deploy(name="theirs", owner="bob")
    assert (await stage.call(body=2, chute="theirs", viewer=Viewer("bob"))).json == 2
    await asyncio.sleep(5)
    await stage.call(body=3)  # bob's is now the one that is idle for longest
    await stage.deploy(name="second")
    assert (await stage.call(body=4, chute="second")).json == 4
    assert {job.owner for job in stage.jobs() if job.phase is not Phase.FINISHED} == {OWNER, "bob"}


async def test_a_job_that_takes_no_calls_any_more_is_replaced(stage: CordWorld) -> None:
    await stage.call()
    stage.starts_in = None
    for task in list(stage._launchers):
        task.cancel()
    for line in stage.lines[stage.jobs()[0].id]:
        line.close()
    assert (await stage.refusal()).code == "cord_host_not_ready"
    await asyncio.sleep(15)
    (job,) = stage.jobs()
    assert (job.phase, job.reason and job.reason.code) == (Phase.FINISHED, "cord_host_not_needed")


async def test_a_job_that_its_owner_cancels_is_replaced_by_the_next_call(stage: CordWorld) -> None:
    await stage.call()
    await stage.world.cancel(stage.jobs()[0].id)
    await asyncio.sleep(15)
    assert (await stage.call(body="again")).json == "again"
    assert len(stage.jobs()) == 2


async def test_a_daemon_that_was_killed_takes_the_warm_job_over(stage: CordWorld) -> None:
    await stage.call()
    await stage.restart()
    assert (await stage.call(body="again")).json == "again"
    assert len(stage.jobs()) == 1
    await stage.restart()
    await asyncio.sleep(330)
    assert not stage.alive(), "and stops it when nobody calls"


async def test_a_daemon_that_was_killed_stops_the_job_of_an_older_version(stage: CordWorld) -> None:
    await stage.call()
    await stage.crash()
    await stage.start()
    await stage.deploy()
    await asyncio.sleep(20)
    assert not stage.alive()


async def test_a_start_that_hangs_ends_its_own_callers_wait_and_holds_up_no_other_chute(
    stage: CordWorld,
) -> None:
    await stage.ready()
    await stage.deploy(name="other")
    hung = asyncio.Event()

    async def hang(step: str) -> None:
        if step == "accept" and not hung.is_set():
            hung.set()
            await asyncio.Event().wait()

    stage.world.store.before = hang
    began = now()
    async with asyncio.TaskGroup() as group:
        refused = group.create_task(stage.refusal())
        await hung.wait()
        answered = group.create_task(stage.call(chute="other"))
    assert refused.result().code == "cord_host_not_ready"
    assert answered.result().status == 200
    assert now() - began < START_SECONDS / 2


async def test_a_job_whose_accept_was_not_answered_is_found_by_the_next_call(stage: CordWorld) -> None:
    has_failed = False

    async def fail(step: str) -> None:
        nonlocal has_failed
        if step == "accept" and not has_failed:
            has_failed = True
            raise StoreUnavailableError("the answer was lost")

    stage.world.store.after = fail
    assert (await stage.refusal()).code == "store_unavailable"
    assert (await stage.call(body=1)).json == 1
    assert len(stage.jobs()) == 1


async def test_a_chute_with_an_idle_job_alone_is_removed_and_one_that_is_called_is_not(
    stage: CordWorld,
) -> None:
    await stage.call()
    assert stage.chutes is not None
    go_on = asyncio.Event()

    async def author(_request: dict[str, Any]) -> Said:
        await go_on.wait()
        return whole(1)

    stage.author = author
    calling = asyncio.get_running_loop().create_task(stage.call())
    await asyncio.sleep(1)
    with pytest.raises(ChuteInUseError):
        await stage.chutes.remove(ME, "trainer")
    go_on.set()
    assert (await calling).json == 1
    await stage.chutes.remove(ME, "trainer")
    assert not stage.alive()
    assert (await stage.refusal()).code == "chute_not_found"


async def test_a_chute_that_is_removed_while_a_job_is_started_for_it_leaves_none(stage: CordWorld) -> None:
    await stage.ready()
    accepting, go = asyncio.Event(), asyncio.Event()

    async def hold(step: str) -> None:
        if step == "accept":
            accepting.set()
            await go.wait()

    stage.world.store.before = hold
    calling = asyncio.get_running_loop().create_task(stage.call())
    await accepting.wait()
    calling.cancel()
    await asyncio.wait({calling})
    assert stage.chutes is not None
    removing = asyncio.get_running_loop().create_task(stage.chutes.remove(ME, "trainer"))
    await asyncio.sleep(1)
    go.set()
    await removing
    await asyncio.sleep(15)
    assert not stage.alive()


async def test_a_chute_that_may_not_be_removed_keeps_its_warm_job(stage: CordWorld) -> None:
    await stage.call()
    (warm,) = stage.jobs()
    assert stage.chutes is not None
    assert warm.call is not None
    child = FunctionCall("trainer", warm.call.version, "train", "main.py", "chute")
    await stage.world.submit(call=child)
    with pytest.raises(ChuteInUseError):
        await stage.chutes.remove(ME, "trainer")
    await asyncio.sleep(15)
    assert stage.alive() == [warm.id]


async def test_a_damaged_chute_ends_its_own_calls_alone(stage: CordWorld) -> None:
    await stage.ready()
    (version,) = stage.folders.kept
    stage.folders.kept[version] = ("damaged", {})
    assert (await stage.refusal()).code == "cord_host_not_ready"
    stage.folders.kept.clear()
    assert (await stage.refusal()).code == "chute_files_missing"


async def test_cords_get_the_gpus_that_the_deploy_asks_for(stage: CordWorld) -> None:
    await stage.ready()
    await stage.deploy(cords_gpus={"count": 1})
    error = await stage.refusal()
    assert error.code == "gpus_never_fit", "this host has none"
