"""jobs/gpu_care — the host's GPUs: looked at, judged, kept on disk; and what that means for jobs. Leases none.

What is judged, and what it does to the job that holds the GPU, is one write, and before it nothing is done: no crash makes a bad
GPU a good one, or leaves a job on it.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import structlog

from agent.aio import Flag
from agent.core.gpu_fates import meet_fate
from agent.core.gpu_findings import Facts, Fate, Gate, GateVerdict, Request, Sight
from agent.core.gpu_health import Effects, HealthPolicy, Refusal, is_leasable, is_used, judge, unleasable
from agent.core.gpu_record import GpuHealth, dump_health, load_health
from agent.core.gpus import NO_INVENTORY, Inventory
from agent.core.job import Job, NewEvent, Now
from agent.interfaces import Clock, Gpus, Store, StoreUnavailableError
from agent.jobs.moment import now_of

log = structlog.get_logger()

Decide = Callable[[Job], tuple[Job, list[NewEvent]]]

LOOK_SECONDS = 5.0
# Where all are well and free: what fails tells so by an XID, and each is looked at before it is given out.
IDLE_LOOK_SECONDS = 60.0
# Without a GPU there is only to be seen whether one has come.
LOOK_FOR_ONE_SECONDS = 600.0
# XIDs come in storms: one look serves all of a moment.
PAUSE_SECONDS = 0.2
# How often a GPU is looked at until it is clean after its job.
GATE_SECONDS = 0.5
RETRY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class CareSettings:
    """`use`: the UUIDs that may be leased, or "*". `clean_seconds`: how long a GPU may take to be clean after a job."""

    policy: HealthPolicy
    use: tuple[str, ...]
    clean_seconds: float


@dataclass(frozen=True, slots=True)
class Judged:
    """One GPU after a look, and what the look asks for."""

    health: GpuHealth
    effects: Effects


@dataclass(frozen=True, slots=True)
class GpuView:
    """All GPUs at one moment, for who shows them. `condition`: why there are none, or why they can't be asked."""

    inventory: Inventory
    condition: str | None
    healths: Mapping[str, GpuHealth]
    holders: Mapping[str, Job]
    now: Now


class GpuCare:
    """Standing task `watch`. `poke` is for a job whose row has changed."""

    def __init__(  # noqa: PLR0913, PLR0917 - three adapters, its settings, and whom it wakes
        self,
        gpus: Gpus,
        store: Store,
        clock: Clock,
        settings: CareSettings,
        ask_grant: Callable[[], None],
        poke: Callable[[str], None],
    ) -> None:
        self._gpus = gpus
        self._store = store
        self._clock = clock
        self.settings = settings
        self._ask_grant = ask_grant
        self._poke = poke
        self._flag = Flag()
        self._turn = asyncio.Lock()
        self._is_loaded = False
        self._is_busy = False
        self._xids: dict[str, dict[int, None]] = {}
        self.healths: Mapping[str, GpuHealth] = {}
        self.inventory: Inventory = NO_INVENTORY
        gpus.listen(self._note_xid)

    def unleasable(self) -> frozenset[str]:
        """Those that no job may get now. One that was not judged yet is among them."""
        uuids = (gpu.uuid for gpu in self.inventory.gpus)
        return frozenset(unleasable(uuids, self.healths, self.settings.use))

    async def view(self) -> GpuView:
        """Raises StoreUnavailableError."""
        return GpuView(
            await self._gpus.inventory(),
            await self._gpus.condition(),
            await self._known(),
            await self._holders(),
            now_of(self._clock),
        )

    async def usable(self) -> Inventory:
        """What may ever be leased here, well or not."""
        inventory, use = await self._gpus.inventory(), self.settings.use
        return replace(inventory, gpus=tuple(gpu for gpu in inventory.gpus if is_used(gpu.uuid, use)))

    async def watch(self) -> None:
        """Look at all GPUs: each five seconds while one is leased or not well, each minute else, and at each XID."""
        while True:
            self._flag.clear()
            pause = RETRY_SECONDS
            try:
                await self.look()
                pause = self._pause()
            except StoreUnavailableError as error:
                log.warning("state.unavailable", code=error.code, error=str(error))
            await asyncio.sleep(PAUSE_SECONDS)
            await self._flag.wait(pause)

    async def unclean(self, uuids: Sequence[str]) -> tuple[str, ...]:
        """Before a lease is used: those of it that are not clean, or not well any more since it was granted."""
        facts, gates = await self._gpus.facts(uuids), await self._gpus.gates(uuids)
        judged = await self._judge({uuid: Sight(facts[uuid], gate=gates[uuid]) for uuid in uuids})
        return tuple(
            uuid
            for uuid in uuids
            if gates[uuid].verdict is not GateVerdict.PASSED or not is_leasable(judged[uuid].health)
        )

    async def release(self, uuids: Sequence[str]) -> None:
        """Before a lease is given back: wait until all are clean, for a while; what is not is judged by it.

        Raises StoreUnavailableError: then it may not be given back yet.
        """
        until = asyncio.get_running_loop().time() + self.settings.clean_seconds
        while True:
            facts, gates = await self._gpus.facts(uuids), dict(await self._gpus.gates(uuids))
            # One that is gone does not come clean: it is judged as that.
            unclean = [
                uuid
                for uuid, gate in gates.items()
                if gate.verdict is not GateVerdict.PASSED and isinstance(facts[uuid], Facts)
            ]
            if not unclean or asyncio.get_running_loop().time() >= until:
                break
            await asyncio.sleep(GATE_SECONDS)
        for uuid in unclean:
            # Whoever is there now came with the job, or in its time.
            gates[uuid] = replace(gates[uuid], verdict=GateVerdict.LEFTOVER)
        await self._judge({uuid: Sight(facts[uuid], gate=gates[uuid]) for uuid in uuids})

    async def request(self, uuid: str, request: Request) -> Refusal | None:
        """What an operator asks for, obeyed at once and on disk, or why not. KeyError: there is no such GPU."""
        holder = (await self._holders()).get(uuid)
        facts = (await self._gpus.facts([uuid]))[uuid]
        gate = Gate() if holder is not None else (await self._gpus.gates([uuid]))[uuid]
        sight = Sight(facts, gate=gate, request=request, is_leased=holder is not None)
        if uuid not in {gpu.uuid for gpu in self.inventory.gpus}:
            raise KeyError(uuid)
        return (await self._judge({uuid: sight}))[uuid].effects.refusal

    def _pause(self) -> float:
        if not self.inventory.gpus:
            return LOOK_FOR_ONE_SECONDS
        all_well = all(map(is_leasable, self.healths.values()))
        return IDLE_LOOK_SECONDS if all_well and not self._is_busy else LOOK_SECONDS

    def _note_xid(self, uuid: str, xid: int) -> None:
        self._xids.setdefault(uuid, {})[xid] = None
        self._flag.set()

    async def look(self) -> None:
        """One look at all of them. Raises StoreUnavailableError: what was seen is then seen again."""
        before = await self._holders()
        await self._gpus.look(before.keys() | self.unleasable())
        inventory = await self._gpus.inventory()
        uuids = [gpu.uuid for gpu in inventory.gpus]
        facts = await self._gpus.facts(uuids)
        gates = await self._gpus.gates([uuid for uuid in uuids if uuid not in before])
        # Leased meanwhile: what the gate saw may be the job's own.
        after = await self._holders()
        self._is_busy = bool(after)
        free = {uuid: gate for uuid, gate in gates.items() if uuid not in after}
        await self._judge(
            {uuid: Sight(facts[uuid], gate=free.get(uuid, Gate()), is_leased=uuid in after) for uuid in uuids}
        )
        if inventory != self.inventory:
            # Only now: what was not judged since we are here is nobody's.
            self.inventory = inventory
            self._ask_grant()

    async def _judge(self, sights: Mapping[str, Sight]) -> dict[str, Judged]:
        """One at a time: two looks at one GPU must not each go out from what it was before the other."""
        async with self._turn:
            xids = {uuid: self._xids.pop(uuid, {}) for uuid in sights}
            try:
                judged, jobs = await self._judge_and_keep(sights, xids)
            except StoreUnavailableError:
                for uuid, missed in xids.items():
                    if missed:
                        self._xids[uuid] = missed | self._xids.get(uuid, {})
                raise
        for job_id in jobs:
            self._poke(job_id)
        for uuid, one in judged.items():
            _tell(uuid, one.effects)
        return judged

    async def _judge_and_keep(
        self, sights: Mapping[str, Sight], xids: Mapping[str, Mapping[int, None]]
    ) -> tuple[dict[str, Judged], list[str]]:
        known = await self._known()
        judged = {
            uuid: self._judge_one(known.get(uuid, GpuHealth(uuid)), replace(sight, xids=tuple(xids[uuid])))
            for uuid, sight in sights.items()
        }
        changed = {uuid: one.health for uuid, one in judged.items() if one.health != known.get(uuid)}
        changes = await self._changes(judged)
        if changed or changes:
            dumped = {uuid: dump_health(health) for uuid, health in changed.items()}
            await self._store.keep_gpu_healths(dumped, changes)
        was_leasable = self.unleasable()
        self.healths = {**known, **changed}
        if self.unleasable() != was_leasable:
            self._ask_grant()
        return judged, [job_id for job_id, _ in changes]

    def _judge_one(self, health: GpuHealth, sight: Sight) -> Judged:
        return Judged(*judge(health, sight, now_of(self._clock), self.settings.policy))

    async def _known(self) -> Mapping[str, GpuHealth]:
        if not self._is_loaded:
            loaded = [load_health(uuid, text) for uuid, text in (await self._store.gpu_healths()).items()]
            for one in loaded:
                for fault in one.faults:
                    log.warning("gpu.record_damaged", gpu=one.health.uuid, fault=fault)
            self.healths = {one.health.uuid: one.health for one in loaded}
            self._is_loaded = True
        return self.healths

    async def _holders(self) -> dict[str, Job]:
        """Which job holds which GPU."""
        return {
            uuid: job
            for job in await self._store.unfinished()
            if job.lease is not None
            for uuid in job.lease.gpus
        }

    async def _changes(self, judged: Mapping[str, Judged]) -> list[tuple[str, Decide]]:
        """What becomes of the jobs that hold what was judged."""
        if all(one.effects.fate is Fate.NOTHING for one in judged.values()):
            return []
        holders = await self._holders()
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
