"""fakes/chute_store — versions of chutes in memory: the part of agent.interfaces.Store that keeps them."""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from agent.core.chute import (
    Brief,
    Described,
    Kept,
    Owned,
    Version,
    VersionState,
    brief_of,
    choose_stale,
    settle,
)
from agent.core.job import Job, Viewer
from agent.errors import Phase
from agent.interfaces import (
    MOST_CODE_BYTES,
    MOST_DESCRIBING,
    ChuteInUseError,
    Deployed,
    TooManyDeploysError,
    TooMuchCodeError,
)
from agent.interfaces.cord_store import BegunCall, CordCaps, CordKey, KeptAnswer

T = TypeVar("T")
OPEN = (VersionState.DESCRIBING, VersionState.ACTIVE)


class MemoryChutes(ABC):
    """What of the memory store is about chutes."""

    _versions: dict[str, Version]
    _cord_calls: dict[CordKey, tuple[float, BegunCall]]
    _last_version_seq: int

    @abstractmethod
    async def _call(self, step: str, act: Callable[[], T]) -> T: ...

    @abstractmethod
    def _jobs(self) -> list[Job]: ...

    @abstractmethod
    def _follow(self, version: Version) -> None: ...

    @abstractmethod
    def _remove_schedules_of(self, owner: str, chute: str | None) -> None: ...

    @abstractmethod
    def _count_other_schedules(self, owner: str, chute: str | None) -> int: ...

    async def add_version(self, version: Version) -> Deployed:
        return await self._call("add_version", lambda: self._add(version))

    async def settle_version(self, version_id: str, described: Described) -> Version | None:
        return await self._call("settle_version", lambda: self._settle(version_id, described))

    async def version(self, version_id: str, viewer: Viewer) -> Version | None:
        def act() -> Version | None:
            found = self._versions.get(version_id)
            return found if found is not None and self._sees(viewer, found) else None

        return await self._call("version", act)

    async def describing(self) -> list[Version]:
        return await self._call("describing", lambda: self._in_state(VersionState.DESCRIBING))

    async def chutes(self, viewer: Viewer) -> list[Brief]:
        return await self._call("chutes", lambda: [brief_of(found) for found in self._active(viewer)])

    async def chute(self, name: str, viewer: Viewer) -> Version | None:
        def act() -> Version | None:
            named = [found for found in self._active(viewer) if found.chute == name]
            own = [found for found in named if found.owner == viewer.principal]
            return next(iter(own or sorted(named, key=lambda found: found.seq)), None)

        return await self._call("chute", act)

    async def versions_of(self, chute: Version) -> list[Brief]:
        return await self._call("versions_of", lambda: [brief_of(found) for found in self._of_chute(chute)])

    async def unfinished_of(self, owner: str, chute: str) -> list[Job]:
        return await self._call("unfinished_of", lambda: self._running(owner, chute))

    async def remove_chute(self, chute: Version) -> list[str]:
        def act() -> list[str]:
            if running := self._running(chute.owner, str(chute.chute)):
                raise ChuteInUseError(str(chute.chute), len(running))
            self._remove_schedules_of(chute.owner, chute.chute)
            of_it = (chute.owner, chute.chute)
            for key in [key for key in self._cord_calls if (key.owner, key.chute) == of_it]:
                del self._cord_calls[key]
            return self._delete([version.id for version in self._of_chute(chute)])

        return await self._call("remove_chute", act)

    async def drop_stale_versions(self) -> list[str]:
        def act() -> list[str]:
            kept = [
                Kept(version.id, version.owner, version.state, version.chute, version.seq)
                for version in self._versions.values()
                if version.state not in OPEN
            ]
            return self._delete(choose_stale(kept, self._in_use()))

        return await self._call("drop_stale_versions", act)

    async def version_ids(self) -> set[str]:
        def act() -> set[str]:
            kept = [found.id for found in self._versions.values() if found.state is not VersionState.REFUSED]
            return {*kept, *self._in_use()}

        return await self._call("version_ids", act)

    async def begin_cord_call(self, key: CordKey, call: BegunCall, at: float, caps: CordCaps) -> BegunCall:
        def act() -> BegunCall:
            if key not in self._cord_calls:
                self._cord_calls[key] = (at, call)
                for old in self._newest_calls(key.owner)[caps.calls :]:
                    del self._cord_calls[old]
            return self._cord_calls.get(key, (at, call))[1]

        return await self._call("begin_cord_call", act)

    async def keep_cord_answer(self, key: CordKey, call_id: str, answer: KeptAnswer, caps: CordCaps) -> None:
        def act() -> None:
            at, known = self._cord_calls.get(key, (0.0, None))
            if known is None or known.id != call_id or known.answer is not None:
                return
            self._cord_calls[key] = (at, replace(known, answer=answer))
            self._empty(self._newest_calls(key.owner), caps.owner_bytes, caps.answers)
            self._empty(self._newest_calls(None), caps.all_bytes, len(self._cord_calls))

        await self._call("keep_cord_answer", act)

    async def drop_cord_calls(self, before: float) -> None:
        def act() -> None:
            for key in [key for key, (at, _) in self._cord_calls.items() if at < before]:
                del self._cord_calls[key]

        await self._call("drop_cord_calls", act)

    def _newest_calls(self, owner: str | None) -> list[CordKey]:
        """Newest first; of one moment the one that began last."""
        known = [key for key in reversed(self._cord_calls) if owner is None or key.owner == owner]
        return sorted(known, key=lambda key: -self._cord_calls[key][0])

    def _empty(self, newest: list[CordKey], most_bytes: int, most: int) -> None:
        count = total = 0
        for key in newest:
            at, call = self._cord_calls[key]
            if call.answer is None:
                continue
            count += 1
            total += 1_024 + len(json.dumps(call.answer.headers)) + len(call.answer.body)
            if count > most or total > most_bytes:
                self._cord_calls[key] = (at, replace(call, answer=None))

    def _running(self, owner: str, chute: str) -> list[Job]:
        unfinished = [job for job in self._jobs() if job.phase is not Phase.FINISHED and job.owner == owner]
        return [job for job in unfinished if job.call is not None and job.call.chute == chute]

    def _in_use(self) -> set[str]:
        unfinished = [job for job in self._jobs() if job.phase is not Phase.FINISHED]
        return {job.call.version for job in unfinished if job.call is not None}

    def _add(self, version: Version) -> Deployed:
        own = [found for found in self._versions.values() if found.owner == version.owner]
        same = [found for found in own if found.digest == version.digest and found.state in OPEN]
        if same:
            return Deployed(same[0], is_replay=True)
        if sum(found.state is VersionState.DESCRIBING for found in own) >= MOST_DESCRIBING:
            raise TooManyDeploysError
        kept = sum(found.size_bytes for found in own if found.state is not VersionState.REFUSED)
        if kept + version.size_bytes > MOST_CODE_BYTES:
            raise TooMuchCodeError
        self._last_version_seq += 1
        added = replace(version, seq=self._last_version_seq)
        self._versions[version.id] = added
        return Deployed(added, is_replay=False)

    def _settle(self, version_id: str, described: Described) -> Version | None:
        version = self._versions.get(version_id)
        if version is None:
            return None
        own = [found for found in self._in_state(VersionState.ACTIVE) if found.owner == version.owner]
        name = None if described.manifest is None else described.manifest.chute.name
        before = next((found for found in own if found.chute == name), None)
        owned = Owned(len(own), self._count_other_schedules(version.owner, name))
        settled = settle(version, described, before, owned)
        if settled != version and settled.state is VersionState.ACTIVE and before is not None:
            self._versions[before.id] = replace(before, state=VersionState.SUPERSEDED)
        self._versions[version_id] = settled
        if settled != version and settled.state is VersionState.ACTIVE:
            self._follow(settled)
        return settled

    def _in_state(self, state: VersionState) -> list[Version]:
        found = [version for version in self._versions.values() if version.state is state]
        return sorted(found, key=lambda version: version.seq)

    def _active(self, viewer: Viewer) -> list[Version]:
        seen = [found for found in self._in_state(VersionState.ACTIVE) if self._sees(viewer, found)]
        return sorted(seen, key=lambda found: (found.chute or "", found.owner))

    def _of_chute(self, chute: Version) -> list[Version]:
        own = [
            found
            for found in self._versions.values()
            if (found.owner, found.chute) == (chute.owner, chute.chute)
        ]
        return sorted(own, key=lambda found: found.seq, reverse=True)

    def _delete(self, version_ids: list[str]) -> list[str]:
        for version_id in version_ids:
            del self._versions[version_id]
        return version_ids

    def _sees(self, viewer: Viewer, version: Version) -> bool:
        return viewer.sees_all or version.owner == viewer.principal
