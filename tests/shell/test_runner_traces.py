"""The sixteen counter-examples that a model checker found in an earlier design, each as a test of the runner."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace

import pytest

from agent.core.container import Container, ContainerPlan
from agent.core.gpus import Gpu
from agent.core.job import FailureKind, StartFailure, Stop, StopCause
from agent.interfaces import SecretFiles
from tests.fakes.engine import Fate, Program
from tests.shell.world import ME, Outcome, Phase, World

pytestmark = pytest.mark.looptime

WEB = [{"name": "web", "port": 8080, "proto": "tcp"}]


def once(world: World, name: str, fate: Fate) -> None:
    """The next call of that name has that fate."""
    left = [fate]

    def choose(called: str, _target: str) -> Fate:
        return left.pop() if called == name and left else Fate.WORKS

    world.engine.fates = choose


async def the_container(world: World) -> Container:
    async with asyncio.timeout(60):
        while not world.engine.boxes:
            await asyncio.sleep(0.05)
    return next(iter(world.engine.boxes.values())).seen


async def until_called(world: World, name: str) -> None:
    async with asyncio.timeout(60):
        while not any(called == name for called, _ in world.engine.calls):
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("seconds_late", [0.5, 2.5, 20])
async def test_trace_1_nothing_is_freed_under_a_created_container_that_then_starts(
    seconds_late: float,
) -> None:
    world = World()
    once(world, "start", Fate.LATE)
    await world.start()
    job_id = await world.submit(ports=WEB)
    await until_called(world, "start")
    await world.cancel(job_id)
    await asyncio.sleep(seconds_late)
    world.engine.let_late_calls_take_effect()
    job = await world.finish(job_id)
    assert job.outcome is Outcome.CANCELLED
    assert world.engine.boxes == {}
    await world.crash()


async def test_trace_1_a_start_that_takes_effect_as_the_lease_is_cleared_finds_no_container() -> None:
    world = World()
    once(world, "start", Fate.LATE)
    check = world.store.after

    async def start_as_the_lease_goes(step: str) -> None:
        if any(job.phase is Phase.STOPPING and job.lease is None for job in world.store.jobs()):
            world.engine.let_late_calls_take_effect()
        await check(step)

    world.store.after = start_as_the_lease_goes
    await world.start()
    job_id = await world.submit(ports=WEB)
    await until_called(world, "start")
    await world.cancel(job_id)
    assert (await world.finish(job_id)).outcome is Outcome.CANCELLED
    assert world.engine.starts == []
    await world.crash()


@pytest.mark.parametrize("seconds_late", [0.5, 2.5])
async def test_trace_2_a_start_is_not_repeated_while_an_earlier_one_may_be_on_its_way(
    seconds_late: float,
) -> None:
    world = World()
    world.engine.program = Program(seconds=0.2)
    once(world, "start", Fate.LATE)
    await world.start()
    job_id = await world.submit()
    await until_called(world, "start")
    await asyncio.sleep(seconds_late)
    world.engine.let_late_calls_take_effect()
    job = await world.finish(job_id)
    assert job.outcome is Outcome.SUCCEEDED
    assert [called for called, _ in world.engine.calls].count("start") == 1
    await world.crash()


async def test_trace_2_a_start_that_an_earlier_daemon_sent_may_be_on_its_way_too() -> None:
    world = World()
    world.engine.program = Program(seconds=0.2)
    once(world, "start", Fate.LATE)
    await world.start()
    job_id = await world.submit()
    await until_called(world, "start")
    await world.restart()
    await asyncio.sleep(2)
    world.engine.let_late_calls_take_effect()
    assert (await world.finish(job_id)).outcome is Outcome.SUCCEEDED
    assert [called for called, _ in world.engine.calls].count("start") == 1
    await world.crash()


async def test_trace_2_a_start_that_never_took_effect_is_repeated_once_it_has_settled() -> None:
    world = World()
    world.engine.program = Program(seconds=1)
    once(world, "start", Fate.NEVER)
    await world.start()
    job = await world.finish(await world.submit(), seconds=20)
    assert (job.outcome, job.attempt) == (Outcome.SUCCEEDED, 1)
    await world.crash()


async def test_trace_3_a_late_remove_does_not_hit_the_next_container_of_that_name() -> None:
    world = World()
    world.engine.strangers_ports = {20000}
    once(world, "remove", Fate.LATE)
    await world.start()
    job_id = await world.submit(ports=WEB)
    await world.until_phase(job_id, Phase.RUNNING)
    assert world.engine.late
    world.engine.exit_now(world.engine.running()[0].id, 7)
    world.engine.let_late_calls_take_effect()
    job = await world.finish(job_id)
    assert job.run.exit is not None
    assert job.run.exit.code == 7
    assert (job_id, 1) in world.folders.logs
    await world.crash()


async def test_trace_4_a_create_that_lands_after_the_close_is_removed() -> None:
    world = World()
    once(world, "create", Fate.LATE)
    await world.start()
    job_id = await world.submit()
    await until_called(world, "create")
    await world.cancel(job_id)
    await world.finish(job_id)
    world.engine.let_late_calls_take_effect()
    assert world.engine.boxes
    await asyncio.sleep(2)
    assert world.engine.boxes == {}
    await world.crash()


async def test_trace_4_a_create_that_lands_between_the_last_look_and_the_close_is_removed() -> None:
    world = World()
    once(world, "create", Fate.LATE)
    landed: list[str] = []

    async def land_before_the_close(step: str) -> None:
        job = world.store.peek(job_id)
        if step == "save" and world.engine.late and job is not None and job.run.exit is not None:
            world.engine.let_late_calls_take_effect()
            landed.extend(world.engine.boxes)
            await asyncio.sleep(3)  # the janitor hears of it while its attempt is open, and lets it be

    await world.start()
    await asyncio.sleep(20)  # so that no look of the start is still to come
    job_id = await world.submit()
    await until_called(world, "create")
    world.store.before = land_before_the_close
    await world.cancel(job_id)
    await world.finish(job_id)
    assert landed
    await asyncio.sleep(3)
    assert world.engine.boxes == {}
    await world.crash()


async def test_trace_4_a_late_create_of_an_earlier_attempt_is_removed_and_the_next_one_is_left_alone() -> (
    None
):
    world = World()
    world.engine.program = Program(seconds=50)
    world.jitter = 0.0
    await world.start()
    job_id = await world.submit(retry={"count": 1, "on": ["lost"]})
    job = await world.until_phase(job_id, Phase.RUNNING)
    first = (await the_container(world)).id
    plan = world.engine.boxes[first].plan
    assert plan is not None
    world.engine.kill_from_outside(first)
    job = await world.until(job_id, lambda job: job.attempt == 2 and job.phase is Phase.RUNNING)
    world.engine._create_late(plan)
    await asyncio.sleep(2)
    assert [box.seen.attempt for box in world.engine.boxes.values()] == [2]
    job = await world.finish(job_id)
    assert job.outcome is Outcome.SUCCEEDED
    await world.crash()


async def test_trace_5_a_late_create_whose_event_an_engine_restart_swallowed_is_found_by_the_list() -> None:
    world = World()
    once(world, "create", Fate.LATE)
    await world.start()
    job_id = await world.submit()
    await until_called(world, "create")
    await world.cancel(job_id)
    await world.finish(job_id)
    world.engine.stop()
    world.engine.let_late_calls_take_effect()
    world.engine.come_up()
    assert world.engine.boxes
    await asyncio.sleep(5)
    assert world.engine.boxes == {}
    await world.crash()


async def test_trace_6_started_and_gone_is_lost_and_never_made_anew_within_the_attempt() -> None:
    world = World()

    def die(name: str, _target: str) -> None:
        if name == "start":
            raise DeathOfTheDaemon

    world.engine.after = die
    await world.start()
    job_id = await world.submit()
    await until_called(world, "start")
    await world.crash()
    world.engine.after = lambda _name, _target: None
    container = await the_container(world)
    world.engine.remove_from_outside(container.id)
    await world.start()
    job = await world.finish(job_id)
    assert job.outcome is Outcome.LOST
    assert [called for called, _ in world.engine.calls].count("create") == 1
    await world.crash()


async def test_trace_6_a_twin_under_the_name_is_not_the_one_that_was_started() -> None:
    world = World()
    await world.start()
    job_id = await world.submit()
    await world.until_phase(job_id, Phase.RUNNING)
    container = await the_container(world)
    plan: ContainerPlan | None = world.engine.boxes[container.id].plan
    assert plan is not None
    await world.crash()
    world.engine.remove_from_outside(container.id)
    world.engine._create_late(plan)
    await world.start()
    job = await world.finish(job_id)
    assert job.outcome is Outcome.LOST
    await world.quiesce()
    await world.assert_all_is_well()
    await world.crash()


async def test_trace_6_a_twin_is_not_started_where_the_first_was_started_and_is_gone() -> None:
    world = World()

    def die(name: str, _target: str) -> None:
        if name == "start":
            raise DeathOfTheDaemon

    world.engine.after = die
    await world.start()
    job_id = await world.submit()
    await until_called(world, "start")
    await world.crash()
    world.engine.after = lambda _name, _target: None
    container = await the_container(world)
    plan = world.engine.boxes[container.id].plan
    assert plan is not None
    world.engine.remove_from_outside(container.id)
    world.engine._create_late(plan)
    await world.start()
    assert (await world.finish(job_id)).outcome is Outcome.LOST
    assert world.engine.starts == [(job_id, 1)]
    await world.quiesce()
    await world.assert_all_is_well()
    await world.crash()


async def test_trace_7_an_exit_while_the_daemon_was_away_is_no_gap() -> None:
    world = World()
    world.engine.live_restore = False
    await world.start()
    job_id = await world.submit()
    await world.until_phase(job_id, Phase.RUNNING)
    container = await the_container(world)
    await world.crash()
    world.engine.exit_now(container.id, 0)
    await world.start()
    assert (await world.finish(job_id)).outcome is Outcome.SUCCEEDED
    await world.crash()


@pytest.mark.parametrize(("cause", "outcome"), [("cancel", Outcome.CANCELLED), ("timeout", Outcome.LOST)])
async def test_trace_8_a_foreign_kill_that_a_program_survives_with_0_is_no_success(
    cause: str, outcome: Outcome
) -> None:
    world = World()
    await world.start()
    job_id = await world.submit(timeout=100)
    await world.until_phase(job_id, Phase.RUNNING)
    container = await the_container(world)
    world.engine.kill_from_outside(container.id, code=0)
    if cause == "cancel":
        await world.cancel(job_id)
    else:
        await ask_timeout(world, job_id)
    assert (await world.finish(job_id)).outcome is outcome
    await world.crash()


async def test_trace_8_a_foreign_kill_just_before_our_signal_is_not_ours() -> None:
    world = World()
    await world.start()
    job_id = await world.submit(timeout=30)
    await world.until_phase(job_id, Phase.RUNNING)
    inspect = world.engine.inspect

    async def inspect_just_before_the_kill(container: str) -> Container | None:
        seen = await inspect(container)
        job = world.store.peek(job_id)
        if job is not None and job.phase is Phase.STOPPING and world.engine.running():
            world.engine.kill_from_outside(container, code=0)
            await asyncio.sleep(0.1)
        return seen

    world.engine.inspect = inspect_just_before_the_kill  # type: ignore[method-assign] # slow at one step
    job = await world.finish(job_id)
    assert job.run.signalled_at is not None
    assert job.outcome is Outcome.LOST
    await world.crash()


async def ask_timeout(world: World, job_id: str) -> None:
    stop = Stop(StopCause.TIMEOUT, world.clock.now())
    await world.store.change(job_id, ME, lambda job: (replace(job, attempt_stop=stop), []))


async def test_trace_9_a_death_by_our_signal_stays_ours_through_an_engine_restart() -> None:
    world = World()
    world.engine.live_restore = False
    world.engine.program = Program(seconds=None, on_term=None)
    await world.start()
    job_id = await world.submit(timeout=30, retry={"count": 2, "on": ["lost"]})
    await world.until(job_id, lambda job: job.run.signalled_at is not None)
    await asyncio.sleep(1)
    container = await the_container(world)
    await world.crash()
    world.engine.exit_now(container.id, 143)
    world.engine.stop()
    world.engine.come_up()
    await world.start()
    job = await world.finish(job_id)
    assert (job.outcome, job.attempt) == (Outcome.TIMED_OUT, 1)
    await world.crash()


async def test_trace_10_a_reboot_before_running_was_written_is_lost() -> None:
    world = World()

    def die(name: str, _target: str) -> None:
        if name == "start":
            raise DeathOfTheDaemon

    world.engine.after = die
    await world.start()
    job_id = await world.submit()
    await until_called(world, "start")
    await world.crash()
    world.engine.after = lambda _name, _target: None
    container = await the_container(world)
    world.engine.reboot({container.id: 255})
    world.clock.boot_id = "boot-2"
    await world.start()
    job = await world.finish(job_id)
    assert job.outcome is Outcome.LOST
    assert job.reason is not None
    assert job.reason.code == "host_rebooted"
    await world.crash()


async def test_trace_11_an_exit_that_came_before_the_deadline_is_the_jobs_own() -> None:
    world = World()
    await world.start()
    job_id = await world.submit(timeout=100)
    await world.until_phase(job_id, Phase.RUNNING)
    container = await the_container(world)
    await ask_timeout(world, job_id)
    world.engine.exit_now(container.id, 1)
    job = await world.finish(job_id)
    assert job.outcome is Outcome.FAILED
    assert job.reason is not None
    assert job.reason.code == "exit_nonzero"
    await world.crash()


async def test_trace_12_a_step_that_raises_ends_the_job_and_not_the_daemon() -> None:
    world = World()
    world.engine.program = Program(seconds=1)

    def choose(name: str, target: str) -> Fate:
        if (name, target) == ("image", "cursed"):
            raise ZeroDivisionError
        return Fate.WORKS

    world.engine.fates = choose
    await world.start()
    cursed, other = await world.submit(image="cursed"), await world.submit()
    job = await world.finish(cursed)
    assert job.outcome is Outcome.FAILED
    assert job.reason is not None
    assert (job.reason.code, job.reason.blame) == ("internal_error", "platform")
    assert (await world.finish(other)).outcome is Outcome.SUCCEEDED
    await world.crash()


async def test_trace_13_a_name_that_a_stranger_holds_fails_the_attempt_and_the_next_has_another() -> None:
    world = World()
    world.engine.program = Program(seconds=1)
    world.engine.take_name("gpu-agent-00000000-0000-7000-8000-000000000001-1")
    await world.start()
    job_id = await world.submit(retry={"count": 1, "backoff": 1})
    job = await world.finish(job_id)
    assert (job.outcome, job.attempt) == (Outcome.SUCCEEDED, 2)
    attempts = await world.store.attempts(job_id)
    assert attempts[0].reason is not None
    assert attempts[0].reason.code == "name_taken"
    assert len(world.engine.boxes) == 1
    await world.crash()


async def test_trace_14_a_job_is_granted_when_its_gpu_is_clean_again() -> None:
    world = World()
    world.engine.program = Program(seconds=1)
    world.gpus.gpus = (Gpu("GPU-1", "H100", 80 * 2**30),)
    world.gpus.dirty = {"GPU-1"}
    await world.start()
    job_id = await world.submit(gpus=1)
    await world.until(job_id, lambda job: job.waiting_for == "gpus")
    world.gpus.dirty = set()
    job = await world.finish(job_id, seconds=120)
    assert (job.outcome, job.attempt, job.gpu_moves) == (Outcome.SUCCEEDED, 1, 0)
    await world.crash()


async def test_a_gpu_error_at_the_start_moves_the_job_once() -> None:
    world = World()
    world.gpus.gpus = (Gpu("GPU-1", "H100", 80 * 2**30),)
    world.engine.start_failures.extend([StartFailure(FailureKind.GPU, "gpu_start_failed", "no")] * 2)
    await world.start()
    job = await world.finish(await world.submit(gpus=1))
    assert job.reason is not None
    assert (job.outcome, job.reason.code) == (Outcome.FAILED, "gpu_start_failed")
    await world.crash()


async def test_trace_15_an_exit_between_the_look_and_the_wait_is_not_slept_through() -> None:
    world = World()

    async def follow_for_ever(container: str, since_ns: int) -> AsyncGenerator[bytes]:
        yield b""
        await asyncio.Event().wait()

    # Else the end of the log would wake the job as well.
    world.engine.follow_logs = follow_for_ever  # type: ignore[method-assign] # a stream that does not end
    await world.start()
    job_id = await world.submit()
    job = await world.until_phase(job_id, Phase.RUNNING)
    container = await the_container(world)
    inspect = world.engine.inspect

    async def inspect_just_before_the_exit(target: str) -> Container | None:
        seen = await inspect(target)
        if world.engine.running():
            world.engine.exit_now(container.id, 0)
            await asyncio.sleep(0.01)  # its event comes by, and nobody waits for it yet
        return seen

    world.engine.inspect = inspect_just_before_the_exit  # type: ignore[method-assign] # slow at one step
    world.wake(job_id)
    job = await world.finish(job_id, seconds=2)
    assert job.outcome is Outcome.SUCCEEDED
    await world.crash()


async def test_trace_16_no_secret_is_left_once_finished_is_written() -> None:
    world = World()
    world.engine.program = Program(seconds=1)
    await world.start()
    job_id = await world.submit(secrets={"KEY": "s"})
    world.folders.secrets_by_job[job_id] = SecretFiles({"KEY": "s"})

    async def die_after_finish(_step: str) -> None:
        if (await_job := world.store.peek(job_id)) is not None and await_job.phase is Phase.FINISHED:
            raise DeathOfTheDaemon

    world.store.after = die_after_finish
    async with asyncio.timeout(60):
        while not world.is_dead:
            await asyncio.sleep(0.1)
    assert job_id not in world.folders.secrets_by_job
    await world.crash()


class DeathOfTheDaemon(BaseException):
    """SIGKILL, in process: nothing catches it."""
