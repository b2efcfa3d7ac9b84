"""api/showing — jobs as they are answered: the row with its attempts, notifications and upload, read for it. Answers nobody."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agent.api.ssh_views import show_ssh
from agent.api.views import Addresses, Beside, Json, show_job
from agent.core.job import Job
from agent.core.notify import Progress
from agent.core.upload_form import UploadView
from agent.interfaces import Store
from agent.jobs.ssh import SshServers
from agent.jobs.uploads import Uploads


@dataclass(frozen=True, slots=True)
class JobShowing:
    store: Store
    uploads: Uploads
    ssh: SshServers
    addresses: Addresses

    async def show(self, job: Job) -> Json:
        return (await self.show_all([job]))[0]

    async def show_all(self, jobs: Sequence[Job]) -> list[Json]:
        attempts = await self.store.attempts_of([job.id for job in jobs])
        notified, uploads = await self._notified(jobs), await self._uploading(jobs)
        return [
            show_job(
                job,
                attempts[job.id],
                self.addresses,
                Beside(notified.get(job.id), uploads.get(job.id), self.show_ssh(job)),
            )
            for job in jobs
        ]

    def show_ssh(self, job: Job) -> Json | None:
        return show_ssh(job, self.ssh.state_of(job), self.addresses)

    async def _notified(self, jobs: Sequence[Job]) -> Mapping[str, Progress]:
        asking = [job.id for job in jobs if job.spec.notify is not None]
        return await self.store.notify_progress(asking) if asking else {}

    async def _uploading(self, jobs: Sequence[Job]) -> Mapping[str, UploadView]:
        leaving = [job.id for job in jobs if job.spec.outputs.upload.leaves]
        return await self.uploads.views(leaving) if leaving else {}
