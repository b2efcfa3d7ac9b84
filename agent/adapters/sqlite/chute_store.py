"""adapters/sqlite/chute_store — the ChuteStore and CordStore protocols: each method one transaction but where it says otherwise. Holds no SQL."""

import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeVar

from agent.adapters.sqlite import chutes, cords
from agent.adapters.sqlite.rows import Rows
from agent.core.chute import Brief, Described, Version
from agent.core.job import Job, Viewer
from agent.interfaces import Deployed
from agent.interfaces.cord_store import BegunCall, CordCaps, CordKey, KeptAnswer

T = TypeVar("T")


class SqliteChutes(ABC):
    """What of the store is about chutes; see interfaces.ChuteStore and CordStore for the promises."""

    _now: Callable[[], float]
    _rows: Rows

    @abstractmethod
    async def _read(self, ask: Callable[[sqlite3.Connection], T]) -> T: ...

    @abstractmethod
    async def _write(self, act: Callable[[sqlite3.Connection], T]) -> T: ...

    async def add_version(self, version: Version) -> Deployed:
        return await self._write(lambda db: chutes.add(db, version))

    async def settle_version(self, version_id: str, described: Described) -> Version | None:
        return await self._write(lambda db: chutes.settle_one(db, version_id, described, self._now()))

    async def version(self, version_id: str, viewer: Viewer) -> Version | None:
        return await self._read(lambda db: chutes.read_seen(db, version_id, viewer))

    async def describing(self) -> list[Version]:
        return await self._read(chutes.read_describing)

    async def chutes(self, viewer: Viewer) -> list[Brief]:
        return await self._read(lambda db: chutes.read_active(db, viewer))

    async def chute(self, name: str, viewer: Viewer) -> Version | None:
        return await self._read(lambda db: chutes.read_named(db, name, viewer))

    async def versions_of(self, chute: Version) -> list[Brief]:
        return await self._read(lambda db: chutes.read_of_chute(db, chute))

    async def unfinished_of(self, owner: str, chute: str) -> list[Job]:
        return await self._read(lambda db: self._rows.fetch(db, chutes.unfinished_of(db, owner, chute)))

    async def remove_chute(self, chute: Version) -> list[str]:
        return await self._write(lambda db: chutes.remove(db, chute))

    async def drop_stale_versions(self) -> list[str]:
        return await self._write(chutes.drop_stale)

    async def version_ids(self) -> set[str]:
        return await self._read(chutes.ids)

    async def begin_cord_call(self, key: CordKey, call: BegunCall, at: float, caps: CordCaps) -> BegunCall:
        return await self._write(lambda db: cords.begin(db, key, call, at, caps))

    async def keep_cord_answer(self, key: CordKey, call_id: str, answer: KeptAnswer, caps: CordCaps) -> None:
        await self._write(lambda db: cords.keep(db, key, call_id, answer, caps))

    async def drop_cord_calls(self, before: float) -> None:
        """As many transactions as it takes: other writes go between them."""
        while await self._write(lambda db: cords.drop(db, before)):
            pass
