"""jobs/first_line — when a running job wrote its first line: who reads later knows by it whether lines were rotated away. Keeps no line."""

import asyncio

import structlog

from agent.aio import Flag, spawn
from agent.interfaces import ContainerGoneError, Engine, EngineUnavailableError
from agent.jobs.drain import first_stamp

log = structlog.get_logger()

# An engine that is away is asked again this often.
RETRY_SECONDS = 2.0


class FirstLine:
    """One a job. `watch` is called as often as one likes; `flag` is set when `stamp_of` has something new to tell."""

    def __init__(self, engine: Engine, group: asyncio.TaskGroup, flag: Flag) -> None:
        self._engine = engine
        self._group = group
        self._flag = flag
        self._container: str | None = None
        self._task: asyncio.Task[None] | None = None
        self._stamp: int | None = None

    def watch(self, container: str) -> None:
        """Wait, in a task of its own, for the first line of this container."""
        if self._container == container:
            return
        self.leave()
        self._container = container
        self._task = spawn(self._group, self._wait(container), f"first line of {container[:12]}")

    def stamp_of(self, container: str) -> int | None:
        """In ns since the epoch; None: not known, or not yet."""
        return self._stamp if self._container == container else None

    def leave(self) -> None:
        """The container has ended, or the daemon forgets it."""
        if self._task is not None:
            self._task.cancel()
        self._container = self._task = self._stamp = None

    async def _wait(self, container: str) -> None:
        while True:
            try:
                self._stamp = await first_stamp(self._engine, container)
            except ContainerGoneError:
                return
            except EngineUnavailableError as error:
                log.debug("log.first_line_awaited", error=str(error))
                await asyncio.sleep(RETRY_SECONDS)
            except Exception:
                # The top of a task in the supervisor's group: without the stamp a reader only knows less of rotated lines.
                log.exception("log.first_line_missed", container=container[:12])
                return
            else:
                self._flag.set()
                return
