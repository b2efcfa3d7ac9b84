"""jobs/gpu_care — the host's GPUs: when each is looked at, and what is handed out or taken back. Judges none, leases none."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import structlog

from agent.aio import Flag
from agent.core.gpu_findings import Facts, Gate, GateVerdict, Request, Sight
from agent.core.gpu_health import HealthPolicy, Refusal, is_leasable, is_used, unleasable
from agent.core.gpu_record import GpuHealth
from agent.core.gpus import NO_INVENTORY, Inventory
from agent.core.job import Job, Now
from agent.interfaces import Clock, Gpus, Store, StoreUnavailableError
from agent.jobs.gpu_verdicts import GpuVerdicts, Judged
from agent.jobs.moment import now_of

log = structlog.get_logger()

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
        self._clock = clock
        self.settings = settings
        self._ask_grant = ask_grant
        self._flag = Flag()
        self._verdicts = GpuVerdicts(store, clock, lambda: self.settings.policy, poke)
        self._is_busy = False
        self.inventory: Inventory = NO_INVENTORY
        gpus.listen(self._note_xid)

    @property
    def healths(self) -> Mapping[str, GpuHealth]:
        return self._verdicts.healths

    def unleasable(self) -> frozenset[str]:
        """Those that no job may get now. One that was not judged yet is among them."""
        uuids = (gpu.uuid for gpu in self.inventory.gpus)
        return frozenset(unleasable(uuids, self.healths, self.settings.use))

    async def view(self) -> GpuView:
        """Raises StoreUnavailableError."""
        return GpuView(
            await self._gpus.inventory(),
            await self._gpus.condition(),
            await self._verdicts.known(),
            await self._verdicts.holders(),
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
            await self._rest(pause)

    async def _rest(self, seconds: float) -> None:
        """Until the next look is due: that is soon where a GPU was leased or fell ill since the last one."""
        rested, nap = 0.0, min(LOOK_SECONDS, seconds)
        while rested < min(seconds, self._pause()) and not await self._flag.wait(nap):
            rested += nap

    async def unclean(self, uuids: Sequence[str]) -> tuple[str, ...]:
        """Before a lease is used: those of it that are not clean, or not well any more since it was granted."""
        self._is_busy = True
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
        holder = (await self._verdicts.holders()).get(uuid)
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
        self._verdicts.note_xid(uuid, xid)
        self._flag.set()

    async def look(self) -> None:
        """One look at all of them. Raises StoreUnavailableError: what was seen is then seen again."""
        before = await self._verdicts.holders()
        await self._gpus.look(before.keys() | self.unleasable())
        inventory = await self._gpus.inventory()
        uuids = [gpu.uuid for gpu in inventory.gpus]
        facts = await self._gpus.facts(uuids)
        gates = await self._gpus.gates([uuid for uuid in uuids if uuid not in before])
        # Leased meanwhile: what the gate saw may be the job's own.
        after = await self._verdicts.holders()
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
        before = self.unleasable()
        judged = await self._verdicts.judge(sights)
        if self.unleasable() != before:
            self._ask_grant()
        return judged
