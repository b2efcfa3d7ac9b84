"""core/upload — what of a job leaves this host, how far it is, and how it ended. Pure; sends nothing.

An upload is a job's: it begins when the job's outcome is decided, and its end changes nothing of the job but this record.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from agent.core.job import Job, Outcome
from agent.errors import Phase
from agent.spec import Outputs, OutputsOn, Upload, UploadTo, hide_upload

MANIFEST = "manifest.json"
# A file that the job, or somebody else, changes each time while it is sent (TRANSFER §1).
MOST_UNSTABLE = 3


class Wanted(StrEnum):
    """What is to be sent of a job."""

    NOTHING = "nothing"  # outputs stay here
    SKIPPED = "skipped"  # they would leave after another outcome
    OUTCOME = "outcome"  # the protocol tells the outcome, whatever becomes of the files
    FILES = "files"


class UploadState(StrEnum):
    SENDING = "sending"
    COMPLETE = "complete"
    PARTIAL = "partial"
    FAILED = "failed"


class FileState(StrEnum):
    SENT = "sent"
    FAILED = "failed"  # for good; a retry that somebody asks for begins anew


class Resend(StrEnum):
    """What of an upload that is over is sent again."""

    FAILED = "failed"  # what did not leave
    EVERYTHING = "everything"  # what was sent to another place counts for nothing at this one


@dataclass(frozen=True, slots=True)
class UploadTrouble:
    """The last failure. `code` is out of core/upload_troubles; `path` None: it was of no single file."""

    code: str
    at: float
    status: int | None = None
    path: str | None = None


@dataclass(frozen=True, slots=True)
class JournalFile:
    """What became of one file. `size_bytes` and `modified_ns` are of what was read: one that differs now is another content."""

    path: str
    state: FileState
    size_bytes: int
    modified_ns: int
    mode: int
    attempt: int
    at: float
    sha256: str | None = None
    trouble: UploadTrouble | None = None


@dataclass(frozen=True, slots=True)
class Tally:
    files: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class UploadRecord:
    """The upload of the job whose row is `row` (its `seq`, which no later job gets). `total` None: not counted yet."""

    row: int
    begun_at: float
    state: UploadState = UploadState.SENDING
    total: Tally | None = None
    sent: Tally = Tally()
    failed: int = 0
    trouble: UploadTrouble | None = None
    place: str | None = None  # where a retry sends it, as it may be shown; None: where the spec says
    is_live: bool = False  # begun while the job runs; the last pass has not
    was_told: bool = False  # that it began, as an event
    verdict: UploadState | None = None  # decided; `state` follows once its secrets are dropped
    is_retry_asked: bool = (
        False  # decided, and asked for again: its secrets may be there, and nothing has begun
    )

    @property
    def is_over(self) -> bool:
        return self.state is not UploadState.SENDING


def what_to_send(outputs: Outputs, outcome: Outcome | None) -> Wanted:
    """`outcome` as decided; None, while the job is not over, is taken for whatever lets the files go."""
    if not outputs.upload.leaves:
        return Wanted.NOTHING
    fits = {
        OutputsOn.ALWAYS: True,
        OutputsOn.SUCCESS: outcome in {Outcome.SUCCEEDED, None},
        OutputsOn.FAILURE: outcome is not Outcome.SUCCEEDED,
    }
    if fits[outputs.on]:
        return Wanted.FILES
    return Wanted.OUTCOME if outputs.upload.to is UploadTo.CHUTES else Wanted.SKIPPED


def has_upload(job: Job) -> bool:
    """Whether the job, whose outcome is decided, has anything to send."""
    return what_to_send(job.spec.outputs, job.outcome) in {Wanted.OUTCOME, Wanted.FILES}


def may_stop_upload(job: Job) -> bool:
    """Whether a cancel that comes now has an upload to stop."""
    return job.phase is Phase.UPLOADING and has_upload(job)


def tells_its_end(to: UploadTo, *, is_whole: bool) -> bool:
    """Whether the endpoint is told that all was sent. A manifest marks what is whole; a protocol that ends with a word says it always."""
    return is_whole or to is UploadTo.CHUTES


def judge_end(record: UploadRecord, *, was_cut: bool) -> UploadState:
    """How an upload ended of which nothing is left to do. `was_cut`: files were left out, or it was ended before its time."""
    if not record.failed and not was_cut:
        return UploadState.COMPLETE
    return UploadState.PARTIAL if record.sent.files else UploadState.FAILED


def is_same_content(
    known: JournalFile, size_bytes: int, modified_ns: int, attempt: int | None = None
) -> bool:
    """Whether a file that was sent is the one that is there now. `attempt`: where the endpoint has each attempt's for itself."""
    is_same_place = attempt is None or known.attempt == attempt
    is_same = (known.size_bytes, known.modified_ns) == (size_bytes, modified_ns)
    return known.state is FileState.SENT and is_same_place and is_same


def names_attempt(upload: Upload) -> bool:
    """Whether files of two attempts have two places at the endpoint."""
    return "{attempt}" in (upload.url or "")


def name_place(upload: Upload) -> str:
    """Where an upload leads, with nothing of what is secret: signatures in a query change from day to day."""
    return " ".join([upload.to, *(f"{name}={url}" for name, url in sorted(hide_upload(upload).urls.items()))])


def announce_retry(record: UploadRecord) -> UploadRecord:
    """An upload that is over, before its target is kept once more: what a crash leaves of that is found, and closed as it was."""
    return replace(record, state=UploadState.SENDING, verdict=record.state, is_retry_asked=True)


def reopen(record: UploadRecord, at: float, place: str) -> UploadRecord:
    """An upload that is over, and was asked for again, begun."""
    return UploadRecord(record.row, at, total=record.total, sent=record.sent, place=place)
