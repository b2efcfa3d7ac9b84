"""jobs/logs — a job's log for whoever asks: over its attempts, as records, text or NDJSON. Where an attempt's log lies is jobs/attempt_log.

Following ends with the job, not with an attempt. Slow readers are waited for: each format is an async generator that holds one
chunk, and the engine stands still meanwhile.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from enum import Enum

from agent.core.cursor import BadCursorError, Cursor
from agent.core.frames import NANOS, Slab, Stream
from agent.core.job import Job
from agent.core.lines import AttemptMark, LineJoiner, Record, Truncated, as_ndjson, mark_text
from agent.core.tail import TailFinder
from agent.errors import AgentError, Blame
from agent.jobs.attempt_log import LOOK_SECONDS, AttemptLog, Follow, Gap, Sources, Window, is_closed
from agent.jobs.bell import wait_for_ring

# How far back to look for the last lines, until enough are found; then everything.
_TAIL_SECONDS = (1, 16, 256, 4096)

__all__ = ["Follow", "LogQuery", "Logs", "NoSuchAttemptError", "Sources", "Stamps"]


class NoSuchAttemptError(AgentError):
    """The job has not had that attempt."""

    code, blame = "no_such_attempt", Blame.USER
    remedy = "`gpu-agent show JOB` lists the attempts; leave the attempt out for the latest."


@dataclass(frozen=True, slots=True)
class LogQuery:
    """What to read. `attempt` None: from the latest (or the cursor's) on to the last; else that one alone.

    `cursor`: only what is behind it; send it with the same `stream` as the reading that gave it. `since`: wall seconds.
    `tail`: at most so many of the lines that are there now; it is for readers without a cursor.
    """

    attempt: int | None = None
    cursor: Cursor | None = None
    since: float | None = None
    tail: int | None = None
    stream: Stream | None = None
    follow: Follow = Follow.NO

    @property
    def window(self) -> Window:
        return Window(int(self.since * NANOS) if self.since is not None else 0, self.stream)


class Stamps(Enum):
    """Whether lines of text stand behind their stamps."""

    HIDDEN = "hidden"
    SHOWN = "shown"


class _Next(Enum):
    """The reader comes from the attempt before."""

    ATTEMPT = "attempt"


class _Over(Enum):
    """Nothing more will come of the attempt."""

    ATTEMPT = "attempt"


_Piece = Slab | Gap | _Next | _Over


class Logs:
    """The logs of all jobs. A job that is not there (any more) has an empty one: whose it is was asked before.

    All readings raise as `check`, BrokenFramesError, and, where they do not follow, EngineUnavailableError.
    """

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    async def check(self, job_id: str, query: LogQuery) -> None:
        """Refuse before the first byte. Raises BadCursorError, NoSuchAttemptError."""
        job = await self._sources.rows.read(job_id)
        if job is not None:
            _start(job, query)

    async def records(self, job_id: str, query: LogQuery) -> AsyncGenerator[list[Record]]:
        """Records as they come, many at a time."""
        async with aclosing(self._pieces(job_id, query)) as pieces:
            async for joiner, piece in pieces:
                batch = (
                    list[Record](joiner.lines(piece)) if isinstance(piece, Slab) else _others(joiner, piece)
                )
                if batch:
                    yield batch

    async def ndjson_chunks(self, job_id: str, query: LogQuery) -> AsyncGenerator[bytes]:
        """The records as NDJSON: whole lines, many in a chunk."""
        async with aclosing(self._pieces(job_id, query)) as pieces:
            async for joiner, piece in pieces:
                if isinstance(piece, Slab):
                    chunk = joiner.ndjson(piece)
                else:
                    chunk = b"".join(map(as_ndjson, _others(joiner, piece)))
                if chunk:
                    yield chunk

    async def text_chunks(self, job_id: str, query: LogQuery, stamps: Stamps) -> AsyncGenerator[bytes]:
        """The lines' own bytes, many in a chunk; in the middle of a line where the line is long."""
        async with aclosing(self._pieces(job_id, query)) as pieces:
            async for joiner, piece in pieces:
                if isinstance(piece, Slab):
                    yield piece.texts() if stamps is Stamps.HIDDEN else piece.stamped_texts()
                elif piece is not _Over.ATTEMPT:
                    yield b"".join(map(mark_text, _marks(joiner, piece)))

    async def _pieces(self, job_id: str, query: LogQuery) -> AsyncGenerator[tuple[LineJoiner, _Piece]]:
        """Attempt after attempt, each with a joiner of its own."""
        job = await self._sources.rows.read(job_id)
        if job is None:
            return
        start = _start(job, query)
        if query.tail is not None:
            start = await self._before_tail(job_id, start, query.tail, query.window)
        cursor: Cursor | None = start
        while cursor is not None:
            joiner = LineJoiner(cursor)
            if cursor.attempt != start.attempt:
                yield joiner, _Next.ATTEMPT
            log = AttemptLog(self._sources, job_id, cursor, query.window)
            async with aclosing(log.pieces(query.follow)) as pieces:
                async for piece in pieces:
                    yield joiner, piece
            if log.is_over:
                yield joiner, _Over.ATTEMPT
            cursor = await self._next(job_id, cursor.attempt, query)

    async def _next(self, job_id: str, attempt: int, query: LogQuery) -> Cursor | None:
        """Where the attempt after this one begins; None: the reading is over. Waits for it, following."""
        while query.attempt is None:
            ring = self._sources.bell.listen()
            job = await self._sources.rows.read(job_id)
            if job is not None and job.attempt > attempt:
                return Cursor(attempt + 1)
            if job is None or is_closed(job, attempt) or query.follow is Follow.NO:
                return None
            await wait_for_ring(ring, LOOK_SECONDS)
        return None

    async def _before_tail(self, job_id: str, start: Cursor, lines: int, window: Window) -> Cursor:
        """The cursor right before the last `lines` lines that are there now.

        Looks further and further back, since reading a large log whole takes the engine a minute.
        """
        now_ns = int(self._sources.clock.now() * NANOS)
        looks = [now_ns - seconds * NANOS for seconds in _TAIL_SECONDS]
        for since_ns in [*(look for look in looks if look > window.from_ns), 0]:
            finder = TailFinder(start.attempt, lines, since_ns)
            look = replace(window, from_ns=since_ns or window.from_ns)
            log = AttemptLog(self._sources, job_id, start, look)
            async with aclosing(log.pieces(Follow.NO)) as pieces:
                async for piece in pieces:
                    if isinstance(piece, Slab):
                        finder.feed(piece)
            if finder.is_full:
                break
        return finder.cursor()


def _start(job: Job, query: LogQuery) -> Cursor:
    if query.cursor is None:
        attempt = query.attempt or job.attempt
        if attempt > job.attempt:
            raise NoSuchAttemptError(f"there is no attempt {attempt}; the latest is {job.attempt}")
        return Cursor(attempt)
    if query.cursor.attempt > job.attempt or query.attempt not in {None, query.cursor.attempt}:
        raise BadCursorError(f"the cursor is of attempt {query.cursor.attempt}")
    return query.cursor


def _others(joiner: LineJoiner, piece: Gap | _Next | _Over) -> list[Record]:
    """The records of what is no slab of frames."""
    return list[Record](joiner.flush()) if piece is _Over.ATTEMPT else list[Record](_marks(joiner, piece))


def _marks(joiner: LineJoiner, piece: Gap | _Next | _Over) -> list[Truncated | AttemptMark]:
    match piece:
        case Gap(cause, at_ns):
            return [Truncated(joiner.attempt, cause, at_ns, joiner.cursor)]
        case _Next.ATTEMPT:
            return [AttemptMark(joiner.attempt, joiner.cursor)]
        case _Over.ATTEMPT:
            return []
