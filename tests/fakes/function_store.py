"""fakes/function_store — what functions tell of themselves, in memory: the part of agent.interfaces.Store that keeps it."""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from agent.core.family import Family, Relative
from agent.core.job import Job, NewEvent, Viewer
from agent.core.metrics import Metric
from agent.core.told import Progress, Told
from agent.errors import Phase
from agent.interfaces import Telling

T = TypeVar("T")


class MemoryFunctions(ABC):
    """What of the memory store is about functions."""

    _functions: dict[str, Told]
    _now: Callable[[], float]

    @abstractmethod
    async def _call(self, step: str, act: Callable[[], T]) -> T: ...

    @abstractmethod
    def _jobs(self) -> list[Job]: ...

    @abstractmethod
    def _tell(self, job_id: str, at: float, told: Sequence[NewEvent]) -> None: ...

    @abstractmethod
    def _seen(self, job_id: str, viewer: Viewer) -> Job | None: ...

    async def told(self, job_id: str) -> Told:
        return await self._call("told", lambda: _copy(self._functions.get(job_id, Told())))

    async def told_briefly(self, job_id: str) -> Told:
        return await self._call("told_briefly", lambda: _without_points(self._functions.get(job_id, Told())))

    async def series(self, job_id: str) -> dict[str, str]:
        def act() -> dict[str, str]:
            metrics = self._functions.get(job_id, Told()).metrics
            return {
                name: json.dumps(metric.points, separators=(",", ":")) for name, metric in metrics.items()
            }

        return await self._call("series", act)

    async def progress_of(self, job_ids: Sequence[str]) -> dict[str, Progress | None]:
        def act() -> dict[str, Progress | None]:
            known = [job_id for job_id in job_ids if job_id in self._functions]
            return {job_id: self._functions[job_id].progress for job_id in known}

        return await self._call("progress_of", act)

    async def keep_told(self, tellings: Sequence[Telling]) -> None:
        await self._call("keep_told", lambda: self._keep_told(tellings))

    async def children_of(self, job_ids: Sequence[str]) -> dict[str, list[str]]:
        def act() -> dict[str, list[str]]:
            calls = [(job.call, job.id) for job in self._jobs() if job.call is not None]
            return {parent: [job_id for call, job_id in calls if call.parent == parent] for parent in job_ids}

        return await self._call("children_of", act)

    async def family(self, job_id: str, viewer: Viewer, limit: int) -> Family | None:
        return await self._call("family", lambda: self._family(job_id, viewer, limit))

    def _family(self, job_id: str, viewer: Viewer, limit: int) -> Family | None:
        first = self._seen(job_id, viewer)
        if first is None:
            return None
        relatives: list[Relative] = []
        waiting = [(first, 0)]
        while waiting:
            job, depth = waiting.pop()
            relatives.append(relative_of(job, depth))
            waiting += [(child, depth + 1) for child in reversed(self._children(job, viewer))]
        root = first
        while (above := self._parent(root, viewer)) is not None:
            root = above
        return Family(root.id, tuple(relatives[:limit]), is_cut=len(relatives) > limit)

    def _unfinished_below(self, job: Job) -> list[Job]:
        viewer = Viewer(job.owner)
        found, waiting = [], [job]
        while waiting:
            children = self._children(waiting.pop(), viewer)
            waiting += children
            found += [child for child in children if child.phase is not Phase.FINISHED]
        return sorted(found, key=lambda child: child.seq)

    def _children(self, job: Job, viewer: Viewer) -> list[Job]:
        return [
            child
            for child in self._jobs()
            if child.call is not None and child.call.parent == job.id and self._seen(child.id, viewer)
        ]

    def _parent(self, job: Job, viewer: Viewer) -> Job | None:
        return None if job.call is None or job.call.parent is None else self._seen(job.call.parent, viewer)

    def _keep_told(self, tellings: Sequence[Telling]) -> None:
        for telling in tellings:
            before = self._functions.get(telling.job_id)
            if before is None:
                continue
            metrics = _ordered({**before.metrics, **_copies(telling.metrics)})
            statuses = dict(telling.statuses)
            self._functions[telling.job_id] = Told(
                telling.attempt, telling.seq, telling.progress, statuses, metrics
            )
            self._tell(telling.job_id, self._now(), telling.events)


def relative_of(job: Job, depth: int) -> Relative:
    return Relative(
        id=job.id,
        parent=None if job.call is None else job.call.parent,
        depth=depth,
        name=job.spec.name,
        function=None if job.call is None else job.call.function,
        phase=job.phase,
        outcome=job.outcome,
        reason_code=None if job.reason is None else job.reason.code,
        attempt=job.attempt,
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
    )


def _copy(told: Told) -> Told:
    return replace(told, metrics=_copies(told.metrics))


def _without_points(told: Told) -> Told:
    return replace(told, metrics={name: replace(m.copy(), points=[]) for name, m in told.metrics.items()})


def _copies(metrics: Mapping[str, Metric]) -> dict[str, Metric]:
    return {name: metric.copy() for name, metric in metrics.items()}


def _ordered(metrics: dict[str, Metric]) -> dict[str, Metric]:
    return dict(sorted(metrics.items()))
