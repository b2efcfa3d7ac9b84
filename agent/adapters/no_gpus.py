"""adapters/no_gpus — a host without GPUs, which is a normal state: every list is empty."""

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet

from agent.core.gpu_findings import Absence, Facts, Gate, GateVerdict, ResetEnd
from agent.core.gpu_usage import GpuSample
from agent.core.gpus import NO_INVENTORY, Gpu, Inventory


class NoGpus:
    async def inventory(self) -> Inventory:
        return NO_INVENTORY

    async def condition(self) -> str | None:
        return "no adapter looks for GPUs"

    async def look(self, leased: AbstractSet[str]) -> None: ...

    async def facts(self, uuids: Sequence[str]) -> Mapping[str, Facts | Absence]:
        return dict.fromkeys(uuids, Absence.GONE)

    async def gates(self, uuids: Sequence[str]) -> Mapping[str, Gate]:
        return dict.fromkeys(
            uuids, Gate(GateVerdict.LEFTOVER)
        )  # none is known here, so none can be vouched for

    async def samples(self, uuids: Sequence[str]) -> Mapping[str, GpuSample | None]:
        return dict.fromkeys(uuids)

    def listen(self, tell: Callable[[str, int], None]) -> None: ...

    async def reset(self, gpu: Gpu) -> ResetEnd:
        return ResetEnd(f"nobody here can reset {gpu.uuid}")
