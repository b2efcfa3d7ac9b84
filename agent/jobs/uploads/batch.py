"""jobs/uploads/batch — what of a job is to be sent now: its outputs and logs, less what the journal has. Opens no output."""

import asyncio
from dataclasses import dataclass

from agent.core.frames import BrokenFramesError
from agent.core.globs import compile_choice
from agent.core.job import Job
from agent.core.upload import (
    MANIFEST,
    FileState,
    JournalFile,
    Tally,
    UploadTrouble,
    Wanted,
    is_same_content,
    names_attempt,
    what_to_send,
)
from agent.interfaces import Folders, Offered, OutputFile, SkippedOutput, Store
from agent.jobs.uploads.journal import journal_pages
from agent.jobs.uploads.made import LogText, log_name, measure_log
from agent.jobs.uploads.tools import UploadTools
from agent.spec import Upload, UploadTo

RESERVED = "reserved_name"
# Of a million links and pipes nobody reads the names.
MOST_SKIPPED = 1_000
# Between so many the loop has its turn: they take some milliseconds.
FILES_AT_ONCE = 1_000


@dataclass(frozen=True, slots=True)
class Batch:
    """`offered`: everything that belongs to the upload, first `left`, the files still to be sent, then what was sent before or given up.

    `attempt`: whose files count, where the endpoint has each attempt's for itself; None: everyone's.
    `cut`: what code of trouble leaves the upload incomplete however well the rest goes, None if none does.
    """

    offered: tuple[Offered, ...]
    left: tuple[str, ...]
    attempt: int | None
    logs: dict[str, LogText]
    skipped: tuple[SkippedOutput, ...]
    total: Tally
    sent: Tally
    failed: int
    given_up: UploadTrouble | None
    cut: str | None


async def gather(tools: UploadTools, job: Job, upload: Upload) -> Batch:
    """Raises JobFolderMissingError, Openat2MissingError, StoreUnavailableError."""
    if what_to_send(job.spec.outputs, job.outcome) is not Wanted.FILES:
        return Batch((), (), None, {}, (), Tally(), Tally(), 0, None, None)
    choice = compile_choice(job.spec.outputs.include, job.spec.outputs.exclude)
    listing = await tools.folders.list_outputs(job.id, tools.limits(), choice)
    logs = await measure_logs(tools.folders, job)
    reserved = {*logs} if upload.to is UploadTo.CHUTES else {MANIFEST, *logs}
    taken = tuple(SkippedOutput(file.path, RESERVED) for file in listing.files if file.path in reserved)
    known = await _read_journal(tools.store, job, {file.path for file in listing.files} | {*logs})
    sorting = _Sorting(known, job.attempt if names_attempt(upload) else None)
    for start in range(0, len(listing.files), FILES_AT_ONCE):
        for file in listing.files[start : start + FILES_AT_ONCE]:
            if file.path not in reserved:
                sorting.take(file)
        await asyncio.sleep(0)
    for log in logs.values():
        sorting.take(_as_file(log))
    cut = "outputs_truncated" if listing.truncated is not None else "name_reserved" if taken else None
    return sorting.batch(logs, (*taken, *listing.skipped[:MOST_SKIPPED]), cut)


async def measure_logs(folders: Folders, job: Job) -> dict[str, LogText]:
    """Of each attempt that has one that can be read, by name."""
    if not job.spec.outputs.logs:
        return {}
    found: dict[str, LogText] = {}
    for attempt in range(1, job.attempt + 1):
        try:
            log = await measure_log(folders, job.id, attempt)
        except BrokenFramesError:
            continue  # nobody can read it: `GET …/logs` tells
        if log is not None:
            found[log_name(attempt)] = log
    return found


async def _read_journal(store: Store, job: Job, paths: set[str]) -> dict[str, JournalFile]:
    return {
        file.path: file async for page in journal_pages(store, job.seq) for file in page if file.path in paths
    }


def _as_file(log: LogText) -> OutputFile:
    # A drained log never changes: it has no time that could tell one from another.
    return OutputFile(log.path, log.size_bytes, 0, 0o644)


class _Sorting:
    """What is left of the files, what was sent and what was given up, by the journal."""

    def __init__(self, known: dict[str, JournalFile], attempt: int | None) -> None:
        self._known = known
        self._attempt = attempt
        self._left: list[Offered] = []
        self._settled: list[Offered] = []
        self._bytes = 0
        self._sent = Tally()
        self._failed: list[JournalFile] = []

    def take(self, file: OutputFile) -> None:
        self._bytes += file.size_bytes
        entry = self._known.get(file.path)
        offered = Offered(file.path, file.size_bytes)
        if entry is not None and entry.state is FileState.FAILED:
            self._failed.append(entry)
            self._settled.append(offered)
        elif entry is not None and is_same_content(entry, file.size_bytes, file.modified_ns, self._attempt):
            self._sent = Tally(self._sent.files + 1, self._sent.bytes + file.size_bytes)
            self._settled.append(offered)
        else:
            self._left.append(offered)

    def batch(self, logs: dict[str, LogText], skipped: tuple[SkippedOutput, ...], cut: str | None) -> Batch:
        offered = (*self._left, *self._settled)
        return Batch(
            offered=offered,
            left=tuple(file.path for file in self._left),
            attempt=self._attempt,
            logs=logs,
            skipped=skipped,
            total=Tally(len(offered), self._bytes),
            sent=self._sent,
            failed=len(self._failed),
            given_up=self._failed[-1].trouble if self._failed else None,
            cut=cut,
        )
