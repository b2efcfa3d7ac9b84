"""jobs/functions/functions — all running functions: their sockets opened and closed with their containers, what they tell written down."""

import asyncio
from collections import deque
from collections.abc import Sequence

import structlog

from agent.aio import Flag
from agent.core.function import Report
from agent.core.job import EVERYONE, Job, Kind
from agent.interfaces import Folders, Store, StoreUnavailableError, Telling
from agent.interfaces.job_socket import JobSockets
from agent.jobs.functions.cord_hosts import CordHosts
from agent.jobs.functions.keeper import Keeper
from agent.jobs.functions.neighbours import Neighbours
from agent.jobs.functions.session import Session, Tools
from agent.spec import lines_of

log = structlog.get_logger()

RETRY_SECONDS = 1.0
# What one transaction writes: a job may change three times as many, and takes the database 25 ms then.
POINTS_AT_ONCE = 20_000


class Functions:
    """Standing task `keep`. What is in memory alone was not answered yet: the SDK sends it to the next daemon."""

    def __init__(self, store: Store, folders: Folders, sockets: JobSockets) -> None:
        self._store = store
        self._folders = folders
        self._sockets = sockets
        self._sessions: dict[str, Session] = {}
        self._writing = asyncio.Lock()
        self._flag = Flag()
        self._tools = Tools(store, folders, self._flag.set)

    def use(self, group: asyncio.TaskGroup) -> None:
        """Where connections are served."""
        self._sockets.use(group)

    def answer_by(self, neighbours: Neighbours) -> None:
        """Who answers what functions ask of other jobs."""
        self._tools.neighbours = neighbours

    def call_cords_by(self, hosts: CordHosts) -> None:
        """Who makes calls on the connections on which cords are answered."""
        self._tools.cord_hosts = hosts

    async def open(self, job: Job) -> None:
        """Let the attempt's container speak. Open already is fine.

        Raises JobFolderMissingError, StateFullError, StateReadOnlyError, StoreUnavailableError.
        """
        known = self._sessions.get(job.id)
        if job.call is None or (known is not None and known.attempt == job.attempt):
            return
        if known is not None:
            await self.leave(job.id)
        keeper = Keeper(job.id, job.attempt, await self._store.told(job.id))
        session = Session(job, job.call, await self._lines_of(job), keeper, self._tools)
        await self._sockets.open(job.id, session)
        self._sessions[job.id] = session

    async def _lines_of(self, job: Job) -> int:
        if job.kind is not Kind.CORDS or job.call is None:
            return 0
        version = await self._store.version(job.call.version, EVERYONE)
        manifest = None if version is None else version.manifest
        return lines_of(None if manifest is None else manifest.chute.concurrency)

    async def end(self, job: Job) -> Report | None:
        """The container has ended: hear what it had sent, write what it told, and see how it ended. None: it did not say.

        Raises StoreUnavailableError; then it can be asked for again.
        """
        if job.call is None:
            return None
        await self._sockets.close(job.id)
        session = self._sessions.get(job.id)
        if session is not None:
            await self._write([session])
            self._sessions.pop(job.id, None)
        stored = await self._folders.report(job.id, job.attempt)
        return None if stored is None else stored.finish.report

    async def leave(self, job_id: str) -> None:
        """The attempt is closed, however that came."""
        if self._sessions.pop(job_id, None) is not None:
            await self._sockets.close(job_id)

    async def keep(self) -> None:
        """Write what was told, each job's at most once a second, many jobs' at once."""
        while True:
            self._flag.clear()
            try:
                await self._write(self._due())
            except StoreUnavailableError as error:
                log.warning("state.unavailable", code=error.code, error=str(error))
                await asyncio.sleep(RETRY_SECONDS)
            await self._flag.wait(self._next_seconds())
            # Who reports, reports often: one look serves all of a moment.
            await asyncio.sleep(0)

    def _due(self) -> list[Session]:
        now = _loop_time()
        return [session for session in self._sessions.values() if session.keeper.next_at <= now]

    def _next_seconds(self) -> float | None:
        waiting = [session.keeper.next_at for session in self._sessions.values() if session.keeper.has_news]
        return max(0.0, min(waiting) - _loop_time()) if waiting else None

    async def _write(self, sessions: Sequence[Session]) -> None:
        """Raises StoreUnavailableError."""
        async with self._writing:
            keepers = deque(session.keeper for session in sessions if session.keeper.has_news)
            while keepers:
                await self._write_some(keepers)

    async def _write_some(self, keepers: deque[Keeper]) -> None:
        """Of the first of them, in one transaction: as many as do not hold the database from others for long."""
        written: list[tuple[Keeper, Telling]] = []
        while keepers and sum(telling.points for _, telling in written) < POINTS_AT_ONCE:
            keeper = keepers.popleft()
            written.append((keeper, await keeper.telling()))
        try:
            await self._store.keep_told([telling for _, telling in written])
        except BaseException:
            for keeper, telling in written:
                keeper.note_not_kept(telling)
            raise
        for keeper, telling in written:
            await keeper.note_kept(telling, _loop_time())


def _loop_time() -> float:
    return asyncio.get_running_loop().time()
