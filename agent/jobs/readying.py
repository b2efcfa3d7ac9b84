"""jobs/readying — what a job makes ready before its lease, so that no GPU idles through it: its image, and room for its outputs.

Called by the runner, step by step; starts nothing.
"""

import asyncio
from dataclasses import replace

import structlog

from agent.aio import Flag
from agent.core.container import Image, PullProgress
from agent.core.job import FailureKind, Job, NewEvent, StartFailure
from agent.interfaces import JobFolderMissingError, PullFailedError
from agent.jobs import quota
from agent.jobs.failing import fail, folder_missing
from agent.jobs.tools import Tools
from agent.jobs.writing import write

log = structlog.get_logger()

# A disk without room is looked at again this often: what makes room tells nobody.
_DISK_SECONDS = 5.0


class Readying:
    """One a job. All acts look first, act, and write the fact; each may be cut off anywhere and done again."""

    def __init__(self, tools: Tools, group: asyncio.TaskGroup, flag: Flag) -> None:
        self._tools = tools
        self._group = group
        self._flag = flag
        # What this process knows, and a restart may forget.
        self._image: Image | None = None
        self.image_was_looked_for = False

    def forget(self) -> None:
        """The attempt is closed."""
        self._image, self.image_was_looked_for = None, False

    async def find_image(self, job: Job) -> Job | None:
        """The row that has the image. None: the next look must tell."""
        image = self._image or await self._tools.images.find(job.spec.image)
        if image is not None:
            self._image = image  # the grant may write the row meanwhile: then we come again
            return await self._have_image(job, image)
        self.image_was_looked_for = True
        self._tools.ask_grant()  # it says whether the pull's turn has come
        return None

    async def pull_image(self, job: Job) -> None:
        """Join the pull, and wait for it or for a poke; then the line begins again, and may join once more."""
        try:
            credentials = (await self._tools.folders.secrets(job.id)).registry
        except JobFolderMissingError as error:
            await fail(self._tools, job, folder_missing(error))
            return
        result = self._tools.images.join(self._group, job.id, job.spec.image, credentials)
        if isinstance(result, Image):
            await self._have_image(job, result)
        elif isinstance(result, PullFailedError):
            failure = StartFailure(FailureKind.IMAGE, result.reason_code, str(result))
            await fail(self._tools, job, failure)
        else:
            told = None
            while not await self._flag.wait(self._tools.images.progress_seconds):
                told = await self._tell_progress(job, told)

    async def _have_image(self, job: Job, image: Image) -> Job | None:
        most = self._tools.policy.images.max_bytes
        if most is not None and image.size_bytes > most:
            message = f"the image has {image.size_bytes} bytes, this host allows {most}"
            await fail(self._tools, job, StartFailure(FailureKind.IMAGE, "image_too_large", message))
            return None
        job = await write(self._tools, replace(job, image_digest=image.digest, waiting_for=None))
        self._tools.ask_grant()
        return job

    async def reserve_disk(self, job: Job) -> None:
        """Room for its outputs, or the row says how much is wanting; then wait a little, or for a poke."""
        found = await quota.reserve(self._tools, job)
        if isinstance(found, StartFailure):
            await fail(self._tools, job, found)
            return
        if found is None:
            log.debug("disk.reserved", bytes=job.spec.disk)
            await write(self._tools, replace(job, has_disk=True, waiting_for=None, waiting_words=None))
            self._tools.ask_grant()
            return
        words = quota.words_of(found)
        if words != job.waiting_words:
            await write(self._tools, replace(job, waiting_words=words))
            self._tools.ask_grant()  # nobody behind it may take what comes free
        await self._flag.wait(_DISK_SECONDS)

    async def _tell_progress(self, job: Job, told: PullProgress | None) -> PullProgress | None:
        progress = self._tools.images.progress(job.id)
        if progress is not None and progress != told:
            data: dict[str, object] = {
                "image": job.spec.image,
                "bytes_done": progress.done_bytes,
                "bytes_total": progress.total_bytes,
                "layers_done": progress.layers_done,
                "layers_total": progress.layers_total,
            }
            await self._tools.store.append_event(job.id, NewEvent("image.progress", data))
        return progress
