"""adapters/folders/schedules — what schedules start, with its secrets: a private file each. Knows no row, and reads no spec."""

import os

from agent.adapters.folders import durable
from agent.adapters.folders.disk import Disk
from agent.adapters.folders.names import is_job_id, job_folder, whole_of
from agent.interfaces import ScheduleFileMissingError


class DiskSchedules:
    """Implements `interfaces.ScheduleFiles`; what only the daemon's start and a repair need is beside it. `folder` is open."""

    def __init__(self, folder: int, disk: Disk) -> None:
        self._folder = folder
        self._disk = disk

    async def keep(self, schedule_id: str, text: str) -> None:
        """Durable when it returns."""
        await self._disk.run(keep, self._folder, schedule_id, text)

    async def read(self, schedule_id: str) -> str:
        """Raises ScheduleFileMissingError."""
        return await self._disk.run(read, self._folder, schedule_id)

    async def remove(self, schedule_id: str) -> None:
        """Gone is fine."""
        await self._disk.run(remove, self._folder, schedule_id)

    async def ids(self) -> set[str]:
        """The schedules that have a file."""
        return {name for name in await self._disk.run(durable.names_in, self._folder) if is_job_id(name)}

    async def sweep(self, known: set[str]) -> list[str]:
        """Remove what no row knows and what a crash left half-made. `known` must be whole: what is not in it is lost."""
        return await self._disk.run(sweep, self._folder, known)


def keep(folder: int, schedule_id: str, text: str) -> None:
    durable.replace_file(folder, job_folder(schedule_id), text.encode())


def read(folder: int, schedule_id: str) -> str:
    """Raises ScheduleFileMissingError."""
    try:
        return durable.read_file(folder, job_folder(schedule_id)).decode()
    except (FileNotFoundError, UnicodeDecodeError) as error:
        raise ScheduleFileMissingError(schedule_id) from error


def remove(folder: int, schedule_id: str) -> None:
    durable.unlink_if_there(folder, job_folder(schedule_id))
    os.fsync(folder)


def sweep(folder: int, known: set[str]) -> list[str]:
    """What has no schedule's name is none of ours."""
    removed = [
        name for name in sorted(durable.names_in(folder)) if is_job_id(whole_of(name)) and name not in known
    ]
    for name in removed:
        durable.unlink_if_there(folder, name)
    return removed
