"""How long an attempt may run: by the boot clock, from the engine's stamp of its start, and never shorter for a stepped wall clock."""

from dataclasses import replace

import pytest

from agent.core.job import BootTime, Now, Run, StartIntent, StopCause
from agent.core.timeout import deadline, request_timeout, seconds_left
from agent.errors import Phase
from tests.unit.core_values import make_job

INTENT = StartIntent("c1", "boot-1", 100.0)
JOB = make_job({"timeout": 60, "grace": 7}, phase=Phase.STARTING)
STARTED_AT = 1_000.0


def now(wall: float, boot: float, boot_id: str = "boot-1") -> Now:
    return Now(wall, BootTime(boot_id, boot))


@pytest.mark.parametrize(
    ("wall", "boot", "ends"),
    [
        pytest.param(1_000.0, 100.5, 160.5, id="seen at once"),
        pytest.param(1_020.0, 120.5, 160.5, id="adopted twenty seconds later"),
        pytest.param(
            4_600.0,
            101.0,
            160.0,
            id="the wall clock was stepped forward: not longer than it was meant to run",
        ),
        pytest.param(
            -2_600.0, 101.0, 161.0, id="the wall clock was stepped back: it ran for no time at least"
        ),
        pytest.param(1_100.0, 201.0, 161.0, id="over before it was seen"),
    ],
)
def test_the_time_ends_by_the_boot_clock(wall: float, boot: float, ends: float) -> None:
    assert deadline(JOB, INTENT, STARTED_AT, now(wall, boot)) == BootTime("boot-1", ends)


def test_a_job_without_a_timeout_has_no_end() -> None:
    job = make_job({}, phase=Phase.STARTING)
    assert deadline(job, INTENT, STARTED_AT, now(1_000.0, 100.0)) is None
    assert seconds_left(job, now(9_999.0, 9_999.0)) is None


def test_what_is_left_ends_with_the_boot() -> None:
    job = replace(JOB, run=Run(deadline=BootTime("boot-1", 160.0)))
    assert seconds_left(job, now(1_000.0, 130.0)) == 30.0
    assert seconds_left(job, now(1_000.0, 161.0)) == 0.0
    assert seconds_left(job, now(1_000.0, 5.0, "boot-2")) == 0.0


def test_the_request_leaves_the_job_its_own_grace() -> None:
    job, told = request_timeout(replace(JOB, phase=Phase.RUNNING), now(1_060.0, 160.0))
    assert job.attempt_stop is not None
    assert job.attempt_stop.cause is StopCause.TIMEOUT
    assert job.kill_at == BootTime("boot-1", 167.0)
    assert [event.type for event in told] == ["job.stop_requested"]
