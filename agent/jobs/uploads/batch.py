"""jobs/uploads/batch — what of a job is to be sent now: its outputs and logs, less what the journal has. Opens no output."""

from collections.abc import Sequence
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
from agent.jobs.uploads.made import LogText, journal_pages, log_name, measure_log
from agent.jobs.uploads.tools import UploadTools
from agent.spec import Upload, UploadTo

RESERVED = "reserved_name"
# Of a million links and pipes nobody reads the names.
MOST_SKIPPED = 1_000


@dataclass(frozen=True, slots=True)
class Batch:
    """`offered`: everything that belongs to the upload, also what was sent before. `left`: paths that are still to be sent.

    `cut`: what code of trouble leaves the upload incomplete however well the rest goes, None if none does.
    """

    offered: tuple[Offered, ...]
    left: tuple[str, ...]
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
        return Batch((), (), {}, (), Tally(), Tally(), 0, None, None)
    choice = compile_choice(job.spec.outputs.include, job.spec.outputs.exclude)
    listing = await tools.folders.list_outputs(job.id, tools.limits(), choice)
    logs = await measure_logs(tools.folders, job)
    reserved = {*logs} if upload.to is UploadTo.CHUTES else {MANIFEST, *logs}
    files = [file for file in listing.files if file.path not in reserved]
    taken = [SkippedOutput(file.path, RESERVED) for file in listing.files if file.path in reserved]
    files += [_as_file(log) for log in logs.values()]
    cut = "outputs_truncated" if listing.truncated is not None else "name_reserved" if taken else None
    known = await _read_journal(tools.store, job, {file.path for file in files})
    attempt = job.attempt if names_attempt(upload) else None
    sorting = _Sorting(known, attempt)
    for file in files:
        sorting.take(file)
    return sorting.batch(files, logs, (*taken, *listing.skipped[:MOST_SKIPPED]), cut)


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
        self._left: list[str] = []
        self._sent = Tally()
        self._failed: list[JournalFile] = []

    def take(self, file: OutputFile) -> None:
        entry = self._known.get(file.path)
        if entry is not None and entry.state is FileState.FAILED:
            self._failed.append(entry)
        elif entry is not None and is_same_content(entry, file.size_bytes, file.modified_ns, self._attempt):
            self._sent = Tally(self._sent.files + 1, self._sent.bytes + file.size_bytes)
        else:
            self._left.append(file.path)

    def batch(
        self,
        files: Sequence[OutputFile],
        logs: dict[str, LogText],
        skipped: tuple[SkippedOutput, ...],
        cut: str | None,
    ) -> Batch:
        return Batch(
            offered=tuple(Offered(file.path, file.size_bytes) for file in files),
            left=tuple(self._left),
            logs=logs,
            skipped=skipped,
            total=Tally(len(files), sum(file.size_bytes for file in files)),
            sent=self._sent,
            failed=len(self._failed),
            given_up=self._failed[-1].trouble if self._failed else None,
            cut=cut,
        )
