"""fakes/schedule_files — the files of schedules in memory."""

from agent.interfaces import ScheduleFileMissingError


class FakeScheduleFiles:
    """`kept`: by schedule, for a test to look at."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}

    async def keep(self, schedule_id: str, text: str) -> None:
        self.kept[schedule_id] = text

    async def read(self, schedule_id: str) -> str:
        if schedule_id not in self.kept:
            raise ScheduleFileMissingError(schedule_id)
        return self.kept[schedule_id]

    async def remove(self, schedule_id: str) -> None:
        self.kept.pop(schedule_id, None)

    async def sweep(self, known: set[str]) -> list[str]:
        gone = sorted(self.kept.keys() - known)
        for schedule_id in gone:
            del self.kept[schedule_id]
        return gone
