"""XIDs on their way to a verdict: a record is judged once, settled ones never again, and each falls into the time of one job or none."""

from dataclasses import replace

import pytest

from agent.core.gpu_findings import ResetEnd
from agent.core.job import Run, StartIntent
from agent.core.xid_reports import Reports, SortedXids, XidReport, merge, sort_xids
from tests.unit.core_values import make_job
from tests.unit.gpu_sights import WELL, at

NOW = at(100)
BOOT_NOW = NOW.boot.seconds
HOLDER = make_job(run=Run(intent=StartIntent("c1", "boot-1", at=BOOT_NOW - 50)))


def told(*xids: XidReport) -> Reports:
    return Reports(xids, max((one.record for one in xids if one.record is not None), default=None))


def ago(seconds: float, xid: int = 62, record: int | None = None) -> XidReport:
    return XidReport(xid, BOOT_NOW - seconds, record)


def test_it_is_the_jobs_from_its_start_intent_on_and_the_gpus_alone_before() -> None:
    assert sort_xids(told(ago(49), ago(51, xid=79)), WELL, None, HOLDER, NOW) == SortedXids((62,), (79,))
    assert sort_xids(told(ago(50)), WELL, None, HOLDER, NOW) == SortedXids((62,), ())


def test_without_a_holder_none_is_old() -> None:
    assert sort_xids(told(ago(99999)), WELL, None, None, NOW) == SortedXids((62,), ())


@pytest.mark.parametrize(
    "run",
    [
        Run(),
        Run(intent=StartIntent("c1", "boot-0", at=1.0)),
        Run(intent=StartIntent("c1", "boot-1")),
    ],
    ids=["not started", "started before the boot", "nobody knows when"],
)
def test_a_job_of_which_nothing_ran_by_then_is_never_told(run: Run) -> None:
    assert sort_xids(told(ago(0)), WELL, None, make_job(run=run), NOW) == SortedXids((), (62,))


def test_a_row_without_the_moment_of_its_start_has_the_wall_clocks() -> None:
    run = Run(intent=StartIntent("c1", "boot-1"), started_at=NOW.wall - 50)
    holder = make_job(run=run)
    assert sort_xids(told(ago(49), ago(51, xid=79)), WELL, None, holder, NOW) == SortedXids((62,), (79,))


def test_a_record_that_was_judged_in_this_boot_is_no_news_and_the_next_one_is() -> None:
    health = replace(WELL, log_record=7)
    reports = told(ago(9, xid=48, record=7), ago(8, record=8))
    assert sort_xids(reports, health, None, None, NOW) == SortedXids((62,), ())
    of_another_boot = replace(health, boot_id="boot-0", cleared_at=BOOT_NOW)
    assert sort_xids(reports, of_another_boot, None, None, NOW) == SortedXids((48, 62), ())


@pytest.mark.parametrize("record", [None, 9])
def test_what_came_before_a_restore_is_settled(record: int | None) -> None:
    health = replace(WELL, cleared_at=BOOT_NOW - 20)
    reports = told(ago(21, xid=48, record=record), ago(19, record=record))
    assert sort_xids(reports, health, None, None, NOW) == SortedXids((62,), ())


def test_of_two_of_a_kind_the_later_counts_and_the_record_is_kept() -> None:
    first = merge(None, ago(60, record=3))
    assert merge(first, ago(10)) == ago(10, record=3)
    assert merge(ago(10), first) == ago(10, record=3)
    assert merge(first, ago(10, record=5)) == ago(10, record=5)


def test_what_came_by_the_end_of_a_reset_is_settled_by_it_and_a_reset_that_failed_settles_nothing() -> None:
    reports = told(ago(1), ago(2, xid=79))
    assert sort_xids(reports, WELL, ResetEnd(), None, NOW) == SortedXids((), ())
    assert sort_xids(reports, WELL, ResetEnd("in use"), None, NOW) == SortedXids((62, 79), ())
