"""A reader of a watch that runs beside a test."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing, asynccontextmanager, suppress

from agent.core.globs import EVERY_OUTPUT, OutputChoice
from agent.core.quiet import Sighting
from agent.interfaces import OutputWatch
from tests.contract.folders_on_disk import JOB, PLENTY


@asynccontextmanager
async def noticing(watch: OutputWatch, choice: OutputChoice = EVERY_OUTPUT) -> AsyncIterator[list[Sighting]]:
    """All that is told while the block runs."""
    async with reading(watch.watch_outputs(JOB, PLENTY, choice)) as seen:
        yield seen


@asynccontextmanager
async def reading(sightings: AsyncGenerator[Sighting, None]) -> AsyncIterator[list[Sighting]]:
    seen: list[Sighting] = []

    async def read() -> None:
        async with aclosing(sightings):
            async for sighting in sightings:
                seen.append(sighting)  # noqa: PERF401 - the test looks at it meanwhile

    task = asyncio.ensure_future(read())
    try:
        yield seen
        if task.done():
            await task  # it ended by itself: say why
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def paths(seen: Iterable[Sighting]) -> set[str]:
    return {sighting.path for sighting in seen}
