"""Events of the host itself among those of jobs: one order, no principal's, written with what they tell of, and bounded."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from agent.adapters.sqlite import SqliteStore
from agent.adapters.sqlite.migrate import MIGRATIONS, migrate
from agent.core.job import EVERYONE, Event, NewEvent, Viewer
from agent.interfaces import MOST_HOST_EVENTS
from tests.contract.store_values import (
    ANN,
    PLENTY,
    ROOT,
    TestedStore,
    WallClock,
    accepted,
    finished,
    opened,
    stopped,
    told,
)

OPERATOR = Viewer("op", sees_host=True)
ANN_AND_HOST = Viewer("ann", sees_host=True)


def of_gpu(what: str) -> NewEvent:
    return NewEvent("gpu.state", {"what": what})


async def tell(store: TestedStore, *whats: str) -> None:
    await store.keep_gpu_healths({"GPU-1": "{}"}, (), [of_gpu(what) for what in whats])


async def seen(store: TestedStore, viewer: Viewer, after: int = 0, limit: int = PLENTY) -> list[object]:
    events = await store.events(viewer, after, None, limit)
    return [event.data.get("what", event.job) for event in events]


async def test_one_cursor_serves_the_events_of_jobs_and_of_the_host(
    store: TestedStore, clock: WallClock
) -> None:
    await accepted(store, "a")
    clock.seconds = 42.0
    await tell(store, "ill", "well")
    await accepted(store, "b")
    events = await store.events(EVERYONE, 0, None, PLENTY)
    first, ill, well, last = events
    assert ill == Event(first.seq + 1, None, None, None, 42.0, "gpu.state", {"what": "ill"})
    assert [event.seq for event in events] == list(range(first.seq, first.seq + 4))
    assert await store.last_event_seq() == last.seq
    for limit in (1, 2, 3):
        for after, rest in enumerate([events, events[1:], events[2:], events[3:]], start=first.seq - 1):
            assert await store.events(EVERYONE, after, None, limit) == rest[:limit]
    assert well.n is None
    assert await store.events(EVERYONE, 0, "a", PLENTY) == [first]


async def test_only_who_sees_the_host_sees_its_events_whatever_else_he_sees(store: TestedStore) -> None:
    await accepted(store, "a", "ann")
    await tell(store, "ill")
    await accepted(store, "b", "bob")
    assert await seen(store, ANN) == ["a"]
    assert await seen(store, Viewer("")) == []
    assert await seen(store, ROOT) == ["a", "b"]
    assert await seen(store, OPERATOR) == ["ill"]
    assert await seen(store, ANN_AND_HOST) == ["a", "ill"]
    assert await seen(store, EVERYONE) == ["a", "ill", "b"]


async def test_a_verdict_is_told_before_what_it_does_to_jobs_and_wakes_who_follows(
    store: TestedStore,
) -> None:
    await accepted(store, "a")
    woken: list[asyncio.AbstractEventLoop] = []
    store.on_events(lambda: woken.append(asyncio.get_running_loop()))
    await store.keep_gpu_healths({"GPU-1": "{}"}, [("a", stopped)], [of_gpu("ill")])
    assert await seen(store, EVERYONE) == ["a", "ill", "stop"]
    assert [event.n for event in await store.events(ANN, 0, "a", PLENTY)] == [1, 2]
    await tell(store, "well")
    await tell(store)
    await store.events(EVERYONE, 0, None, PLENTY)
    assert len(woken) == 2


async def test_the_newest_of_the_host_are_kept_and_those_of_jobs_go_with_their_jobs_alone(
    store: TestedStore,
) -> None:
    await finished(store, "a")
    await tell(store, "oldest", *["middle"] * (MOST_HOST_EVENTS - 1))
    assert await seen(store, OPERATOR, limit=1) == ["oldest"]
    await tell(store, "newest")
    kept = await store.events(OPERATOR, 0, None, 2 * MOST_HOST_EVENTS)
    assert len(kept) == MOST_HOST_EVENTS
    assert (kept[0].data["what"], kept[-1].data["what"]) == ("middle", "newest")
    assert await seen(store, ANN) == ["a", "finished"]
    await store.forget("a", ANN)
    assert len(await store.events(EVERYONE, 0, None, 2 * MOST_HOST_EVENTS)) == MOST_HOST_EVENTS


# on disk


async def test_a_verdict_that_can_not_be_written_whole_tells_nothing(tmp_path: Path) -> None:
    def break_off(_job: object) -> tuple[object, list[NewEvent]]:
        raise ZeroDivisionError

    async with opened(tmp_path) as store:
        await accepted(store, "a")
        with pytest.raises(ZeroDivisionError):
            await store.keep_gpu_healths({"GPU-1": "{}"}, [("a", break_off)], [of_gpu("ill")])  # type: ignore[list-item] # it never answers
        assert await seen(store, EVERYONE) == ["a"]
        assert await store.gpu_healths() == {}


async def test_no_reader_of_the_hosts_events_walks_over_those_of_jobs(tmp_path: Path) -> None:
    texts: list[str] = []
    async with opened(tmp_path) as store:
        await accepted(store, "a")
        await store._read(lambda db: db.set_trace_callback(texts.append))
        await tell(store, "ill")
        await store.events(OPERATOR, 0, None, 9)
        await store._read(lambda db: db.set_trace_callback(None))
        asked = [text for text in texts if "job IS NULL" in text]
        plans = [str(row[3]) for text in asked for row in await rows(store, f"EXPLAIN QUERY PLAN {text}")]
    assert len(asked) == 2
    walks = [plan for plan in plans if plan.startswith(("SEARCH", "SCAN", "USE TEMP"))]
    assert len(walks) == 3
    assert all("events_of_job (job=?" in plan for plan in walks), walks


async def rows(store: SqliteStore, sql: str) -> list[tuple[object, ...]]:
    return await store._read(lambda db: db.execute(sql).fetchall())


BEFORE = 3


def a_database_of_before(folder: Path, *, is_all_forgotten: bool) -> Path:
    """As the version before the host's events left it: rows of two jobs, the last event of all already forgotten."""
    path = folder / "agent.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        migrate(db, None, MIGRATIONS[: BEFORE - 1])
        db.execute("PRAGMA foreign_keys = ON")
        for seq, job in enumerate(("a", "b", "gone"), start=1):
            db.execute(
                """INSERT INTO jobs (seq, id, version, owner, kind, phase, queue, priority, attempt, created_at, body_digest,
                rest, spec) VALUES (?, ?, 0, 'ann', 'container', 'finished', 'default', 0, 1, 1.0, '', '{}', ?)""",
                (seq, job, '{"image": "busybox"}'),
            )
            for n in (1, 2):
                db.execute(
                    "INSERT INTO events (job, n, owner, at, type, data) VALUES (?, ?, 'ann', 5.0, 'job.told', ?)",
                    (seq, n, f'{{"what": "{job}{n}"}}'),
                )
        db.execute("DELETE FROM jobs WHERE id = 'gone' OR ?", (is_all_forgotten,))
    return path


async def test_a_database_of_before_keeps_its_events_and_its_cursors(tmp_path: Path) -> None:
    path = a_database_of_before(tmp_path, is_all_forgotten=False)
    async with opened(tmp_path) as store:
        events = await store.events(ROOT, 0, None, PLENTY)
        assert [(event.seq, event.n, event.job, event.owner, event.at) for event in events] == [
            (1, 1, "a", "ann", 5.0), (2, 2, "a", "ann", 5.0), (3, 1, "b", "ann", 5.0), (4, 2, "b", "ann", 5.0),
        ]  # fmt: skip
        assert await seen(store, ANN) == ["a1", "a2", "b1", "b2"]
        assert await store.last_event_seq() == 6
        await store.append_event("b", told("b3"))
        await tell(store, "ill")
        assert [event.seq for event in await store.events(EVERYONE, 4, None, PLENTY)] == [7, 8]
        await store.forget("a", ANN)
        assert await seen(store, EVERYONE) == ["b1", "b2", "b3", "ill"]
        assert await rows(store, "PRAGMA foreign_key_check") == []
    assert (tmp_path / f"{path.name}.before-{BEFORE}").exists()


async def test_a_database_of_before_without_a_job_left_gives_no_seq_out_again(tmp_path: Path) -> None:
    a_database_of_before(tmp_path, is_all_forgotten=True)
    async with opened(tmp_path) as store:
        assert await store.last_event_seq() == 6
        await tell(store, "ill")
        assert [event.seq for event in await store.events(EVERYONE, 0, None, PLENTY)] == [7]


@pytest.mark.parametrize("row", ["(1, NULL, NULL)", "(NULL, 1, NULL)", "(NULL, NULL, 'ann')"])
async def test_an_event_is_a_jobs_or_the_hosts_and_nothing_between(tmp_path: Path, row: str) -> None:
    async with opened(tmp_path) as store:
        await accepted(store, "a")
        with pytest.raises(sqlite3.IntegrityError, match="CHECK"):
            await store._threads.run(
                lambda: store._database._connect().execute(
                    f"INSERT INTO events (job, n, owner, at, type, data) SELECT *, 1.0, 't', '{{}}' FROM (VALUES {row})"
                )
            )
