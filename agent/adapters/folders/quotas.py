"""adapters/folders/quotas — quota volumes as the shell sees them: one method a step, all blocking work in threads."""

import os
import re
from contextlib import suppress
from pathlib import Path

from agent.adapters.folders import durable, images
from agent.adapters.folders.disk import Disk
from agent.adapters.folders.jobs import job_ids
from agent.adapters.folders.loops import Keep, check_loops, goes_by_itself, in_use
from agent.adapters.folders.mounts import check_mounts
from agent.adapters.folders.names import job_folder
from agent.adapters.folders.state import State
from agent.interfaces import QuotaUnavailableError, Shortage


class DiskQuotas:
    """Implements `interfaces.Quotas`."""

    def __init__(self, opened: State, disk: Disk) -> None:
        self._state = opened
        self._disk = disk
        self._free_bytes = 0
        # The jobs whose image is not released, as far as this process has looked. None: it has not yet.
        self._unreleased: set[str] | None = None

    @property
    def free_bytes(self) -> int:
        """What may still be reserved, as it was at the last `reserve`; at first 0."""
        return self._free_bytes

    async def total_bytes(self) -> int:
        """What a quota could have of this disk, were it empty."""
        status = await self._disk.run(os.fstatvfs, self._state.jobs)
        return max(0, status.f_blocks * status.f_frsize - images.FLOOR_BYTES)

    async def reserve(self, job_id: str, size_bytes: int) -> Shortage | None:
        shortage = await self._disk.run(images.reserve, self._state.jobs, job_id, size_bytes)
        if self._unreleased is not None:
            self._unreleased.add(job_id)
        self._free_bytes = await self._disk.run(images.free_bytes, self._state.jobs)
        return shortage

    async def attach(self, job_id: str) -> str:
        return await self._disk.run(self._attach, job_id)

    async def refill(self, job_id: str) -> bool:
        return await self._disk.run(images.refill, self._state.jobs, job_id)

    async def held(self) -> set[str]:
        if self._unreleased is None:
            self._unreleased = await self._disk.run(self._find_unreleased)
        attached = await self._disk.run(devices_of, path_of(self._state.jobs))
        return self._unreleased | {job_id for job_id, _ in attached}

    async def release(self, job_id: str) -> None:
        await self._disk.run(self._release, job_id)
        if self._unreleased is not None:
            self._unreleased.discard(job_id)

    async def rest(self) -> None:
        await self._disk.run(self._state.roots.let_go_idle)

    async def why_impossible(self) -> str | None:
        """What this host lacks for any quota; None: nothing that can be seen before one is made."""
        return await self._disk.run(why_impossible)

    def _attach(self, job_id: str) -> str:
        with (
            images.open_image(self._state.jobs, job_id) as image,
            self._state.loops.attached(image, Keep.UNTIL_RELEASED) as device,
        ):
            return device

    def _find_unreleased(self) -> set[str]:
        found = set()
        for job_id in job_ids(self._state):
            with (
                suppress(FileNotFoundError),
                durable.open_folder(self._state.jobs, job_folder(job_id)) as job,
            ):
                if images.has_image(job) and not images.is_released(job):
                    found.add(job_id)
        return found

    def _release(self, job_id: str) -> None:
        status = images.image_status(self._state.jobs, job_id)
        if status is None:
            # The folder is gone, and the file, but for whoever has it open.
            self._state.loops.release_path(f"{path_of(self._state.jobs)}/{job_id}")
            return
        try:
            with suppress(FileNotFoundError):  # the job was forgotten meanwhile
                self._give_back(job_id)
        finally:
            self._state.roots.let_go(job_id)
            self._state.loops.release(status)

    def _give_back(self, job_id: str) -> None:
        with durable.open_folder(self._state.jobs, job_folder(job_id)) as job:
            if images.is_released(job):
                return
            with self._state.roots.opened(self._state.jobs, job_id) as root:
                images.give_back(root)
            images.mark_released(job)


_JOB = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?:\.removed)?/q\.img(?: \(deleted\))?")


def path_of(folder: int) -> str:
    """As the kernel writes it, also in the paths of loop devices' files: without links."""
    return str(Path(f"/proc/self/fd/{folder}").readlink())


def devices_of(jobs: str) -> list[tuple[str, str]]:
    """Each loop device on a quota below this folder of jobs, but those that go by themselves: the job, and the device."""
    found = []
    for loop in in_use():
        named = _JOB.fullmatch(loop.path.removeprefix(f"{jobs}/"))
        if named is not None and not goes_by_itself(loop):
            found.append((named[1], loop.device))
    return found


def why_impossible() -> str | None:
    """What this host lacks for any quota; None: nothing that can be seen before one is made."""
    try:
        images.find_mkfs()
        check_loops()
        check_mounts()
    except QuotaUnavailableError as error:
        return str(error)
    return None
