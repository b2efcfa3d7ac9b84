"""The outcome: the first rule that holds. Each pair of neighbours in the order has a case where both would."""

import pytest
from hypothesis import given

from agent.core.job import ExitFacts, FailureKind, Job, Outcome, Run, StartFailure, Stop, StopCause, Verdict
from agent.core.outcome import decide_outcome
from agent.core.reasons import CATALOGUE
from agent.errors import Phase
from tests.unit.core_values import WALL, jobs, make_job

CANCEL = Stop(StopCause.CANCEL, WALL)
TIMEOUT = Stop(StopCause.TIMEOUT, WALL)
BUG = Stop(StopCause.INTERNAL_ERROR, WALL)


def own(code: int, *, seconds: float = 10, oom: bool = False) -> ExitFacts:
    return ExitFacts(Verdict.OWN, code, oom, started_at=WALL, finished_at=WALL + seconds)


LOST = ExitFacts(Verdict.LOST, 0, started_at=WALL, finished_at=WALL + 10, lost_code="engine_stopped")
NEVER = ExitFacts(Verdict.NONE)
PORT = StartFailure(FailureKind.PORT, "port_taken", "20000 is taken")

# exit, job_stop, attempt_stop, signalled after (s), start failure → outcome, code of the reason
CASES = [
    (own(0), None, None, None, None, "succeeded", None),
    (own(0), CANCEL, TIMEOUT, None, None, "succeeded", None),
    (own(0), CANCEL, TIMEOUT, 11, None, "succeeded", None),  # it ended before our signal
    (own(0), CANCEL, None, 10, None, "cancelled", "cancelled"),  # and here it did not
    (own(0), None, TIMEOUT, 5, None, "timed_out", "timeout"),
    (own(1), CANCEL, TIMEOUT, None, None, "cancelled", "cancelled"),
    (LOST, CANCEL, None, None, None, "cancelled", "cancelled"),
    (NEVER, CANCEL, BUG, None, PORT, "cancelled", "cancelled"),
    (LOST, None, TIMEOUT, None, None, "lost", "engine_stopped"),
    (LOST, None, None, None, None, "lost", "engine_stopped"),
    (own(1, seconds=31), None, TIMEOUT, None, None, "timed_out", "timeout"),
    (own(1, seconds=30), None, TIMEOUT, None, None, "timed_out", "timeout"),
    (own(1, seconds=29), None, TIMEOUT, None, None, "failed", "exit_nonzero"),  # trace 11
    (own(137, seconds=29), None, TIMEOUT, None, None, "failed", "killed_by_signal"),
    (own(1, seconds=29), None, BUG, None, None, "failed", "internal_error"),
    (NEVER, None, BUG, None, None, "failed", "internal_error"),
    (NEVER, None, None, None, PORT, "failed", "port_taken"),
    (own(137, oom=True), None, None, None, None, "failed", "out_of_memory"),
    (own(139), None, None, None, None, "failed", "killed_by_signal"),
    (own(3), None, None, None, None, "failed", "exit_nonzero"),
    (NEVER, None, None, None, None, "failed", "internal_error"),
]


@pytest.mark.parametrize(
    ("facts", "job_stop", "attempt_stop", "signalled", "failure", "outcome", "code"), CASES
)
def test_the_first_rule_that_holds(
    *,
    facts: ExitFacts,
    job_stop: Stop | None,
    attempt_stop: Stop | None,
    signalled: float | None,
    failure: StartFailure | None,
    outcome: str,
    code: str | None,
) -> None:
    signalled_at = None if signalled is None else WALL + signalled
    run = Run(exit=facts, signalled_at=signalled_at, failure=failure)
    job = make_job(
        {"timeout": 30}, phase=Phase.STOPPING, run=run, job_stop=job_stop, attempt_stop=attempt_stop
    )
    decided, why = decide_outcome(job)
    assert (decided.value, why.code if why else None) == (outcome, code)


@given(jobs(phases=(Phase.STOPPING,)))
def test_only_an_own_exit_with_0_succeeds_and_all_else_has_a_reason(job: Job) -> None:
    outcome, why = decide_outcome(job)
    assert (why is None) is (outcome is Outcome.SUCCEEDED)
    if outcome is Outcome.SUCCEEDED:
        assert job.run.exit is not None
        assert (job.run.exit.verdict, job.run.exit.code) == (Verdict.OWN, 0)
    elif why is not None:
        assert why.code in CATALOGUE
    if outcome is not Outcome.SUCCEEDED and job.job_stop is not None:
        assert outcome is Outcome.CANCELLED
