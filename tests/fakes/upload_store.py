"""fakes/upload_store — uploads and their journals in memory: the part of agent.interfaces.Store that keeps them."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from agent.core.job import Job, NewEvent
from agent.core.upload import FileState, JournalFile, Resend, UploadRecord, reopen
from agent.errors import Phase

T = TypeVar("T")
Step = Callable[[str], Awaitable[None]]


async def give_way(step: str) -> None:
    """What a real store does at each call: it lets others run."""
    await asyncio.sleep(0)


async def go_on(step: str) -> None:
    """Nothing between the write and the answer."""


class MemoryUploads(ABC):
    """What of the memory store is about uploads."""

    _uploads: dict[int, UploadRecord]
    _journals: dict[int, dict[str, JournalFile]]
    _now: Callable[[], float]

    @abstractmethod
    async def _call(self, step: str, act: Callable[[], T]) -> T: ...

    @abstractmethod
    def _job(self, job_id: str) -> Job | None: ...

    @abstractmethod
    def _jobs(self) -> list[Job]: ...

    @abstractmethod
    def _tell(self, job_id: str, at: float, told: Sequence[NewEvent]) -> None: ...

    async def begin_upload(self, job_id: str, at: float) -> UploadRecord | None:
        def act() -> UploadRecord | None:
            job = self._job(job_id)
            return None if job is None else self._uploads.setdefault(job.seq, UploadRecord(job.seq, at))

        return await self._call("begin_upload", act)

    async def begin_upload_again(
        self, job_id: str, at: float, place: str, resend: Resend
    ) -> UploadRecord | None:
        def act() -> UploadRecord | None:
            job = self._job(job_id)
            known = None if job is None else self._uploads.get(job.seq)
            if known is None or not known.is_retry_asked:
                return None
            self._uploads[known.row] = reopen(known, at, place)
            kept = self._journals.get(known.row, {}) if resend is Resend.FAILED else {}
            self._journals[known.row] = {
                path: file for path, file in kept.items() if file.state is not FileState.FAILED
            }
            return self._uploads[known.row]

        return await self._call("begin_upload_again", act)

    async def upload_records(self, job_ids: Sequence[str]) -> dict[str, UploadRecord]:
        def act() -> dict[str, UploadRecord]:
            jobs = [job for job_id in job_ids if (job := self._job(job_id)) is not None]
            return {job.id: self._uploads[job.seq] for job in jobs if job.seq in self._uploads}

        return await self._call("upload_records", act)

    async def keep_upload(self, record: UploadRecord, events: Sequence[NewEvent] = ()) -> None:
        def act() -> None:
            job = next((job for job in self._jobs() if job.seq == record.row), None)
            if job is not None and record.row in self._uploads:
                self._uploads[record.row] = record
            if job is not None:
                self._tell(job.id, self._now(), events)

        await self._call("keep_upload", act)

    async def keep_files(self, row: int, files: Sequence[JournalFile]) -> None:
        def act() -> None:
            if row in self._uploads:
                self._journals.setdefault(row, {}).update({file.path: file for file in files})

        await self._call("keep_files", act)

    async def journal(self, row: int, after: str, limit: int) -> list[JournalFile]:
        def act() -> list[JournalFile]:
            # SQLite orders text by its bytes.
            ordered = sorted(self._journals.get(row, {}).items(), key=lambda item: item[0].encode())
            return [file for path, file in ordered if path.encode() > after.encode()][:limit]

        return await self._call("journal", act)

    async def journal_of(self, row: int, paths: Sequence[str]) -> dict[str, JournalFile]:
        def act() -> dict[str, JournalFile]:
            journal = self._journals.get(row, {})
            return {path: journal[path] for path in paths if path in journal}

        return await self._call("journal_of", act)

    async def retried_uploads(self) -> list[str]:
        def act() -> list[str]:
            return [
                job.id for job in self._jobs() if job.phase is Phase.FINISHED and self._is_sending(job.seq)
            ]

        return await self._call("retried_uploads", act)

    def _is_sending(self, row: int) -> bool:
        return row in self._uploads and not self._uploads[row].is_over
