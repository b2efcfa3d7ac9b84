"""What goes wrong around a job: the folder, the disk, the database, a pull or an answer. One bad thing ends one job at most."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace

import pytest

from agent.core.container import Credentials, PullProgress
from agent.errors import AgentError, Blame
from agent.interfaces import (
    EngineRefusedError,
    EngineUnavailableError,
    JobFolderMissingError,
    LogWriter,
    Prepared,
    PullFailedError,
    SecretFiles,
    StateFullError,
    StateReadOnlyError,
    StoreUnavailableError,
)
from tests.fakes.engine import Fate, Program
from tests.shell.test_runner_traces import the_container, until_called
from tests.shell.world import Outcome, Phase, World

pytestmark = pytest.mark.looptime


class VanishedFolders:
    """Somebody removed the job's folder."""

    def __init__(self, world: World) -> None:
        self._folders = world.folders
        world.folders.prepare = self.prepare  # type: ignore[method-assign] # one fault of the world, not of our code
        world.folders.log_part = self.log_part  # type: ignore[method-assign] # as above

    async def prepare(self, job_id: str) -> Prepared:
        raise JobFolderMissingError(job_id, "folder")

    async def log_part(self, job_id: str, attempt: int) -> LogWriter:
        raise JobFolderMissingError(job_id, "folder")


async def test_a_job_whose_folder_vanished_before_the_start_fails_and_the_host_is_to_blame() -> None:
    world = World()
    VanishedFolders(world)
    await world.start()
    job = await world.finish(await world.submit(retry={"count": 3}))
    assert job.outcome is Outcome.FAILED
    assert job.reason is not None
    assert (job.reason.code, job.reason.blame, job.attempt) == ("job_folder_missing", "host", 1)
    await world.assert_all_is_well()
    await world.crash()


async def test_a_job_whose_folder_vanished_while_it_ran_still_finishes() -> None:
    world = World()
    world.engine.program = Program(seconds=3)
    await world.start()
    job_id = await world.submit()
    await world.until_phase(job_id, Phase.RUNNING)
    VanishedFolders(world)
    job = await world.finish(job_id, seconds=20)
    assert job.outcome is Outcome.SUCCEEDED
    assert world.engine.boxes == {}
    await world.crash()


@pytest.mark.parametrize("refuse", [StateFullError, StateReadOnlyError], ids=["full", "read-only"])
async def test_a_disk_that_takes_no_more_at_prepare_and_at_the_drain_makes_the_job_wait_and_not_fail(
    refuse: type[AgentError],
) -> None:
    world = World()
    world.engine.program = Program(seconds=3)
    full = {"prepare": True, "log_part": True}
    prepare, log_part = world.folders.prepare, world.folders.log_part

    async def full_prepare(job_id: str) -> Prepared:
        if full["prepare"]:
            raise refuse("it takes no more")
        return await prepare(job_id)

    async def full_log_part(job_id: str, attempt: int) -> LogWriter:
        if full["log_part"]:
            raise refuse("it takes no more")
        return await log_part(job_id, attempt)

    world.folders.prepare = full_prepare  # type: ignore[method-assign] # one fault of the world
    world.folders.log_part = full_log_part  # type: ignore[method-assign] # as above
    await world.start()
    job_id = await world.submit(ports=[{"name": "web", "port": 8080, "proto": "tcp"}])
    await asyncio.sleep(30)
    assert (await world.job(job_id)).phase is Phase.STARTING
    full["prepare"] = False
    job = await world.until(job_id, lambda job: job.run.exit is not None)
    await asyncio.sleep(30)
    job = await world.job(job_id)
    assert (job.phase, job.lease) == (Phase.STOPPING, None)
    full["log_part"] = False
    job = await world.finish(job_id, seconds=5)
    assert (job.outcome, job.attempt) == (Outcome.SUCCEEDED, 1)
    assert (job_id, 1) in world.folders.logs
    await world.crash()


async def test_a_cancel_gets_through_while_the_disk_is_full() -> None:
    world = World()

    async def full_prepare(job_id: str) -> Prepared:
        raise StateFullError("no space left")

    world.folders.prepare = full_prepare  # type: ignore[method-assign] # one fault of the world
    await world.start()
    job_id = await world.submit()
    await world.until_phase(job_id, Phase.STARTING)
    await world.cancel(job_id)
    assert (await world.finish(job_id, seconds=5)).outcome is Outcome.CANCELLED
    await world.crash()


async def test_a_database_that_is_away_for_a_minute_costs_no_job_and_not_the_daemon() -> None:
    world = World()
    world.engine.program = Program(seconds=5)
    is_away = [False]

    async def before(step: str) -> None:
        await asyncio.sleep(0)
        if is_away[0] and asyncio.current_task() is not test:
            raise StoreUnavailableError("the disk is full")

    test = asyncio.current_task()
    world.store.before = before
    await world.start()
    job_id = await world.submit()
    await world.until_phase(job_id, Phase.RUNNING)
    is_away[0] = True
    world.engine.stop()
    world.engine.come_up()  # the event stream is opened anew meanwhile
    await asyncio.sleep(60)
    assert not world.is_dead
    is_away[0] = False
    assert (await world.finish(job_id, seconds=60)).outcome is Outcome.SUCCEEDED
    await world.crash()


async def test_a_daemon_that_starts_without_its_database_waits_for_it() -> None:
    world = World()
    world.engine.program = Program(seconds=1)
    job_id = await world.submit()
    is_away = [True]

    async def before(step: str) -> None:
        await asyncio.sleep(0)
        if is_away[0] and asyncio.current_task() is not test:
            raise StoreUnavailableError("locked")

    test = asyncio.current_task()
    world.store.before = before
    await world.start()
    await asyncio.sleep(20)
    assert not world.is_dead
    is_away[0] = False
    assert (await world.finish(job_id, seconds=60)).outcome is Outcome.SUCCEEDED
    await world.crash()


async def test_a_pull_that_breaks_in_an_unforeseen_way_ends_its_jobs_and_not_the_daemon() -> None:
    world = World()
    world.engine.program = Program(seconds=1)

    async def pull(reference: str, credentials: Credentials | None) -> AsyncGenerator[PullProgress]:
        yield PullProgress(1, 2, 0, 1)
        raise ZeroDivisionError

    world.engine.pull = pull  # type: ignore[method-assign] # one fault of the world
    await world.start()
    job = await world.finish(await world.submit(image="cursed"))
    assert job.reason is not None
    assert (job.outcome, job.reason.code) == (Outcome.FAILED, "internal_error")
    assert not world.is_dead
    assert (await world.finish(await world.submit())).outcome is Outcome.SUCCEEDED
    await world.crash()


@pytest.mark.parametrize("error", [EngineRefusedError("400"), ZeroDivisionError()], ids=repr)
async def test_a_log_that_can_not_be_followed_ends_neither_its_job_nor_the_daemon(error: Exception) -> None:
    world = World()
    world.engine.program = Program(seconds=5)

    async def follow_logs(container: str, since_ns: int) -> AsyncGenerator[bytes]:
        yield b""
        raise error

    world.engine.follow_logs = follow_logs  # type: ignore[method-assign] # one fault of the world
    await world.start()
    job = await world.finish(await world.submit(), seconds=20)
    assert not world.is_dead
    assert job.outcome is Outcome.SUCCEEDED
    await world.crash()


async def test_a_pull_that_failed_is_no_answer_for_who_comes_later() -> None:
    world = World(concurrency=1)
    world.engine.program = Program(seconds=100)
    world.engine.registry["new"] = PullFailedError("image_not_found", "not yet")
    world.engine.pull_gate = asyncio.Event()
    await world.start()
    waiting = await world.submit(image="new")
    await world.until(waiting, lambda job: job.waiting_for == "image")
    await until_called(world, "pull")
    # Its turn goes to another while the pull goes on, so that nobody takes the answer.
    first = await world.submit(priority=10)
    await world.until_phase(first, Phase.RUNNING)
    await world.until(waiting, lambda job: job.waiting_for == "queue")
    world.engine.pull_gate.set()
    await asyncio.sleep(5)
    world.engine.registry["new"] = world.engine.images["busybox"]
    later = await world.submit(image="new", queue="other")
    job = await world.until(later, lambda job: job.phase in {Phase.RUNNING, Phase.FINISHED})
    assert job.phase is Phase.RUNNING
    await world.crash()


async def test_a_folder_that_can_not_be_removed_stops_neither_the_sweep_nor_the_daemon() -> None:
    class NotRemovedError(AgentError):
        code, blame, remedy = "folder_not_removed_in_test", Blame.HOST, "None."

    world = World()
    world.engine.program = Program(seconds=1)
    world.settings = replace(world.settings, retention_seconds=10)
    await world.start()
    stuck = await world.submit()
    other = await world.submit()
    remove = world.folders.remove

    async def remove_most(job_id: str) -> None:
        if job_id == stuck:
            raise NotRemovedError("immutable file")
        await remove(job_id)

    world.folders.remove = remove_most  # type: ignore[method-assign] # one fault of the world
    await world.finish(other)
    await asyncio.sleep(120)
    assert not world.is_dead
    assert await world.store.job_ids() == {stuck}
    await world.crash()


async def test_a_stop_signal_that_the_engine_refuses_does_not_keep_the_kill_from_coming() -> None:
    world = World()

    def choose(name: str, target: str) -> Fate:
        if name == "kill" and world.clock.boot_seconds() < grace_ends_at[0]:
            raise EngineRefusedError("invalid signal: SIGFOO")
        return Fate.WORKS

    grace_ends_at = [0.0]
    world.engine.fates = choose
    await world.start()
    job_id = await world.submit()
    await world.until_phase(job_id, Phase.RUNNING)
    grace_ends_at[0] = world.clock.boot_seconds() + 12
    await world.cancel(job_id, grace=12)
    job = await world.finish(job_id, seconds=13)  # in time, however long a refusal else puts a job off
    assert job.outcome is Outcome.CANCELLED
    await world.crash()


async def run_one(world: World, *, live_restore: bool) -> str:
    """A job that runs, on such an engine."""
    world.engine.live_restore = live_restore
    await world.start()
    job_id = await world.submit()
    await world.until_phase(job_id, Phase.RUNNING)
    return job_id


@pytest.mark.parametrize("seconds_down", [1, 100])
async def test_an_engine_that_ends_what_a_killed_one_left_is_known_however_late_it_comes(
    seconds_down: float,
) -> None:
    """The containers ran on meanwhile, so that the break of the stream lies long before their death."""
    world = World()
    job_id = await run_one(world, live_restore=False)
    world.engine.programs[job_id] = Program(seconds=1000)
    world.engine.crash()
    await asyncio.sleep(seconds_down)
    world.engine.come_up()
    job = await world.finish(job_id)
    assert (job.outcome, job.reason and job.reason.code) == (Outcome.LOST, "engine_stopped")
    await world.crash()


@pytest.mark.parametrize("seconds_down", [1, 20, 100])
async def test_an_engine_that_took_its_containers_with_it_is_named_however_long_it_is_away(
    seconds_down: float,
) -> None:
    world = World()
    job_id = await run_one(world, live_restore=False)
    world.engine.stop()
    await asyncio.sleep(seconds_down)
    world.engine.come_up()
    job = await world.finish(job_id)
    assert job.outcome is Outcome.LOST
    assert job.reason is not None
    assert job.reason.code == "engine_stopped"
    await world.crash()


@pytest.mark.parametrize("had_live_restore_at_first", [False, True])
async def test_what_ended_with_an_unseen_engine_is_lost_whatever_the_next_engine_promises(
    had_live_restore_at_first: bool,  # noqa: FBT001 - a parameter
) -> None:
    world = World()
    job_id = await run_one(world, live_restore=had_live_restore_at_first)
    if had_live_restore_at_first:
        world.engine.stop()
        world.engine.come_up()
        world.engine.live_restore = False  # by a reload: its start would have ended the job
        await asyncio.sleep(5)
    await world.crash()
    world.engine.stop({(await the_container(world)).id: 143})
    world.engine.live_restore = True
    world.engine.come_up()
    await world.start()
    job = await world.finish(job_id)
    assert (job.outcome, job.reason and job.reason.code) == (Outcome.LOST, "engine_stopped")
    await world.crash()


async def test_a_container_that_can_not_be_seen_while_its_engine_is_away_is_not_gone() -> None:
    world = World()
    world.engine.program = Program(seconds=100)
    job_id = await run_one(world, live_restore=True)
    world.engine.stop()
    for _ in range(10):
        world.wake(job_id)
        await asyncio.sleep(1)
        assert (await world.job(job_id)).phase is Phase.RUNNING
    world.engine.come_up()
    job = await world.finish(job_id)
    assert (job.outcome, job.attempt) == (Outcome.SUCCEEDED, 1)
    await world.crash()


async def test_an_engine_that_takes_its_time_to_stop_is_known_to_be_the_one_that_killed() -> None:
    world = World()
    job_id = await run_one(world, live_restore=False)
    # Its containers first, and the stream when the last of them is gone.
    world.engine.kill_from_outside((await the_container(world)).id, code=0)
    await asyncio.sleep(10)
    world.engine.stop()
    await asyncio.sleep(5)
    world.engine.come_up()
    job = await world.finish(job_id)
    assert (job.outcome, job.reason and job.reason.code) == (Outcome.LOST, "engine_stopped")
    await world.crash()


async def test_an_engine_that_ends_what_a_killed_one_left_is_known_by_a_daemon_that_was_away_too() -> None:
    world = World()
    job_id = await run_one(world, live_restore=False)
    container = (await the_container(world)).id
    await world.crash()
    world.engine.crash({container: 0})
    await asyncio.sleep(1)
    world.engine.come_up()
    await asyncio.sleep(1)
    await world.start()
    job = await world.finish(job_id)
    assert (job.outcome, job.reason and job.reason.code) == (Outcome.LOST, "engine_stopped")
    await world.crash()


async def test_a_strangers_kill_in_the_absence_of_the_daemon_alone_is_told_from_the_engines() -> None:
    world = World()
    job_id = await run_one(world, live_restore=False)
    container = (await the_container(world)).id
    await world.crash()
    world.engine.kill_from_outside(container)
    await asyncio.sleep(1)
    await world.start()
    job = await world.finish(job_id)
    assert (job.outcome, job.reason and job.reason.code) == (Outcome.LOST, "killed_outside")
    await world.crash()


async def test_a_kill_long_after_the_stream_broke_is_a_strangers() -> None:
    world = World()
    await world.start()
    job_id = await world.submit()
    await world.until_phase(job_id, Phase.RUNNING)
    world.engine.stop()
    world.engine.come_up()
    await asyncio.sleep(60)
    world.engine.kill_from_outside((await the_container(world)).id)
    job = await world.finish(job_id)
    assert job.reason is not None
    assert job.reason.code == "killed_outside"
    await world.crash()


async def test_a_kill_at_of_an_earlier_boot_has_passed() -> None:
    world = World()
    world.engine.program = Program(on_term=None)
    await world.start()
    job_id = await world.submit()
    await world.until_phase(job_id, Phase.RUNNING)
    await world.cancel(job_id, grace=300)
    await world.until(job_id, lambda job: job.run.signalled_at is not None)
    await world.crash()
    world.engine.reboot()
    world.clock.boot_id = "boot-2"
    await world.start()
    assert (await world.finish(job_id, seconds=20)).outcome is Outcome.CANCELLED
    await world.crash()


async def test_secrets_are_gone_from_the_folder_of_a_job_that_never_started() -> None:
    world = World()
    await world.start()
    job_id = await world.submit(image="slow", secrets={"KEY": "s"})
    world.folders.secrets_by_job[job_id] = SecretFiles({"KEY": "s"})
    job = await world.finish(job_id)
    assert job.outcome is Outcome.FAILED
    assert job_id not in world.folders.secrets_by_job
    await world.crash()


def no_stream(name: str, _target: str) -> Fate:
    if name == "events":
        raise EngineUnavailableError("no stream yet")
    return Fate.WORKS


async def test_a_job_that_started_before_the_stream_was_open_is_known_to_outlive_its_engine_once_its_start_is_told() -> (
    None
):
    world = World()
    world.engine.program = Program(seconds=50)
    world.engine.fates = no_stream
    await world.start()
    job_id = await world.submit()
    job = await world.until_phase(job_id, Phase.RUNNING)
    assert not job.run.live_restore
    world.engine.fates = lambda _name, _target: Fate.WORKS
    await world.until(job_id, lambda job: job.run.live_restore, seconds=45)
    await world.crash()


@pytest.mark.parametrize("step", [3600.0, -3600.0])
async def test_a_clock_that_is_stepped_within_a_start_moves_no_deadline(step: float) -> None:
    world = World()
    world.engine.program = Program(seconds=1000)

    def step_after_the_start(name: str, _target: str) -> None:
        if name == "start":
            world.clock.started += step

    world.engine.after = step_after_the_start
    await world.start()
    job_id = await world.submit(timeout=60)
    began = world.clock.boot_seconds()
    job = await world.finish(job_id)
    assert job.outcome is Outcome.TIMED_OUT
    assert 60 <= world.clock.boot_seconds() - began < 70
    await world.crash()
