"""jobs/sampling — the peak memory of one container, read while it runs: its cgroup is gone when it has exited. Judges nothing."""

import asyncio
import math

from agent.aio import Flag
from agent.core.container import Container
from agent.interfaces import Engine

FIRST_SAMPLE_SECONDS, SAMPLE_SECONDS = 1.0, 5.0
# What rounding leaves over may be less than a clock can tell: it would be waited for again and again.
LEAST_WAIT_SECONDS = 0.001


class PeakMemory:
    """One a job. What an earlier daemon read is not lost: the kernel keeps the peak as long as the container runs."""

    def __init__(self, engine: Engine, flag: Flag) -> None:
        self._engine = engine
        self._flag = flag
        self._container: str | None = None
        self._bytes: int | None = None

    def of(self, container: str) -> int | None:
        return self._bytes if container == self._container else None

    async def watch(self, container: Container, seconds: float | None) -> None:
        """Wait for a poke or for so long, and sample meanwhile: one small file, no look at row or engine."""
        if container.id != self._container:
            self._container, self._bytes = container.id, None
        loop = asyncio.get_running_loop()
        end = math.inf if seconds is None else loop.time() + seconds
        pause = FIRST_SAMPLE_SECONDS if self._bytes is None else SAMPLE_SECONDS
        while (left := min(pause, end - loop.time())) > 0:
            if await self._flag.wait(max(left, LEAST_WAIT_SECONDS)):
                return
            self._bytes = await self._engine.peak_memory(container) or self._bytes
            pause = SAMPLE_SECONDS
