"""interfaces/schedule_files — what of a schedule is no row's: its job's spec with the secrets. No implementation."""

from typing import Protocol

from agent.errors import AgentError, Blame


class ScheduleFileMissingError(AgentError):
    """A schedule has no file: somebody removed it, or it is damaged."""

    code, blame = "schedule_file_missing", Blame.HOST
    remedy = "Remove the schedule and make it again, with its secrets; look for what removes files below the state folder."

    def __init__(self, schedule_id: str) -> None:
        super().__init__(f"the file of the schedule {schedule_id} is gone or damaged")


class ScheduleFiles(Protocol):
    """`<state>/schedules/<id>`, private. All writes raise StateFullError or StateReadOnlyError, leaving nothing half-done."""

    async def keep(self, schedule_id: str, text: str) -> None:
        """Durable when it returns, and before there is a row."""
        ...

    async def read(self, schedule_id: str) -> str:
        """What was kept. Raises ScheduleFileMissingError."""
        ...

    async def remove(self, schedule_id: str) -> None:
        """Once there is no row any more. Gone is fine."""
        ...
