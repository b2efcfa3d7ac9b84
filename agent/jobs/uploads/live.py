"""jobs/uploads/live — files leave while their job runs: when they were closed, and quiet for a while. What it misses the last pass sends.

Nothing is final here: a file that is refused, or changes, is the last pass' to judge. Only what was sent is in the journal.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace

import structlog

from agent.aio import Flag, spawn
from agent.core.backoff import endpoint_pause, read_retry_after
from agent.core.delivery import Failure
from agent.core.globs import compile_choice
from agent.core.job import Job
from agent.core.quiet import QuietFiles, Sighting
from agent.core.upload import JournalFile, UploadRecord, is_same_content, names_attempt
from agent.core.upload_form import UploadView
from agent.interfaces import Delivery
from agent.jobs.uploads.ahead import ReadAhead
from agent.jobs.uploads.journal import Journal
from agent.jobs.uploads.meter import Meter
from agent.jobs.uploads.places import KeptPlaces
from agent.jobs.uploads.sending import Changed, Sending
from agent.jobs.uploads.target import find_target
from agent.jobs.uploads.tools import UploadTools
from agent.jobs.uploads.trying import until_done

log = structlog.get_logger()

# More names than that wait for the last pass.
MOST_WAITING = 10_000
# A timer may be early by a little.
LEAST_WAIT_SECONDS = 0.01


@dataclass(slots=True)
class _Running:
    attempt: int
    task: asyncio.Task[None]
    live: "Live | None" = None


class LiveUploads:
    """One task a job that wants it, from the time that it runs until its last pass begins."""

    def __init__(self, tools: UploadTools) -> None:
        self._tools = tools
        self._running: dict[str, _Running] = {}
        self._group: asyncio.TaskGroup | None = None

    def use(self, group: asyncio.TaskGroup) -> None:
        """Where the tasks run."""
        self._group = group

    def hold(self, job: Job) -> None:
        """The job runs, in this attempt. Again is fine."""
        running = self._running.get(job.id)
        if not job.spec.outputs.live or self._group is None:
            return
        if running is not None and running.attempt == job.attempt:
            return
        if running is not None:
            running.task.cancel()
        self._running[job.id] = _Running(job.attempt, spawn(self._group, self._run(job), f"live {job.id}"))

    async def leave(self, job_id: str) -> None:
        """Whatever is on its way is cut; the last pass sends it whole. None is fine."""
        running = self._running.pop(job_id, None)
        if running is not None:
            running.task.cancel()
            await asyncio.wait({running.task})

    def view(self, job_id: str) -> UploadView | None:
        running = self._running.get(job_id)
        return None if running is None or running.live is None else running.live.view

    async def _run(self, job: Job) -> None:
        with structlog.contextvars.bound_contextvars(job=job.id):
            await until_done(lambda: self._send(job))

    async def _send(self, job: Job) -> None:
        record = await self._tools.store.begin_upload(job.id, self._tools.clock.now())
        if record is None or record.is_over:
            return
        if not record.is_live:
            record = replace(record, is_live=True)
            await self._tools.store.keep_upload(record)
        live = Live(job, record, self._tools)
        self._running[job.id].live = live
        await live.run()


class Live:
    """One go at one attempt of one job. `run` returns only where there is nowhere to send to."""

    def __init__(self, job: Job, record: UploadRecord, tools: UploadTools) -> None:
        self._job = job
        self._tools = tools
        self._meter = Meter(record)
        self._journal = Journal(tools.store, record.row)
        self._files = QuietFiles(job.spec.outputs.quiet, MOST_WAITING)
        self._due = deque[Sighting]()
        self._flag = Flag()
        self._on_their_way = 0
        self._failures = 0
        self._pause_until = 0.0

    @property
    def view(self) -> UploadView:
        return self._meter.view(_loop_time())

    async def run(self) -> None:
        """Raises AgentError, alone or in a group, where this host can't go on just now."""
        await self._meter.count_all(self._tools.store)
        async with self._open() as sending, asyncio.TaskGroup() as group:
            if sending is None:
                return  # the last pass says so
            spawn(group, self._watch(), f"live watch {self._job.id}")
            while True:
                self._flag.clear()
                # Only then, or those of an endpoint that is away for a day would pile up here, past every bound.
                if not self._due:
                    self._due.extend(self._files.take_due(_loop_time()))
                while self._due and self._may_send():
                    await self._tools.budget.enter(self._job.owner, self._job.id)
                    self._on_their_way += 1
                    sent = self._send_one(sending, self._due.popleft())
                    # Not by the task itself: one that is cancelled before its first step never runs.
                    spawn(group, sent, f"live send {self._job.id}").add_done_callback(self._leave_place)
                await self._flag.wait(self._seconds_to_wait())

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[Sending | None]:
        upload = await find_target(self._tools.folders, self._job)
        if upload is None:
            yield None
            return
        places = await KeptPlaces.read(self._tools.folders, self._job.id)
        async with self._tools.deliveries.open(self._job, upload, places) as delivery:
            await self._begin(delivery)
            nothing_ahead = ReadAhead(self._tools.folders, self._job.id, ())
            yield Sending(delivery, places, self._job, {}, nothing_ahead, self._tools, self._meter)

    async def _begin(self, delivery: Delivery) -> None:
        while True:
            async with self._tools.budget.place(self._job.owner, self._job.id):
                answer = await delivery.begin(())
            if not isinstance(answer, Failure):
                break
            await asyncio.sleep(self._note_failure(answer))
        self._failures = 0

    async def _watch(self) -> None:
        outputs = self._job.spec.outputs
        choice = compile_choice(outputs.include, outputs.exclude)
        watch = self._tools.watch.watch_outputs(self._job.id, self._tools.limits(), choice)
        async with aclosing(watch) as sightings:
            async for sighting in sightings:
                self._files.see(sighting, _loop_time())
                self._flag.set()

    def _may_send(self) -> bool:
        """What is down is asked, one file at a time, and not stormed."""
        is_probing = self._failures > 0 and self._on_their_way > 0
        return not is_probing and _loop_time() >= self._pause_until

    def _seconds_to_wait(self) -> float | None:
        """None: until something is seen, or is settled."""
        if self._due:
            left = self._pause_until - _loop_time()
            return max(left, LEAST_WAIT_SECONDS) if not self._on_their_way else None
        due_at = self._files.next_due_at()
        return None if due_at is None else max(due_at - _loop_time(), LEAST_WAIT_SECONDS)

    def _leave_place(self, _task: asyncio.Task[None]) -> None:
        self._on_their_way -= 1
        self._tools.budget.leave(self._job.owner, self._job.id)
        self._flag.set()

    async def _send_one(self, sending: Sending, sighting: Sighting) -> None:
        known = await self._tools.store.journal_of(self._meter.record.row, [sighting.path])
        before = known.get(sighting.path)
        if before is not None and self._is_same(before, sighting):
            return  # as after a restart, when everything is found anew
        result = await sending.send(sighting.path, sighting)
        if isinstance(result, JournalFile):
            await self._journal.keep(result)
            self._tools.tally.count(result)
            self._meter.count(result, before)
            self._failures = 0
            log.debug("upload.live_sent", path=result.path, size=result.size_bytes)
        elif isinstance(result, Failure) and result.is_passing:
            self._pause_until = _loop_time() + self._note_failure(result)
            self._due.append(sighting)
        elif not isinstance(result, Changed):
            log.info("upload.live_left_out", path=sighting.path, code=result.code, status=result.status)

    def _is_same(self, file: JournalFile, sighting: Sighting) -> bool:
        attempt = self._job.attempt if names_attempt(self._job.spec.outputs.upload) else None
        return is_same_content(file, sighting.size_bytes, sighting.modified_ns, attempt)

    def _note_failure(self, failure: Failure) -> float:
        """For how many seconds nothing is sent."""
        self._tools.tally.troubles += 1
        log.info("upload.trouble", code=failure.code, status=failure.status, detail=failure.detail)
        asked = read_retry_after(failure.retry_after, self._tools.clock.now())
        pause = max(asked, endpoint_pause(self._failures, self._tools.random()))
        self._failures += 1
        return pause


def _loop_time() -> float:
    return asyncio.get_running_loop().time()
