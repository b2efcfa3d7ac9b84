"""A cancel, alone and with all that a job has started: who is asked, who stays as he is, and who starts nothing more."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.cancelling import Cancel, cancel_family, cancel_job
from agent.core.job import Job, Outcome, Stop, StopCause
from agent.errors import Phase
from agent.spec import parse_spec
from tests.unit.core_values import NOW, WALL, jobs, make_job

CANCEL = Cancel(NOW)
SENDS = parse_spec({"image": "x", "outputs": {"upload": {"to": "put", "url": "https://e.org/{path}"}}})
OVER = (Phase.UPLOADING, Phase.FINISHED)


def ended(phase: Phase = Phase.FINISHED) -> Job:
    return make_job(phase=phase, outcome=Outcome.SUCCEEDED)


def child(number: int, phase: Phase = Phase.RUNNING) -> Job:
    return replace(
        make_job(phase=phase, outcome=Outcome.SUCCEEDED if phase in OVER else None), id=f"c{number}"
    )


def test_a_cancel_gives_each_its_own_grace_or_the_one_that_is_asked_for() -> None:
    job = make_job(phase=Phase.RUNNING)
    assert job.spec.grace > 0
    for grace, seconds in ((None, job.spec.grace), (3, 3), (0, 0)):
        changed = cancel_job(job, Cancel(NOW, grace))
        assert changed is not None
        assert changed[0].kill_at == NOW.after(seconds)


def test_of_a_job_whose_outputs_leave_that_is_ended_once() -> None:
    leaving = replace(ended(Phase.UPLOADING), spec=SENDS)
    first = cancel_job(leaving, CANCEL)
    assert first is not None
    assert (first[0].upload_stopped_at, first[0].outcome, first[0].job_stop) == (
        WALL,
        Outcome.SUCCEEDED,
        None,
    )
    again = cancel_job(replace(leaving, upload_stopped_at=5.0), CANCEL)
    assert again is not None
    assert again[0].upload_stopped_at == 5.0


@pytest.mark.parametrize("phase", OVER)
def test_of_a_job_that_has_ended_nothing_is_left_to_stop(phase: Phase) -> None:
    assert cancel_job(ended(phase), CANCEL) is None
    assert cancel_family(ended(phase), [child(1, phase)], CANCEL).asked == 0


def test_a_familys_first_is_cancelled_and_the_others_with_it() -> None:
    family = cancel_family(make_job(phase=Phase.RUNNING), [child(1), child(2, Phase.QUEUED)], Cancel(NOW, 7))
    rows = [row for row, _ in family.changes]
    assert [row.job_stop and row.job_stop.cause for row in rows] == [
        StopCause.CANCEL,
        StopCause.PARENT_CANCELLED,
        StopCause.PARENT_CANCELLED,
    ]
    assert {row.kill_at for row in rows} == {NOW.after(7)}
    assert all(row.starts_no_more for row in rows)
    assert family.asked == 3
    told = [[(event.type, event.data.get("jobs")) for event in events] for _, events in family.changes]
    assert told == [
        [("job.stop_requested", None), ("job.children_stop_requested", 2)],
        [("job.stop_requested", None)],
        [("job.stop_requested", None)],
    ]


def test_a_first_that_has_ended_stays_as_it_is_and_tells_how_many_were_asked() -> None:
    first = ended()
    family = cancel_family(first, [child(1), child(2, Phase.UPLOADING)], CANCEL)
    (row, told), (other, _) = family.changes
    assert (row, [event.data for event in told], other.id, family.asked) == (first, [{"jobs": 1}], "c1", 1)


def test_one_whose_outputs_leave_is_asked_as_a_cancel_of_it_would_ask() -> None:
    leaving = replace(child(1, Phase.UPLOADING), spec=SENDS)
    (_, told), (row, _) = cancel_family(make_job(phase=Phase.RUNNING), [leaving], CANCEL).changes
    assert (row.upload_stopped_at, row.job_stop) == (WALL, None)
    assert (row, []) == cancel_job(leaving, CANCEL)
    assert [event.data for event in told if event.type == "job.children_stop_requested"] == [{"jobs": 1}]


def test_who_was_cancelled_before_keeps_the_reason_and_starts_nothing_more_from_now_on() -> None:
    stop = Stop(StopCause.CANCEL, 1.0, "mine")
    job, other = replace(make_job(phase=Phase.RUNNING), job_stop=stop), replace(child(1), job_stop=stop)
    family = cancel_family(job, [other], CANCEL)
    assert [(row.job_stop, row.starts_no_more) for row, _ in family.changes] == [(stop, True), (stop, True)]
    assert (family.asked, [told for _, told in family.changes]) == (2, [[], []])


@given(jobs(), st.lists(jobs(), max_size=4))
def test_asking_twice_is_asking_once(first: Job, others: Sequence[Job]) -> None:
    below = [replace(other, id=f"c{number}") for number, other in enumerate(others)]
    once = cancel_family(first, below, CANCEL)
    rows = {row.id: row for row, _ in once.changes}
    twice = cancel_family(rows[first.id], [rows.get(other.id, other) for other in below], CANCEL)
    assert [row for row, _ in twice.changes] == [row for row, _ in once.changes]
    assert (twice.asked, [told for _, told in twice.changes]) == (once.asked, [[] for _ in once.changes])
