"""Output folders in memory: files that a test writes as a job does, and readers that see it. Hostile folders are the real adapter's test."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

from agent.core.disk_space import CountLimits, Held
from agent.core.globs import OutputChoice
from agent.core.quiet import Noticed, Sighting
from agent.interfaces import (
    Digest,
    OutputChangedError,
    OutputFile,
    OutputLimits,
    OutputListing,
    OutputRefusedError,
    SkippedOutput,
    SmallOutput,
)

BLOCK_BYTES = 1 << 20
DISK_BLOCK = 4096
# The first moment of a folder's time: each change comes a second later.
BEGAN_NS = 1_800_000_000_000_000_000


@dataclass(slots=True)
class _File:
    data: bytes
    modified_ns: int
    mode: int = 0o644
    changes: int = 0

    def seen_as(self, path: str) -> OutputFile:
        return OutputFile(path, len(self.data), self.modified_ns, self.mode)


@dataclass(slots=True)
class FakeOutputs:
    """One job's folder. `skipped`: what a walk passes over, path → why."""

    skipped: dict[str, str] = field(default_factory=dict)
    _files: dict[str, _File] = field(default_factory=dict)
    _watches: list[asyncio.Queue[tuple[str, Noticed]]] = field(default_factory=list)
    _changes: int = 0

    def write(self, path: str, data: bytes) -> None:
        """The whole file anew, and closed; who has it open sees that."""
        self.write_on(path, data)
        self._tell(path, Noticed.CLOSED)

    def write_on(self, path: str, data: bytes) -> None:
        """As `write`, and the job keeps it open."""
        if (file := self._files.get(path)) is None:
            self._files[path] = _File(data, self._now_ns())
        else:
            file.data, file.modified_ns = data, self._now_ns()
            file.changes += 1

    def append(self, path: str, data: bytes) -> None:
        self.write(path, self._files[path].data + data)

    def truncate(self, path: str, size: int) -> None:
        self.write(path, self._files[path].data[:size])

    def rename(self, path: str, to: str) -> None:
        self._files[to] = self._files.pop(path)
        self._files[to].changes += 1
        self._tell(to, Noticed.MOVED_IN)

    def unlink(self, path: str) -> None:
        self._files.pop(path).changes += 1

    async def watch(self, choice: OutputChoice) -> AsyncGenerator[Sighting, None]:
        """What is there, then what `write` and `rename` do."""
        news = asyncio.Queue[tuple[str, Noticed]]()
        self._watches.append(news)
        try:
            for path in sorted(self._files):
                news.put_nowait((path, Noticed.FOUND))
            while True:
                path, noticed = await news.get()
                if choice.takes(path) and path in self._files and path not in self.skipped:
                    file = self._files[path]
                    yield Sighting(path, len(file.data), file.modified_ns, noticed)
        finally:
            self._watches.remove(news)

    def _tell(self, path: str, noticed: Noticed) -> None:
        for news in self._watches:
            news.put_nowait((path, noticed))

    def list(self, limits: OutputLimits, choice: OutputChoice) -> OutputListing:
        files, skipped, truncated, total = [], [], None, 0
        for count, path in enumerate(sorted({*self._files, *self.skipped})):
            if count >= limits.files:
                truncated = f"stopped after {limits.files} entries"
                break
            if not choice.takes(path):
                continue
            if path in self.skipped:
                skipped.append(SkippedOutput(path, self.skipped[path]))
            elif total + len(self._files[path].data) > limits.total_bytes:
                truncated = f"left out what goes over {limits.total_bytes} bytes"
                skipped.append(SkippedOutput(path, "too_large"))
            else:
                total += len(self._files[path].data)
                files.append(self._files[path].seen_as(path))
        return OutputListing(tuple(files), tuple(skipped), truncated)

    def held(self, limits: CountLimits) -> Held:
        """In whole blocks; of its own moments none is fresh."""
        sizes = [-(-len(file.data) // DISK_BLOCK) * DISK_BLOCK for file in self._files.values()]
        counted = sizes[: limits.entries]
        return Held(sum(counted), 0, len(counted), len(counted) == len(sizes), files=len(counted))

    def open(self, path: str) -> "FakeReader":
        if path not in self._files:
            raise OutputRefusedError(f"the output {path} is not served: gone")
        return FakeReader(path, self._files[path])

    def _now_ns(self) -> int:
        self._changes += 1
        return BEGAN_NS + self._changes * 1_000_000_000


class FakeReader:
    """One file as it was when it was opened, and what has become of it since."""

    def __init__(self, path: str, file: _File) -> None:
        self.file = file.seen_as(path)
        self._file = file
        self._changes = file.changes

    async def read(self, offset: int, size: int) -> bytes:
        wanted = max(0, min(size, BLOCK_BYTES, self.file.size_bytes - offset))
        data = self._file.data[offset : offset + wanted]
        if len(data) < wanted:
            raise OutputChangedError(self.file.path)
        return data

    async def read_hashing(self, digest: Digest, offset: int, size: int) -> bytes:
        data = await self.read(offset, size)
        digest.update(data)
        return data

    async def is_unchanged(self) -> bool:
        return self._file.changes == self._changes

    async def sha256(self) -> str:
        if len(self._file.data) < self.file.size_bytes:
            raise OutputChangedError(self.file.path)
        return hashlib.sha256(self._file.data[: self.file.size_bytes]).hexdigest()

    async def read_all(self, most_bytes: int) -> SmallOutput | OutputFile:
        if self.file.size_bytes > min(most_bytes, BLOCK_BYTES):
            return self.file
        return SmallOutput(self.file, self._file.data, hashlib.sha256(self._file.data).hexdigest())

    async def close(self) -> None: ...
