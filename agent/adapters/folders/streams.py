"""adapters/folders/streams — logs and output files as streams of bytes, read and written in threads. Judges no file."""

import asyncio
import hashlib
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from agent.adapters.folders import durable
from agent.adapters.folders.disk import Disk
from agent.adapters.folders.names import part_of
from agent.adapters.folders.outputs import OpenedOutput
from agent.interfaces import Digest, OutputChangedError, OutputFile, SmallOutput

# In larger reads nothing is gained, in smaller ones a thread's round trip dominates.
BLOCK_BYTES = 1 << 20
# One call of a thread hashes this much, so that a cancelled reader holds a thread for a moment only.
HASH_BYTES = 64 << 20
# Of the folders' eight threads: a list of many large files must not hold up the steps of jobs.
HASHES_AT_ONCE = 3
HASHES_KEPT = 65_536
# Time stamps of files move in steps of up to 10 ms: a file that changed a moment ago can change again under the same stamps.
SETTLED_NS = 2_000_000_000


class Descriptor:
    """An open file that threads use and any of them, or the loop, may close.

    The number lives until the last use ends. A cancelled await leaves its thread in the middle of a read; were the number
    closed and given away beneath it, that thread would read another job's file.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self._users = 0
        self._is_closed = False
        self._lock = threading.Lock()

    @contextmanager
    def use(self) -> Iterator[int]:
        """The number, for the time of the block. Raises ValueError once it was closed."""
        with self._lock:
            if self._is_closed:
                raise ValueError("the file is closed")
            self._users += 1
        try:
            yield self._number
        finally:
            with self._lock:
                self._users -= 1
                self._close_if_unused()

    def close(self) -> None:
        """Close it now, or with the end of its last use. Again is fine."""
        with self._lock:
            if not self._is_closed:
                self._is_closed = True
                self._close_if_unused()

    def __del__(self) -> None:
        # Opened by a thread whose caller was cancelled meanwhile: nobody else can close it.
        self.close()

    def _close_if_unused(self) -> None:
        if self._is_closed and self._users == 0:
            os.close(self._number)


class Hashes:
    """The sha256 of files that have not changed since, by identity and stamps. In memory, bounded, for threads.

    Who makes one takes `turns` for each piece of a file, in the loop.
    """

    def __init__(self) -> None:
        self.turns = asyncio.Semaphore(HASHES_AT_ONCE)
        self._known: OrderedDict[tuple[int, ...], str] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, status: os.stat_result) -> str | None:
        with self._lock:
            return self._known.get(_identity(status))

    def keep(self, status: os.stat_result, digest: str, now_ns: int) -> None:
        """Remember it, unless the file changed so lately (UTC, ns) that it may change again under the same stamps."""
        if now_ns - status.st_ctime_ns <= SETTLED_NS:
            return
        with self._lock:
            self._known[_identity(status)] = digest
            if len(self._known) > HASHES_KEPT:
                self._known.popitem(last=False)


def _identity(status: os.stat_result) -> tuple[int, ...]:
    # A job can set the time of modification, but not that of the last change of the inode.
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


class OutputReader:
    """One output file; its size is the one at open, whatever the job appends. Implements `interfaces.OutputReader`."""

    def __init__(self, disk: Disk, opened: OpenedOutput, hashes: Hashes) -> None:
        self.file = opened.file
        self._opened = _identity(opened.status)
        self._disk = disk
        self._descriptor = Descriptor(opened.number)
        self._hashes = hashes

    async def read(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes, at most a block of 1 MiB; fewer only there or at the end. Raises OutputChangedError."""
        return await self._disk.run(self._read, offset, min(size, BLOCK_BYTES))

    async def read_hashing(self, digest: Digest, offset: int, size: int) -> bytes:
        """As `read`, and the digest is updated in the same thread. Raises OutputChangedError."""
        return await self._disk.run(self._read_hashing, digest, offset, min(size, BLOCK_BYTES))

    async def is_unchanged(self) -> bool:
        """Whether size and stamps are those at open.

        A kernel before 6.13 stamps in steps of up to 10 ms: what is written within such a step of the last change before the
        open may pass unseen.
        """
        return _identity(await self._disk.run(self._status)) == self._opened

    async def sha256(self) -> str:
        """In hex, of the bytes up to `file.size_bytes`. Raises OutputChangedError."""
        before = await self._disk.run(self._status)
        known = self._hashes.find(before)
        if known is not None and before.st_size == self.file.size_bytes:
            return known
        digest = hashlib.sha256()
        for start in range(0, self.file.size_bytes, HASH_BYTES):
            async with self._hashes.turns:
                await self._disk.run(self._hash, digest, start)
        await self._disk.run(self._keep, before, digest.hexdigest())
        return digest.hexdigest()

    async def close(self) -> None:
        await self._disk.run(self._descriptor.close)

    def _read(self, offset: int, size: int) -> bytes:
        with self._descriptor.use() as number:
            return _read_exactly(number, self.file, offset, size)

    def _read_hashing(self, digest: Digest, offset: int, size: int) -> bytes:
        data = self._read(offset, size)
        digest.update(data)
        return data

    def _status(self) -> os.stat_result:
        with self._descriptor.use() as number:
            return os.fstat(number)

    def _hash(self, digest: "hashlib._Hash", start: int) -> None:
        end = min(start + HASH_BYTES, self.file.size_bytes)
        for offset in range(start, end, BLOCK_BYTES):
            digest.update(self._read(offset, min(BLOCK_BYTES, end - offset)))

    def _keep(self, before: os.stat_result, digest: str) -> None:
        after = self._status()
        if _identity(after) == _identity(before) and after.st_size == self.file.size_bytes:
            self._hashes.keep(after, digest, time.time_ns())


def read_small(opened: OpenedOutput, most_bytes: int) -> SmallOutput | OutputFile:
    """All of it, or just what it is where it is larger. Blocking; closes it. Raises OutputChangedError."""
    try:
        file = opened.file
        if file.size_bytes > min(most_bytes, BLOCK_BYTES):
            return file
        data = _read_exactly(opened.number, file, 0, file.size_bytes)
        if _identity(os.fstat(opened.number)) != _identity(opened.status):
            raise OutputChangedError(file.path)
        return SmallOutput(file, data, hashlib.sha256(data).hexdigest())
    finally:
        os.close(opened.number)


def _read_exactly(number: int, file: OutputFile, offset: int, size: int) -> bytes:
    """Up to the size that the file had at open. Raises OutputChangedError where it has become shorter."""
    wanted = max(0, min(size, file.size_bytes - offset))
    data = os.pread(number, wanted, offset) if wanted else b""
    while data and len(data) < wanted:
        more = os.pread(number, wanted - len(data), offset + len(data))
        if not more:
            break
        data += more
    if len(data) < wanted:
        raise OutputChangedError(file.path)
    return data


class LogWriter:
    """`log.<attempt>.part`, written from its start. Implements `interfaces.LogWriter`."""

    def __init__(self, disk: Disk, folder: int, number: int, name: str) -> None:
        self._disk = disk
        self._folder = Descriptor(folder)
        self._file = Descriptor(number)
        self._name = name

    async def write(self, data: bytes) -> None:
        await self._disk.run(self._write, data)

    async def commit(self, last: bytes = b"") -> None:
        """Write the last bytes, and make it the log, for good even after a power cut. One that is there already stays."""
        await self._disk.run(self._commit, last)

    async def discard(self) -> None:
        """Remove it, unless it was committed. Again is fine."""
        await self._disk.run(self._discard)

    def _write(self, data: bytes) -> None:
        with self._file.use() as number:
            durable.write_all(number, data)

    def _commit(self, last: bytes) -> None:
        with self._folder.use() as folder:
            with self._file.use() as number:
                durable.write_all(number, last)
                os.fsync(number)
            if durable.is_there(folder, self._name):
                durable.unlink_if_there(folder, part_of(self._name))
            else:
                os.rename(part_of(self._name), self._name, src_dir_fd=folder, dst_dir_fd=folder)
            os.fsync(folder)
        self._close()

    def _discard(self) -> None:
        try:
            with self._folder.use() as folder:
                durable.unlink_if_there(folder, part_of(self._name))
        except ValueError:
            return  # committed or discarded before
        self._close()

    def _close(self) -> None:
        self._file.close()
        self._folder.close()


class LogReader:
    """A committed log from its start. Implements `interfaces.LogReader`."""

    def __init__(self, disk: Disk, number: int) -> None:
        self._disk = disk
        self._descriptor = Descriptor(number)
        self._offset = 0

    async def read(self, size: int) -> bytes:
        """The next bytes; empty at the end."""
        data = await self._disk.run(self._read, self._offset, size)
        self._offset += len(data)
        return data

    async def close(self) -> None:
        await self._disk.run(self._descriptor.close)

    def _read(self, offset: int, size: int) -> bytes:
        with self._descriptor.use() as number:
            return os.pread(number, size, offset)


class ResultReader(LogReader):
    """A function's result, behind the header of its report. Implements `interfaces.ResultReader`."""

    def __init__(self, disk: Disk, number: int, start: int, size_bytes: int) -> None:
        super().__init__(disk, number)
        self._offset = start
        self.size_bytes = size_bytes
