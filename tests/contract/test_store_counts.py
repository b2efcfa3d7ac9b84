"""What the store counts: rows of each sort, what they hold, and ends that no retention takes away."""

from dataclasses import replace
from pathlib import Path

import pytest

from agent.core.function import FunctionCall
from agent.core.job import Job, Outcome
from agent.core.job_counts import RETRIED, JobCounts
from agent.errors import Phase
from agent.interfaces import StaleError
from tests.contract.store_values import LEASE, REASON, ROOT, TestedStore, accepted, finished, opened, told


async def ended(store: TestedStore, job: Job, outcome: Outcome = Outcome.FAILED) -> Job:
    reason = None if outcome is Outcome.SUCCEEDED else REASON
    return await store.save(replace(job, phase=Phase.FINISHED, outcome=outcome, reason=reason))


async def test_an_empty_store_counts_nothing(store: TestedStore) -> None:
    assert await store.counts(["default"]) == JobCounts()


async def test_unfinished_rows_are_counted_by_phase_and_by_the_queues_that_are_asked_for(
    store: TestedStore,
) -> None:
    await accepted(store, "a", queue="night")
    await accepted(store, "b", queue="night")
    await accepted(store, "c", "bob", queue="bobs-secret-plan")
    running = await accepted(store, "d", queue="default")
    await store.save(replace(running, phase=Phase.RUNNING))
    await finished(store, "e", queue="night")
    counts = await store.counts(["default", "night"])
    assert counts.unfinished == {
        (Phase.QUEUED, "night"): 2,
        (Phase.QUEUED, None): 1,
        (Phase.RUNNING, "default"): 1,
    }
    assert counts.kept == 1


async def test_the_queued_ones_are_counted_by_what_they_wait_for(store: TestedStore) -> None:
    for job_id, waits in (("a", "gpus"), ("b", "gpus"), ("c", "image"), ("d", None)):
        await store.save(replace(await accepted(store, job_id), waiting_for=waits))
    gone_on = await accepted(store, "e")
    await store.save(replace(gone_on, phase=Phase.STARTING, waiting_for="gpus"))
    assert (await store.counts([])).waiting == {"gpus": 2, "image": 1, "": 1}


async def test_only_a_row_that_holds_its_lease_still_counts_for_gpus_and_ports(store: TestedStore) -> None:
    await store.save(replace(await accepted(store, "a"), phase=Phase.RUNNING, lease=LEASE))
    await store.save(replace(await accepted(store, "b"), phase=Phase.STOPPING, lease=None))
    third = replace(LEASE, gpus=("GPU-3",))
    await store.save(replace(await accepted(store, "c"), phase=Phase.STARTING, lease=third))
    await accepted(store, "d")
    counts = await store.counts([])
    assert (sorted(counts.leased_gpus), counts.ports_held) == (["GPU-1", "GPU-2", "GPU-3"], 2)


async def test_a_row_that_can_not_be_understood_is_counted_all_the_same(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await accepted(store, "a")
        await store.save(replace(await accepted(store, "b"), phase=Phase.RUNNING, lease=LEASE))
        await store._write(lambda db: db.execute("UPDATE jobs SET rest = 'no JSON'"))
        counts = await store.counts([])
    assert counts.unfinished == {(Phase.QUEUED, None): 1, (Phase.RUNNING, None): 1}
    assert (counts.waiting, counts.ports_held) == ({"": 1}, 0)


async def test_an_end_is_counted_once_by_outcome_and_reason(store: TestedStore) -> None:
    failed = await ended(store, await accepted(store, "a"))
    await ended(store, await accepted(store, "b"))
    await ended(store, await accepted(store, "c"), Outcome.SUCCEEDED)
    await store.save(replace(failed, starts_no_more=True))  # a finished row may be written again
    assert (await store.counts([])).totals == {("failed", "oom"): 2, ("succeeded", ""): 1}


async def test_what_was_counted_stays_where_the_job_is_forgotten(store: TestedStore) -> None:
    await ended(store, await accepted(store, "a"))
    await store.forget("a", ROOT)
    counts = await store.counts([])
    assert (counts.kept, counts.totals) == (0, {("failed", "oom"): 1})


async def test_an_end_that_was_not_written_is_not_counted(store: TestedStore) -> None:
    job = await accepted(store, "a")
    await store.save(job, [told()])
    with pytest.raises(StaleError):
        await ended(store, job)
    assert (await store.counts([])).totals == {}


async def test_each_further_attempt_is_a_retry(store: TestedStore) -> None:
    job = await store.save(replace(await accepted(store, "a"), attempt=2))
    job = await store.save(replace(job, waiting_for="backoff"))
    await store.save(replace(job, attempt=3))
    assert (await store.counts([])).totals == {(RETRIED, ""): 2}


async def test_what_the_agent_runs_for_itself_is_held_against_the_host_and_not_counted_as_an_end(
    store: TestedStore,
) -> None:
    call = FunctionCall("digits", "v1", None, "main.py")
    job = await accepted(store, "a", call=call)
    assert (await store.counts([])).unfinished == {(Phase.QUEUED, None): 1}
    await ended(store, job)
    assert (await store.counts([])).totals == {}
