"""jobs/uploads/drive — one job's upload from what its record says to its end. A restart is another drive: what is done shows in the journal.

What goes wrong with the endpoint is waited out until the deadline, what goes wrong here (a full disk) is raised, and the
same drive run again.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

import structlog

from agent.aio import beside, spawn
from agent.core.backoff import endpoint_pause, read_retry_after
from agent.core.delivery import Answer, Failure, Sent
from agent.core.job import Job, NewEvent
from agent.core.upload import (
    MANIFEST,
    MOST_UNSTABLE,
    UploadRecord,
    UploadState,
    UploadTrouble,
    judge_end,
    name_place,
    tells_its_end,
)
from agent.core.upload_form import UploadView, show_upload
from agent.errors import AgentError
from agent.interfaces import Delivery, JobFolderMissingError
from agent.jobs.uploads.ahead import ReadAhead
from agent.jobs.uploads.batch import Batch, gather
from agent.jobs.uploads.journal import Journal
from agent.jobs.uploads.made import measure_manifest
from agent.jobs.uploads.meter import Meter
from agent.jobs.uploads.places import KeptPlaces
from agent.jobs.uploads.queue import Item, UploadQueue
from agent.jobs.uploads.sending import Changed, Sending, journal_failure
from agent.jobs.uploads.target import find_target
from agent.jobs.uploads.tools import UploadTools
from agent.spec import Upload, UploadTo

log = structlog.get_logger()

# A file that changed while it was sent is left in peace for a moment.
CHANGED_SECONDS = 1.0
# Progress is told no more often than that, nor than once in each hundredth of the time that the upload has taken.
PROGRESS_SECONDS, PROGRESS_SHARE = 1.0, 0.01


@dataclass(frozen=True, slots=True)
class Ending:
    """`code`: what cut it short, out of core/upload_troubles; None: nothing did."""

    code: str | None
    status: int | None = None
    path: str | None = None


WHOLE = Ending(None)


@dataclass(frozen=True, slots=True)
class Way:
    """To the endpoint, for as long as its connections are open."""

    delivery: Delivery
    places: KeptPlaces
    to: UploadTo


class Drive:
    """`run` ends with a record that is over. It may be cut off anywhere, and another drive go on."""

    def __init__(self, job: Job, record: UploadRecord, tools: UploadTools) -> None:
        self._job = job
        self._tools = tools
        self._meter = Meter(record, record.sent, record.failed, record.trouble)
        self._journal = Journal(tools.store, record.row)

    @property
    def view(self) -> UploadView:
        return self._meter.view(_loop_time())

    @property
    def moving(self) -> dict[str, int]:
        """Bytes of the files that are on their way."""
        return self._meter.moving

    @property
    def files_left(self) -> int:
        """Neither sent nor given up, once they are counted."""
        total = self._meter.record.total
        return 0 if total is None else max(0, total.files - self._meter.sent.files - self._meter.failed)

    async def run(self) -> None:
        """Raises AgentError, alone or in a group, where this host can't go on just now."""
        record = await self._begin_last_pass()
        if record.verdict is not None:  # decided, and cut off before it was written as over
            await self._close(record)
            return
        left = record.begun_at + self._job.spec.outputs.deadline - self._tools.clock.now()
        ending = WHOLE
        try:
            async with asyncio.timeout(max(0.0, left)) as limit:
                ending = await self._send_all()
        except* JobFolderMissingError:
            ending = Ending("folder_missing")
        except* TimeoutError:
            if not limit.expired():
                raise
            ending = Ending("deadline_passed")
        await self._end(ending)

    async def stop(self) -> None:
        """End it as it is. What an earlier drive sent is counted by the journal, since its meter is gone."""
        record = self._meter.record
        if record.verdict is not None:  # it was over but for its secrets
            await self._close(record)
            return
        self._meter = Meter(record)
        await self._meter.count_all(self._tools.store)
        await self._end(Ending("upload_cancelled"))

    async def _begin_last_pass(self) -> UploadRecord:
        """The deadline is the last pass', however long files have left before."""
        record = self._meter.record
        if record.is_live:
            record = replace(record, is_live=False, begun_at=self._tools.clock.now())
            await self._tools.store.keep_upload(record)
            self._meter.record = record
        return record

    async def _end(self, ending: Ending) -> None:
        """Decide how it ended, and write it."""
        meter = self._meter
        trouble = meter.given_up
        if ending.code is not None:
            trouble = UploadTrouble(ending.code, self._tools.clock.now(), ending.status, ending.path)
        if ending.code == "deadline_passed" and meter.trouble is not None:
            trouble = meter.trouble  # what it was that took so long
        verdict = judge_end(meter.current(), was_cut=ending.code is not None)
        await self._close(replace(meter.current(), verdict=verdict, trouble=trouble))

    async def _close(self, record: UploadRecord) -> None:
        # The verdict first: what a crash leaves before the secrets are dropped must still be open, or nobody drops them.
        await self._tools.store.keep_upload(record)
        log.debug("upload.decided", verdict=record.verdict)
        await self._tools.folders.drop_upload_secrets(self._job.id)
        log.debug("upload.secrets_dropped")
        over = replace(record, state=record.verdict or UploadState.FAILED, is_retry_asked=False)
        self._meter.record = over
        told = [NewEvent("upload.ended", show_upload(UploadView(over, over.sent.bytes)))]
        # What was asked for again and has not begun ended before, and that was told.
        await self._tools.store.keep_upload(over, [] if record.is_retry_asked else told)
        log.info("upload.ended", state=over.state, files=over.sent.files, failed=over.failed)

    async def _send_all(self) -> Ending:
        upload = await find_target(self._tools.folders, self._job)
        place = self._meter.record.place
        if upload is None or place not in {None, name_place(upload)}:
            return Ending("target_lost")
        async with self._tools.names.reading(self._job.owner, self._tools.limits().files) as hold:
            batch = await gather(self._tools, self._job, upload)
            hold(len(batch.offered))
            return await self._send_batch(upload, batch)

    async def _send_batch(self, upload: Upload, batch: Batch) -> Ending:
        tools, job = self._tools, self._job
        await self._note_begin(batch)
        places = await KeptPlaces.read(tools.folders, job.id, frozenset(batch.left))
        async with (
            beside(self._tell_progress(), f"upload progress {job.id}"),
            tools.deliveries.open(job, upload, places) as delivery,
        ):
            return await self._deliver(Way(delivery, places, upload.to), batch)

    async def _note_begin(self, batch: Batch) -> None:
        meter = self._meter
        meter.sent, meter.failed, meter.given_up = batch.sent, batch.failed, batch.given_up
        was_told = meter.record.was_told
        meter.record = replace(meter.record, total=batch.total, was_told=True)
        told = [] if was_told else [NewEvent("upload.began", show_upload(self.view))]
        await self._tools.store.keep_upload(meter.current(), told)
        log.debug("upload.began", files=batch.total.files, left=len(batch.left))

    async def _deliver(self, way: Way, batch: Batch) -> Ending:
        delivery = way.delivery
        failure = await self._insist(lambda: delivery.begin(batch.offered))
        if failure is not None:
            return Ending(failure.code, failure.status)
        ahead = ReadAhead(self._tools.folders, self._job.id, batch.offered[: len(batch.left)])
        sending = Sending(delivery, way.places, self._job, batch.logs, ahead, self._tools, self._meter)
        await self._send_files(sending, batch)
        is_whole = not self._meter.failed and batch.cut is None
        if tells_its_end(way.to, is_whole=is_whole):
            manifest = await measure_manifest(self._tools.store, self._job, batch.attempt, batch.skipped)
            failure = await self._insist(lambda: delivery.end(manifest))
            if failure is not None:
                return Ending(failure.code, failure.status, MANIFEST)
            log.debug("upload.end_told")
        return Ending(batch.cut)

    async def _insist(self, act: Callable[[], Awaitable[Answer]]) -> Failure | None:
        """Until it went well (None), or never will."""
        failures = 0
        while True:
            # What begins and what ends an upload are requests like any other: a thousand jobs must not make a thousand at once.
            async with self._tools.budget.place(self._job.owner, self._job.id):
                answer = await act()
            if isinstance(answer, Sent):
                return None
            self._note(answer)
            if not answer.is_passing:
                return answer
            await asyncio.sleep(self._pause(failures, answer))
            failures += 1

    async def _send_files(self, sending: Sending, batch: Batch) -> None:
        queue = UploadQueue(batch.left)
        async with asyncio.TaskGroup() as group:
            while (item := await queue.take()) is not None:
                await self._tools.budget.enter(self._job.owner, self._job.id)
                task = spawn(group, self._send_one(sending, queue, item), f"upload {self._job.id}")
                # Held until the journal has it: so many files, and no more, are sent twice after a crash. Not given back by the
                # task itself: one that is cancelled before its first step never runs.
                task.add_done_callback(self._leave_place)

    def _leave_place(self, _task: asyncio.Task[None]) -> None:
        self._tools.budget.leave(self._job.owner, self._job.id)

    async def _send_one(self, sending: Sending, queue: UploadQueue, item: Item) -> None:
        result = await sending.send(item.path)
        if isinstance(result, Failure) and result.is_passing:
            self._note(result, item.path)
            item.failures += 1
            queue.fail(item, self._pause(max(queue.failures, item.failures - 1), result))
            return
        if isinstance(result, Changed):
            item.changes += 1
            if item.changes < MOST_UNSTABLE:
                queue.put_back(item, CHANGED_SECONDS)
                return
            result = Failure("file_unstable", is_passing=False)
        if isinstance(result, Failure):
            self._note(result, item.path)
            result = journal_failure(item.path, self._job, result, self._tools.clock.now())
        await self._journal.keep(result)
        self._tools.tally.count(result)
        log.debug("upload.file_kept", path=result.path, state=result.state)
        self._meter.count(result)
        queue.settle()

    def _pause(self, failures: int, failure: Failure) -> float:
        asked = read_retry_after(failure.retry_after, self._tools.clock.now())
        return max(asked, endpoint_pause(failures, self._tools.random()))

    def _note(self, failure: Failure, path: str | None = None) -> None:
        self._tools.tally.troubles += 1
        self._meter.trouble = UploadTrouble(failure.code, self._tools.clock.now(), failure.status, path)
        log.info("upload.trouble", code=failure.code, status=failure.status, path=path, detail=failure.detail)

    async def _tell_progress(self) -> None:
        begun_at, told = _loop_time(), self.view.bytes_done
        while True:
            await asyncio.sleep(max(PROGRESS_SECONDS, PROGRESS_SHARE * (_loop_time() - begun_at)))
            if self.view.bytes_done == told:
                continue
            told = self.view.bytes_done
            event = NewEvent("upload.progress", show_upload(self.view))
            try:
                await self._tools.store.append_event(self._job.id, event)
            except AgentError as error:  # the next one tells more
                log.debug("upload.progress_not_told", code=error.code)


def _loop_time() -> float:
    return asyncio.get_running_loop().time()
