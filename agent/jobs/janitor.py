"""jobs/janitor — containers of ours that no row wants, and finished jobs past their retention. Never what a runner works on."""

import asyncio

import structlog

from agent.aio import Flag
from agent.core.container import ContainerEvent, ContainerState
from agent.core.job import EVERYONE
from agent.core.reconcile import is_of_open_attempt, is_wanted
from agent.core.shortage import is_shortage
from agent.errors import AgentError
from agent.interfaces import (
    Clock,
    Engine,
    EngineRefusedError,
    Folders,
    StateFullError,
    StateReadOnlyError,
    Store,
    StoreUnavailableError,
)
from agent.jobs.given_ids import GivenIds

log = structlog.get_logger()

SWEEP_SECONDS = 30.0
# Who asks for a look comes in crowds: one look serves all of a second. At all containers: of five, since the engine looks at each.
PAUSE_SECONDS = 1.0
LIST_SECONDS = 5.0
# Forgetting goes in small portions, so that a long list does not hold the database.
_FORGET_AT_ONCE = 100
# A folder that can't be removed is tried again this often.
STUCK_SECONDS = 600.0


class Janitor:
    """Standing task `clean`. `look` asks for one look soon: after a close, a reconnect, an event of a stray."""

    def __init__(
        self, engine: Engine, store: Store, folders: Folders, clock: Clock, retention_seconds: float
    ) -> None:
        self._engine = engine
        self._store = store
        self._folders = folders
        self._clock = clock
        self.retention_seconds = retention_seconds
        self.given_ids = GivenIds()
        self._stuck: dict[str, float] = {}
        self._flag = Flag()
        self._suspects: dict[str, ContainerEvent] = {}
        self._is_asked_for_all = True
        self._listed_at = -LIST_SECONDS
        self.orphans_removed = 0

    def look(self) -> None:
        """All containers of ours, soon: after a reconnect, and after each close (trace 4)."""
        self._is_asked_for_all = True
        self._flag.set()

    def suspect(self, event: ContainerEvent) -> None:
        """A container was made or started: if that took effect too late, nobody wants it."""
        self._suspects[event.container] = event
        self._flag.set()

    def acquit(self, container: str) -> None:
        """It is gone."""
        self._suspects.pop(container, None)

    async def clean(self) -> None:
        """Judge all containers of ours, forget what is past its time; again when asked, and each 30 s."""
        while True:
            self._flag.clear()
            try:
                await self._judge_suspects()
                if self._is_asked_for_all and self._list_pause() <= 0:
                    await self._judge_all()
                    await self._forget_expired()
            except AgentError as error:
                # Nothing is judged by half of the facts: the look is made again, whole.
                log.info("janitor.put_off", code=error.code, error=str(error))
                self.look()
            await asyncio.sleep(PAUSE_SECONDS)
            if not await self._flag.wait(self._list_pause() if self._is_asked_for_all else SWEEP_SECONDS):
                self._is_asked_for_all = True

    def _list_pause(self) -> float:
        return max(0.0, self._listed_at + LIST_SECONDS - asyncio.get_running_loop().time())

    async def _judge_suspects(self) -> None:
        for container_id, event in list(self._suspects.items()):
            job = await self._store.read(event.job)
            if job is None or not is_of_open_attempt(event.attempt, job):
                await self._remove(container_id)
            self.acquit(container_id)

    async def _judge_all(self) -> None:
        self._is_asked_for_all = False
        self._listed_at = asyncio.get_running_loop().time()
        for container in await self._engine.ours():
            # The row is read after the list: a container of a job accepted in between would look unwanted.
            job = await self._store.read(container.job) if container.job is not None else None
            if not is_wanted(container, job):
                await self._remove(container.id)

    async def _remove(self, container_id: str) -> None:
        """By id, so that a late call can't hit the next container of that name."""
        container = await self._engine.inspect(container_id)
        if container is None:
            return  # its own job removed it, and closed, between the look at the engine and the one at the row
        # One that is going already is no orphan: its job's last call, which the engine has not done with.
        is_going = container.state is ContainerState.REMOVING
        if not is_going:
            log.warning(
                "container.orphan_found",
                container=container.id[:12],
                job=container.job,
                state=container.state,
            )
        try:
            if container.state is ContainerState.RUNNING:
                await self._engine.kill(container.id, "SIGKILL")
                await self._see_it_end(container.id)
            await self._engine.remove(container.id)
        except EngineRefusedError as error:
            # One that can't be removed must not keep the others from it; the next sweep tries again.
            log.warning("container.orphan_stays", container=container.id[:12], error=str(error))
            return
        self.orphans_removed += not is_going

    async def _see_it_end(self, container: str) -> None:
        for _ in range(20):
            seen = await self._engine.inspect(container)
            if seen is None or seen.state is not ContainerState.RUNNING:
                return
            await asyncio.sleep(0.1)

    async def _forget_expired(self) -> None:
        before, now = self._clock.now() - self.retention_seconds, asyncio.get_running_loop().time()
        # Beyond those that are stuck: were they the oldest, no other would ever be found.
        expired = await self._store.finished_before(before, _FORGET_AT_ONCE + len(self._stuck))
        self._stuck = {job_id: self._stuck[job_id] for job_id in expired if job_id in self._stuck}
        for job_id in expired:
            if now - self._stuck.get(job_id, -STUCK_SECONDS) < STUCK_SECONDS:
                continue
            try:
                await self._forget(job_id, before)
            except (StoreUnavailableError, StateFullError, StateReadOnlyError):
                raise
            except (AgentError, OSError) as error:
                if is_shortage(error):
                    log.warning("host.short", error=str(error))
                    return
                # One folder that can't be removed, or read (EIO), must not keep the others, nor the daemon, from going on.
                log.warning("job.not_forgotten", job=job_id, error=str(error))
                self._stuck[job_id] = now

    async def _forget(self, job_id: str, before: float) -> None:
        """Folder before row: what a crash leaves in between is a row that is forgotten again."""
        async with self.given_ids.turn(job_id):
            job = await self._store.read(job_id)
            # Somebody may have deleted the job meanwhile, and sent another one of the same id.
            if job is not None and job.finished_at is not None and job.finished_at < before:
                await self._folders.remove(job_id)
                await self._store.forget(job_id, EVERYONE)
