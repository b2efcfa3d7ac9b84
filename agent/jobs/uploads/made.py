"""jobs/uploads/made — what is no file and is made as it is sent: the text of a log, the manifest. Sends nothing."""

import hashlib
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass

from agent.core.event_form import show_time
from agent.core.frames import FrameParser
from agent.core.job import Job
from agent.core.upload import MANIFEST, FileState, JournalFile
from agent.interfaces import Checksum, Folders, SkippedOutput, Store
from agent.jobs.uploads.journal import journal_pages

READ_BYTES = 1 << 20

Moved = Callable[[int], None]


class Made:
    """Implements `interfaces.Content` for what is made as it is sent: the same bytes each time `make` is called, `size_bytes` in all."""

    def __init__(
        self, path: str, size_bytes: int, make: Callable[[], AsyncGenerator[bytes]], moved: Moved
    ) -> None:
        self.path = path
        self.size_bytes = size_bytes
        self._make = make
        self._moved = moved

    def part(self, start: int, size_bytes: int) -> "MadePart":
        return MadePart(self, start, size_bytes)

    async def checksum(self, kind: Checksum, start: int, size_bytes: int) -> bytes:
        digest = hashlib.new(kind)
        async for chunk in self.cut(start, size_bytes):
            digest.update(chunk)
        return digest.digest()

    async def cut(self, start: int, size_bytes: int) -> AsyncGenerator[bytes]:
        """Those bytes of what is made."""
        at, end = 0, start + size_bytes
        async with aclosing(self._make()) as chunks:
            async for chunk in chunks:
                if at >= end:
                    return
                wanted = chunk[max(0, start - at) : end - at]
                at += len(chunk)
                if wanted:
                    yield wanted

    def moved(self, size: int) -> None:
        self._moved(size)


@dataclass(frozen=True, slots=True)
class MadePart:
    whole: Made
    start: int
    size_bytes: int

    async def pieces(self) -> AsyncGenerator[bytes]:
        async for chunk in self.whole.cut(self.start, self.size_bytes):
            self.whole.moved(len(chunk))
            yield chunk


@dataclass(frozen=True, slots=True)
class LogText:
    """The text of one attempt's drained log, counted and hashed by one read before it is sent by another."""

    path: str
    attempt: int
    size_bytes: int
    sha256: str


def log_name(attempt: int) -> str:
    return f"job.{attempt}.log"


async def measure_log(folders: Folders, job_id: str, attempt: int) -> LogText | None:
    """None: there is no such log. Raises BrokenFramesError."""
    reader = await folders.open_log(job_id, attempt)
    if reader is None:
        return None
    await reader.close()
    size, digest = 0, hashlib.sha256()
    async for text in log_texts(folders, job_id, attempt):
        size += len(text)
        digest.update(text)
    return LogText(log_name(attempt), attempt, size, digest.hexdigest())


async def log_texts(folders: Folders, job_id: str, attempt: int) -> AsyncGenerator[bytes]:
    """What the job printed, both streams as they came, without stamps."""
    reader = await folders.open_log(job_id, attempt)
    if reader is None:
        return
    parser = FrameParser()
    try:
        while chunk := await reader.read(READ_BYTES):
            yield parser.feed(chunk).texts()
    finally:
        await reader.close()


async def make_manifest(
    store: Store, job: Job, attempt: int | None, skipped: tuple[SkippedOutput, ...]
) -> AsyncGenerator[bytes]:
    """What was sent, by the journal, page by page; and what the job left that is no file to be sent, and why.

    `attempt`: its files alone, where the endpoint has each attempt's for itself.
    """
    outcome = None if job.outcome is None else job.outcome.value
    head = {"job": job.id, "attempt": job.attempt, "outcome": outcome}
    yield json.dumps(head)[:-1].encode() + b', "files": ['
    before = ""
    async for page in journal_pages(store, job.seq):
        sent = [file for file in page if file.state is FileState.SENT and attempt in {None, file.attempt}]
        texts = [json.dumps(_entry(file)) for file in sent]
        if texts:
            yield (before + ",\n".join(texts)).encode()
            before = ",\n"
    passed = json.dumps([{"path": one.path, "why": one.why} for one in skipped])
    yield f'], "skipped": {passed}}}\n'.encode()


async def measure_manifest(
    store: Store, job: Job, attempt: int | None, skipped: tuple[SkippedOutput, ...]
) -> Made:
    """Made once to be counted: what is sent has its length before it. Nothing is written to the journal meanwhile."""

    def make() -> AsyncGenerator[bytes]:
        return make_manifest(store, job, attempt, skipped)

    size = 0
    async for chunk in make():
        size += len(chunk)
    return Made(MANIFEST, size, make, lambda _size: None)


def _entry(file: JournalFile) -> dict[str, object]:
    return {
        "path": file.path,
        "size": file.size_bytes,
        "sha256": file.sha256,
        "mode": file.mode & 0o7777,
        "mtime": _show_modified(file.modified_ns),
    }


def _show_modified(modified_ns: int) -> str | None:
    """None: no calendar has it; a job may give its files any date."""
    try:
        return show_time(modified_ns / 10**9)
    except (ValueError, OverflowError, OSError):
        return None
