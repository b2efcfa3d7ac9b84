"""bench/sightings — when something was first told of on a stream, by this process's monotonic clock. Opens no stream."""

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

SEEN_WITHIN_SECONDS = 120.0


class Sightings:
    """Fed by `read`; `at` waits for a sighting that has not come yet."""

    def __init__(self, name: Callable[[bytes], Hashable | None]) -> None:
        """`name`: what a line tells of, None for nothing that anybody waits for."""
        self._name = name
        self._seen: defaultdict[Hashable, asyncio.Future[float]] = defaultdict(
            asyncio.get_running_loop().create_future
        )

    async def read(self, response: aiohttp.ClientResponse) -> None:
        async for line in response.content:
            now = time.perf_counter()
            name = self._name(line)
            if name is not None and not self._seen[name].done():
                self._seen[name].set_result(now)

    def has(self, name: Hashable) -> bool:
        return name in self._seen and self._seen[name].done()

    async def at(self, name: Hashable) -> float:
        async with asyncio.timeout(SEEN_WITHIN_SECONDS):
            return await asyncio.shield(self._seen[name])


@asynccontextmanager
async def reading(
    session: aiohttp.ClientSession, url: str, name: Callable[[bytes], Hashable | None]
) -> AsyncIterator[Sightings]:
    """The stream at `url`, read while the block runs."""
    sightings = Sightings(name)
    async with session.get(url) as response, asyncio.TaskGroup() as group:
        response.raise_for_status()
        task = group.create_task(sightings.read(response))
        yield sightings
        task.cancel()


def phase_of_job(line: bytes) -> Hashable | None:
    """(job, phase) of an event of the agent's own stream."""
    if not line.startswith(b"data: "):
        return None
    event: dict[str, Any] = json.loads(line[6:])
    to = event["data"].get("to")
    return None if to is None else (event["job"], to)


def job_of_death(line: bytes) -> Hashable | None:
    """The job of an engine's die event."""
    return json.loads(line)["Actor"]["Attributes"].get("gpu-agent.job") if line.strip() else None
