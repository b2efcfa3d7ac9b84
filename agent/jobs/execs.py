"""jobs/execs — commands beside a running job's own: who may be let in, what is noted of it, and its end. Speaks no protocol.

Of a command the event log keeps the program alone: its arguments and variables may hold anything, and secrets are in no event.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog

from agent.core.exec import ExecPlan
from agent.core.job import Job, NewEvent
from agent.core.pace import Pace, is_rested, pass_by
from agent.errors import AgentError, Phase
from agent.interfaces import Clock, ContainerGoneError, Engine, ExecSession, Store, StoreUnavailableError
from agent.jobs.stats import JobNotRunningError

log = structlog.get_logger(__name__)

# Who leaves is not kept waiting, and the daemon least of all.
HANG_UP_SECONDS = 2.0
MOST_PROGRAM_CHARACTERS = 200
# As a shell tells of SIGKILL.
KILLED = 137


@dataclass(frozen=True, slots=True)
class Asker:
    """Who runs it, for the event. `token`: its id, None for the host's own people. `peer`: an address, None on the socket."""

    principal: str
    token: str | None
    peer: str | None


class Execs:
    """`new_id` tells one command from another in the events of a job."""

    def __init__(self, engine: Engine, store: Store, clock: Clock, new_id: Callable[[], str]) -> None:
        self._engine = engine
        self._store = store
        self._clock = clock
        self._new_id = new_id
        self._paces: dict[str, Pace] = {}

    @asynccontextmanager
    async def open(self, job: Job, plan: ExecPlan, asker: Asker) -> AsyncIterator["Attended"]:
        """Run it while the block does; one that has not ended by then is hung up, as by a closed terminal.

        Raises JobNotRunningError, StoreUnavailableError (what can't be noted is not run), and what `Engine.open_exec` does.
        """
        container = container_of(job)
        exec_id, begun = self._new_id(), self._clock.boot_seconds()
        missed = self._paced(job.id)
        note = self._note if missed is not None else log_only
        await note(job.id, "exec.started", {"exec": exec_id, **facts_of(plan, asker), "missed": missed})
        attended: Attended | None = None
        error: str | None = None
        try:
            async with self._engine.open_exec(container, plan) as session:
                attended = Attended(session)
                async with hung_up_after(attended):
                    yield attended
        except AgentError as failure:
            error = failure.code
            raise
        finally:
            seconds = round(self._clock.boot_seconds() - begun, 3)
            code = None if attended is None else attended.code
            ended: dict[str, object] = {"exec": exec_id, "code": code, "error": error, "seconds": seconds}
            try:
                await note(job.id, "exec.ended", ended)
            except StoreUnavailableError as unwritten:
                # That it began is on disk; the command has ended all the same.
                log.warning("exec.end_not_written", job=job.id, error=str(unwritten))

    def _paced(self, job_id: str) -> int | None:
        """How many of this job were missed before this one; None: it is missed, too. Scripts run commands by the thousand."""
        now = self._clock.boot_seconds()
        self._paces = {job: pace for job, pace in self._paces.items() if not is_rested(pace, now)}
        self._paces[job_id], missed = pass_by(self._paces.get(job_id, Pace(now)), now)
        return missed

    async def _note(self, job_id: str, kind: str, facts: dict[str, object]) -> None:
        log.info(kind, job=job_id, **facts)
        await self._store.append_event(job_id, NewEvent(kind, facts))


async def log_only(job_id: str, kind: str, facts: dict[str, object]) -> None:
    log.info(kind, job=job_id, **facts)


class Attended:
    """A session whose exit code is remembered."""

    def __init__(self, session: ExecSession) -> None:
        self.session = session
        self.code: int | None = None

    async def exit_code(self) -> int:
        try:
            self.code = await self.session.exit_code()
        except ContainerGoneError:
            # Removed before it could be asked: what ran in it was killed with it.
            self.code = KILLED
        return self.code


@asynccontextmanager
async def hung_up_after(attended: Attended) -> AsyncIterator[None]:
    try:
        yield
    finally:
        if attended.code is None:
            await hang_up(attended.session)


async def hang_up(session: ExecSession) -> None:
    try:
        async with asyncio.timeout(HANG_UP_SECONDS):
            await session.hang_up()
    except (AgentError, TimeoutError) as error:
        # An engine that does not answer: the command runs on, until its job ends.
        log.warning("exec.left_running", error=str(error) or "the engine gave no answer")


def container_of(job: Job) -> str:
    """Raises JobNotRunningError."""
    if job.phase is not Phase.RUNNING or job.container is None:
        raise JobNotRunningError(job)
    return job.container


def facts_of(plan: ExecPlan, asker: Asker) -> dict[str, object]:
    return {
        "principal": asker.principal,
        "token": asker.token,
        "peer": asker.peer,
        "program": plan.command[0][:MOST_PROGRAM_CHARACTERS],
        "user": plan.user,
        "terminal": plan.terminal is not None,
    }
