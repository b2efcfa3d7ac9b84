"""adapters/sqlite/store — the Store protocol: each method one transaction in the one thread. Holds no SQL."""

import asyncio
import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Self, TypeVar

from agent.adapters.sqlite import (
    counts,
    events,
    family,
    functions,
    gpus,
    host_events,
    jobs,
    lists,
    notify,
    tokens,
    uploads,
)
from agent.adapters.sqlite.chute_store import SqliteChutes
from agent.adapters.sqlite.database import BUSY_SECONDS, Database
from agent.adapters.sqlite.rows import Rows
from agent.adapters.sqlite.schedule_store import SqliteSchedules
from agent.aio import Threads
from agent.core.family import Family
from agent.core.job import EVERYONE, ClosedAttempt, Event, Job, NewEvent, Viewer
from agent.core.job_counts import JobCounts
from agent.core.notify import Notice, NotifyState, Progress
from agent.core.told import Progress as FunctionProgress
from agent.core.told import Told
from agent.core.upload import JournalFile, Resend, UploadRecord
from agent.interfaces import Accepted, Finished, JobQuery, NewJob, Telling, Token

T = TypeVar("T")
Changed = tuple[Job, Sequence[NewEvent]]


class SqliteStore(SqliteChutes, SqliteSchedules):
    """The rows on disk; see interfaces.Store for the promises. `decide` and `choose` are called in the database's thread.

    A cancelled call may still be carried out, whole.
    """

    def __init__(self, path: Path, now: Callable[[], float], busy_seconds: float) -> None:
        self._now = now
        self._loop = asyncio.get_running_loop()
        self._threads = Threads("sqlite", 1)
        self._database = Database(path, busy_seconds)
        self._rows = Rows(path)
        self._listeners: list[Callable[[], None]] = []
        self._told_seq = 0

    @classmethod
    async def open_store(
        cls, path: Path, now: Callable[[], float], busy_seconds: float = BUSY_SECONDS
    ) -> Self:
        """Open, check and migrate the database at `path`, or make one. `now`: UTC seconds, for the events' times.

        Raises DatabaseDamagedError, DatabaseNewerError, StoreUnavailableError.
        """
        store = cls(path, now, busy_seconds)
        try:
            await store._threads.run(store._database.open)
            store._told_seq = await store.last_event_seq()
        except BaseException:
            await store.close()
            raise
        return store

    async def close(self) -> None:
        await self._threads.run(self._database.close)
        self._threads.close()

    async def check(self) -> None:
        """Read every page of the file: for `doctor`, since a large one is not checked at each open.

        Raises DatabaseDamagedError, StoreUnavailableError.
        """
        await self._threads.run(self._database.check)

    def on_events(self, call: Callable[[], None]) -> None:
        self._listeners.append(call)

    async def accept(self, new: NewJob, most_queued: int) -> Accepted:
        return await self._write(lambda db: jobs.accept(db, self._rows, new, most_queued))

    async def import_job(self, job: Job) -> Job:
        """Insert a row in the phase it says; one of that id that is there already stays. For `doctor --repair` alone."""
        return await self._write(lambda db: jobs.import_row(db, self._rows, job))

    async def accepted_before(self, owner: str, key: str, body_digest: str) -> Job | None:
        return await self._read(lambda db: jobs.read_by_key(db, self._rows, (owner, key), body_digest))

    async def read(self, job_id: str) -> Job | None:
        return await self._read(lambda db: jobs.read(db, self._rows, job_id))

    async def get(self, job_id: str, viewer: Viewer) -> Job | None:
        return await self._read(lambda db: jobs.read_seen(db, self._rows, job_id, viewer))

    async def page(self, query: JobQuery, viewer: Viewer) -> list[Job]:
        return await self._read(lambda db: self._rows.fetch(db, lists.page(db, query, viewer)))

    async def unfinished(self) -> list[Job]:
        return await self._read(lambda db: self._rows.fetch(db, lists.unfinished(db)))

    async def counts(self, queues: Collection[str]) -> JobCounts:
        return await self._read(lambda db: counts.count(db, queues))

    async def save(
        self, job: Job, events: Sequence[NewEvent] = (), closed: ClosedAttempt | None = None
    ) -> Job:
        return await self._write(lambda db: jobs.save(db, self._rows, (job, events), self._now(), closed))

    async def change(self, job_id: str, viewer: Viewer, decide: Callable[[Job], Changed]) -> Job | None:
        return await self._write(
            lambda db: jobs.change(db, self._rows, (job_id, viewer), decide, self._now())
        )

    async def change_family(
        self, job_id: str, viewer: Viewer, decide: Callable[[Job, Sequence[Job]], Sequence[Changed]]
    ) -> list[Job] | None:
        return await self._write(
            lambda db: jobs.change_family(db, self._rows, (job_id, viewer), decide, self._now())
        )

    async def grant(self, choose: Callable[[Sequence[Job]], Sequence[Changed]]) -> list[Job]:
        return await self._write(lambda db: jobs.grant(db, self._rows, choose, self._now()))

    async def attempts(self, job_id: str) -> list[ClosedAttempt]:
        return await self._read(lambda db: jobs.attempts(db, job_id))

    async def attempts_of(self, job_ids: Sequence[str]) -> dict[str, list[ClosedAttempt]]:
        return await self._read(lambda db: {job_id: jobs.attempts(db, job_id) for job_id in job_ids})

    async def events(self, viewer: Viewer, after_seq: int, job_id: str | None, limit: int) -> list[Event]:
        return await self._read(lambda db: events.read(db, viewer, after_seq, job_id, limit))

    async def append_event(self, job_id: str, event: NewEvent) -> None:
        await self._write(lambda db: events.append_by_id(db, job_id, self._now(), event))

    async def last_event_seq(self) -> int:
        return await self._read(events.last_seq)

    async def forget(self, job_id: str, viewer: Viewer) -> Finished:
        return await self._write(lambda db: jobs.forget(db, self._rows, job_id, viewer))

    async def finished_before(self, at: float, limit: int) -> list[str]:
        return await self._read(lambda db: lists.finished_before(db, at, limit))

    async def job_ids(self) -> set[str]:
        return await self._read(lists.ids)

    async def add_token(self, token: Token) -> None:
        await self._write(lambda db: tokens.add(db, token))

    async def tokens(self) -> list[Token]:
        return await self._read(tokens.read_all)

    async def remove_token(self, token_id: str) -> bool:
        return await self._write(lambda db: tokens.remove(db, token_id))

    async def token_used(self, token_id: str, at: float) -> None:
        await self._write(lambda db: tokens.mark_used(db, token_id, at))

    async def meta(self, key: str) -> str | None:
        return await self._read(lambda db: tokens.read_meta(db, key))

    async def set_meta(self, key: str, value: str) -> None:
        await self._write(lambda db: tokens.set_meta(db, key, value))

    async def notify_open(self) -> tuple[list[str], int]:
        return await self._read(notify.read_open)

    async def notify_since(self, seq: int) -> tuple[list[str], int]:
        return await self._read(lambda db: notify.read_since(db, seq))

    async def notice(self, job_id: str) -> Notice | None:
        return await self._read(lambda db: notify.read_notice(db, job_id))

    async def keep_notify(self, row: int, state: NotifyState) -> None:
        await self._write(lambda db: notify.keep(db, row, state))

    async def notify_progress(self, job_ids: Sequence[str]) -> dict[str, Progress]:
        return await self._read(lambda db: notify.read_progress(db, job_ids))

    async def begin_upload(self, job_id: str, at: float) -> UploadRecord | None:
        return await self._write(lambda db: uploads.begin(db, job_id, at))

    async def begin_upload_again(
        self, job_id: str, at: float, place: str, resend: Resend
    ) -> UploadRecord | None:
        return await self._write(lambda db: uploads.begin_again(db, job_id, at, place, resend))

    async def upload_records(self, job_ids: Sequence[str]) -> dict[str, UploadRecord]:
        return await self._read(lambda db: uploads.read_records(db, job_ids))

    async def keep_upload(self, record: UploadRecord, events: Sequence[NewEvent] = ()) -> None:
        await self._write(lambda db: uploads.keep(db, record, self._now(), events))

    async def keep_files(self, row: int, files: Sequence[JournalFile]) -> None:
        await self._write(lambda db: uploads.keep_files(db, row, files))

    async def journal(self, row: int, after: str, limit: int) -> list[JournalFile]:
        return await self._read(lambda db: uploads.read_page(db, row, after, limit))

    async def journal_of(self, row: int, paths: Sequence[str]) -> dict[str, JournalFile]:
        return await self._read(lambda db: uploads.read_of(db, row, paths))

    async def retried_uploads(self) -> list[str]:
        return await self._read(uploads.read_retried)

    async def told(self, job_id: str) -> Told:
        return await self._read(lambda db: functions.read_told(db, job_id)) or Told()

    async def told_briefly(self, job_id: str) -> Told:
        return await self._read(lambda db: functions.read_told_briefly(db, job_id)) or Told()

    async def series(self, job_id: str) -> dict[str, str]:
        return await self._read(lambda db: functions.read_series(db, job_id))

    async def progress_of(self, job_ids: Sequence[str]) -> dict[str, FunctionProgress | None]:
        return await self._read(lambda db: functions.read_progress_of(db, job_ids))

    async def keep_told(self, tellings: Sequence[Telling]) -> None:
        await self._write(lambda db: functions.keep_told(db, tellings, self._now()))

    async def children_of(self, job_ids: Sequence[str]) -> dict[str, list[str]]:
        return await self._read(lambda db: functions.read_children(db, job_ids))

    async def family(self, job_id: str, viewer: Viewer, limit: int) -> Family | None:
        return await self._read(lambda db: family.read(db, job_id, viewer, limit))

    async def gpu_healths(self) -> dict[str, str]:
        return await self._read(gpus.read_all)

    async def keep_gpu_healths(
        self,
        healths: Mapping[str, str],
        changes: Sequence[tuple[str, Callable[[Job], Changed]]] = (),
        events: Sequence[NewEvent] = (),
    ) -> None:
        def act(db: sqlite3.Connection) -> None:
            gpus.keep(db, healths)
            host_events.append(db, self._now(), events)
            for job_id, decide in changes:
                jobs.change(db, self._rows, (job_id, EVERYONE), decide, self._now())

        await self._write(act)

    async def tell_of_host(self, events: Sequence[NewEvent]) -> None:
        await self._write(lambda db: host_events.append(db, self._now(), events))

    async def _read(self, ask: Callable[[sqlite3.Connection], T]) -> T:
        return await self._threads.run(self._database.read, ask)

    async def _write(self, act: Callable[[sqlite3.Connection], T]) -> T:
        return await self._threads.run(self._write_and_tell, act)

    def _write_and_tell(self, act: Callable[[sqlite3.Connection], T]) -> T:
        with self._rows.in_one_write():
            result, last_seq = self._database.write(lambda db: (act(db), events.last_seq(db)))
        if last_seq > self._told_seq:
            self._told_seq = last_seq
            # From here and not after the await: whoever waits may have been cancelled, and the events are there all the same.
            self._loop.call_soon_threadsafe(self._tell)
        return result

    def _tell(self) -> None:
        for call in self._listeners:
            call()
