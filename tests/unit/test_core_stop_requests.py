"""The two durable stop requests: the first wins, a later one only brings the kill forward."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.job import BootTime, Job, NewEvent, StopCause
from agent.core.stop_requests import request_attempt_stop, request_job_stop, sooner
from agent.errors import Phase
from tests.unit.core_values import NOW, WALL, jobs, make_job

Request = Callable[..., tuple[Job, list[NewEvent]]]
REQUESTS = [request_job_stop, request_attempt_stop]


@pytest.mark.parametrize("request_stop", REQUESTS)
def test_the_first_request_wins_and_tells_once(request_stop: Request) -> None:
    job, told = request_stop(make_job(phase=Phase.RUNNING), StopCause.CANCEL, WALL, NOW.after(30), "first")
    again, told_again = request_stop(job, StopCause.DRAIN, WALL + 1, NOW.after(60), "second")
    stop = again.job_stop or again.attempt_stop
    assert stop is not None
    assert (stop.cause, stop.asked_at, stop.message) == (StopCause.CANCEL, WALL, "first")
    assert [event.type for event in told] == ["job.stop_requested"]
    assert told_again == []


def test_the_two_requests_stand_beside_each_other() -> None:
    job, _ = request_attempt_stop(make_job(phase=Phase.RUNNING), StopCause.TIMEOUT, WALL, NOW.after(30))
    both, told = request_job_stop(job, StopCause.CANCEL, WALL + 1, NOW.after(5))
    assert both.attempt_stop == job.attempt_stop
    assert both.job_stop is not None
    assert both.kill_at == NOW.after(5)
    assert len(told) == 1


@pytest.mark.parametrize("request_stop", REQUESTS)
@pytest.mark.parametrize("phase", [Phase.UPLOADING, Phase.FINISHED])
def test_a_request_after_the_outcome_changes_nothing(request_stop: Request, phase: Phase) -> None:
    job = make_job(phase=phase)
    assert request_stop(job, StopCause.CANCEL, WALL, NOW.after(0)) == (job, [])


@given(jobs(), st.lists(st.tuples(st.sampled_from(REQUESTS), st.floats(0, 1000)), max_size=6))
def test_the_kill_only_ever_comes_forward(job: Job, asked: list[tuple[Request, float]]) -> None:
    for request_stop, grace in asked:
        before = job.kill_at
        job, _ = request_stop(job, StopCause.CANCEL, WALL, NOW.after(grace))
        if before is not None and before.boot_id == NOW.boot.boot_id and job.kill_at is not None:
            assert job.kill_at.seconds <= before.seconds


def test_a_moment_of_an_earlier_boot_gives_way() -> None:
    assert sooner(BootTime("boot-0", 5.0), BootTime("boot-1", 100.0)) == BootTime("boot-1", 100.0)
    assert sooner(None, BootTime("boot-1", 100.0)) == BootTime("boot-1", 100.0)


def test_a_moment_of_an_earlier_boot_has_passed() -> None:
    assert NOW.until(BootTime("boot-0", 1e9)) == 0.0
    assert NOW.until(NOW.after(7)) == 7.0
    assert NOW.until(NOW.after(-7)) == 0.0
