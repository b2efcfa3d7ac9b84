"""interfaces/folders — the job folders and what lies in them, and the promises on each method. No implementation."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from agent.core.container import Credentials
from agent.core.disk_space import CountLimits, DiskSpace, Held
from agent.core.finish import Finish
from agent.core.notify import NotifyTarget
from agent.errors import AgentError, Blame
from agent.interfaces.outputs import OutputFolders
from agent.spec import Upload


class Claimed(StrEnum):
    """Answers of `claim`. Where a folder exists, the row decides whose it is: nothing in it was touched."""

    MADE = "made"
    EXISTS = "exists"


@dataclass(frozen=True, slots=True)
class SecretFiles:
    """A job's secrets as they rest in its folder: never in the database. `values`: name → text. Its repr shows none of it."""

    values: Mapping[str, str] = field(repr=False)
    registry: Credentials | None = None
    notify: NotifyTarget | None = None
    upload: Upload | None = None
    # For the job's SSH server. It goes in with the others, and is never read back.
    host_key: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Prepared:
    """Host paths to mount. `secrets`, `ssh`, `socket` (the folder that the job's socket lies in) None: the job has none."""

    outputs: str
    secrets: str | None
    ssh: str | None = None
    socket: str | None = None


@dataclass(frozen=True, slots=True)
class StoredReport:
    """How a function ended. `size_bytes`: of its result; `result` None: it has more bytes than were asked for."""

    finish: Finish
    size_bytes: int
    result: bytes | None = field(repr=False)


class LogWriter(Protocol):
    """`log.<attempt>.part`. Only `commit` (last bytes, fsync, rename) makes it the log; what is not committed is written anew."""

    async def write(self, data: bytes) -> None: ...

    async def commit(self, last: bytes = b"") -> None: ...

    async def discard(self) -> None: ...


class LogReader(Protocol):
    async def read(self, size: int) -> bytes:
        """The next bytes; empty at the end."""
        ...

    async def close(self) -> None: ...


class ResultReader(LogReader, Protocol):
    size_bytes: int


class StateFullError(AgentError):
    """The disk of the state folder, or of the runtime folder, is full."""

    code, blame = "state_full", Blame.HOST
    remedy = "Free space on the disk of that folder; the agent goes on by itself."


class StateReadOnlyError(AgentError):
    """The state or runtime folder's file system is mounted read-only, often after a disk error."""

    code, blame = "state_read_only", Blame.HOST
    remedy = "Check the disk, remount it for writing; the agent goes on by itself."


class JobFolderMissingError(AgentError):
    """A job's folder, or its secrets, were removed behind the agent's back."""

    code, blame = "job_folder_missing", Blame.HOST
    remedy = "Submit the job again, and leave the state folder to the agent."

    def __init__(self, job_id: str, what: str) -> None:
        super().__init__(f"the {what} of job {job_id} is not there")


class ChuteFilesMissingError(AgentError):
    """The files of a chute's version were removed behind the agent's back."""

    code, blame = "chute_files_missing", Blame.HOST
    remedy = "Deploy the chute again, and leave the state folder to the agent."

    def __init__(self, version: str) -> None:
        super().__init__(f"the files of the chute's version {version} are not there")


class Folders(OutputFolders, Protocol):
    """The job folders below the state folder. All writes raise StateFullError or StateReadOnlyError, leaving nothing half-done."""

    async def claim(
        self, job_id: str, record: str, secrets: SecretFiles, payload: bytes | None = None
    ) -> Claimed:
        """Make the folder with `spec.json` (= `record`) and the secrets, whole or not at all (made aside, then renamed).

        `payload`: what a function is called with, as JSON; such a job gets a place for its socket, too. None: it calls none.
        """
        ...

    async def payload(self, job_id: str) -> bytes:
        """What the job's function is called with. Raises JobFolderMissingError, also where it calls none."""
        ...

    async def report_part(self, job_id: str, attempt: int) -> LogWriter:
        """A new, empty report, whatever another try left; what is written is the header's line and the result. Raises JobFolderMissingError.

        As of a log: committed it is there for good, unless there was one before, which stays.
        """
        ...

    async def report(self, job_id: str, attempt: int, most_bytes: int = 0) -> StoredReport | None:
        """How the function ended, with its result where it has at most so many bytes. None: it did not say, or it can't be read."""
        ...

    async def open_result(self, job_id: str, attempt: int) -> ResultReader | None:
        """The result from its first byte; None: the function did not end, or failed."""
        ...

    async def chute_files(self, version: str) -> str:
        """The host's path of the files of a chute's version. Raises ChuteFilesMissingError."""
        ...

    async def secrets(self, job_id: str) -> SecretFiles:
        """The secrets at rest. Raises JobFolderMissingError, also once they were dropped."""
        ...

    async def prepare(self, job_id: str) -> Prepared:
        """Lay out what the container may see. Idempotent, also after a crash in the middle of itself.

        Raises JobFolderMissingError.
        """
        ...

    async def keep_authorized_keys(self, job_id: str, text: str) -> None:
        """Who may log in by SSH from the next connection on, in the place of what was there: all of it or nothing.

        Raises JobFolderMissingError, also for a job that has no host key.
        """
        ...

    async def drop_used_secrets(self, job_id: str) -> None:
        """Remove both copies of what the job and its upload needed, and the host key; where to notify stays. Gone is fine."""
        ...

    async def notify_target(self, job_id: str) -> NotifyTarget | None:
        """Where to notify, also after `drop_used_secrets`. None: nowhere, or it was dropped."""
        ...

    async def drop_notify_target(self, job_id: str) -> None:
        """Remove where to notify; what the job itself needs stays. Gone is fine."""
        ...

    async def upload_target(self, job_id: str) -> Upload | None:
        """Where outputs are sent, with its secrets. None: there is none with secrets, or it was dropped."""
        ...

    async def keep_upload_target(self, job_id: str, upload: Upload) -> None:
        """Where outputs are sent from now on, in the place of what was there. Raises JobFolderMissingError."""
        ...

    async def upload_places(self, job_id: str, is_wanted: Callable[[str], bool], most: int) -> dict[str, str]:
        """Where half-sent uploads lie, by the paths that `keep_upload_place` was given; of those that are wanted the last so many.

        `is_wanted` is asked in a thread.
        """
        ...

    async def keep_upload_place(self, job_id: str, path: str, place: str) -> None:
        """Durable when it returns. Raises JobFolderMissingError."""
        ...

    async def drop_upload_secrets(self, job_id: str) -> None:
        """Remove where outputs are sent and where half-sent uploads lie; everything else stays. Gone is fine."""
        ...

    async def remove(self, job_id: str) -> None:
        """Remove the folder, whatever a hostile job put into it, and what lies in the runtime folder. Gone is fine."""
        ...

    async def sweep(self, known: set[str]) -> list[str]:
        """Remove what no row knows and what a crash left half-made; returns the names."""
        ...

    async def log_part(self, job_id: str, attempt: int) -> LogWriter:
        """A new, empty part, whatever an earlier drain left. Raises JobFolderMissingError."""
        ...

    async def open_log(self, job_id: str, attempt: int) -> LogReader | None:
        """The drained log; None: not drained (yet)."""
        ...

    async def free_bytes(self) -> int: ...

    async def space(self) -> DiskSpace:
        """Of the disk that the state folder is on."""
        ...

    async def held(self, job_id: str, limits: CountLimits) -> Held:
        """What the job's outputs hold of that disk, in allocated bytes and in inodes; none where they are in a quota, whose room is reserved.

        Raises JobFolderMissingError.
        """
        ...
