"""adapters/folders/quotas — quota volumes as the shell sees them: one method a step, all blocking work in threads."""

import os
from contextlib import suppress

import structlog

from agent.adapters.folders import durable, images
from agent.adapters.folders.disk import Disk
from agent.adapters.folders.jobs import job_ids
from agent.adapters.folders.loops import Keep, check_loops
from agent.adapters.folders.mounts import check_mounts
from agent.adapters.folders.names import job_folder
from agent.adapters.folders.state import State
from agent.core.disk_guard import FLOOR_BYTES
from agent.core.shortage import is_shortage
from agent.interfaces import QuotaUnavailableError, Shortage

_log = structlog.get_logger()


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
        return max(0, status.f_blocks * status.f_frsize - FLOOR_BYTES)

    async def reserve(self, job_id: str, size_bytes: int) -> Shortage | None:
        shortage = await self._disk.run(
            images.reserve, self._state.jobs, self._state.loops, job_id, size_bytes
        )
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
        loops = await self._disk.run(self._state.loops.all)
        return self._unreleased | {loop.job for loop in loops if loop.keep is Keep.UNTIL_RELEASED}

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
            self._state.loops.attached(job_id, image, Keep.UNTIL_RELEASED) as device,
        ):
            return device

    def _find_unreleased(self) -> set[str]:
        found = set()
        for job_id in job_ids(self._state):
            try:
                with durable.open_folder(self._state.jobs, job_folder(job_id)) as job:
                    if images.has_image(job) and not images.is_released(job):
                        found.add(job_id)
            except FileNotFoundError:
                continue
            except OSError as error:
                if is_shortage(error):
                    raise
                # One that is damaged (EIO) must not keep the others' room.
                _log.warning("folder.unreadable", job=job_id, error=str(error))
        return found

    def _release(self, job_id: str) -> None:
        try:
            with suppress(FileNotFoundError):  # the job was forgotten, or never had any
                self._give_back(job_id)
        finally:
            self._state.roots.let_go(job_id)
            self._state.loops.release(job_id)

    def _give_back(self, job_id: str) -> None:
        with durable.open_folder(self._state.jobs, job_folder(job_id)) as job:
            if images.is_released(job) or not images.has_image(job):
                return
            with self._state.roots.opened(self._state.jobs, job_id) as root:
                images.give_back(root)
            images.mark_released(job)


def why_impossible() -> str | None:
    """What this host lacks for any quota; None: nothing that can be seen before one is made."""
    try:
        images.find_mkfs()
        check_loops()
        check_mounts()
    except QuotaUnavailableError as error:
        return str(error)
    return None
