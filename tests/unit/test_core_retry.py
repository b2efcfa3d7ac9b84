"""The close of an attempt: the next one, another lease, or the end."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from agent.core.job import ExitFacts, FailureKind, Job, Outcome, Run, StartFailure, StopCause, Verdict
from agent.core.lease import Lease
from agent.core.retry import (
    MOST_BACKOFF_SECONDS,
    MOST_GPU_MOVES,
    MOST_PORT_MOVES,
    MOST_START_MOVES,
    START_PAUSE_SECONDS,
    backoff_seconds,
    close,
)
from agent.errors import Phase
from tests.unit.core_values import WALL, jobs, make_job

STOPPING = jobs(phases=(Phase.STOPPING,))


@given(STOPPING)
def test_a_job_stop_forbids_every_next_attempt_and_every_next_lease(job: Job) -> None:
    if job.job_stop is not None:
        assert close(job, WALL, 0.5).job.phase is Phase.UPLOADING


@given(STOPPING)
def test_there_is_no_attempt_past_the_count_nor_after_a_bug_of_ours(job: Job) -> None:
    closing = close(job, WALL, 0.5)
    if closing.job.attempt == job.attempt:
        return
    assert closing.job.attempt == job.attempt + 1 <= job.spec.retry.count + 1
    assert closing.attempt is not None
    assert closing.attempt.outcome.value in job.spec.retry.on
    assert closing.attempt.reason is not None
    assert closing.attempt.reason.retryable
    assert job.attempt_stop is None or job.attempt_stop.cause is not StopCause.INTERNAL_ERROR


@given(STOPPING)
def test_what_is_queued_again_has_nothing_left_of_its_lease(job: Job) -> None:
    closed = close(job, WALL, 0.5).job
    if closed.phase is Phase.QUEUED:
        assert (closed.run, closed.lease, closed.kill_at, closed.attempt_stop) == (Run(), None, None, None)
        assert (closed.outcome, closed.reason, closed.finished_at) == (None, None, None)
    else:
        assert closed.outcome is not None
        assert (closed.lease, closed.run.plan) == (None, None)
        assert closed.run.exit == job.run.exit  # who asks for the job later is told


@given(STOPPING)
def test_another_lease_keeps_attempt_and_place_and_is_counted(job: Job) -> None:
    closing = close(job, WALL, 0.5)
    if closing.attempt is not None:
        return
    assert job.run.failure is not None
    assert (closing.job.attempt, closing.job.queued_at) == (job.attempt, job.queued_at)
    assert closing.job.image_digest == job.image_digest
    is_refused = job.run.failure.kind is FailureKind.ENGINE
    assert closing.job.not_before == (WALL + START_PAUSE_SECONDS if is_refused else job.not_before)
    moved = (
        closing.job.port_moves - job.port_moves,
        closing.job.gpu_moves - job.gpu_moves,
        closing.job.start_moves - job.start_moves,
    )
    kind = job.run.failure.kind
    assert moved == (kind is FailureKind.PORT, kind is FailureKind.GPU, kind is FailureKind.ENGINE)
    assert job.run.exit is None or job.run.exit.verdict is Verdict.NONE
    assert not job.stop_asked


@given(st.sampled_from([FailureKind.PORT, FailureKind.GPU, FailureKind.ENGINE]), st.integers(0, 3))
def test_moves_are_bounded_and_then_the_attempt_has_failed(kind: FailureKind, retries: int) -> None:
    job = make_job({"retry": {"count": retries}}, phase=Phase.STOPPING)
    ends = 0
    for _ in range(100):
        failure = StartFailure(kind, kind.value, "no")
        job = make_job(
            {"retry": {"count": retries}},
            phase=Phase.STOPPING,
            attempt=job.attempt,
            port_moves=job.port_moves,
            gpu_moves=job.gpu_moves,
            start_moves=job.start_moves,
            run=Run(failure=failure, exit=ExitFacts(Verdict.NONE)),
        )
        closing = close(job, WALL, 0.5)
        job = closing.job
        assert job.port_moves <= MOST_PORT_MOVES
        assert job.gpu_moves <= MOST_GPU_MOVES
        assert job.start_moves <= MOST_START_MOVES
        ends += closing.attempt is not None
        if job.phase is Phase.UPLOADING:
            break
    assert job.phase is Phase.UPLOADING
    assert ends == retries + 1
    assert job.outcome is Outcome.FAILED


def refused(**changes: Any) -> Job:  # noqa: ANN401 - fields of a Job
    run = Run(failure=StartFailure(FailureKind.ENGINE, "engine_refused", "no"), exit=ExitFacts(Verdict.NONE))
    return make_job({"retry": {"count": 1}}, phase=Phase.STOPPING, run=run, **changes)


def test_what_the_engine_refused_is_started_once_more_a_little_later() -> None:
    closing = close(refused(), WALL, 0.5)
    assert closing.attempt is None
    assert (closing.job.phase, closing.job.attempt, closing.job.start_moves) == (Phase.QUEUED, 1, 1)
    assert closing.job.not_before == WALL + START_PAUSE_SECONDS


def test_the_next_attempt_may_move_as_often_as_the_first() -> None:
    moved = refused(port_moves=MOST_PORT_MOVES, gpu_moves=MOST_GPU_MOVES, start_moves=MOST_START_MOVES)
    job = close(moved, WALL, 0.5).job
    assert (job.phase, job.attempt) == (Phase.QUEUED, 2)
    assert (job.port_moves, job.gpu_moves, job.start_moves) == (0, 0, 0)


def test_an_engine_that_can_not_start_any_job_is_asked_once() -> None:
    run = Run(failure=StartFailure(FailureKind.ENGINE, "no_seccomp", "no"), exit=ExitFacts(Verdict.NONE))
    assert close(make_job(phase=Phase.STOPPING, run=run), WALL, 0.5).job.outcome is Outcome.FAILED


def test_the_record_of_an_attempt_names_what_it_held() -> None:
    held = Lease(("GPU-1",))
    run = Run(exit=ExitFacts(Verdict.OWN, 1), held=held)
    closing = close(make_job(phase=Phase.STOPPING, run=run), WALL, 0.5)
    assert closing.attempt is not None
    assert (closing.attempt.lease, closing.attempt.closed_at) == (held, WALL)


@given(st.integers(0, 3600), st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_the_backoff_never_exceeds_its_most(first: int, attempt: int, jitter: float) -> None:
    assert 0 <= backoff_seconds(first, attempt, jitter) <= MOST_BACKOFF_SECONDS


def test_the_backoff_doubles() -> None:
    assert [backoff_seconds(5, attempt, 1.0) for attempt in range(1, 9)] == [5, 10, 20, 40, 80, 160, 300, 300]
