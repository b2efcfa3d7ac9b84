"""jobs/supervisor — one task a job, and the grant: who may start now. Takes no step of a job itself."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import structlog

from agent.aio import Flag, spawn
from agent.core.job import EVERYONE, Job, NewEvent, StopCause
from agent.core.queue import Granted, Host, grant
from agent.core.shortage import is_shortage
from agent.core.stop_requests import request_attempt_stop
from agent.interfaces import StoreUnavailableError
from agent.jobs.moment import now_of
from agent.jobs.runner import RETRY_SECONDS, Runner
from agent.jobs.tools import Tools

log = structlog.get_logger()

GRANT_SECONDS = 30.0
# A job whose task broke twice is tried again this often; its container is never left unseen.
BROKEN_SECONDS = 60.0


@dataclass(slots=True)
class _Drive:
    """One job's task and its poke. However many pokes, there is one task."""

    flag: Flag = field(default_factory=Flag)
    runner: Runner | None = None
    broke: str | None = None


class Supervisor:
    """Standing task `supervise`. `host` says what there is to grant just now."""

    def __init__(self, tools: Tools, host: Callable[[], Host], ask: Flag) -> None:
        """`ask` is the grant's flag, the one that `tools.ask_grant` sets."""
        self._tools = tools
        self._host = host
        self._ask = ask
        self._drives: dict[str, _Drive] = {}
        self._group: asyncio.TaskGroup | None = None

    async def supervise(self) -> None:
        """Run each unfinished row's line; then grant, when asked and each 30 s. Start is recover: there is no other way."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                for job in await self._unfinished():
                    self.poke(job.id)
                while True:
                    self._ask.clear()
                    await self._ask.wait(await self._grant())
        finally:
            self._group = None  # a poke while the daemon leaves is for the next one to act on

    async def _unfinished(self) -> list[Job]:
        while True:
            try:
                return await self._tools.store.unfinished()
            except StoreUnavailableError as error:
                log.warning("state.unavailable", code=error.code, error=str(error))
                await asyncio.sleep(RETRY_SECONDS)

    def poke(self, job_id: str) -> None:
        """Something of the job may have changed: its task looks. A job without a task gets one."""
        drive = self._drives.get(job_id)
        if drive is not None:
            drive.flag.set()
        elif self._group is not None:
            self._drives[job_id] = drive = _Drive()
            spawn(self._group, self._drive(job_id, drive, self._group), f"job {job_id}")

    def poke_known(self, job_id: str) -> None:
        """As `poke`, for the engine's events: what has no task is none of ours to run, but the janitor's."""
        if job_id in self._drives:
            self._drives[job_id].flag.set()

    def poke_all(self) -> None:
        for drive in self._drives.values():
            drive.flag.set()

    @property
    def broken(self) -> dict[str, str]:
        """Jobs whose task raised what no step foresees, with the error: for /health."""
        return {job_id: drive.broke for job_id, drive in self._drives.items() if drive.broke}

    @property
    def unkillable(self) -> dict[str, float]:
        """Jobs whose container outlived KILL by a minute, and since when: for /health."""
        runners = {job_id: drive.runner for job_id, drive in self._drives.items() if drive.runner}
        return {
            job_id: runner.unkillable_since
            for job_id, runner in runners.items()
            if runner.unkillable_since is not None
        }

    async def _grant(self) -> float:
        """Returns in how many seconds to grant again, unless asked before."""
        try:
            # Read here: `choose` runs in the database's thread.
            choose = partial(_choose, self._host(), self._tools.clock.now())
            changed = await self._tools.store.grant(choose)
        except StoreUnavailableError as error:
            log.warning("state.unavailable", code=error.code, error=str(error))
            self.poke_all()  # it may have been written all the same: who was granted must look
            return RETRY_SECONDS
        for job in changed:
            log.debug("queue.decided", job=job.id, phase=job.phase, waiting_for=job.waiting_for)
            self.poke(job.id)
        return GRANT_SECONDS

    async def _drive(self, job_id: str, drive: _Drive, group: asyncio.TaskGroup) -> None:
        with structlog.contextvars.bound_contextvars(job=job_id):
            drive.runner = Runner(job_id, drive.flag, group, self._tools)
            while True:
                try:
                    await drive.runner.run()
                    break
                except Exception as error:
                    if is_shortage(error):
                        # It is over when others have let go of what they have, and no job need end for it.
                        log.warning("host.short", error=repr(error))
                        await asyncio.sleep(RETRY_SECONDS)
                        continue
                    # The top of the job's task: a bug of ours ends this job, and neither the daemon nor its neighbours.
                    log.exception("job.task_broke")
                    await self._note_broken(job_id, drive, repr(error))
                    drive.runner = Runner(job_id, drive.flag, group, self._tools)
            del self._drives[job_id]

    async def _note_broken(self, job_id: str, drive: _Drive, error: str) -> None:
        if drive.broke is not None:
            await asyncio.sleep(BROKEN_SECONDS)
        drive.broke = error
        try:
            await self._tools.store.change(job_id, EVERYONE, self._stop_as_broken)
        except StoreUnavailableError as unavailable:
            log.warning("state.unavailable", code=unavailable.code, error=str(unavailable))

    def _stop_as_broken(self, job: Job) -> tuple[Job, list[NewEvent]]:
        now = now_of(self._tools.clock)
        return request_attempt_stop(job, StopCause.INTERNAL_ERROR, now.wall, now.after(job.spec.grace))


def _choose(host: Host, now: float, jobs: Sequence[Job]) -> list[Granted]:
    return grant(jobs, host, now)
