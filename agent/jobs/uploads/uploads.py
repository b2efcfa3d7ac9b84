"""jobs/uploads/uploads — whose upload is under way: begun, stopped, asked for again, gone on with after a restart. Sends nothing itself."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import structlog

from agent.aio import spawn
from agent.core.job import Job
from agent.core.upload import JournalFile, UploadRecord, UploadState, has_upload
from agent.core.upload_form import UploadView
from agent.errors import AgentError, Blame, Phase
from agent.interfaces import SecretFiles
from agent.jobs.uploads.drive import Drive
from agent.jobs.uploads.made import journal_pages
from agent.jobs.uploads.tools import UploadTools
from agent.spec import Upload, hide_upload

log = structlog.get_logger()

# After the state folder failed; and after a mistake of ours in one job's upload.
RETRY_SECONDS, BROKEN_SECONDS = 5.0, 60.0


class NotOverError(AgentError):
    """The job's first upload, or one that was asked for before, is still under way."""

    code, blame = "upload_not_over", Blame.USER
    remedy = "Wait until the job is finished and its upload is over; cancel the job to stop an upload."


class NothingToRetryError(AgentError):
    """All was sent, or nothing was to be."""

    code, blame = "nothing_to_retry", Blame.USER
    remedy = "GET the job's outputs: they are here until retention ends."


class TargetNeededError(AgentError):
    """Where it goes had secrets, and these are gone with the job's end."""

    code, blame = "upload_needed", Blame.USER
    remedy = 'Send the upload of the spec once more, with its URL\'s query and headers: {"upload": {…}}.'


@dataclass(frozen=True, slots=True)
class FilesLeft:
    """By path: what the journal says, and how many bytes of a file are on their way just now."""

    journal: dict[str, JournalFile]
    moving: dict[str, int]


@dataclass(slots=True)
class _Drive:
    drive: Drive | None
    task: asyncio.Task[None]


class Uploads:
    """One drive a job. `poke(job_id)` tells the job's own task that its upload is over."""

    def __init__(self, tools: UploadTools, poke: Callable[[str], None]) -> None:
        self._tools = tools
        self._poke = poke
        self._drives: dict[str, _Drive] = {}
        self._group: asyncio.TaskGroup | None = None
        self._asking = asyncio.Lock()

    def use(self, group: asyncio.TaskGroup) -> None:
        """Where drives run."""
        self._group = group

    async def resume(self) -> None:
        """Standing task: goes on with what was asked for again of finished jobs, whose own tasks are over. Never returns."""
        for job in await self._retried():
            self._begin(job)
        await asyncio.Event().wait()

    async def is_over(self, job: Job) -> bool:
        """Whether the job has nothing (more) to send."""
        if not has_upload(job):
            return True
        if job.id in self._drives:
            return False
        record = (await self._tools.store.upload_records([job.id])).get(job.id)
        return record is not None and record.is_over

    def join(self, job: Job) -> None:
        """Begin the job's upload, or go on with it; `poke` comes at its end. Again is fine."""
        if job.id not in self._drives:
            self._begin(job)

    async def stop(self, job: Job) -> None:
        """End the job's upload as it is: what was sent stays sent."""
        await self._leave(job.id)
        record = await self._tools.store.begin_upload(job.id, self._tools.clock.now())
        if record is not None and not record.is_over:
            await Drive(job, record, self._tools).end_as_stopped()

    async def forsake(self, job_id: str) -> None:
        """Of a finished job that is deleted nothing more is sent. To be called before another may have its id: files are found by that."""
        await self._leave(job_id)
        self._tools.hiding.drop(job_id)

    async def again(self, job: Job, upload: Upload | None) -> UploadRecord:
        """Send what did not leave, of a finished job. `upload`: where to, with its secrets; None: as the spec says.

        To another endpoint than before everything is sent. Raises NotOverError, NothingToRetryError, TargetNeededError,
        JobFolderMissingError, StateFullError, StateReadOnlyError, StoreUnavailableError.
        """
        async with self._asking:
            place = _place_of_retry(job, upload)
            record = await self._find_over(job, upload, place)
            try:
                return await self._open_again(job, record, upload, place)
            finally:
                # Also where it failed: what was announced and not opened is taken back, and what was opened goes on.
                self._begin(job)

    async def _find_over(self, job: Job, upload: Upload | None, place: str | None) -> UploadRecord:
        record = (await self._tools.store.upload_records([job.id])).get(job.id)
        if job.phase is not Phase.FINISHED or job.id in self._drives or (record and not record.is_over):
            raise NotOverError(f"the upload of job {job.id} is not over")
        if record is None or (record.state is UploadState.COMPLETE and place == record.place):
            raise NothingToRetryError(f"nothing of job {job.id} is left to send")
        if upload is None and job.spec.outputs.upload.has_secrets:
            raise TargetNeededError(f"the secrets of the upload of job {job.id} went with its end")
        return record

    async def _open_again(
        self, job: Job, record: UploadRecord, upload: Upload | None, place: str | None
    ) -> UploadRecord:
        store, folders = self._tools.store, self._tools.folders
        # Before the target, or a crash would leave its secrets where nobody looks for them. And the target before it is
        # opened: an upload that is open and has none is lost.
        announced = replace(record, state=UploadState.SENDING, verdict=record.state, is_announced=True)
        await store.keep_upload(announced)
        if upload is not None:
            await folders.keep_upload_target(job.id, upload)
        opened = await store.begin_upload_again(job.id, self._tools.clock.now(), place)
        if opened is None:
            raise NotOverError(f"the job {job.id} was deleted meanwhile")
        return opened

    async def views(self, job_ids: Sequence[str]) -> dict[str, UploadView]:
        """How far the uploads of these jobs are; of those that have begun."""
        records = await self._tools.store.upload_records(job_ids)
        kept = {job_id: UploadView(record, record.sent.bytes) for job_id, record in records.items()}
        moving = {
            job_id: running.drive.view
            for job_id in job_ids
            if (running := self._drives.get(job_id)) is not None and running.drive is not None
        }
        return {**kept, **moving}

    async def files(self, job: Job) -> FilesLeft:
        """What became of each of the job's files until now."""
        record = (await self._tools.store.upload_records([job.id])).get(job.id)
        if record is None:
            return FilesLeft({}, {})
        journal = {
            file.path: file async for page in journal_pages(self._tools.store, record.row) for file in page
        }
        running = self._drives.get(job.id)
        return FilesLeft(journal, {} if running is None or running.drive is None else running.drive.moving)

    def _begin(self, job: Job) -> None:
        if self._group is not None:
            task = spawn(self._group, self._drive(job), f"upload {job.id}")
            self._drives[job.id] = _Drive(None, task)

    async def _leave(self, job_id: str) -> None:
        running = self._drives.pop(job_id, None)
        if running is not None:
            running.task.cancel()
            await asyncio.wait({running.task})

    async def _drive(self, job: Job) -> None:
        with structlog.contextvars.bound_contextvars(job=job.id):
            pause: float | None = 0.0
            while pause is not None:
                await asyncio.sleep(pause)
                pause = await self._go_on_or_put_off(job)
        self._drives.pop(job.id, None)
        if job.phase is Phase.FINISHED:
            self._tools.hiding.drop(job.id)
        self._poke(job.id)

    async def _go_on_or_put_off(self, job: Job) -> float | None:
        """None: it is over. Else in how many seconds to go on."""
        pause = None
        try:
            await self._go_on(job)
        except* AgentError as errors:
            for error in errors.exceptions:
                log.warning("upload.put_off", error=str(error))
            pause = RETRY_SECONDS
        except* Exception:
            # The top of the task: a mistake of ours in one job's upload ends neither the daemon nor others'.
            log.exception("upload.broke")
            pause = BROKEN_SECONDS
        task = asyncio.current_task()
        if task is not None and task.cancelling():  # an error of one file's task beside it must not hide that
            raise asyncio.CancelledError
        return pause

    async def _go_on(self, job: Job) -> None:
        record = await self._tools.store.begin_upload(job.id, self._tools.clock.now())
        if record is None or record.is_over or record.row != job.seq:  # a later job may have the id
            return
        target = await self._tools.folders.upload_target(job.id)
        self._tools.hiding.add(job.id, SecretFiles({}, upload=target))
        drive = Drive(job, record, self._tools)
        self._drives[job.id].drive = drive
        await drive.run()

    async def _retried(self) -> list[Job]:
        while True:
            try:
                job_ids = await self._tools.store.retried_uploads()
                found = [await self._tools.store.read(job_id) for job_id in job_ids]
                return [job for job in found if job is not None]
            except AgentError as error:
                log.warning("state.unavailable", code=error.code, error=str(error))
                await asyncio.sleep(RETRY_SECONDS)


def _place_of_retry(job: Job, upload: Upload | None) -> str | None:
    """As the record keeps it. None: where the spec says."""
    written = job.spec.outputs.upload
    return None if upload is None or _place(upload) == _place(written) else _place(upload)


def _place(upload: Upload) -> str:
    """Of what may be shown: signatures in a query change from day to day."""
    return " ".join([upload.to, *(f"{name}={url}" for name, url in sorted(hide_upload(upload).urls.items()))])
