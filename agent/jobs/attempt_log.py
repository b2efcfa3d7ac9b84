"""jobs/attempt_log — the log of one attempt from a cursor on, wherever it is just now: with the engine, or drained. Formats nothing.

While the container exists its log is the engine's, after that it is the drained file; both hold the same frames, so a reader
changes from one to the other at its cursor. A drain comes before the removal, so a container that is gone has its file.

A follow stream of the engine skips rotated files in silence where its reader lags by more than one file. So what is not at the
tail is read by plain reads, one after the other; the stream is followed only at the tail, and left as soon as its frames are old
when they come, or come in a burst: an engine sends 23 MB/s, a job prints 100 MB/s, and fills a file before it looks old.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from agent.core.container import Container, ContainerState
from agent.core.cursor import Cursor, Unread, advance, since_ns
from agent.core.frames import NANOS, FrameParser, Slab, Stream, stamp_ns
from agent.core.job import Job
from agent.core.lines import Cause
from agent.errors import Phase
from agent.interfaces import Clock, ContainerGoneError, EngineUnavailableError, Folders, LogReader
from agent.jobs.bell import Bell, wait_for_ring

# A follower goes back to plain reads where frames come so late, or so many bytes within a second. Both well below what
# fills one of the engine's files (20 MB at 100 MB/s: 0.2 s).
LAG_SECONDS = 0.25
BURST_BYTES = 4 << 20
# Who waits looks again after this, should a ring be missed or the engine be back without one.
LOOK_SECONDS = 1.0
FILE_BYTES = 256 << 10
# Plain reads come in as small pieces as the engine writes; each batch costs a write to the reader.
BATCH_BYTES = 64 << 10
_CLOSED = frozenset({Phase.UPLOADING, Phase.FINISHED})


class Follow(Enum):
    """Whether a reading ends with what is there now, or with the job."""

    NO = "no"
    YES = "yes"


class LogEngine(Protocol):
    """What of the engine a reader needs; see interfaces/engine."""

    async def inspect(self, container: str) -> Container | None: ...

    def read_logs(self, container: str, since_ns: int) -> AsyncGenerator[bytes]: ...

    def follow_logs(self, container: str, since_ns: int) -> AsyncGenerator[bytes]: ...


class JobRows(Protocol):
    async def read(self, job_id: str) -> Job | None: ...


@dataclass(frozen=True, slots=True)
class Sources:
    """Where logs are, and by what their readers are woken. `burst_bytes`: well below the size at which the engine rotates."""

    engine: LogEngine
    folders: Folders
    rows: JobRows
    clock: Clock
    bell: Bell
    burst_bytes: int = BURST_BYTES


@dataclass(frozen=True, slots=True)
class Window:
    """What of a log is asked for: no line older than `from_ns`, of one stream only."""

    from_ns: int = 0
    only: Stream | None = None


@dataclass(frozen=True, slots=True)
class Gap:
    """Lines are missing here. `at_ns`: the first that is left, None where nothing can be read any more."""

    cause: Cause
    at_ns: int | None


class AttemptLog:
    """One reader of one attempt. `cursor` is behind the last slab that was handed out; `is_over`: no more will come."""

    def __init__(self, sources: Sources, job_id: str, cursor: Cursor, window: Window) -> None:
        self.cursor = cursor
        self.is_over = False
        self._sources = sources
        self._job_id = job_id
        self._window = window
        self._first_ns: int | None = None
        # The container whose log was read to its very end, so that its drained file has nothing new.
        self._read_out: str | None = None
        self._has_told_failure = False
        self._fresh_bytes = 0

    async def pieces(self, follow: Follow) -> AsyncGenerator[Slab | Gap]:
        """What is unread, until the end of what is there, or, following, of the attempt. Waits for a container to come.

        Holds one chunk; the engine waits where the reader does. Raises EngineUnavailableError where it does not follow.
        """
        has_read = False
        while True:
            ring = self._sources.bell.listen()
            # In this order: what is closed was drained before.
            job = await self._sources.rows.read(self._job_id)
            log = await self._sources.folders.open_log(self._job_id, self.cursor.attempt)
            if log is not None:
                async with aclosing(self._drained(log)) as pieces:
                    async for piece in pieces:
                        yield piece
            self.is_over = log is not None or job is None or is_closed(job, self.cursor.attempt)
            if self.is_over or job is None or (has_read and follow is Follow.NO):
                return
            before = self.cursor
            async with aclosing(self._round(job, follow)) as pieces:
                async for piece in pieces:
                    yield piece
            has_read = True
            if self.cursor == before and follow is Follow.YES:
                await wait_for_ring(ring, LOOK_SECONDS)

    async def _round(self, job: Job, follow: Follow) -> AsyncGenerator[Slab | Gap]:
        container = job.container
        if container is None or container == self._read_out:
            return
        self._first_ns = job.run.first_log_ns
        try:
            async with aclosing(self._live(container, follow)) as pieces:
                async for piece in pieces:
                    yield piece
        except ContainerGoneError:
            return  # drained, or lost: the next look tells
        except EngineUnavailableError:
            if follow is Follow.NO:
                raise

    async def _live(self, container: str, follow: Follow) -> AsyncGenerator[Slab | Gap]:
        """A plain read from the cursor, then the stream if that brought us to the tail."""
        seen = await self._sources.engine.inspect(container)
        if seen is None or seen.state is ContainerState.CREATED:
            return
        self._fresh_bytes = 0
        async with aclosing(self._read(container)) as pieces:
            async for piece in pieces:
                yield piece
        if seen.state is not ContainerState.RUNNING:
            self._read_out = container
        elif follow is Follow.YES and self._fresh_bytes < self._sources.burst_bytes:
            async with aclosing(self._follow(container)) as pieces:
                async for piece in pieces:
                    yield piece

    async def _read(self, container: str) -> AsyncGenerator[Slab | Gap]:
        reading = _Reading(self.cursor, self._window, self._first_ns)
        if reading.has_unknown_head:
            reading.oldest_ns = await self._oldest_ns(container)
        chunks = self._sources.engine.read_logs(container, reading.since_ns)
        async with aclosing(chunks), aclosing(_batched(chunks)) as batches:
            async for batch in batches:
                pieces = self._unread(reading, batch)
                self._fresh_bytes += len(batch) if pieces else 0
                for piece in pieces:
                    yield piece

    async def _follow(self, container: str) -> AsyncGenerator[Slab | Gap]:
        reading = _Reading(self.cursor, self._window, self._first_ns)
        async with aclosing(self._sources.engine.follow_logs(container, reading.since_ns)) as chunks:
            burst = _Burst(self._sources.burst_bytes)
            async for chunk in chunks:
                slab = reading.take(chunk)
                if self._lags(slab) or burst.is_reached_by(len(chunk) if slab.starts else 0):
                    return
                for piece in self._handed_out(reading, slab):
                    yield piece

    async def _drained(self, log: LogReader) -> AsyncGenerator[Slab | Gap]:
        try:
            if self._read_out is not None:
                return
            reading = _Reading(self.cursor, self._window, None)
            while chunk := await log.read(FILE_BYTES):
                for piece in self._unread(reading, chunk):
                    yield piece
        finally:
            await log.close()

    async def _oldest_ns(self, container: str) -> int | None:
        parser = FrameParser()
        async with aclosing(self._sources.engine.read_logs(container, 0)) as chunks:
            async for chunk in chunks:
                slab = parser.feed(chunk)
                if slab.starts:
                    return stamp_ns(slab.data, slab.starts[0])
        return None

    def _lags(self, slab: Slab) -> bool:
        """Its first frame is old. A further part of a long line carries the stamp of the line's beginning: it tells nothing."""
        if not slab.starts:
            return False
        open_ns = {place.ns for place in (self.cursor.stdout, self.cursor.stderr) if place and place.is_open}
        first = stamp_ns(slab.data, slab.starts[0])
        return first not in open_ns and self._sources.clock.now() - first / NANOS > LAG_SECONDS

    def _unread(self, reading: "_Reading", chunk: bytes) -> list[Slab | Gap]:
        return self._handed_out(reading, reading.take(chunk))

    def _handed_out(self, reading: "_Reading", slab: Slab) -> list[Slab | Gap]:
        pieces: list[Slab | Gap] = []
        if reading.gap_ns is not None:
            pieces.append(Gap(Cause.ROTATED, reading.gap_ns))
            reading.gap_ns = None
        if slab.starts:
            pieces.append(slab)
            self.cursor = advance(self.cursor, slab)
        if slab.failure is not None and not self._has_told_failure:
            self._has_told_failure = True
            pieces.append(Gap(Cause.UNREADABLE, None))
        return pieces


class _Burst:
    """Whether so many bytes came within a second."""

    def __init__(self, size_bytes: int) -> None:
        self._size = size_bytes
        self._began = asyncio.get_running_loop().time()
        self._bytes = 0

    def is_reached_by(self, more_bytes: int) -> bool:
        now = asyncio.get_running_loop().time()
        if now - self._began > 1.0:
            self._began, self._bytes = now, 0
        self._bytes += more_bytes
        return self._bytes >= self._size


class _Reading:
    """One pass over a log in its order: chunks in, unread frames out, and where the log that is left begins too late."""

    def __init__(self, cursor: Cursor, window: Window, first_ns: int | None) -> None:
        self.since_ns = max(since_ns(cursor, window.only), window.from_ns)
        self.gap_ns: int | None = None
        self.oldest_ns: int | None = None
        self._is_from_start = cursor.newest is None
        self._from_ns = window.from_ns
        self._first_ns = first_ns
        self._has_begun = False
        self._parser = FrameParser()
        self._unread = Unread(cursor, window.from_ns, window.only)

    @property
    def has_unknown_head(self) -> bool:
        """Only a look at the log's start can tell whether lines of the window were rotated away."""
        return self._is_from_start and self.since_ns > 0 and self._first_ns is not None

    def take(self, chunk: bytes) -> Slab:
        slab = self._parser.feed(chunk)
        self._first_ns = slab.first_ns or self._first_ns
        if slab.starts and not self._has_begun:
            self._has_begun = True
            self._look_at_head(stamp_ns(slab.data, slab.starts[0]))
        unread = self._unread.take(slab)
        if self._unread.skips_lines:
            self._unread.skips_lines = False
            self.gap_ns = stamp_ns(unread.data, unread.starts[0])
        return unread

    def _look_at_head(self, ns: int) -> None:
        oldest = ns if self.oldest_ns is None else self.oldest_ns
        is_cut = self._first_ns is not None and oldest != self._first_ns
        if self._is_from_start and is_cut and oldest > self._from_ns:
            self.gap_ns = oldest


def is_closed(job: Job, attempt: int) -> bool:
    """The attempt is over, and its log drained if it had one."""
    return job.attempt > attempt or job.phase in _CLOSED


async def _batched(chunks: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    held = bytearray()
    async for chunk in chunks:
        held += chunk
        if len(held) >= BATCH_BYTES:
            yield bytes(held)
            held.clear()
    if held:
        yield bytes(held)
