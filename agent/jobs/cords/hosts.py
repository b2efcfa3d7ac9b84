"""jobs/cords/hosts — which job answers the cords of which version: wanted by a call, kept warm, taken over, stopped when none wants it. Makes no call.

Each look takes every version a step further, by what the rows say; what is in memory alone is connections and who waits for them. So
a start of the daemon is a look as any other: jobs of an earlier one are taken over as they connect.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import structlog

from agent.aio import Flag
from agent.core.chute import Version
from agent.core.job import EVERYONE, Job
from agent.core.shortage import is_shortage
from agent.errors import AgentError
from agent.interfaces import ChuteFolders, StoreUnavailableError
from agent.interfaces.cord_line import CordLine
from agent.interfaces.job_socket import CallFault, CallRefusedError
from agent.jobs.bell import Bell, wait_for_ring
from agent.jobs.cords.called import Called
from agent.jobs.cords.errors import CordBusyError, CordHostEndedError, CordHostNotReadyError
from agent.jobs.cords.host import MOST_WAITING, Host, HostState
from agent.jobs.cords.host_jobs import SURPLUS, HostJobs
from agent.jobs.cords.starting import Starting
from agent.jobs.intake import Intake

log = structlog.get_logger(__name__)

# Whoever writes events pokes, and there may be many: one look serves all of a while.
GATHER_SECONDS = 0.05
LOOK_AGAIN_SECONDS = 5.0
# Where no chute is called there is nothing to look at.
IDLE_SECONDS = 600.0
# What could not be read or written is not asked for in a circle.
RETRY_SECONDS = 1.0
# From a call until a job has connected for it: a pull of the image, a wait for GPUs, the import of the author's file.
START_SECONDS = 120.0
# Until an ended job's row says why: the engine's inspect, and its write.
WHY_SECONDS = 3.0
# Until those who were hung up on have their answers.
HANG_UP_SECONDS = 1.0
REPLACED = "a newer version of the chute was deployed"
REMOVED = "the chute is being removed"
LEAVING = "the agent is leaving, and its next one goes on"
SILENT = "it took no call any more"


@dataclass(frozen=True, slots=True)
class CordTimes:
    """`[chutes]`: how long a job waits for calls, and how long a call for its answer."""

    idle_seconds: float
    call_seconds: float


class Hosts:
    """Standing task `watch`. `times` is read anew each time."""

    def __init__(self, intake: Intake, folders: ChuteFolders, times: Callable[[], CordTimes]) -> None:
        self._store = intake.store
        self._jobs = HostJobs(intake, folders)
        self.times = times
        self._called = Called()
        self._starting = Starting(self._store, self._jobs, self._called)
        self._is_leaving = False
        self._flag = Flag()
        self._bell = Bell()
        self._gathering: asyncio.TimerHandle | None = None
        self._store.on_events(self._heed)

    @property
    def warm(self) -> int:
        """How many jobs answer."""
        return sum(host.job_id is not None and host.open_lines > 0 for host in self._called)

    @property
    def failing(self) -> list[str]:
        """Why chutes are called in vain, of those for which nothing is started just now."""
        return [host.why for host in self._called if host.why and host.paused_until > _now()]

    @property
    def states(self) -> Counter[HostState]:
        return Counter(host.state(_now()) for host in self._called)

    @property
    def calls(self) -> int:
        """How many are under way, those that wait for a job among them."""
        return sum(host.calls for host in self._called)

    # ── calls ──

    @contextmanager
    def called(self, version: Version) -> Iterator[Host]:
        """While a call is made: its version is not idle."""
        host = self._called.host(version, _now())
        host.calls += 1
        try:
            yield host
        finally:
            host.calls -= 1
            host.used_at = _now()
            if not host.calls:
                self._flag.set()
                self._bell.ring()

    async def acquire(self, host: Host) -> CordLine:
        """A connection for one call; then `host.free` it. Raises CordHostNotReadyError, CordBusyError, and what refuses its job."""
        host.refuse_paused(_now())
        if self._is_leaving:
            raise _leaving(host)
        line = host.take_free()
        if line is not None:
            return line
        if host.is_full:
            raise CordBusyError(f"{MOST_WAITING} calls of {host.chute} wait already")
        future = host.wait()
        self._flag.set()
        seconds = self.times().call_seconds if host.open_lines else START_SECONDS
        try:
            async with asyncio.timeout(seconds):
                return await future
        except TimeoutError:
            host.give_up(future)
            raise await self._refuse_late(host, seconds) from None
        except asyncio.CancelledError:
            host.give_up(future)
            raise

    async def why_ended(self, job_id: str) -> str:
        """Of a job whose connection broke, as far as its row says so soon."""
        deadline = _now() + WHY_SECONDS
        while not self._is_leaving:
            ring = self._bell.listen()
            job = await self._store.read(job_id)
            if job is not None and job.outcome is not None:
                return "it ended" if job.reason is None else f"{job.reason.message} ({job.reason.code})"
            if job is None or _now() >= deadline:
                return "its connection ended"
            await wait_for_ring(ring, deadline - _now())
        return LEAVING

    async def hang_up(self) -> None:
        """The daemon leaves: calls under way are answered so, while somebody can still be answered. Their jobs go on."""
        self._is_leaving = True
        for host in self._called:
            host.refuse_all(_leaving(host))
            host.hang_up()
        deadline = _now() + HANG_UP_SECONDS
        while True:
            ring = self._bell.listen()
            if not any(host.calls for host in self._called) or _now() >= deadline:
                return
            await wait_for_ring(ring, deadline - _now())

    async def serve(self, job: Job, line: CordLine) -> None:
        """As jobs.functions.CordHosts promises it."""
        host = await self._take_over(job)
        if host is None:
            raise CallRefusedError(CallFault.UNAVAILABLE, "the job is to end")
        line.welcome()
        host.add(line, _now())
        try:
            await line.wait_closed()
        finally:
            host.drop(line)
            self._flag.set()

    # ── chutes ──

    def note_deployed(self, version: Version) -> None:
        """It is the chute's current one: jobs of those before it are stopped once their calls are over."""
        self._called.note_newest(version)
        self._flag.set()

    async def close(self, chute: Version) -> None:
        """Stop what answers for the chute, unless it is called just now, and see it finished. Raises StoreUnavailableError."""
        # After a start that is under way, whose job nobody knows yet; none begins, since nobody who would wait for it is let in.
        async with self._starting.turn:
            for host in self._called.of(chute.owner, str(chute.chute)):
                if host.is_idle:
                    self._jobs.let_go(host, REMOVED)
        await self._jobs.stop()
        await self._jobs.wait_stopped(chute, self._bell)

    # ── the standing task ──

    async def watch(self) -> None:
        """Take every version further: when it is called, when something happened that one waits for, and each 5 s."""
        is_adopted = False
        while True:
            self._flag.clear()
            least = 0.0
            try:
                if not is_adopted:
                    await self._adopt()
                    is_adopted = True
                await self._jobs.stop()
                for host in self._called:
                    await self._try_further(host)
            except AgentError as error:
                log.info("cords.put_off", code=error.code, error=str(error))
                least = RETRY_SECONDS
            await asyncio.sleep(least)
            await self._flag.wait(self._next_seconds())

    def _heed(self) -> None:
        """Something happened to some job."""
        self._bell.ring()
        if self._gathering is None and any(host.job_id and not host.open_lines for host in self._called):
            self._gathering = asyncio.get_running_loop().call_later(GATHER_SECONDS, self._look_soon)

    def _look_soon(self) -> None:
        self._gathering = None
        self._flag.set()

    def _next_seconds(self) -> float:
        if not self._called and not self._jobs.leaving:
            return IDLE_SECONDS
        idle, now = self.times().idle_seconds, _now()
        due = [host.used_at + idle - now for host in self._called if host.job_id and host.is_idle]
        return max(0.01, min([LOOK_AGAIN_SECONDS, *due]))

    async def _adopt(self) -> None:
        """What an earlier daemon has left running is idle from now on."""
        for job in await self._jobs.unfinished():
            if job.job_stop is None:
                await self._take_over(job)

    async def _try_further(self, host: Host) -> None:
        try:
            await self._take_further(host)
        except AgentError:
            raise
        except Exception as error:
            if is_shortage(error):  # it passes, and the next look goes on
                log.warning("host.short", error=str(error))
                return
            # A damaged folder of one chute ends the calls of that one, and neither the daemon nor the calls of others.
            log.exception("cords.host_broke", chute=host.chute, version=host.version)
            why = f"no job for {host.chute} could be started: an internal error"
            host.refuse_all(CordHostNotReadyError(why))

    async def _take_further(self, host: Host) -> None:
        if host.job_id is None:
            await self._starting.start(host)
        elif not host.open_lines:
            await self._starting.look_at_job(host, host.job_id)
        idle = self.times().idle_seconds
        if host.job_id is not None and host.is_idle:
            if host.is_superseded:
                self._jobs.let_go(host, REPLACED)
            elif _now() - host.used_at >= idle:
                self._jobs.let_go(host, f"no call for {idle:g} s")
            await self._jobs.stop()
        if host.job_id is None and host.is_idle and host.paused_until <= _now():
            self._called.forget(host)

    async def _take_over(self, job: Job) -> Host | None:
        """The host that the job is of; None: it is to end."""
        call = job.call
        if call is None or not self._jobs.may_answer(job):
            return None
        host = self._called.get(call.version)
        if host is None:
            version = await self._store.version(call.version, EVERYONE)
            if version is None:  # its chute was removed, which no row would allow: nobody can call it
                self._jobs.leaving[job.id] = REMOVED
                return None
            host = self._called.host(version, _now())
        if host.job_id is None:
            host.begin(job.id)
        elif host.job_id != job.id:
            self._jobs.leaving[job.id] = SURPLUS
            self._flag.set()
            return None
        return host

    async def _refuse_late(self, host: Host, seconds: float) -> AgentError:
        """Of a call that has waited in vain."""
        job = None if host.job_id is None else await self._read(host.job_id)
        if job is not None and host.is_silent:
            self._jobs.let_go(host, SILENT)
            self._flag.set()
            return CordHostNotReadyError(f"the job {job.id} took no call for {seconds:g} s, and is replaced")
        return host.say_late(job, seconds)

    async def _read(self, job_id: str) -> Job | None:
        try:
            return await self._store.read(job_id)
        except StoreUnavailableError:
            return None


def _leaving(host: Host) -> CordHostEndedError:
    return CordHostEndedError(host.job_id or "of the chute", LEAVING)


def _now() -> float:
    return asyncio.get_running_loop().time()
