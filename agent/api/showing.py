"""api/showing — jobs as they are answered: the row with its attempts, notifications, upload and function, read for it. Answers nobody."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from agent.api.function_views import FunctionBeside
from agent.api.job_writing import write_job
from agent.api.json_value import Looked
from agent.api.ssh_views import show_ssh
from agent.api.views import Addresses, Beside, Json, show_job, show_ports
from agent.core.job import Job
from agent.core.notify import Progress
from agent.core.upload_form import UploadView
from agent.interfaces import Folders, Store, StoredReport
from agent.jobs.ssh import SshServers
from agent.jobs.uploads import Uploads

# A larger result is fetched by itself.
INLINE_BYTES = 256 << 10


@dataclass(frozen=True, slots=True)
class JobShowing:
    store: Store
    folders: Folders
    uploads: Uploads
    ssh: SshServers
    addresses: Addresses
    looked: Looked = field(default_factory=Looked)

    async def show(self, job: Job) -> Json:
        """All but its result and the points of its series."""
        if job.call is None:
            return (await self.show_all([job]))[0]
        return await self._show_one(job, await self.folders.report(job.id, job.attempt))

    async def write(self, job: Job) -> bytes:
        """All of it as JSON: of a function also its series, and its result where that is small."""
        series = {} if job.call is None else await self.store.series(job.id)
        return await self._write(job, series)

    async def write_to_function(self, job: Job) -> bytes:
        """As `write`, without the series: a function that waits for another asks again and again."""
        return await self._write(job, {})

    async def _write(self, job: Job, series: Mapping[str, str]) -> bytes:
        if job.call is None:
            return await write_job(await self.show(job), None, {})
        report = await self.folders.report(job.id, job.attempt, INLINE_BYTES)
        return await write_job(await self._show_one(job, report), await self._result(job, report), series)

    async def _result(self, job: Job, report: StoredReport | None) -> bytes | None:
        """As the job sent it; None: there is none, it is large, or it is no JSON that all clients can read."""
        if report is None or report.result is None or report.finish.fault is not None:
            return None
        # Of an attempt the first result stays, and no row gets the number of another.
        return report.result if await self.looked.is_json((job.seq, job.attempt), report.result) else None

    async def _show_one(self, job: Job, report: StoredReport | None) -> Json:
        told = await self.store.told_briefly(job.id)
        children = (await self.store.children_of([job.id]))[job.id]
        function = FunctionBeside(told.progress, told, children, report)
        return (await self._show_all([job], {job.id: function}))[0]

    async def show_all(self, jobs: Sequence[Job]) -> list[Json]:
        return await self._show_all(jobs, await self._functions(jobs))

    async def _show_all(self, jobs: Sequence[Job], functions: Mapping[str, FunctionBeside]) -> list[Json]:
        attempts = await self.store.attempts_of([job.id for job in jobs])
        notified, uploads = await self._notified(jobs), await self._uploading(jobs)
        return [
            show_job(
                job,
                attempts[job.id],
                self.addresses,
                Beside(notified.get(job.id), uploads.get(job.id), self.show_ssh(job), functions.get(job.id)),
            )
            for job in jobs
        ]

    def show_ssh(self, job: Job) -> Json | None:
        return show_ssh(job, self.ssh.state_of(job), self.addresses)

    def show_ports(self, job: Job) -> list[Json]:
        return show_ports(job, self.addresses)

    async def _functions(self, jobs: Sequence[Job]) -> Mapping[str, FunctionBeside]:
        calling = [job.id for job in jobs if job.call is not None]
        if not calling:
            return {}
        progress, children = await self.store.progress_of(calling), await self.store.children_of(calling)
        return {job_id: FunctionBeside(progress.get(job_id), children=children[job_id]) for job_id in calling}

    async def _notified(self, jobs: Sequence[Job]) -> Mapping[str, Progress]:
        asking = [job.id for job in jobs if job.spec.notify is not None]
        return await self.store.notify_progress(asking) if asking else {}

    async def _uploading(self, jobs: Sequence[Job]) -> Mapping[str, UploadView]:
        leaving = [job.id for job in jobs if job.spec.outputs.upload.leaves]
        return await self.uploads.views(leaving) if leaving else {}
