"""jobs/outputs — a job's output files for whoever fetches them: the list with digests, one file in ranges, all as a tar. Sends nothing."""

import tarfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

import structlog

from agent.errors import AgentError, Blame
from agent.interfaces import (
    OutputChangedError,
    OutputFile,
    OutputFolders,
    OutputLimits,
    OutputListing,
    OutputReader,
    OutputRefusedError,
    SkippedOutput,
)

log = structlog.get_logger(__name__)

READ_BYTES = 1 << 20
# POSIX.1-2017 pax: blocks of 512 bytes; two empty ones end the archive, and readers expect records of twenty.
BLOCK_BYTES = 512
RECORD_BYTES = 20 * BLOCK_BYTES


@dataclass(frozen=True, slots=True)
class Digested:
    """A file and the sha256 (hex) of its content as it was when it was read; None where nobody asked for it."""

    file: OutputFile
    sha256: str | None


class ArchiveIncompleteError(AgentError):
    """A cap ended the walk of the outputs: the archive lacks files, and is broken off so that nobody takes it for whole."""

    code, blame = "archive_incomplete", Blame.HOST
    remedy = "Let the operator raise max_files and max_bytes under [outputs], or have the job pack its files."


class Outputs:
    """Reads output folders, which are hostile: all goes by `OutputFolders`, which opens nothing by path."""

    def __init__(self, folders: OutputFolders, limits: OutputLimits) -> None:
        self._folders = folders
        self.limits = limits  # replaced when the config was read again

    async def list_files(self, job_id: str) -> OutputListing:
        """The files with their sizes, without reading them."""
        return await self._folders.list_outputs(job_id, self.limits)

    async def digested(
        self, job_id: str, files: Sequence[OutputFile]
    ) -> AsyncIterator[Digested | SkippedOutput]:
        """Each file with its digest, or why it can't be had. All are read, so it takes as long as that takes."""
        for file in files:
            try:
                async with self.open(job_id, file.path) as reader:
                    # As opened, not as listed: size and digest are then of one and the same content.
                    digested = Digested(reader.file, await reader.sha256())
            except (OutputRefusedError, OutputChangedError) as refusal:
                yield SkippedOutput(file.path, str(refusal))
            else:
                yield digested

    @asynccontextmanager
    async def open(self, job_id: str, path: str) -> AsyncIterator[OutputReader]:
        """One file, open while the block runs. Raises OutputRefusedError."""
        reader = await self._folders.open_output(job_id, path)
        try:
            yield reader
        finally:
            await reader.close()

    async def tar_chunks(self, job_id: str) -> AsyncIterator[bytes]:
        """All files as a pax archive, in constant memory. A file that shrinks while it is read is filled up with zeros.

        Raises ArchiveIncompleteError behind the last file that the caps let it see.
        """
        listing = await self.list_files(job_id)
        if listing.skipped:
            log.info("archive.skipped", job=job_id, skipped=len(listing.skipped))
        written = 0
        for file in listing.files:
            try:
                async with self.open(job_id, file.path) as reader:
                    async for chunk in member_chunks(reader):
                        written += len(chunk)
                        yield chunk
            except OutputRefusedError as refusal:
                # It went between the list and now: an archive of a running job is of what can be had.
                log.info("output.skipped", job=job_id, path=file.path, why=str(refusal))
        if listing.truncated is not None:
            raise ArchiveIncompleteError(f"the outputs of job {job_id}: {listing.truncated}")
        yield b"\0" * ending_bytes(written)


def ending_bytes(written: int) -> int:
    whole = written + 2 * BLOCK_BYTES
    return 2 * BLOCK_BYTES + -whole % RECORD_BYTES


async def member_chunks(reader: OutputReader) -> AsyncIterator[bytes]:
    yield member_header(reader.file)
    async for chunk in content_chunks(reader, 0, reader.file.size_bytes):
        yield chunk
    yield b"\0" * (-reader.file.size_bytes % BLOCK_BYTES)


async def content_chunks(reader: OutputReader, start: int, size: int) -> AsyncIterator[bytes]:
    """Exactly `size` bytes from `start`: the length was promised, so what a file lost meanwhile reads as zeros."""
    sent = 0
    while sent < size:
        wanted = min(READ_BYTES, size - sent)
        chunk = await reader.read(start + sent, wanted) or b"\0" * wanted
        sent += len(chunk)
        yield chunk


def member_header(file: OutputFile) -> bytes:
    """Header blocks of one regular file: no owner, no device, no setuid. Names that are no UTF-8 become themselves again."""
    info = tarfile.TarInfo(unquote_to_bytes(file.path).decode("utf-8", "surrogateescape"))
    info.size = file.size_bytes
    info.mtime = file.modified_ns // 1_000_000_000
    info.mode = file.mode & 0o777
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
