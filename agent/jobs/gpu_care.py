"""jobs/gpu_care — the host's GPUs: when each is looked at, and what is handed out or taken back. Judges none, leases none."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import structlog

from agent.aio import Flag
from agent.core.gpu_findings import Asked, Facts, Gate, GateVerdict, Request, Sight
from agent.core.gpu_health import HealthPolicy, Refusal, is_leasable, is_used, unleasable
from agent.core.gpu_outlook import stuck_gpus
from agent.core.gpu_record import GpuHealth
from agent.core.gpu_reset import is_ordered, refuse_order
from agent.core.gpus import NO_INVENTORY, Inventory
from agent.core.job import Job, Now
from agent.interfaces import Clock, Gpus, KernelLog, Store, StoreUnavailableError
from agent.jobs.gpu_reset import GpuResets
from agent.jobs.gpu_verdicts import GpuVerdicts, Judged
from agent.jobs.moment import now_of
from agent.jobs.xid_inbox import XidInbox

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
class GpusKnown:
    """All GPUs at one moment. `condition`: why there are none, or why they can't be asked."""

    inventory: Inventory
    condition: str | None
    healths: Mapping[str, GpuHealth]


@dataclass(frozen=True, slots=True)
class GpuView(GpusKnown):
    """For who shows them, with the jobs that hold them."""

    holders: Mapping[str, Job]
    now: Now


@dataclass(frozen=True, slots=True)
class Wakes:
    """Whom it wakes: the grant, when other GPUs may be leased; a job's task, when its row has changed."""

    ask_grant: Callable[[], None]
    poke: Callable[[str], None]


class GpuCare:
    """Standing task `watch`."""

    def __init__(self, gpus: Gpus, store: Store, clock: Clock, settings: CareSettings, wakes: Wakes) -> None:
        self._gpus = gpus
        self._clock = clock
        self.settings = settings
        self._ask_grant = wakes.ask_grant
        self._flag = Flag()
        self._inbox = XidInbox(clock, self._flag.set)
        self._verdicts = GpuVerdicts(store, clock, lambda: self.settings.policy, wakes.poke, self._inbox)
        self._resets = GpuResets(gpus)
        self._is_busy = False
        self.inventory: Inventory = NO_INVENTORY
        gpus.listen(self._inbox.tell)

    def listen_to(self, kernel_log: KernelLog) -> None:
        """Take XIDs from there, too."""
        kernel_log.listen(self._inbox.log)

    @property
    def healths(self) -> Mapping[str, GpuHealth]:
        return self._verdicts.healths

    def unleasable(self) -> frozenset[str]:
        """Those that no job may get now. One that was not judged yet is among them."""
        uuids = (gpu.uuid for gpu in self.inventory.gpus)
        return frozenset(unleasable(uuids, self.healths, self.settings.use))

    def stuck(self) -> Mapping[str, str]:
        """Those of them that no time mends, each with what it waits for."""
        uuids = (gpu.uuid for gpu in self.inventory.gpus)
        return stuck_gpus(uuids, self.healths, self.settings.use)

    async def known(self) -> GpusKnown:
        """Reads no job: there may be ten thousand. Raises StoreUnavailableError."""
        return GpusKnown(
            await self._gpus.inventory(), await self._gpus.condition(), await self._verdicts.known()
        )

    async def view(self) -> GpuView:
        """Raises StoreUnavailableError."""
        known, holders = await self.known(), await self._verdicts.holders()
        return GpuView(known.inventory, known.condition, known.healths, holders, now_of(self._clock))

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
                while await self._carry_out_reset():
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
        gpu = next((gpu for gpu in self.inventory.gpus if gpu.uuid == uuid), None)
        if gpu is None:
            raise KeyError(uuid)
        if request.asked is Asked.RESET and (refusal := refuse_order(gpu, self.settings.use)) is not None:
            return refusal
        if request.asked is Asked.RESET and is_ordered(self.healths.get(uuid)):
            return None  # a look would wait for the end of the reset, and then order another
        before = await self._verdicts.holders()
        facts = (await self._gpus.facts([uuid]))[uuid]
        gate = (await self._gpus.gates([uuid]))[uuid]
        # Leased meanwhile, as in `look`. Who is granted it from here on finds it judged before he uses it, and gives it back.
        after = await self._verdicts.holders()
        seen = gate if uuid not in before.keys() | after.keys() else Gate()
        sight = Sight(facts, gate=seen, request=request, is_leased=uuid in after)
        refused = (await self._judge({uuid: sight}))[uuid].effects.refusal
        self._flag.set()  # a reset is carried out at once
        return refused

    def _pause(self) -> float:
        if not self.inventory.gpus:
            return LOOK_FOR_ONE_SECONDS
        all_well = all(map(is_leasable, self.healths.values()))
        return IDLE_LOOK_SECONDS if all_well and not self._is_busy else LOOK_SECONDS

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
            {
                uuid: Sight(
                    facts[uuid],
                    gate=free.get(uuid, Gate()),
                    reset=self._resets.end_of(uuid),
                    is_leased=uuid in after,
                )
                for uuid in uuids
            }
        )
        self._resets.forget(uuids)
        if inventory != self.inventory:
            # Only now: what was not judged since we are here is nobody's.
            self.inventory = inventory
            self._ask_grant()

    async def _carry_out_reset(self) -> bool:
        """Whether there was one to carry out; its end is told by the next look."""
        healths = self.healths  # first: no grant that came after it gives out what is ordered in it
        held = (await self._verdicts.holders()).keys()
        return await self._resets.carry_out_next(self.inventory.gpus, healths, held)

    async def _judge(self, sights: Mapping[str, Sight]) -> dict[str, Judged]:
        before = self.unleasable(), self.stuck()
        self._inbox.assign(await self._gpus.inventory())
        judged = await self._verdicts.judge(sights)
        if (self.unleasable(), self.stuck()) != before:
            self._ask_grant()
        return judged
