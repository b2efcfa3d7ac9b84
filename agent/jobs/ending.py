"""jobs/ending — the acts that end one job's container: signals, whose death it was, drain, remove. Called by the runner, step by step."""

import asyncio
from dataclasses import dataclass, replace

import structlog

from agent.aio import Flag
from agent.core.container import Container
from agent.core.exits import INIT_REFUSALS, INIT_WORDS_BYTES, Circumstances, command_failure, judge
from agent.core.frames import BrokenFramesError
from agent.core.job import Job, Run, StartFailure
from agent.interfaces import EngineRefusedError, EngineUnavailableError, JobFolderMissingError
from agent.jobs.drain import drain, read_head
from agent.jobs.tools import Tools

log = structlog.get_logger()

# A log that the engine refuses to read so often is lost: the container must go, and the job finish.
MOST_DRAINS = 3
# A container that is still there after a removal is asked for again at this pace.
REMOVE_AGAIN_SECONDS = 1.0


@dataclass(slots=True)
class _Memory:
    """What this process did to the current container, and a restart may forget."""

    container: str | None = None
    signal_was_sent: bool = False
    kill_sent_at: float | None = None
    was_removed: bool = False
    drains_refused: int = 0


class Ending:
    """One a job. Every act may be cut off anywhere and done again."""

    def __init__(self, tools: Tools, flag: Flag) -> None:
        self._tools = tools
        self._flag = flag
        self._memory = _Memory()

    def turn_to(self, container: Container | None) -> None:
        """What was done to another container says nothing of this one."""
        if container is not None and container.id != self._memory.container:
            self._memory = _Memory(container.id)

    def forget(self) -> None:
        """The attempt is closed."""
        self._memory = _Memory()

    @property
    def signal_was_sent(self) -> bool:
        return self._memory.signal_was_sent

    @property
    def since_kill_seconds(self) -> float | None:
        sent_at = self._memory.kill_sent_at
        return None if sent_at is None else _loop_time() - sent_at

    async def signal(self, container: Container) -> None:
        try:
            await self._tools.engine.kill(container.id, container.stop_signal)
        except EngineRefusedError as error:
            # What an image names as its stop signal must not keep the KILL from coming.
            log.warning("container.signal_refused", signal=container.stop_signal, error=str(error))
        self._memory.signal_was_sent = True

    async def kill(self, container: Container) -> None:
        """Counted from before the call: for a process that the kernel does not end, the engine waits and then refuses."""
        self._memory.kill_sent_at = _loop_time()
        try:
            await self._tools.engine.kill(container.id, "SIGKILL")
        except EngineUnavailableError:
            self._memory.kill_sent_at = None  # it may never have been sent
            raise
        except EngineRefusedError as error:
            log.warning("container.kill_refused", error=str(error))

    async def judge(self, job: Job, container: Container, peak_bytes: int | None) -> Run:
        """Decide whose death it was, and see how its function ended; the caller writes both at once, and they are never decided again."""
        sight = await self._tools.witness.sight(container, job.run.signalled_at)
        # Of all engines since its start: the one that answers now need not be the one that stopped.
        live_restore = job.run.live_restore and self._tools.witness.has_live_restore
        where = Circumstances(self._tools.clock.boot_id, live_restore)
        facts = judge(container, job.run, sight, where)
        limit = job.spec.memory or self._tools.policy.limits.memory_bytes
        facts = replace(facts, peak_memory_bytes=limit if facts.oom and limit else peak_bytes)
        failure = job.run.failure or await self._command_failure(container)
        return replace(job.run, exit=facts, failure=failure, report=await self._tools.functions.end(job))

    async def _command_failure(self, container: Container) -> StartFailure | None:
        if container.exit_code not in INIT_REFUSALS:
            return None
        try:
            head = await read_head(self._tools.engine, container.id, INIT_WORDS_BYTES)
        except (EngineRefusedError, BrokenFramesError) as error:
            # The exit code says nearly as much. A log that nobody can read must not keep the job, and its lease, from their end.
            log.warning("log.head_unreadable", code=error.code, error=str(error))
            return None
        return command_failure(container.exit_code, head)

    async def drain_and_remove(self, job: Job, container: Container, first_log_ns: int | None) -> bool:
        """Whether it is gone."""
        try:
            await drain(
                self._tools.engine, self._tools.folders, job.id, job.attempt, container.id, first_log_ns
            )
            log.debug("log.drained")
        except JobFolderMissingError as error:
            # Its log has no place any more; the container must go all the same, and the job finish.
            log.warning("log.lost", code=error.code, error=str(error))
        except EngineRefusedError as error:
            self._memory.drains_refused += 1
            if self._memory.drains_refused < MOST_DRAINS:
                raise
            log.warning("log.lost", code=error.code, error=str(error))
        return await self.remove(container)

    async def remove(self, container: Container) -> bool:
        """Whether it is gone."""
        if self._memory.was_removed:
            await self._flag.wait(REMOVE_AGAIN_SECONDS)
        is_gone = await self._tools.engine.remove(container.id)
        self._memory.was_removed = True
        return is_gone


def _loop_time() -> float:
    return asyncio.get_running_loop().time()
