"""jobs/upload_retry — how somebody asks that what did not leave be sent again. Sends nothing itself."""

from dataclasses import dataclass, replace

from agent.core.job import Job, Viewer
from agent.interfaces import Store
from agent.jobs.current import Current
from agent.jobs.given_ids import GivenIds
from agent.jobs.host_limits import find_upload_faults
from agent.jobs.intake import unknown_job
from agent.jobs.uploads import Uploads
from agent.spec import SpecRefusedError, parse_upload


@dataclass(frozen=True, slots=True)
class UploadRetry:
    store: Store
    uploads: Uploads
    current: Current
    given_ids: GivenIds

    async def ask(self, viewer: Viewer, job_id: str, body: object) -> Job:
        """`body`: `{"upload": …}` as in a spec, or none: then it goes where it went. What is on disk when this returns goes on.

        Raises ForeignIdError, SpecRefusedError, NotOverError, NothingToRetryError, TargetNeededError, JobFolderMissingError,
        StateFullError, StateReadOnlyError, StoreUnavailableError.
        """
        async with self.given_ids.turn(job_id):
            return await self._ask(viewer, job_id, body)

    async def _ask(self, viewer: Viewer, job_id: str, body: object) -> Job:
        job = await self.store.get(job_id, viewer)
        if job is None:
            raise unknown_job(job_id)
        upload = None if body is None else parse_upload(body)
        if upload is not None:
            faults = find_upload_faults(upload, self.current.policy.outgoing)
            # As `parse_upload` names them: the body has no `outputs` around it.
            named = [replace(fault, field=fault.field.removeprefix("outputs.")) for fault in faults]
            if named:
                raise SpecRefusedError(named)
        await self.uploads.again(job, upload)
        return job
