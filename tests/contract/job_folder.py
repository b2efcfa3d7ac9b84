"""One job's output folder, in memory and on disk, and what the job does in it."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from agent.interfaces import Folders, OutputWatch
from tests.contract.folders_on_disk import JOB, NO_SECRETS, RECORD, opened, outputs
from tests.fakes.folders import FakeFolders


class WatchedFolders(Folders, OutputWatch, Protocol):
    """What both implement."""


@dataclass(frozen=True)
class Job:
    """What a job does in its output folder. `write` closes the file, `hold` keeps it open until its answer is called."""

    write: Callable[[str, bytes], object]
    hold: Callable[[str, bytes], Callable[[], object]]
    append: Callable[[str, bytes], object]
    truncate: Callable[[str, int], object]
    rename: Callable[[str, str], object]
    unlink: Callable[[str], object]


World = tuple[WatchedFolders, Job]
OpenWorld = Callable[[Path], AbstractAsyncContextManager[World]]


@asynccontextmanager
async def fake(_path: Path) -> AsyncIterator[World]:
    folders = FakeFolders()
    await folders.claim(JOB, RECORD, NO_SECRETS)
    mine = folders.outputs(JOB)

    def hold(path: str, data: bytes) -> Callable[[], object]:
        mine.write_on(path, data)
        return lambda: mine.write(path, data)

    yield folders, Job(mine.write, hold, mine.append, mine.truncate, mine.rename, mine.unlink)


@asynccontextmanager
async def real(path: Path) -> AsyncIterator[World]:
    async with opened(path) as folders:
        await folders.claim(JOB, RECORD, NO_SECRETS)
        yield folders, job_on_disk(outputs(path))


def job_on_disk(root: Path) -> Job:
    def write(name: str, data: bytes) -> None:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)

    def hold(name: str, data: bytes) -> Callable[[], object]:
        file = (root / name).open("ab", buffering=0)
        file.write(data)
        return file.close

    def append(name: str, data: bytes) -> None:
        with (root / name).open("ab") as file:
            file.write(data)

    return Job(
        write,
        hold,
        append,
        lambda name, size: os.truncate(root / name, size),
        lambda name, to: (root / name).rename(root / to),
        lambda name: (root / name).unlink(),
    )
