"""jobs/runner — one job's task: read the row, look, take the one next step, again. What comes next is core/next_step's.

Cancelling this task means that the daemon leaves: the container goes on and is adopted. Only a stop request in the row ends one.
"""

import asyncio
from dataclasses import replace

import structlog

from agent.aio import Flag
from agent.core import steps
from agent.core.container import Container, ContainerState
from agent.core.job import Job, Run
from agent.core.next_step import SOON_SECONDS, UNKILLABLE_SECONDS, Seen, next_step
from agent.core.retry import close
from agent.core.state import move
from agent.core.timeout import request_timeout
from agent.errors import Phase
from agent.interfaces import (
    ContainerGoneError,
    EngineRefusedError,
    EngineUnavailableError,
    JobFolderMissingError,
    StaleError,
    StateFullError,
    StateReadOnlyError,
    StoreUnavailableError,
)
from agent.jobs.ending import Ending
from agent.jobs.first_line import FirstLine
from agent.jobs.moment import now_of
from agent.jobs.readying import Readying
from agent.jobs.sampling import PeakMemory
from agent.jobs.starting import Starting
from agent.jobs.tools import Tools
from agent.jobs.writing import Known, write

log = structlog.get_logger()

# How soon to try again where the engine, the database or the disk does not answer.
RETRY_SECONDS = 1.0
# The same where the engine has answered no.
REFUSED_SECONDS = 5.0


class Runner:
    """`run` ends when the job is finished. `flag` is the job's poke."""

    def __init__(self, job_id: str, flag: Flag, group: asyncio.TaskGroup, tools: Tools) -> None:
        self._id = job_id
        self._flag = flag
        self._tools = tools
        self._readying = Readying(tools, group, flag)
        self._starting = Starting(tools, flag)
        self._ending = Ending(tools, flag)
        self._first_line = FirstLine(tools.engine, group, flag)
        self._peak = PeakMemory(tools.engine, flag)
        self._known: Known | None = None
        self.unkillable_since: float | None = None

    async def run(self) -> None:
        """Take steps until none is left. Raises what no step foresees: then the supervisor ends the job, not the daemon."""
        while True:
            try:
                known = await self._read_and_look()
                if known is None or await self._take_next(known.job, known.container) is Phase.FINISHED:
                    return
            except (StaleError, ContainerGoneError):
                continue  # the world has moved on: read again, decide again
            except EngineUnavailableError as error:
                self._starting.note_no_answer()
                log.info("engine.no_answer", error=str(error))
                await self._flag.wait(RETRY_SECONDS)
            except EngineRefusedError as error:
                # It may do tomorrow what it does not today: nothing is finished with its container unseen.
                log.warning("engine.refused", error=str(error))
                await self._flag.wait(REFUSED_SECONDS)
            except (StoreUnavailableError, StateFullError, StateReadOnlyError) as error:
                log.warning("state.unavailable", code=error.code, error=str(error))
                await asyncio.sleep(RETRY_SECONDS)
                self._tools.ask_grant()  # a write whose answer was lost may have freed something

    async def _read_and_look(self) -> Known | None:
        """The row and the container, anew unless the last step wrote only the row. None: the row is gone."""
        known, self._known = self._known, None
        if known is not None and not self._flag.is_set():
            return known
        self._flag.clear()
        job = await self._tools.store.read(self._id)
        if job is None:
            return None
        if known is not None and known.container_has_ended_for(job):
            return Known(job, known.container)  # that it died is what the poke would tell
        return Known(job, await self._find(job))

    async def _take_next(self, job: Job, container: Container | None) -> Phase:
        await self._let_speak(job, container)
        seen = self._seen(job, container)
        if job.phase is Phase.UPLOADING:
            seen = replace(seen, upload_is_over=await self._tools.uploads.is_over(job))
        step = next_step(job, seen, now_of(self._tools.clock))
        if isinstance(step, steps.Wait):
            await self._wait(job, container, step.seconds)
        else:
            await self._take(job, container, step)
            log.debug("step.taken", step=type(step).__name__, phase=job.phase, attempt=job.attempt)
        return job.phase

    async def _let_speak(self, job: Job, container: Container | None) -> None:
        """A function that an earlier daemon started connects to this one, also while it is being stopped."""
        if job.call is None or container is None or container.state is not ContainerState.RUNNING:
            return
        try:
            await self._tools.functions.open(job)
        except (JobFolderMissingError, StateFullError, StateReadOnlyError, OSError) as error:
            # It runs on unheard, and is stopped in its time as any other; with room on the disk, or descriptors, it is heard again.
            log.debug("job_socket.not_opened", error=str(error))

    def _seen(self, job: Job, container: Container | None) -> Seen:
        self._ending.turn_to(container)
        knows_birth = self._knows_birth(job, container)
        settle_seconds = self._starting.settle_seconds(job)
        return Seen(
            agent_id=self._tools.policy.agent_id,
            container=container,
            settle_seconds=max(settle_seconds, SOON_SECONDS) if knows_birth is None else settle_seconds,
            is_start_forgotten=knows_birth is False,
            image_was_looked_for=self._readying.image_was_looked_for,
            outlives_engine=None if container is None else self._tools.witness.outlives_engine(container.id),
            signal_was_sent=self._ending.signal_was_sent,
            since_kill_seconds=self._ending.since_kill_seconds,
        )

    def _knows_birth(self, job: Job, container: Container | None) -> bool | None:
        if container is None or not self._starting.may_have_started(job):
            return True
        return self._tools.witness.knows_birth(container.id)

    async def _find(self, job: Job) -> Container | None:
        """By the intent's id where there is one: a twin of the name is not the one that was started (trace 6)."""
        if job.phase in {Phase.QUEUED, Phase.UPLOADING, Phase.FINISHED}:
            return None
        if job.phase is Phase.STARTING and job.run.plan is None:
            return None  # nothing was created for this lease; what has the name all the same, the create will tell
        if job.container is not None:
            return await self._tools.engine.inspect(job.container)
        return await self._tools.engine.find(job.container_name)

    async def _take(self, job: Job, seen: Container | None, step: steps.Step) -> None:  # noqa: C901, PLR0912 - one line a step: the table of the line
        match step:
            case steps.FindImage():
                found = await self._readying.find_image(job)
                self._known = None if found is None else Known(found, None)
            case steps.PullImage():
                await self._readying.pull_image(job)
            case steps.ReserveDisk():
                await self._readying.reserve_disk(job)
            case steps.BeginStopping(failure, facts):
                await self._begin_stopping(job, replace(job.run, failure=failure, exit=facts))
            case steps.Create():
                self._known = await self._starting.create(job)
            case steps.Intend(container):
                run = await self._starting.intend(job, container)
                if run is not None:
                    await self._write_run(job, container, run)
            case steps.Start(container):
                if await self._starting.start(job, container):
                    self._known = Known(job, await self._find(job))
            case steps.BeginRunning(container):
                self._known = Known(await self._starting.begin_running(job, container), container)
            case steps.NoteEngine(live_restore):
                await self._write_run(job, seen, replace(job.run, live_restore=live_restore))
            case steps.RequestTimeout():
                await self._request_timeout(job)
            case steps.Judge(container):
                await self._judge(job, container)
            case steps.WriteFacts(facts):
                await self._write_run(job, seen, replace(job.run, exit=facts))
            case steps.WriteSignalled():
                await self._write_run(job, seen, replace(job.run, signalled_at=self._tools.clock.now()))
            case steps.Signal(container):
                await self._ending.signal(container)
            case steps.Kill(container):
                await self._ending.kill(container)
            case steps.ReportUnkillable():
                await self._report_unkillable()
            case steps.Remove(container):
                self._known = Known(job, None) if await self._ending.remove(container) else None
            case steps.DrainAndRemove(container):
                first_ns = job.run.first_log_ns or self._first_line.stamp_of(container.id)
                is_gone = await self._ending.drain_and_remove(job, container, first_ns)
                self._known = Known(job, None) if is_gone else None
            case steps.Free():
                await self._free(job, seen)
            case steps.Close():
                await self._close(job)
            case steps.SendOutputs() | steps.StopUpload() | steps.Finish():
                await self._leave(job, step)
            case steps.Wait() | steps.Done():
                return

    async def _leave(self, job: Job, step: steps.SendOutputs | steps.StopUpload | steps.Finish) -> None:
        """The outcome is decided: outputs, and then the job."""
        match step:
            case steps.SendOutputs():
                self._tools.uploads.join(job)
                await self._flag.wait()
            case steps.StopUpload():
                await self._tools.uploads.stop(job)
            case steps.Finish():
                await self._finish(job)

    async def _wait(self, job: Job, container: Container | None, seconds: float | None) -> None:
        if container is not None and container.state is ContainerState.RUNNING:
            self._tools.gpu_accounts.hold(job)
            self._tools.uploads.hold(job)
            self._tools.ssh.hold(job)
        if job.phase is Phase.QUEUED:
            if not await self._flag.wait(seconds):
                self._tools.ask_grant()  # what it waited for has come due
        elif job.phase is Phase.RUNNING and container is not None:
            if not await self._note_first_line(job, container):
                await self._peak.watch(container, seconds)
        else:
            await self._flag.wait(seconds)

    async def _note_first_line(self, job: Job, container: Container) -> bool:
        """Whether the row has changed by it."""
        if job.run.first_log_ns is not None:
            return False
        self._first_line.watch(container.id)
        stamp = self._first_line.stamp_of(container.id)
        if stamp is not None:
            await write(self._tools, replace(job, run=replace(job.run, first_log_ns=stamp)))
        return stamp is not None

    async def _write_run(self, job: Job, container: Container | None, run: Run) -> None:
        """A step that changes the row alone: what was seen still holds for the next one."""
        self._known = Known(await write(self._tools, replace(job, run=run)), container)

    async def _begin_stopping(self, job: Job, run: Run) -> Job:
        self._tools.images.leave(job.id)
        return await write(self._tools, *move(job, Phase.STOPPING, waiting_for=None, run=run))

    async def _request_timeout(self, job: Job) -> None:
        await write(self._tools, *request_timeout(job, now_of(self._tools.clock)))

    async def _judge(self, job: Job, container: Container) -> None:
        run = await self._ending.judge(job, container, self._peak.of(container.id))
        if job.phase is Phase.STOPPING:
            await self._write_run(job, container, run)
        else:
            self._known = Known(await self._begin_stopping(job, run), container)

    async def _report_unkillable(self) -> None:
        if self.unkillable_since is None:
            self.unkillable_since = self._tools.clock.now()
            log.error(
                "job.unkillable", remedy="reboot the host: the kernel does not end the container's processes"
            )
        await self._flag.wait(UNKILLABLE_SECONDS)

    async def _free(self, job: Job, container: Container | None) -> None:
        usage = None
        if job.lease is not None and job.lease.gpus and job.run.intent is not None:
            usage = await self._tools.gpu_accounts.finish(job)
            # What is not clean is quarantined before it is free: no crash between the two hands it to another job.
            await self._tools.gpu_care.release(job.lease.gpus)
        freed = replace(job, lease=None, run=replace(job.run, held=job.lease, gpu_usage=usage))
        self._known = Known(await write(self._tools, freed), container)
        self._tools.ask_grant()

    async def _close(self, job: Job) -> None:
        closing = close(job, self._tools.clock.now(), self._tools.random())
        # Before the write, whose answer may be lost: nothing of this lease may be taken for the next one's.
        self._readying.forget()
        self._starting.forget()
        self._ending.forget()
        self._first_line.leave()
        await self._tools.functions.leave(job.id)
        if job.container is not None:
            self._tools.witness.forget(job.container)
            self._tools.ssh.forget(job.container)
            self._tools.gpu_accounts.forget(job.container)
        try:
            await write(self._tools, closing.job, closing.events, closing.attempt)
        finally:
            # A create on its way may have landed between the last look and the close (trace 4).
            self._tools.judge(job.id)
            self._tools.ask_grant()

    async def _finish(self, job: Job) -> None:
        # Before the write: a finished row is not run again (trace 16).
        if job.spec.has_secrets:
            await self._tools.folders.drop_used_secrets(job.id)
            log.debug("secrets.dropped")
        finished = move(job, Phase.FINISHED, finished_at=self._tools.clock.now())
        await write(self._tools, *finished)
        log.info("job.finished", outcome=job.outcome, reason=job.reason.code if job.reason else None)
