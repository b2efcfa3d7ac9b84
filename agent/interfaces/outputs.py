"""interfaces/outputs — the output files of jobs, listed and read however hostile their folder is, and the promises on each method. No implementation."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from agent.core.globs import EVERY_OUTPUT, OutputChoice
from agent.errors import AgentError, Blame


@dataclass(frozen=True, slots=True)
class OutputLimits:
    files: int
    total_bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class OutputFile:
    """`path` is relative, UTF-8, other bytes percent-encoded (and `%` itself): it can be turned back."""

    path: str
    size_bytes: int
    modified_ns: int
    mode: int


@dataclass(frozen=True, slots=True)
class SkippedOutput:
    path: str
    why: str


@dataclass(frozen=True, slots=True)
class OutputListing:
    """Sorted by path. `truncated` names the cap that ended the walk, None if none did."""

    files: tuple[OutputFile, ...]
    skipped: tuple[SkippedOutput, ...]
    truncated: str | None


@dataclass(frozen=True, slots=True)
class SmallOutput:
    """A file with all of its content, as it was at one moment. `sha256` in hex."""

    file: OutputFile
    data: bytes = field(repr=False)
    sha256: str


class Digest(Protocol):
    """A running hash, as hashlib makes them. A thread updates it: one call at a time."""

    def update(self, data: bytes, /) -> None: ...


class OutputReader(Protocol):
    """One output file, opened safely; its size is the one at open."""

    file: OutputFile

    async def read(self, offset: int, size: int) -> bytes:
        """Raises OutputChangedError."""
        ...

    async def read_hashing(self, digest: Digest, offset: int, size: int) -> bytes:
        """As `read`; `digest` is updated with just the bytes returned, in the same call of a thread. Raises OutputChangedError.

        Where it raises, or is cancelled, the digest is of no more use: begin a new one.
        """
        ...

    async def is_unchanged(self) -> bool:
        """Whether size, mtime and ctime are still those at open. False for a file that is gone, renamed or given another mode, too."""
        ...

    async def sha256(self) -> str:
        """Raises OutputChangedError."""
        ...

    async def close(self) -> None: ...


class OutputRefusedError(AgentError):
    """The path names no regular file of the job's own: it is missing, a link, a device, or leads outside."""

    code, blame = "output_not_found", Blame.USER
    remedy = "List the outputs; only regular files that the list names can be fetched."


class OutputChangedError(AgentError):
    """The job cut the file short, or wrote into it, while it was read."""

    code, blame = "output_changed", Blame.USER
    remedy = "Fetch the file again once the job has finished writing it."

    def __init__(self, path: str) -> None:
        super().__init__(f"the output {path} changed while it was read")


class OutputFolders(Protocol):
    """Reads only: what a job has put there stays as it is, and leads nowhere else."""

    async def list_outputs(
        self, job_id: str, limits: OutputLimits, choice: OutputChoice = EVERY_OUTPUT
    ) -> OutputListing:
        """What `choice` takes of the files. What it does not is not told, counts to no size, and costs at most a look.

        Where a folder has nothing to choose from, it is not entered. Raises JobFolderMissingError.
        """
        ...

    async def open_output(self, job_id: str, path: str) -> OutputReader:
        """Raises OutputRefusedError."""
        ...

    async def read_small(self, job_id: str, path: str, most_bytes: int) -> SmallOutput | OutputFile:
        """The whole file, opened, read, hashed and closed in one call of a thread; just the file's facts where it is larger.

        Larger than `most_bytes`, or than 1 MiB. Raises OutputRefusedError, and OutputChangedError where it changed meanwhile.
        """
        ...

    async def read_ahead(self, job_id: str, paths: Sequence[str], most_bytes: int) -> dict[str, SmallOutput]:
        """Those of the files that `read_small` would give whole, all in one call of a thread. What is wrong with another, that tells.

        Raises JobFolderMissingError.
        """
        ...
