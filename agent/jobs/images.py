"""jobs/images — images found and pulled: one pull an image however many jobs wait, four at once. Knows no phases."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import count

import structlog

from agent.aio import Flag, spawn
from agent.core.container import Credentials, Image, PullProgress
from agent.interfaces import Engine, EngineRefusedError, EngineUnavailableError, PullFailedError
from agent.jobs.image_looks import ImageLooks

log = structlog.get_logger()

PULLS_AT_ONCE = 4
# A registry that fails is asked again this often within one pull, before the job is told.
_TRIES = 3
_PAUSE_SECONDS = 2.0
_TRANSIENT = "registry_unavailable"
# Progress is told to one who waits at most this often, and to all of them together so many times a second: to jobs by an event, which is
# a write to the disk that is everybody's.
_PROGRESS_SECONDS, TOLD_A_SECOND = 1.0, 20


@dataclass(frozen=True, slots=True)
class PullTimes:
    """`stall_seconds` begins anew with each byte; `whole_seconds` does not."""

    whole_seconds: float
    stall_seconds: float


@dataclass(slots=True)
class _Pull:
    waiters: set[str] = field(default_factory=set)
    task: asyncio.Task[None] | None = None
    progress: PullProgress | None = None


_Key = tuple[str, Credentials | None]


class Images:
    """Pulls are tasks of the supervisor's group; a job joins one, waits for its poke, and joins again for the answer."""

    def __init__(self, engine: Engine, times: PullTimes, poke: Callable[[str], None]) -> None:
        self._engine = engine
        self._looks = ImageLooks(engine)
        self._times = times
        self._poke = poke
        self._pulls: dict[_Key, _Pull] = {}
        self._joined: dict[str, _Key] = {}
        # For who waited, until they take it. Who comes later asks anew: the registry may have changed its mind.
        self._results: dict[str, Image | PullFailedError] = {}
        self._slots = asyncio.Semaphore(PULLS_AT_ONCE)
        self._group: asyncio.TaskGroup | None = None
        # Who waits and is no job: by a name that no job has.
        self._flags: dict[str, Flag] = {}
        self._guests = count(1)

    def use(self, group: asyncio.TaskGroup) -> None:
        """Where pulls run that nobody's task begins."""
        self._group = group

    async def find(self, reference: str) -> Image | None:
        """The image if the engine has it. Raises EngineUnavailableError, EngineRefusedError."""
        return await self._looks.find(reference)

    def join(
        self, group: asyncio.TaskGroup, waiter: str, reference: str, credentials: Credentials | None
    ) -> Image | PullFailedError | None:
        """Wait with others for one pull, or begin it. None: it goes on, and `waiter` is poked at its end.

        Credentials are part of the key: nobody gets an image by another's password while it is being pulled.
        """
        if waiter in self._results:
            return self._results.pop(waiter)
        key = (reference, credentials)
        pull = self._pulls.setdefault(key, _Pull())
        pull.waiters.add(waiter)
        self._joined[waiter] = key
        if pull.task is None:
            pull.task = spawn(group, self._pull(key, pull), f"pull {reference}")
        return None

    async def pull(self, reference: str) -> AsyncGenerator[PullProgress]:
        """Pull as for a job, in its turn, and yield progress as it comes; ends when the image is there.

        Who leaves off leaves the pull. Raises PullFailedError; EngineUnavailableError before the daemon has started.
        """
        if self._group is None:
            raise EngineUnavailableError("the agent is starting")
        waiter = f"guest {next(self._guests)}"
        flag = self._flags[waiter] = Flag()
        told = None
        try:
            while (result := self.join(self._group, waiter, reference, None)) is None:
                await flag.wait(_PROGRESS_SECONDS)
                progress = self.progress(waiter)
                if progress is not None and progress != told:
                    told = progress
                    yield progress
            if isinstance(result, PullFailedError):
                raise result
        finally:
            del self._flags[waiter]
            self.leave(waiter)

    def leave(self, waiter: str) -> None:
        """The job needs it no more. The last one to leave ends the pull."""
        self._results.pop(waiter, None)
        key = self._joined.pop(waiter, None)
        if key is None:
            return
        pull = self._pulls[key]
        pull.waiters.discard(waiter)
        if not pull.waiters:
            del self._pulls[key]
            if pull.task is not None:
                pull.task.cancel()

    @property
    def progress_seconds(self) -> float:
        """How often to tell a job how far its pull is."""
        return max(_PROGRESS_SECONDS, len(self._joined) / TOLD_A_SECOND)

    def progress(self, waiter: str) -> PullProgress | None:
        key = self._joined.get(waiter)
        return self._pulls[key].progress if key is not None else None

    async def _pull(self, key: _Key, pull: _Pull) -> None:
        result: Image | PullFailedError
        try:
            async with self._slots:
                result = await self._pull_in_time(key, pull)
        except PullFailedError as error:
            result = error
        except Exception as error:
            # The top of the pull's task: a bug of ours ends the jobs that wait for it, and neither the daemon nor the others.
            log.exception("image.pull_broke", image=key[0])
            result = PullFailedError("internal_error", f"the pull of {key[0]} broke: {error!r}")
        del self._pulls[key]
        for waiter in pull.waiters:
            del self._joined[waiter]
            self._results[waiter] = result
            self._wake(waiter)

    def _wake(self, waiter: str) -> None:
        if waiter in self._flags:
            self._flags[waiter].set()
        else:
            self._poke(waiter)

    async def _pull_in_time(self, key: _Key, pull: _Pull) -> Image:
        try:
            async with asyncio.timeout(self._times.whole_seconds):
                return await self._pull_until_there(key, pull)
        except TimeoutError as error:
            raise PullFailedError(
                "pull_too_slow", f"{key[0]} was not there after {self._times.whole_seconds:.0f} s"
            ) from error

    async def _pull_until_there(self, key: _Key, pull: _Pull) -> Image:
        failures = 0
        while True:
            try:
                await self._pull_once(key, pull)
                return await self._pulled(key[0])
            except EngineUnavailableError as error:
                log.info("image.pull_interrupted", image=key[0], error=str(error))
            except PullFailedError as error:
                failures += 1
                if error.reason_code != _TRANSIENT or failures >= _TRIES:
                    raise
            except EngineRefusedError as error:  # the look at what was pulled
                failures += 1
                if failures >= _TRIES:
                    raise PullFailedError(error.code, str(error)) from error
            await asyncio.sleep(_PAUSE_SECONDS * 2**failures)

    async def _pulled(self, reference: str) -> Image:
        image = await self._engine.image(reference)
        if image is None:
            raise PullFailedError("image_not_found", f"{reference} is not there after a pull that succeeded")
        return image

    async def _pull_once(self, key: _Key, pull: _Pull) -> None:
        """One request to the engine. What stands still for too long has stalled, whatever lines it still sends."""
        loop = asyncio.get_running_loop()
        most = (-1, -1)
        try:
            async with asyncio.timeout(self._times.stall_seconds) as stall:
                async with aclosing(self._engine.pull(*key)) as lines:
                    async for progress in lines:
                        pull.progress = progress
                        reached = (progress.done_bytes, progress.layers_done)
                        if reached > most:
                            most = reached
                            stall.reschedule(loop.time() + self._times.stall_seconds)
        except TimeoutError as error:
            raise PullFailedError(
                "pull_stalled", f"{key[0]}: no progress for {self._times.stall_seconds:.0f} s"
            ) from error
