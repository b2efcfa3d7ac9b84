"""adapters/nvml/port — the port `Gpus` on what NVML tells: sheets become facts and gates, silence becomes absence. Leases nothing."""

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet

from agent.adapters.nvml.errors import NvmlError, NvmlStuckError
from agent.adapters.nvml.facts import facts_of, gate_of, links_up, sample_of
from agent.adapters.nvml.gpus import NvmlGpus, Reading, Xid
from agent.adapters.nvml.smi import ResetFailedError, Smi
from agent.core.gpu_findings import Absence, Facts, Gate, GateVerdict, ResetEnd
from agent.core.gpu_usage import GpuSample
from agent.core.gpus import Gpu, Inventory


class NvmlPort:
    """What interfaces.Gpus promises."""

    def __init__(self, gpus: NvmlGpus, smi: Smi) -> None:
        self._gpus = gpus
        self._smi = smi

    async def inventory(self) -> Inventory:
        return await self._gpus.inventory()

    async def condition(self) -> str | None:
        return await self._gpus.condition()

    async def look(self, leased: AbstractSet[str]) -> None:
        await self._gpus.look()
        await self._gpus.learn_idle(leased)

    async def facts(self, uuids: Sequence[str]) -> Mapping[str, Facts | Absence]:
        try:
            sheets = await self._gpus.read(Reading.HEALTH, uuids)
        except NvmlError:
            return dict.fromkeys(uuids, Absence.DRIVER_SILENT)
        await self._gpus.note_nvlinks_up({uuid: links_up(sheet) for uuid, sheet in sheets.items()})
        once_up = await self._gpus.nvlinks_once_up()
        return {
            uuid: facts_of(sheets[uuid], once_up.get(uuid, frozenset())) if uuid in sheets else Absence.GONE
            for uuid in uuids
        }

    async def gates(self, uuids: Sequence[str]) -> Mapping[str, Gate]:
        idle = await self._gpus.idle_bytes()
        try:
            health = await self._gpus.read(Reading.HEALTH, uuids)
            processes = await self._gpus.read(Reading.PROCESSES, uuids)
        except NvmlError:
            return dict.fromkeys(uuids, Gate(GateVerdict.NOT_LOOKED))
        return {
            uuid: gate_of(health[uuid], processes[uuid], idle.get(uuid))
            if uuid in health and uuid in processes
            else Gate(GateVerdict.NOT_LOOKED)
            for uuid in uuids
        }

    async def samples(self, uuids: Sequence[str]) -> Mapping[str, GpuSample | None]:
        try:
            sheets = await self._gpus.read(Reading.SAMPLE, uuids)
        except NvmlError:
            return dict.fromkeys(uuids)
        return {uuid: sample_of(sheets[uuid]) if uuid in sheets else None for uuid in uuids}

    def listen(self, tell: Callable[[str, int], None]) -> None:
        """An XID of a GPU in MIG mode is told of all its instances: which of them it meant is not always said."""

        def hear(xid: Xid) -> None:
            for uuid in self._gpus.units_of(xid.uuid):
                tell(uuid, xid.xid)

        self._gpus.listen(hear)

    async def reset(self, gpu: Gpu) -> ResetEnd:
        try:
            await self._smi.reset(gpu.pci or gpu.uuid)
        except (ResetFailedError, NvmlStuckError) as error:
            return ResetEnd(str(error))
        return ResetEnd()

    async def close(self) -> None:
        await self._gpus.close()
