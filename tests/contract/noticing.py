"""A reader of a watch that runs beside a test, and what the kernel says of the watches of this process."""

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from pathlib import Path

from agent.core.globs import EVERY_OUTPUT, OutputChoice
from agent.core.quiet import Noticed, Sighting
from agent.interfaces import OutputWatch
from tests.contract.folders_on_disk import JOB, PLENTY
from tests.contract.nvml_world import until


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


def watched_inodes() -> set[int]:
    """What all inotify instances of this process watch, as the kernel says."""
    inodes: set[int] = set()
    for info in Path("/proc/self/fdinfo").iterdir():
        try:
            lines = info.read_text().splitlines()
        except OSError:
            continue  # closed meanwhile
        for line in lines:
            if line.startswith("inotify"):
                fields = dict(field.split(":") for field in line.split()[1:] if ":" in field)
                inodes.add(int(fields["ino"], 16))
    return inodes


def inode(path: Path) -> int:
    return path.stat().st_ino


def how(seen: list[Sighting], path: str) -> Noticed:
    """The last time that it was told."""
    return [sighting.noticed for sighting in seen if sighting.path == path][-1]


async def until_told(seen: list[Sighting], path: str) -> None:
    await until(lambda: path in paths(seen))


@contextmanager
def over_and_over(act: Callable[[], None]) -> Iterator[None]:
    ended = threading.Event()

    def run() -> None:
        while not ended.is_set():
            act()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
