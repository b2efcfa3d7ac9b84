"""jobs/cords/host — one version of a chute that is called: its job, the connections to it, and who waits for one. Starts and stops none."""

import asyncio
from collections import deque
from enum import StrEnum

from agent.core.chute import Version
from agent.core.job import Job, Reason
from agent.errors import AgentError
from agent.interfaces.cord_line import CordLine
from agent.jobs.cords.errors import CordBusyError, CordHostNotReadyError

MOST_WAITING = 256
# A job that ends so soon after it began to answer will do it again.
QUICK_SECONDS = 10.0
QUICK_ENDS = 3
# For so long nobody has to wait for what will end as it did before.
PAUSE_SECONDS = 10.0


class HostState(StrEnum):
    """What answers for a version: a job; one that has not connected yet; none, since it can't; none, since none is wanted."""

    WARM = "warm"
    STARTING = "starting"
    FAILING = "failing"
    COLD = "cold"


class Host:
    """`job_id` None: no job answers just now. Times are the loop's."""

    def __init__(self, version: Version, now: float) -> None:
        self.owner, self.chute = version.owner, str(version.chute)
        self.version, self.number = version.id, version.number or 0
        self.job_id: str | None = None
        self.is_superseded = False
        self.calls = 0
        self.used_at = now
        self.why: str | None = None
        self.paused_until = 0.0
        self._connected_at: float | None = None
        self._quick_ends = 0
        self._lines: dict[CordLine, str] = {}  # each with the job that serves it
        self._free: deque[CordLine] = deque()
        self._waiting: deque[asyncio.Future[CordLine]] = deque()

    @property
    def is_waited_for(self) -> bool:
        return any(not future.done() for future in self._waiting)

    @property
    def is_full(self) -> bool:
        return sum(not future.done() for future in self._waiting) >= MOST_WAITING

    @property
    def is_idle(self) -> bool:
        return not self.calls and not self.is_waited_for

    @property
    def open_lines(self) -> int:
        """Of its present job."""
        return sum(job_id == self.job_id for job_id in self._lines.values())

    @property
    def is_silent(self) -> bool:
        """Its present job has connected, and does no more."""
        return self._connected_at is not None and not self.open_lines

    def state(self, now: float) -> HostState:
        if self.job_id is not None:
            return HostState.WARM if self.open_lines else HostState.STARTING
        if self.why is not None and self.paused_until > now:
            return HostState.FAILING
        return HostState.STARTING if self.is_waited_for else HostState.COLD

    def begin(self, job_id: str) -> None:
        """That job answers from now on."""
        self.job_id, self._connected_at = job_id, None

    def leave(self, now: float) -> str | None:
        """No call goes to its present job any more; which it was."""
        job_id, self.job_id = self.job_id, None
        self._connected_at, self.used_at = None, now
        while self._free:
            self._free.popleft().close()
        return job_id

    def job_of(self, line: CordLine) -> str:
        return self._lines.get(line, "")

    def note_end(self, reason: Reason | None, now: float) -> None:
        """Its job has ended by itself. Where another would end in the same way, none is started for a while."""
        lived = 0.0 if self._connected_at is None else now - self._connected_at
        self._quick_ends = self._quick_ends + 1 if lived < QUICK_SECONDS else 0
        told = "it ended" if reason is None else f"{reason.message} ({reason.code})"
        self.why = f"the job {self.job_id} could not answer: {told}"
        if reason is None or reason.retryable:
            is_hopeless = self._quick_ends >= QUICK_ENDS
        else:
            is_hopeless = self._quick_ends > 0
        self.leave(now)
        if is_hopeless:
            self.paused_until = now + PAUSE_SECONDS

    def say_late(self, job: Job | None, seconds: float) -> AgentError:
        """Why a call waited in vain for so long. `job`: its present one, as its row is."""
        if self.open_lines:
            return CordBusyError(f"all that {self.chute} runs at once was busy for {seconds:g} s")
        if job is None:
            return CordHostNotReadyError(self.why or f"no job for {self.chute} was started in {seconds:g} s")
        told = job.phase.value if job.waiting_for is None else f"waits for {job.waiting_for}"
        words = f": {job.waiting_words}" if job.waiting_for and job.waiting_words else ""
        return CordHostNotReadyError(f"after {seconds:g} s the job {job.id} is not ready: it {told}{words}")

    def refuse_paused(self, now: float) -> None:
        """Raises CordHostNotReadyError where none is started for a while."""
        if self.job_id is None and self.why is not None and self.paused_until > now:
            raise CordHostNotReadyError(self.why)

    def take_free(self) -> CordLine | None:
        while self._free:
            line = self._free.popleft()
            if line.is_open:
                return line
        return None

    def wait(self) -> asyncio.Future[CordLine]:
        """A place among those who wait, first come, first served."""
        future: asyncio.Future[CordLine] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        return future

    def give_up(self, future: asyncio.Future[CordLine]) -> None:
        """He who waited does so no more. What he was given all the same is the next one's."""
        if future in self._waiting:
            self._waiting.remove(future)
        if future.done() and not future.cancelled() and future.exception() is None:
            self.free(future.result())
        future.cancel()

    def add(self, line: CordLine, now: float) -> None:
        """A new connection of its present job."""
        self._lines[line] = str(self.job_id)
        if self._connected_at is None:
            self._connected_at = now
        self.free(line)

    def drop(self, line: CordLine) -> None:
        """One that is closed."""
        self._lines.pop(line, None)
        if line in self._free:
            self._free.remove(line)

    def free(self, line: CordLine) -> None:
        """Nobody uses it just now."""
        if self._lines.get(line) != self.job_id:
            line.close()  # of a job that is to end
        if not line.is_open:
            return
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(line)
                return
        self._free.append(line)

    def hang_up(self) -> None:
        """All of its connections, also those with a call."""
        for line in list(self._lines):
            line.close()

    def refuse_all(self, error: Exception) -> None:
        """Of those who wait."""
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_exception(_alike(error))


def _alike(error: Exception) -> Exception:
    """One for each task: a single one would collect the tracebacks of all, each time that it is raised."""
    made = type(error).__new__(type(error), *error.args)
    made.__dict__.update(error.__dict__)
    return made
