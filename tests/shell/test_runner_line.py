"""The straight line on fakes: a job from submit to finish, and its ordinary ends."""

import asyncio
from collections import Counter
from dataclasses import replace

import pytest

from agent.core.frames import Stream
from agent.core.job import FailureKind, StartFailure
from agent.interfaces import PullFailedError
from tests.fakes.engine import Fate, Program
from tests.fakes.logs import frame
from tests.shell.world import ME, Outcome, Phase, World

pytestmark = pytest.mark.looptime
STAMP_NS = 1_700_000_000_000_000_000


async def test_a_job_runs_and_succeeds() -> None:
    world = World()
    world.engine.program = Program(seconds=3, code=0)
    await world.start()
    job_id = await world.submit()
    job = await world.finish(job_id)
    assert (job.outcome, job.reason) == (Outcome.SUCCEEDED, None)
    assert job.run.exit is not None
    assert job.run.exit.code == 0
    assert world.engine.boxes == {}
    assert (job_id, 1) in world.folders.logs
    await world.assert_all_is_well()
    await world.crash()


async def test_a_nonzero_exit_fails_with_its_code() -> None:
    world = World()
    world.engine.program = Program(seconds=1, code=3)
    await world.start()
    job = await world.finish(await world.submit())
    assert job.outcome is Outcome.FAILED
    assert job.reason is not None
    assert job.reason.code == "exit_nonzero"
    await world.crash()


async def test_a_failed_attempt_is_retried_after_its_backoff() -> None:
    world = World()
    world.engine.program = Program(seconds=1, code=1)
    await world.start()
    job_id = await world.submit(retry={"count": 2, "backoff": 10})
    job = await world.finish(job_id)
    assert job.attempt == 3
    attempts = await world.store.attempts(job_id)
    assert [attempt.number for attempt in attempts] == [1, 2, 3]
    assert job.finished_at is not None
    assert job.finished_at - job.created_at > 3 + 5 + 10
    await world.assert_all_is_well()
    await world.crash()


async def test_a_clock_that_is_set_back_puts_no_retry_off() -> None:
    """As where a host boots with a wrong clock, and a time server sets it right."""
    world = World()
    world.engine.program = Program(seconds=1, code=1)
    await world.start()
    job_id = await world.submit(retry={"count": 1, "backoff": 10})
    await world.until(job_id, lambda job: job.attempt == 2)
    world.clock.started -= 30 * 86_400
    assert (await world.finish(job_id, seconds=60)).attempt == 2
    await world.crash()


async def test_the_timeout_ends_a_job_that_heeds_term() -> None:
    world = World()
    world.engine.program = Program(seconds=None, on_term=143)
    await world.start()
    job = await world.finish(await world.submit(timeout=60))
    assert job.outcome is Outcome.TIMED_OUT
    assert job.finished_at is not None
    assert job.started_at is not None
    assert 60 <= job.finished_at - job.started_at <= 65
    await world.crash()


async def test_a_job_that_ignores_term_is_killed_after_its_grace() -> None:
    world = World()
    world.engine.program = Program(seconds=None, on_term=None)
    await world.start()
    job_id = await world.submit(grace=20)
    job = await world.until_phase(job_id, Phase.RUNNING)
    await world.cancel(job_id, grace=20)
    asked_at = world.clock.now()
    job = await world.finish(job_id)
    assert job.outcome is Outcome.CANCELLED
    assert job.finished_at is not None
    assert 20 <= job.finished_at - asked_at <= 25
    await world.crash()


async def test_a_second_cancel_may_only_bring_the_kill_forward() -> None:
    world = World()
    world.engine.program = Program(seconds=None, on_term=None)
    await world.start()
    job_id = await world.submit()
    await world.until_phase(job_id, Phase.RUNNING)
    await world.cancel(job_id, grace=300)
    await world.cancel(job_id, grace=2)
    await world.cancel(job_id, grace=600)
    asked_at = world.clock.now()
    job = await world.finish(job_id)
    assert job.finished_at is not None
    assert job.finished_at - asked_at <= 7
    await world.crash()


async def test_timeout_then_cancel_in_its_grace_makes_no_second_attempt() -> None:
    world = World()
    world.engine.program = Program(seconds=None, on_term=None)
    await world.start()
    job_id = await world.submit(timeout=30, grace=20, retry={"count": 3, "on": ["timed_out"]})
    await world.until(job_id, lambda job: job.attempt_stop is not None)
    await world.cancel(job_id, grace=5)
    await world.restart()
    job = await world.finish(job_id)
    assert (job.outcome, job.attempt) == (Outcome.CANCELLED, 1)
    await world.crash()


async def test_cancel_in_the_backoff_ends_the_job_as_cancelled() -> None:
    world = World()
    world.engine.program = Program(seconds=1, code=1)
    world.jitter = 0.99
    await world.start()
    job_id = await world.submit(retry={"count": 1, "backoff": 100})
    await world.until(job_id, lambda job: job.attempt == 2 and job.waiting_for == "backoff")
    await world.cancel(job_id)
    job = await world.finish(job_id, seconds=5)
    assert (job.outcome, job.attempt) == (Outcome.CANCELLED, 2)
    await world.assert_all_is_well()
    await world.crash()


async def test_twenty_jobs_share_five_ports_and_all_succeed() -> None:
    world = World(20000, 20004, concurrency=50)
    world.engine.program = Program(seconds=2)
    await world.start()
    jobs = [await world.submit(ports=[{"name": "web", "port": 8080, "proto": "http"}]) for _ in range(20)]
    for job_id in jobs:
        assert (await world.finish(job_id)).outcome is Outcome.SUCCEEDED
    await world.assert_all_is_well()
    await world.crash()


async def test_a_stranger_on_a_port_costs_the_job_a_move_and_not_an_attempt() -> None:
    world = World()
    world.engine.program = Program(seconds=2)
    world.engine.strangers_ports = {20000, 20001}
    await world.start()
    job_id = await world.submit(ports=[{"name": "web", "port": 8080, "proto": "tcp"}])
    job = await world.until_phase(job_id, Phase.RUNNING)
    assert job.lease is not None
    assert job.lease.ports[0].host_port == 20002
    assert (job.attempt, job.port_moves) == (1, 2)
    await world.finish(job_id)
    await world.crash()


async def test_a_start_that_the_engine_refuses_once_is_tried_in_a_new_container_and_costs_no_attempt() -> (
    None
):
    world = World()
    world.engine.program = Program(seconds=2)
    world.engine.start_failures.append(StartFailure(FailureKind.ENGINE, "engine_refused", "not just now"))
    await world.start()
    job = await world.finish(await world.submit())
    assert (job.outcome, job.attempt, job.start_moves) == (Outcome.SUCCEEDED, 1, 1)
    assert [name for name, _ in world.engine.calls].count("create") == 2
    await world.assert_all_is_well()
    await world.crash()


async def test_a_start_that_the_engine_refuses_twice_has_failed_the_attempt() -> None:
    world = World()
    failure = StartFailure(FailureKind.ENGINE, "engine_refused", "no such thing")
    world.engine.start_failures.extend([failure, failure])
    await world.start()
    job = await world.finish(await world.submit())
    assert (job.outcome, job.reason and job.reason.code) == (Outcome.FAILED, "engine_refused")
    await world.crash()


async def test_a_port_of_a_stranger_is_not_leased_again_for_an_hour_of_the_boot_clock() -> None:
    world = World()
    world.engine.program = Program(seconds=1)
    world.engine.strangers_ports = {20000}
    await world.start()

    async def port_of_the_next_job() -> int:
        job_id = await world.submit(ports=[{"name": "web", "port": 8080, "proto": "tcp"}])
        job = await world.until_phase(job_id, Phase.RUNNING)
        assert job.lease is not None
        await world.finish(job_id)
        return job.lease.ports[0].host_port

    assert await port_of_the_next_job() == 20001
    world.engine.strangers_ports = set()
    world.clock.started += 2 * 3600  # a step of the wall clock is no hour
    assert await port_of_the_next_job() == 20001
    await asyncio.sleep(3600)
    assert await port_of_the_next_job() == 20000
    await world.crash()


async def test_no_job_has_a_port_marked_as_bad_that_it_does_not_hold() -> None:
    world = World()
    words = "Bind for 0.0.0.0:20001 failed: port is already allocated"
    world.engine.start_failures.append(StartFailure(FailureKind.PORT, "port_taken", words, 20001))
    await world.start()
    job_id = await world.submit(ports=[{"name": "web", "port": 8080, "proto": "tcp"}])
    job = await world.until_phase(job_id, Phase.RUNNING)
    assert job.lease is not None
    assert job.lease.ports[0].host_port == 20001
    await world.crash()


async def test_past_three_moves_the_attempt_has_failed_and_the_host_is_to_blame() -> None:
    world = World()
    world.engine.strangers_ports = set(range(20000, 20010))
    await world.start()
    job = await world.finish(await world.submit(ports=[{"name": "web", "port": 8080, "proto": "tcp"}]))
    assert job.outcome is Outcome.FAILED
    assert job.reason is not None
    assert (job.reason.code, job.reason.blame) == ("port_taken", "host")
    await world.assert_all_is_well()
    await world.crash()


async def test_a_command_that_is_not_there_is_the_authors_fault_and_not_retried() -> None:
    world = World()
    world.engine.start_failures.append(StartFailure(FailureKind.COMMAND, "command_not_found", "exec: no"))
    await world.start()
    job = await world.finish(await world.submit(retry={"count": 3}))
    assert job.reason is not None
    assert (job.reason.code, job.attempt) == ("command_not_found", 1)
    assert world.engine.boxes == {}
    await world.crash()


@pytest.mark.parametrize(
    ("printed", "code"),
    [
        (b"[FATAL tini (7)] exec nope failed: No such file or directory\n", "command_not_found"),
        (b"sh: nope: not found\n", "exit_nonzero"),
    ],
)
async def test_a_command_that_the_init_process_can_not_find_is_told_by_its_words(
    printed: bytes, code: str
) -> None:
    world = World()
    await world.start()
    job_id = await world.submit()
    job = await world.until_phase(job_id, Phase.RUNNING)
    assert job.container is not None
    world.engine.boxes[job.container].logs.append((STAMP_NS, frame(Stream.STDERR, STAMP_NS, printed)))
    world.engine.exit_now(job.container, 127)
    job = await world.finish(job_id)
    assert job.reason is not None
    assert (job.outcome, job.reason.code) == (Outcome.FAILED, code)
    await world.crash()


async def test_a_program_that_is_killed_for_its_memory_had_all_of_it_at_its_peak() -> None:
    world = World()
    await world.start()
    job_id = await world.submit(memory="64MiB")
    job = await world.until_phase(job_id, Phase.RUNNING)
    assert job.container is not None
    await asyncio.sleep(3)  # a sample was taken, of less
    box = world.engine.boxes[job.container]
    box.seen = replace(box.seen, oom=True)
    world.engine.exit_now(job.container, 137)
    job = await world.finish(job_id)
    assert job.reason is not None
    assert (job.reason.code, job.reason.blame) == ("out_of_memory", "user")
    assert job.run.exit is not None
    assert job.run.exit.peak_memory_bytes == 64 << 20
    await world.crash()


async def test_one_pull_serves_all_who_wait() -> None:
    world = World()
    world.engine.program = Program(seconds=1)
    world.engine.registry["new"] = world.engine.images["busybox"]
    await world.start()
    jobs = [await world.submit(image="new") for _ in range(5)]
    for job_id in jobs:
        assert (await world.finish(job_id)).outcome is Outcome.SUCCEEDED
    assert world.engine.pulls == 1
    await world.crash()


async def test_an_image_that_is_denied_fails_the_job_without_a_lease() -> None:
    world = World()
    world.engine.registry["secret"] = PullFailedError("image_denied", "no")
    await world.start()
    job = await world.finish(await world.submit(image="secret", retry={"count": 3}))
    assert job.reason is not None
    assert (job.reason.code, job.attempt, job.lease) == ("image_denied", 1, None)
    await world.crash()


async def test_a_pull_without_progress_stalls_and_a_cancel_ends_it_at_once() -> None:
    world = World()
    world.engine.pull_gate = asyncio.Event()
    await world.start()
    job = await world.finish(await world.submit(image="slow"))
    assert job.reason is not None
    assert job.reason.code == "pull_stalled"
    other = await world.submit(image="slow")
    await world.until(other, lambda job: job.waiting_for == "image")
    await world.cancel(other)
    assert (await world.finish(other, seconds=5)).outcome is Outcome.CANCELLED
    await world.crash()


async def test_a_queue_holds_no_more_than_its_limit() -> None:
    world = World(concurrency=2)
    world.engine.program = Program(seconds=10)
    await world.start()
    jobs = [await world.submit() for _ in range(4)]
    await world.until_phase(jobs[1], Phase.RUNNING)
    assert len(world.engine.running()) == 2
    assert (await world.job(jobs[3])).waiting_for == "queue"
    for job_id in jobs:
        await world.finish(job_id)
    assert len(await world.store.events(ME, 0, jobs[0], 100)) >= 6
    await world.crash()


async def test_peak_memory_is_sampled_while_it_runs() -> None:
    world = World()
    world.engine.program = Program(seconds=3)
    await world.start()
    job = await world.finish(await world.submit())
    assert job.run.exit is not None
    assert job.run.exit.peak_memory_bytes == 10_000_000
    await world.crash()


async def test_a_job_that_ends_at_once_is_looked_at_once() -> None:
    world = World()
    world.engine.program = Program(seconds=0)
    looks = Counter[str]()

    def count(name: str, _target: str) -> Fate:
        looks[name] += 1
        return Fate.WORKS

    world.engine.fates = count
    await world.start()
    assert (await world.finish(await world.submit())).outcome is Outcome.SUCCEEDED
    assert looks["inspect"] == 1
    await world.assert_all_is_well()
    await world.crash()


async def test_the_end_of_an_earlier_container_is_not_taken_for_that_of_the_next() -> None:
    world = World()
    world.engine.program = Program(seconds=0, code=7)
    await world.start()
    job_id = await world.submit(retry={"count": 1, "backoff": 1})
    await world.until(job_id, lambda job: job.attempt == 2)
    world.engine.program = Program(seconds=5, code=0)
    job = await world.finish(job_id)
    assert (job.outcome, job.attempt) == (Outcome.SUCCEEDED, 2)
    await world.crash()
