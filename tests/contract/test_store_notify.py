"""How far notifications are, as the store keeps it: the one on disk and its twin in memory."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from agent.core.job import Job, Outcome
from agent.core.notify import NotifyEnd, NotifyState, NotifyTrouble, Progress
from agent.core.state import phase_event
from agent.errors import Phase
from agent.interfaces import Finished
from tests.contract.store_values import (
    PLENTY,
    ROOT,
    TestedStore,
    WallClock,
    accepted,
    closed,
    opened,
    told,
)
from tests.fakes.store import MemoryStore

NOTIFY = {"url": "https://hooks.example.org/a?key=hush-1", "secret": "hush-2"}
EVERYTHING = NotifyState(3, 2, 1, None, NotifyTrouble(3, "status_failed", 12.5, 503))


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[TestedStore]:
    if request.param == "memory":
        yield MemoryStore(WallClock().now)
        return
    async with opened(tmp_path, WallClock().now) as store:
        yield store


async def asking(store: TestedStore, job_id: str = "a") -> Job:
    return await accepted(store, job_id, notify=NOTIFY)


async def moved(store: TestedStore, job: Job, phase: Phase) -> Job:
    to = replace(job, phase=phase)
    return await store.save(to, [phase_event(to, came_from=job.phase)])


async def ended(store: TestedStore, job: Job) -> Job:
    done = replace(job, phase=Phase.FINISHED, outcome=Outcome.SUCCEEDED, finished_at=20.0)
    return await store.save(done, [phase_event(done, came_from=job.phase)], closed(1))


async def next_n(store: TestedStore, job_id: str = "a") -> int | None:
    notice = await store.notice(job_id)
    return None if notice is None or notice.event is None else notice.event.n


async def test_a_job_is_open_from_its_acceptance_and_its_first_event_is_the_next(store: TestedStore) -> None:
    job = await asking(store)
    await accepted(store, "quiet")
    assert (await store.notify_open())[0] == ["a"]
    notice = await store.notice("a")
    assert notice is not None
    assert notice.event is not None
    assert (notice.row, notice.owner, notice.state) == (job.seq, "ann", NotifyState())
    assert (notice.event.n, notice.event.type, notice.event.job, notice.is_over) == (
        1,
        "job.accepted",
        "a",
        False,
    )
    assert notice.event in await store.events(ROOT, 0, "a", PLENTY)
    assert await store.notice("quiet") is None
    assert await store.notice("nobody") is None


async def test_only_changes_of_phase_are_told_in_their_order_behind_the_cursor(store: TestedStore) -> None:
    job = await asking(store)
    await store.append_event("a", told("progress"))
    job = await moved(store, job, Phase.STARTING)
    await store.append_event("a", told("progress"))
    await moved(store, job, Phase.RUNNING)
    seen = []
    state = NotifyState()
    while (n := await next_n(store)) is not None:
        seen.append(n)
        state = replace(state, notified_n=n)
        await store.keep_notify(job.seq, state)
    assert seen == [1, 3, 5]


async def test_what_is_kept_is_read_back(store: TestedStore) -> None:
    job = await asking(store)
    await store.keep_notify(job.seq, EVERYTHING)
    notice = await store.notice("a")
    assert notice is not None
    assert notice.state == EVERYTHING
    await store.keep_notify(job.seq, NotifyState())
    assert await store.notify_progress(["a"]) == {"a": Progress(NotifyState(), 1)}


@pytest.mark.parametrize("end", NotifyEnd)
async def test_a_job_whose_notifications_are_over_is_not_open(store: TestedStore, end: NotifyEnd) -> None:
    job = await asking(store)
    await store.keep_notify(job.seq, replace(EVERYTHING, end=end))
    assert (await store.notify_open())[0] == []
    assert (await store.notify_since(0))[0] == []
    assert await store.notice("a") is None
    assert (await store.notify_progress(["a"]))["a"].state == replace(EVERYTHING, end=end)


async def test_it_is_over_when_the_job_is_finished_and_nothing_is_left_to_tell(store: TestedStore) -> None:
    job = await asking(store)
    await store.keep_notify(job.seq, NotifyState(1, 1))
    notice = await store.notice("a")
    assert notice is not None
    assert (notice.event, notice.is_over) == (None, False)
    job = await ended(store, job)
    notice = await store.notice("a")
    assert notice is not None
    assert notice.event is not None
    assert not notice.is_over
    await store.keep_notify(job.seq, NotifyState(2, 2))
    notice = await store.notice("a")
    assert notice is not None
    assert (notice.event, notice.is_over) == (None, True)


async def test_what_is_new_is_told_by_job(store: TestedStore) -> None:
    a, b, quiet = await asking(store, "a"), await asking(store, "b"), await accepted(store, "quiet")
    _, seq = await store.notify_open()
    assert seq == await store.last_event_seq()
    assert await store.notify_since(seq) == ([], seq)
    await moved(store, quiet, Phase.STARTING)
    await store.append_event("a", told("progress"))
    assert (await store.notify_since(seq))[0] == []
    b = await moved(store, b, Phase.STARTING)
    await moved(store, b, Phase.RUNNING)
    assert await store.notify_since(seq) == (["b"], await store.last_event_seq())
    await moved(store, a, Phase.STARTING)
    assert set((await store.notify_since(seq))[0]) == {"a", "b"}


async def test_how_far_it_is_counts_what_is_not_told_yet(store: TestedStore) -> None:
    job = await asking(store)
    await accepted(store, "quiet")
    await store.append_event("a", told("progress"))
    await moved(store, job, Phase.STARTING)
    assert await store.notify_progress(["a", "quiet", "nobody"]) == {"a": Progress(NotifyState(), 2)}
    await store.keep_notify(job.seq, NotifyState(1, 1))
    assert (await store.notify_progress(["a"]))["a"].pending == 1


async def test_a_finished_job_is_kept_until_its_notifications_are_over(store: TestedStore) -> None:
    job = await ended(store, await asking(store))
    await ended(store, await accepted(store, "quiet"))
    assert await store.finished_before(100.0, PLENTY) == ["quiet"]
    await store.keep_notify(job.seq, NotifyState(2, 2, end=NotifyEnd.COMPLETE))
    assert await store.finished_before(100.0, PLENTY) == ["a", "quiet"]


async def test_what_is_kept_of_a_forgotten_job_is_no_later_ones_of_that_id(store: TestedStore) -> None:
    first = await ended(store, await asking(store))
    assert await store.forget("a", ROOT) is Finished.FORGOTTEN
    assert (await store.notify_open())[0] == []
    await store.keep_notify(first.seq, EVERYTHING)  # one that was on its way
    assert (await store.notify_open())[0] == []
    second = await asking(store)
    await store.keep_notify(first.seq, EVERYTHING)
    notice = await store.notice("a")
    assert notice is not None
    assert (notice.row, notice.state) == (second.seq, NotifyState())


async def test_a_row_that_was_found_outside_the_database_is_notified_too(store: TestedStore) -> None:
    found = replace(await asking(store), id="b", phase=Phase.RUNNING)
    await store.import_job(found)
    assert (await store.notify_open())[0] == ["a", "b"]


async def test_neither_the_query_nor_the_secret_is_in_the_database(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        job = await asking(store)
        await moved(store, job, Phase.STARTING)
        assert job.spec.notify is not None
        assert (job.spec.notify.url, job.spec.notify.secret) == ("https://hooks.example.org/a?***", "***")
    assert not any(b"hush" in data for data in contents(tmp_path))


def contents(folder: Path) -> list[bytes]:
    return [file.read_bytes() for file in folder.iterdir()]


async def test_the_cursor_is_on_disk_when_it_was_kept(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        job = await asking(store)
        await store.keep_notify(job.seq, EVERYTHING)
    async with opened(tmp_path) as store:
        notice = await store.notice("a")
        assert notice is not None
        assert notice.state == EVERYTHING


async def test_a_cancelled_keep_is_whole_or_not_at_all(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        job = await asking(store)
        task = asyncio.ensure_future(store.keep_notify(job.seq, EVERYTHING))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        notice = await store.notice("a")
        assert notice is not None
        assert notice.state in {NotifyState(), EVERYTHING}
