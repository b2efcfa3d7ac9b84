"""jobs/sampling — the peak memory of one container, read while it runs: its cgroup is gone when it has exited. Judges nothing."""

import asyncio
import math

from agent.aio import Flag
from agent.core.container import Container
from agent.interfaces import Engine

# What grows is looked at often; what does not, half as often each time, where the kernel keeps the peak: one of a job's last minute may be
# missed then (docs/decisions/0023).
FIRST_SAMPLE_SECONDS, SAMPLE_SECONDS, MOST_SAMPLE_SECONDS = 1.0, 5.0, 60.0
# What rounding leaves over may be less than a clock can tell: it would be waited for again and again.
LEAST_WAIT_SECONDS = 0.001


class PeakMemory:
    """One a job. What an earlier daemon read is not lost where the kernel keeps the peak for as long as the container runs."""

    def __init__(self, engine: Engine, flag: Flag) -> None:
        self._engine = engine
        self._flag = flag
        self._container: str | None = None
        self._bytes: int | None = None
        self._pause = FIRST_SAMPLE_SECONDS
        self._due = 0.0  # the loop's time

    def of(self, container: str) -> int | None:
        return self._bytes if container == self._container else None

    async def watch(self, container: Container, seconds: float | None) -> None:
        """Wait for a poke or for so long, and sample meanwhile: one small file, no look at row or engine."""
        loop = asyncio.get_running_loop()
        if container.id != self._container:
            self._container, self._bytes = container.id, None
            self._pause, self._due = FIRST_SAMPLE_SECONDS, loop.time() + FIRST_SAMPLE_SECONDS
        end = math.inf if seconds is None else loop.time() + seconds
        while loop.time() < end:
            left = min(self._due, end) - loop.time()
            if await self._flag.wait(max(left, LEAST_WAIT_SECONDS)):
                return
            if loop.time() >= self._due:
                await self._sample(container)

    async def _sample(self, container: Container) -> None:
        before, seen = self._bytes, await self._engine.peak_memory(container)
        if seen is not None:
            self._bytes = max(seen.bytes, before or 0)
        is_still = seen is not None and seen.is_kept and self._bytes == before
        self._pause = min(2 * self._pause, MOST_SAMPLE_SECONDS) if is_still else SAMPLE_SECONDS
        self._due = asyncio.get_running_loop().time() + self._pause
