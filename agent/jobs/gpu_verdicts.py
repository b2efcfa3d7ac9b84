"""jobs/gpu_verdicts — looks at GPUs judged, the verdicts kept on disk, and the jobs changed that they concern. Looks at none itself.

What is judged, and what it does to the job that holds the GPU, is one write, and before it nothing is done: no crash makes a bad
GPU a good one, or leaves a job on it.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import structlog

from agent.core.gpu_fates import meet_fate
from agent.core.gpu_findings import Fate, Sight
from agent.core.gpu_health import Effects, HealthPolicy, judge
from agent.core.gpu_record import GpuHealth, dump_health, load_health
from agent.core.job import Job, NewEvent
from agent.core.xid_reports import Reports, sort_xids
from agent.interfaces import Clock, Store, StoreUnavailableError
from agent.jobs.moment import now_of
from agent.jobs.xid_inbox import XidInbox

log = structlog.get_logger()

Decide = Callable[[Job], tuple[Job, list[NewEvent]]]


@dataclass(frozen=True, slots=True)
class Judged:
    """One GPU after a look, and what the look asks for."""

    health: GpuHealth
    effects: Effects


class GpuVerdicts:
    """`poke` is for a job whose row has changed. XIDs are judged with the next look at their GPU."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        policy: Callable[[], HealthPolicy],
        poke: Callable[[str], None],
        inbox: XidInbox,
    ) -> None:
        self._store = store
        self._inbox = inbox
        self._clock = clock
        self._policy = policy
        self._poke = poke
        self._turn = asyncio.Lock()
        self._is_loaded = False
        self.healths: Mapping[str, GpuHealth] = {}

    async def known(self) -> Mapping[str, GpuHealth]:
        """By UUID. Raises StoreUnavailableError."""
        if not self._is_loaded:
            loaded = [load_health(uuid, text) for uuid, text in (await self._store.gpu_healths()).items()]
            for one in loaded:
                for fault in one.faults:
                    log.warning("gpu.record_damaged", gpu=one.health.uuid, fault=fault)
            self.healths = {one.health.uuid: one.health for one in loaded}
            self._is_loaded = True
        return self.healths

    async def holders(self) -> dict[str, Job]:
        """Which job holds which GPU. Raises StoreUnavailableError."""
        return {
            uuid: job
            for job in await self._store.unfinished()
            if job.lease is not None
            for uuid in job.lease.gpus
        }

    async def judge(self, sights: Mapping[str, Sight]) -> dict[str, Judged]:
        """One at a time: two looks at one GPU must not each go out from what it was before the other.

        Raises StoreUnavailableError: then nothing was judged, and XIDs wait for the next look.
        """
        async with self._turn:
            reports = self._inbox.take(sights)
            try:
                judged, jobs = await self._judge_and_keep(sights, reports)
            except StoreUnavailableError:
                self._inbox.give_back(reports)
                raise
        for job_id in jobs:
            self._poke(job_id)
        for uuid, one in judged.items():
            _tell(uuid, one.effects)
        return judged

    async def _judge_and_keep(
        self, sights: Mapping[str, Sight], reports: Mapping[str, Reports]
    ) -> tuple[dict[str, Judged], list[str]]:
        known = await self.known()
        # Those who hold the GPUs as they are judged: whoever comes after them is of no concern to what came before.
        holders = await self.holders() if any(one.xids for one in reports.values()) else None
        judged = {
            uuid: self._judge_one(
                known.get(uuid, GpuHealth(uuid)), sight, reports[uuid], (holders or {}).get(uuid)
            )
            for uuid, sight in sights.items()
        }
        changed = {uuid: one.health for uuid, one in judged.items() if one.health != known.get(uuid)}
        changes = await self._changes(judged, holders)
        if changed or changes:
            dumped = {uuid: dump_health(health) for uuid, health in changed.items()}
            told = [event for one in judged.values() for event in one.effects.events]
            await self._store.keep_gpu_healths(dumped, changes, told)
        self.healths = {**known, **changed}
        return judged, [job_id for job_id, _ in changes]

    def _judge_one(self, health: GpuHealth, sight: Sight, reports: Reports, holder: Job | None) -> Judged:
        now = now_of(self._clock)
        xids = sort_xids(reports, health, sight.reset, holder, now)
        sight = replace(sight, xids=xids.fresh, old_xids=xids.old, log_record=reports.record)
        return Judged(*judge(health, sight, now, self._policy()))

    async def _changes(
        self, judged: Mapping[str, Judged], holders: Mapping[str, Job] | None
    ) -> list[tuple[str, Decide]]:
        """What becomes of the jobs that hold what was judged."""
        if all(one.effects.fate is Fate.NOTHING for one in judged.values()):
            return []
        holders = await self.holders() if holders is None else holders
        return [
            (holders[uuid].id, partial(self._meet, uuid, one.effects))
            for uuid, one in judged.items()
            if uuid in holders
        ]

    def _meet(self, uuid: str, effects: Effects, job: Job) -> tuple[Job, list[NewEvent]]:
        """Called in the write: the job may have given the GPU back since it was looked for."""
        is_its = job.lease is not None and uuid in job.lease.gpus
        if effects.why is None or not is_its:
            return job, []
        return meet_fate(job, effects.fate, effects.why, now_of(self._clock))


def _tell(uuid: str, effects: Effects) -> None:
    for warning in effects.warnings:
        log.warning("gpu.xid_unknown", gpu=uuid, warning=warning)
    for event in effects.events:
        log.warning(event.type, **event.data)
