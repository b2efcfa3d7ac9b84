"""jobs/gpu_locking — the port `Gpus` where only what this agent has locked can be clean. Judges none, and leases none.

So no other part need know of locks: a GPU that another agent has is not clean, waits until it is, and is given to nobody.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet

import structlog

from agent.core.gpu_findings import Absence, Facts, Gate, GateVerdict, ResetEnd
from agent.core.gpu_locks import LockHolder, managed_gpus
from agent.core.gpu_usage import GpuSample
from agent.core.gpus import Gpu, Inventory
from agent.errors import AgentError, Blame
from agent.interfaces import GpuLocks, GpuLocksUnusableError, Gpus

log = structlog.get_logger()

# A driver that hangs must not keep the daemon from its jobs: what it shows later is locked then.
FIRST_LOOK_SECONDS = 15.0
_NOT_YET = "the agent has not locked it yet"


class GpusHeldError(AgentError):
    """Another agent of this host manages GPUs that this one is to manage."""

    code, blame = "gpus_held", Blame.HOST
    remedy = (
        "Give each agent GPUs of its own: list them by UUID in [gpus] use. "
        "A GPU in MIG mode belongs to one agent, with all its instances. Or stop the other agent."
    )

    def __init__(self, held: Mapping[str, LockHolder | None]) -> None:
        by_holder: dict[str, list[str]] = {}
        for gpu, holder in sorted(held.items()):
            by_holder.setdefault(_name(holder), []).append(gpu)
        told = "; ".join(f"{', '.join(gpus)} by {holder}" for holder, gpus in by_holder.items())
        super().__init__(f"GPUs are managed by another agent on this host: {told}")


class LockedGpus:
    """What interfaces.Gpus promises. `use`: the config's."""

    def __init__(self, gpus: Gpus, locks: GpuLocks, use: Sequence[str]) -> None:
        self._gpus, self._locks, self._use = gpus, locks, tuple(use)
        self._leased: AbstractSet[str] = frozenset()
        self._wholes: Mapping[str, str] = {}
        self._locked: AbstractSet[str] = frozenset()
        self._why_not: Mapping[str, str] = {}

    async def hold(self, leased: AbstractSet[str]) -> None:
        """At the start, before anything is leased: lock what is known. `leased`: by jobs of an earlier daemon.

        Raises GpusHeldError, GpuLocksUnusableError.
        """
        self._leased = leased
        try:
            async with asyncio.timeout(FIRST_LOOK_SECONDS):
                self._wholes = (await self._gpus.inventory()).wholes
        except TimeoutError:
            log.warning("gpus.not_known_in_time", seconds=FIRST_LOOK_SECONDS)
            return
        if held := await self._take(self._wanted()):
            raise GpusHeldError(held)

    async def look(self, leased: AbstractSet[str]) -> None:
        await self._gpus.look(leased)
        self._wholes = (await self._gpus.inventory()).wholes
        wanted = self._wanted()
        try:
            held = await self._take(wanted)
            self._why_not = {gpu: f"another agent has it: {_name(holder)}" for gpu, holder in held.items()}
        except GpuLocksUnusableError as error:
            self._why_not = dict.fromkeys(wanted, str(error))

    async def gates(self, uuids: Sequence[str]) -> Mapping[str, Gate]:
        gates = await self._gpus.gates([uuid for uuid in uuids if self._wholes.get(uuid) in self._locked])
        return {uuid: gates[uuid] if uuid in gates else self._shut(uuid) for uuid in uuids}

    def _shut(self, uuid: str) -> Gate:
        whole = self._wholes.get(uuid, uuid)
        if not managed_gpus({uuid: whole}, self._use, self._leased):
            return Gate(GateVerdict.NOT_LOOKED)  # who uses it is another agent's affair
        return Gate(GateVerdict.HELD, self._why_not.get(whole, _NOT_YET))

    def _wanted(self) -> AbstractSet[str]:
        return managed_gpus(self._wholes, self._use, self._leased) - self._locked

    async def _take(self, wanted: AbstractSet[str]) -> Mapping[str, LockHolder | None]:
        held = await self._locks.take(wanted) if wanted else {}
        if taken := wanted - held.keys():
            self._locked |= taken
            log.info("gpus.locked", gpus=sorted(taken))
        return held

    async def inventory(self) -> Inventory:
        return await self._gpus.inventory()

    async def condition(self) -> str | None:
        return await self._gpus.condition()

    async def facts(self, uuids: Sequence[str]) -> Mapping[str, Facts | Absence]:
        return await self._gpus.facts(uuids)

    async def samples(self, uuids: Sequence[str]) -> Mapping[str, GpuSample | None]:
        return await self._gpus.samples(uuids)

    async def reset(self, gpu: Gpu) -> ResetEnd:
        if self._wholes.get(gpu.uuid, gpu.uuid) not in self._locked:
            return ResetEnd(self._shut(gpu.uuid).holders or _NOT_YET)
        return await self._gpus.reset(gpu)

    def listen(self, tell: Callable[[str, int], None]) -> None:
        self._gpus.listen(tell)


def _name(holder: LockHolder | None) -> str:
    return "a process whose lock does not say who it is" if holder is None else str(holder)
