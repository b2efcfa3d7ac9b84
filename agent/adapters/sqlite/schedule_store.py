"""adapters/sqlite/schedule_store — the ScheduleStore protocol: each method one transaction. Holds no SQL."""

import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeVar

from agent.adapters.sqlite import schedules
from agent.adapters.sqlite.schedules import Decide
from agent.core.job import Viewer
from agent.core.schedule import Schedule, Timed
from agent.interfaces import ScheduleQuery

T = TypeVar("T")


class SqliteSchedules(ABC):
    """What of the store is about schedules; see interfaces.ScheduleStore for the promises."""

    _now: Callable[[], float]

    @abstractmethod
    async def _read(self, ask: Callable[[sqlite3.Connection], T]) -> T: ...

    @abstractmethod
    async def _write(self, act: Callable[[sqlite3.Connection], T]) -> T: ...

    async def add_schedule(self, schedule: Schedule) -> Schedule:
        return await self._write(lambda db: schedules.add(db, schedule))

    async def schedule(self, schedule_id: str, viewer: Viewer) -> Schedule | None:
        return await self._read(lambda db: schedules.read(db, schedule_id, viewer))

    async def schedules(self, query: ScheduleQuery, viewer: Viewer) -> list[Schedule]:
        return await self._read(lambda db: schedules.page(db, query, viewer))

    async def timed_schedules(self) -> list[Timed]:
        return await self._read(schedules.read_timed)

    async def change_schedule(self, schedule_id: str, viewer: Viewer, decide: Decide) -> Schedule | None:
        return await self._write(lambda db: schedules.change(db, (schedule_id, viewer), decide, self._now()))

    async def remove_schedule(self, schedule_id: str, viewer: Viewer) -> bool:
        return await self._write(lambda db: schedules.remove(db, schedule_id, viewer))

    async def unfinished_of_schedule(self, schedule_id: str) -> str | None:
        return await self._read(lambda db: schedules.unfinished(db, schedule_id))

    async def schedule_ids(self) -> set[str]:
        return await self._read(schedules.ids)
