"""GPUs of a host in memory: a test says which are dirty, which are gone, what the driver says, how resets end, and sends XIDs."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet

from agent.core.gpu_findings import Absence, Facts, Gate, GateVerdict, ResetEnd
from agent.core.gpu_usage import GpuSample
from agent.core.gpus import Gpu, Inventory
from agent.core.topology import Links


class FakeGpus:
    def __init__(self) -> None:
        self.gpus: tuple[Gpu, ...] = ()
        self.links = Links()
        self.dirty: set[str] = set()
        self.absent: dict[str, Absence] = {}
        self.says: dict[str, Facts] = {}
        self.does: Callable[[str], GpuSample | None] = lambda _uuid: GpuSample()
        self.sampled: list[tuple[str, ...]] = []  # what each request for samples asked for
        self.sample_seconds = 0.0
        self.looks = 0
        self.look_seconds = 0.0
        self.gate_seconds = 0.0
        self.resets: list[str] = []
        self.under_reset: set[str] = set()
        self.reset_seconds = 0.0
        self.reset_failures: dict[str, str] = {}
        self._listeners: list[Callable[[str, int], None]] = []

    def send_xid(self, uuid: str, xid: int) -> None:
        for tell in self._listeners:
            tell(uuid, xid)

    async def inventory(self) -> Inventory:
        return Inventory(self.gpus, self.links)

    async def condition(self) -> str | None:
        return None

    async def look(self, leased: AbstractSet[str]) -> None:
        assert leased is not None
        self.looks += 1
        await asyncio.sleep(self.look_seconds)

    async def facts(self, uuids: Sequence[str]) -> Mapping[str, Facts | Absence]:
        return {uuid: self.absent.get(uuid, self.says.get(uuid, Facts())) for uuid in uuids}

    async def gates(self, uuids: Sequence[str]) -> Mapping[str, Gate]:
        await asyncio.sleep(self.gate_seconds if uuids else 0.0)
        return {uuid: self._gate(uuid) for uuid in uuids}

    async def samples(self, uuids: Sequence[str]) -> Mapping[str, GpuSample | None]:
        if uuids:
            self.sampled.append(tuple(uuids))
        await asyncio.sleep(self.sample_seconds)
        return {uuid: None if uuid in self.absent else self.does(uuid) for uuid in uuids}

    def _gate(self, uuid: str) -> Gate:
        if uuid in self.dirty:
            return Gate(GateVerdict.FOREIGN, "process 4711")
        return Gate(GateVerdict.PASSED if uuid not in self.absent else GateVerdict.NOT_LOOKED)

    def listen(self, tell: Callable[[str, int], None]) -> None:
        self._listeners.append(tell)

    async def reset(self, gpu: Gpu) -> ResetEnd:
        self.resets.append(gpu.uuid)
        self.under_reset.add(gpu.uuid)
        try:
            await asyncio.sleep(self.reset_seconds)
        finally:
            self.under_reset.discard(gpu.uuid)
        return ResetEnd(self.reset_failures.get(gpu.uuid))
