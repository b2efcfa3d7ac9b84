"""jobs/schedules/submitting — the job of a schedule, as it is submitted: the spec out of its file, or of its chute. Decides nothing of when."""

import json
from dataclasses import dataclass

from agent.core.job import Kind
from agent.core.schedule import Firing, OfFunction, Schedule
from agent.interfaces import ScheduleFileMissingError, ScheduleFiles
from agent.interfaces.chutes import ScheduledFunctions
from agent.jobs.intake import Submission, digest_of

# A scheduled function has no parameter that a payload would have to bring.
NO_PAYLOAD = b"{}"


@dataclass(frozen=True, slots=True)
class Submitting:
    """Makes the submissions."""

    files: ScheduleFiles
    functions: ScheduledFunctions

    async def at_its_minute(self, schedule: Schedule, firing: Firing) -> Submission:
        """What to accept for the minute of `firing`: the same job, however often it is asked for.

        Raises ScheduleFileMissingError, and as `ScheduledFunctions.compose_call` does.
        """
        assert firing.due is not None  # noqa: S101 - what is run by hand is not of a minute
        job_id = schedule.job_of(firing.due)
        # The id says which job it is: what its spec is made of may have changed since.
        return await self._submission(schedule, firing, job_id=job_id, key=None, digest=job_id)

    async def by_hand(self, schedule: Schedule, key: str | None) -> Submission:
        """What to accept now, whatever its cron says. Raises as `at_its_minute` does."""
        digest = digest_of_run(schedule.id)
        return await self._submission(schedule, Firing(schedule.id), job_id=None, key=key, digest=digest)

    async def _submission(
        self, schedule: Schedule, firing: Firing, *, job_id: str | None, key: str | None, digest: str
    ) -> Submission:
        what = schedule.what
        if isinstance(what, OfFunction):
            called = await self.functions.compose_call(schedule.owner, what.chute, what.function)
            return Submission(
                called.body, Kind.FUNCTION, called.call, NO_PAYLOAD, job_id, key, digest, firing
            )
        body = await self._read(schedule)
        return Submission(body, job_id=job_id, key=key, digest=digest, firing=firing)

    async def _read(self, schedule: Schedule) -> object:
        text = await self.files.read(schedule.id)
        try:
            body: object = json.loads(text)
        except ValueError as error:
            raise ScheduleFileMissingError(schedule.id) from error
        return body


def digest_of_run(schedule_id: str) -> str:
    """Of what somebody asks for who runs it by hand."""
    return digest_of({"schedule": schedule_id})
