"""jobs/uploads/uploads — whose upload is under way: begun, stopped, asked for again, gone on with after a restart. Sends nothing itself."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from agent.aio import spawn
from agent.core.job import Job
from agent.core.upload import (
    JournalFile,
    Resend,
    UploadRecord,
    UploadState,
    announce_retry,
    has_upload,
    name_place,
)
from agent.core.upload_form import UploadView
from agent.errors import AgentError, Blame, Phase
from agent.interfaces import SecretFiles
from agent.jobs.uploads.drive import Drive
from agent.jobs.uploads.live import LiveUploads
from agent.jobs.uploads.tally import SentTally
from agent.jobs.uploads.tools import UploadTools
from agent.jobs.uploads.trying import RETRY_SECONDS, until_done
from agent.spec import Upload

log = structlog.get_logger()


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


@dataclass(frozen=True, slots=True)
class Retry:
    """What somebody asks for, as `place` names it."""

    job_id: str
    upload: Upload
    place: str
    resend: Resend


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
        self._live = LiveUploads(tools)
        # A retry is opened in steps, of which nobody else may see one and think it over: not another who asks, nor who cancels, nor a
        # start of the daemon.
        self._asking = asyncio.Lock()

    @property
    def tally(self) -> SentTally:
        return self._tools.tally

    @property
    def waiting(self) -> tuple[int, int]:
        """How many jobs' last uploads are under way, and how many of their files have not left."""
        drives = [running.drive for running in self._drives.values() if running.drive is not None]
        return len(self._drives), sum(drive.files_left for drive in drives)

    def use(self, group: asyncio.TaskGroup) -> None:
        """Where drives run."""
        self._group = group
        self._live.use(group)

    def hold(self, job: Job) -> None:
        """The job runs: what it wants to leave meanwhile leaves from here on. Again is fine."""
        self._live.hold(job)

    def allow(self, most: int) -> None:
        """So many files leave at once from now on, of all jobs together."""
        self._tools.budget.allow(most)

    async def resume(self) -> None:
        """Standing task: goes on with what was asked for again of finished jobs, whose own tasks are over. Never returns."""
        while True:
            try:
                await self._take_up_retries()
                await asyncio.Event().wait()
            except AgentError as error:
                log.warning("state.unavailable", code=error.code, error=str(error))
                await asyncio.sleep(RETRY_SECONDS)

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
        await self._live.leave(job.id)
        record = await self._tools.store.begin_upload(job.id, self._tools.clock.now())
        if record is not None and not record.is_over:
            await Drive(job, record, self._tools).stop()

    async def stop_retry(self, job: Job) -> bool:
        """End what was asked for again of a finished job; durable when it returns. False: nothing of it is under way.

        Raises StateFullError, StateReadOnlyError, StoreUnavailableError.
        """
        if job.phase is not Phase.FINISHED:
            return False
        # What is being opened just now is stopped once it is open, or its target would be kept behind the drop of its secrets.
        async with self._asking:
            record = (await self._tools.store.upload_records([job.id])).get(job.id)
            if record is None or record.is_over:
                return False
            try:
                await self.stop(job)
            except AgentError:
                self.join(job)  # the record says still that it is under way
                raise
            self._tools.hiding.drop(job.id)
            return True

    async def forget(self, job_id: str) -> None:
        """The job is gone from this host: send nothing more of it."""
        self._tools.hiding.drop(
            job_id
        )  # now: while the drive ends another job may come under the id, with secrets of its own
        await self._leave(job_id)

    async def again(self, job: Job, upload: Upload | None) -> UploadRecord:
        """Send what did not leave, of a finished job. `upload`: where to, with its secrets; None: as the spec says.

        To another place than the last time everything is sent. Raises NotOverError, NothingToRetryError, TargetNeededError,
        JobFolderMissingError, StateFullError, StateReadOnlyError, StoreUnavailableError.
        """
        async with self._asking:
            record = await self._find_ended(job)
            written = job.spec.outputs.upload
            place = name_place(upload or written)
            resend = Resend.FAILED if place == (record.place or name_place(written)) else Resend.EVERYTHING
            if record.state is UploadState.COMPLETE and resend is Resend.FAILED:
                raise NothingToRetryError(f"nothing of job {job.id} is left to send")
            if upload is None and written.has_secrets:
                raise TargetNeededError(f"the secrets of the upload of job {job.id} went with its end")
            try:
                opened = await self._open_again(record, Retry(job.id, upload or written, place, resend))
            except Exception:
                # As far as it came: what was opened goes on, what was announced is taken back.
                self._begin(job)
                raise
            self._begin(job)
            return opened

    async def _open_again(self, record: UploadRecord, retry: Retry) -> UploadRecord:
        store, folders = self._tools.store, self._tools.folders
        # Announced before its target is there, or a crash would leave secrets where nobody looks for them; and opened behind
        # that, since an upload that is open and has no target is lost.
        await store.keep_upload(announce_retry(record))
        log.debug("upload.retry_announced", job=retry.job_id)
        await folders.keep_upload_target(retry.job_id, retry.upload)
        log.debug("upload.target_kept", job=retry.job_id)
        now = self._tools.clock.now()
        opened = await store.begin_upload_again(retry.job_id, now, retry.place, retry.resend)
        if opened is None:
            raise NotOverError(f"the job {retry.job_id} was deleted meanwhile")
        log.info("upload.retried", job=retry.job_id, place=retry.place)
        return opened

    async def _find_ended(self, job: Job) -> UploadRecord:
        record = (await self._tools.store.upload_records([job.id])).get(job.id)
        if job.phase is not Phase.FINISHED or job.id in self._drives or (record and not record.is_over):
            raise NotOverError(f"the upload of job {job.id} is not over")
        if record is None:
            raise NothingToRetryError(f"job {job.id} had nothing to send")
        return record

    async def views(self, job_ids: Sequence[str]) -> dict[str, UploadView]:
        """How far the uploads of these jobs are; of those that have begun."""
        records = await self._tools.store.upload_records(job_ids)
        kept = {job_id: UploadView(record, record.sent.bytes) for job_id, record in records.items()}
        moving = {
            job_id: running.drive.view
            for job_id in job_ids
            if (running := self._drives.get(job_id)) is not None and running.drive is not None
        }
        live = {job_id: view for job_id in job_ids if (view := self._live.view(job_id)) is not None}
        return {**kept, **live, **moving}

    async def files(self, job: Job, paths: Sequence[str]) -> FilesLeft:
        """What became of these of the job's files until now."""
        record = (await self._tools.store.upload_records([job.id])).get(job.id)
        if record is None:
            return FilesLeft({}, {})
        journal = await self._tools.store.journal_of(record.row, paths)
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
            await until_done(lambda: self._go_on(job))
        self._drives.pop(job.id, None)
        if job.phase is Phase.FINISHED:
            self._tools.hiding.drop(job.id)
        self._poke(job.id)

    async def _go_on(self, job: Job) -> None:
        await self._live.leave(job.id)
        record = await self._tools.store.begin_upload(job.id, self._tools.clock.now())
        if record is None or record.is_over or record.row != job.seq:  # a later job may have the id
            return
        target = await self._tools.folders.upload_target(job.id)
        self._tools.hiding.add(job.id, SecretFiles({}, upload=target))
        drive = Drive(job, record, self._tools)
        self._drives[job.id].drive = drive
        await drive.run()

    async def _take_up_retries(self) -> None:
        async with self._asking:
            job_ids = await self._tools.store.retried_uploads()
            found = [await self._tools.store.read(job_id) for job_id in job_ids]
            for job in found:
                if job is not None:
                    self.join(job)
