"""What goes wrong under a running store: a full disk, a read-only one, failing writes, a lock, a SIGKILL, a second program."""

import asyncio
import resource
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from agent.adapters.sqlite import SqliteStore
from agent.core.job import Job, NewEvent
from agent.errors import Phase
from agent.interfaces import StoreUnavailableError
from tests.contract.store_values import (
    ANN,
    PLENTY,
    REPOSITORY,
    ROOT,
    accepted,
    closed,
    fill,
    opened,
    request,
    small_disk,
    stopped,
    told,
)

SIXTEEN_KIB = "x" * 16_384
# More than the log may still have room for where an earlier write gave up.
MUCH = "x" * 400_000


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


@contextmanager
def failing_writes() -> Iterator[None]:
    """Every write to a file of this process fails with EFBIG, which is an I/O error to SQLite."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def remount(folder: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(folder)], check=True)


async def fill_by_accepting(store: SqliteStore) -> list[str]:
    """Accept until the disk is full. Returns the ids that were answered."""
    answered: list[str] = []
    for number in range(10_000):
        try:
            await store.accept(request(f"j{number}", env={"A": SIXTEEN_KIB}), 100_000)
        except StoreUnavailableError:
            return answered
        answered.append(f"j{number}")
    raise AssertionError("the disk did not fill up")


async def test_a_full_disk_loses_nothing_and_half_writes_nothing_and_passes(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", kib=4096) as disk:
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(2 << 20))
        async with opened(disk) as store:
            job = await accepted(store, "first")
            answered = await fill_by_accepting(store)
            assert len(answered) > 5
            fill(disk / "rest")
            for _ in range(3):
                with pytest.raises(StoreUnavailableError):
                    await store.save(replace(job, waiting_for=MUCH), [told("lost")], closed(1))
            # It can still be read.
            assert await store.read("first") == job
            assert await store.attempts("first") == []
            assert await store.job_ids() == {"first", *answered}
            assert len(await store.events(ROOT, 0, None, PLENTY)) == 1 + len(answered)
            # A connection that breaks meanwhile can't be replaced without room for its files, and is afterwards.
            with failing_writes(), pytest.raises(StoreUnavailableError):
                await store.save(job)
            fill(disk / "more")
            with pytest.raises(StoreUnavailableError):
                await store.save(replace(job, waiting_for=MUCH))
            for file in (ballast, disk / "rest", disk / "more"):
                file.unlink()
            job = await store.save(replace(job, waiting_for=MUCH), [told("kept")], closed(1))
        async with opened(disk) as store:
            assert await store.read("first") == job
            assert await store.job_ids() == {"first", *answered}


async def test_a_store_is_not_made_on_a_full_disk_and_is_once_there_is_room(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", kib=256) as disk:
        ballast = disk / "ballast"
        fill(ballast)
        with pytest.raises(StoreUnavailableError):
            async with opened(disk):
                pass
        assert names(disk) == ["ballast"]
        ballast.unlink()
        remount(disk, "size=4096k")
        async with opened(disk) as store:
            await accepted(store)


async def test_a_write_that_fails_leaves_the_row_and_the_store_goes_on_by_itself(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        job = await accepted(store)
        woken: list[int] = []
        store.on_events(lambda: woken.append(1))
        for _ in range(2):
            with failing_writes(), pytest.raises(StoreUnavailableError):
                await store.save(replace(job, waiting_for="gpus"), [told()], closed(1))
        assert woken == []
        assert await store.read("a") == job
        assert len(await store.events(ROOT, 0, None, 9)) == 1
        assert await store.attempts("a") == []
        assert (await store.save(job, [told()])).version == 1
        assert woken == [1]


async def test_a_disk_that_turns_read_only_refuses_until_it_is_writable_again(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", kib=4096) as disk:
        async with opened(disk) as store:
            job = await accepted(store)
            # The kernel lets nobody remount under an open file; a failed write makes the store let go of it.
            with failing_writes(), pytest.raises(StoreUnavailableError):
                await store.save(job)
            remount(disk, "ro")
            for _ in range(2):
                with pytest.raises(StoreUnavailableError, match="read-only"):
                    await store.save(job)
                with pytest.raises(StoreUnavailableError, match="read-only"):
                    await store.read("a")
            remount(disk, "rw")
            assert await store.read("a") == job
            assert (await store.save(job)).version == 1


async def test_a_read_only_disk_at_the_start_is_said_and_nothing_is_made(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", kib=4096) as disk:
        remount(disk, "ro")
        with pytest.raises(StoreUnavailableError, match=r"[Rr]ead-only"):
            async with opened(disk):
                pass
        remount(disk, "rw")
        async with opened(disk) as store:
            await accepted(store)
        remount(disk, "ro")
        with pytest.raises(StoreUnavailableError, match="read-only"):
            async with opened(disk):
                pass
        remount(disk, "rw")
        async with opened(disk) as store:
            assert await store.job_ids() == {"a"}


async def test_a_lock_of_another_program_is_waited_for_then_told_and_then_forgotten(tmp_path: Path) -> None:
    async with opened(tmp_path, busy_seconds=0.05) as store:
        job = await accepted(store)
        with closing(sqlite3.connect(tmp_path / "agent.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreUnavailableError, match="locked"):
                await store.save(job, [told()])
            with pytest.raises(StoreUnavailableError, match="locked"):
                await accepted(store, "b")
            assert await store.read("a") == job
            other.execute("ROLLBACK")
        assert (await store.save(job)).version == 1
    async with opened(tmp_path) as store:
        with closing(
            sqlite3.connect(tmp_path / "agent.db", isolation_level=None, check_same_thread=False)
        ) as other:
            other.execute("BEGIN IMMEDIATE")
            asyncio.get_running_loop().call_later(0.05, other.execute, "ROLLBACK")
            assert (await accepted(store, "b")).id == "b"


async def test_a_database_that_went_away_is_not_made_anew_under_a_running_store(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    async with opened(tmp_path) as store:
        await accepted(store)
        with failing_writes(), pytest.raises(StoreUnavailableError):
            await accepted(store, "b")
        path.rename(tmp_path / "elsewhere")
        with pytest.raises(StoreUnavailableError):
            await accepted(store, "b")
        assert not path.exists()
        (tmp_path / "elsewhere").rename(path)
        assert await store.job_ids() == {"a"}


async def test_a_cancelled_call_is_carried_out_whole_and_wakes_who_follows(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        job = await accepted(store)
        woken = asyncio.Event()
        store.on_events(woken.set)
        loop, begun, may_end = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

        def decide(row: Job) -> tuple[Job, list[NewEvent]]:
            loop.call_soon_threadsafe(begun.set)
            assert may_end.wait(5)
            return replace(row, waiting_for="gpus"), [told()]

        task = asyncio.ensure_future(store.change("a", ANN, decide))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not woken.is_set()
        may_end.set()
        async with asyncio.timeout(5):
            await woken.wait()
        assert await store.read("a") == replace(job, waiting_for="gpus", version=1)
        assert len(await store.events(ROOT, 0, "a", 9)) == 2


async def test_a_row_changed_by_another_program_is_seen_at_once(tmp_path: Path) -> None:
    async with opened(tmp_path) as daemon, opened(tmp_path) as other:
        await accepted(daemon)
        assert len(await daemon.unfinished()) == 1
        changed = await other.change("a", ANN, stopped)
        assert await daemon.unfinished() == [changed]
        assert changed is not None
        await other.save(replace(changed, phase=Phase.FINISHED, finished_at=1.0))
        assert await daemon.unfinished() == []


async def test_two_stores_in_two_threads_lose_no_change(tmp_path: Path) -> None:
    async with opened(tmp_path) as left, opened(tmp_path) as right:
        await accepted(left)

        def count(job: Job) -> tuple[Job, list[NewEvent]]:
            return replace(job, port_moves=job.port_moves + 1), [told()]

        calls = [store.change("a", ANN, count) for store in (left, right) for _ in range(50)]
        await asyncio.gather(*calls)
        job = await left.read("a")
        assert job is not None
        assert (job.version, job.port_moves) == (100, 100)
        assert [event.n for event in await right.events(ANN, 0, "a", PLENTY)] == list(range(1, 102))


async def test_ten_programs_that_make_the_database_at_once_share_one(tmp_path: Path) -> None:
    stores = await asyncio.gather(
        *(SqliteStore.open_store(tmp_path / "agent.db", lambda: 1.0) for _ in range(10))
    )
    try:
        await asyncio.gather(*(accepted(store, f"j{number}") for number, store in enumerate(stores)))
        assert await stores[0].job_ids() == {f"j{number}" for number in range(10)}
    finally:
        await asyncio.gather(*(store.close() for store in stores))
    # Who closes last at the same moment as another may leave the log; half-made databases nobody does.
    assert set(names(tmp_path)) <= {"agent.db", "agent.db-shm", "agent.db-wal"}


WRITER = """
import asyncio, sys
from dataclasses import replace
from pathlib import Path
from agent.adapters.sqlite import SqliteStore
from agent.core.job import ClosedAttempt, Kind, NewEvent, Outcome
from agent.interfaces import NewJob
from agent.spec import parse_spec

async def main(path, prefix):
    store = await SqliteStore.open_store(Path(path), lambda: 1.0)
    spec = parse_spec({"image": "alpine:3.20", "env": {"A": "x" * 3000}, "labels": {"a": "b"}})
    for number in range(100_000):
        name = f"{prefix}-{number}"
        job = (await store.accept(NewJob(name, "ann", Kind.CONTAINER, spec, 1.0, name, "d"), 1 << 30)).job
        print("accepted", name, flush=True)
        closed = ClosedAttempt(1, Outcome.SUCCEEDED, None, None, None, None, 1.0)
        await store.save(replace(job, attempt=2), [NewEvent("t", {}), NewEvent("t", {})], closed)
        print("saved", name, flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.slow
async def test_what_was_answered_is_there_after_a_sigkill_and_what_was_not_is_whole_or_absent(
    tmp_path: Path,
) -> None:
    answered: dict[str, set[str]] = {"accepted": set(), "saved": set()}
    for prefix, lines in (("one", 41), ("two", 120), ("three", 7), ("four", 260)):
        kill_after(tmp_path / "agent.db", prefix, lines, answered)
        async with opened(tmp_path) as store:
            await store.check()
            jobs = {job.id: job for job in await store.unfinished()}
            assert answered["accepted"] <= jobs.keys()
            assert all(jobs[name].attempt == 2 for name in answered["saved"])
            for name, job in jobs.items():
                is_saved = job.attempt == 2
                assert len(await store.attempts(name)) == is_saved
                events = await store.events(ROOT, 0, name, 9)
                assert [event.n for event in events] == ([1, 2, 3] if is_saved else [1])


def kill_after(path: Path, prefix: str, lines: int, answered: dict[str, set[str]]) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), prefix], stdout=subprocess.PIPE, text=True, cwd=REPOSITORY
    ) as writer:
        assert writer.stdout is not None
        for _ in range(lines):
            what, name = writer.stdout.readline().split()
            answered[what].add(name)
        writer.kill()
        for line in writer.stdout:
            if line.endswith("\n"):
                what, name = line.split()
                answered[what].add(name)
