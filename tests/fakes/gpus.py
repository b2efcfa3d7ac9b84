"""GPUs of a host in memory: a test says which are dirty, which are gone, what the driver says, and sends XIDs."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet

from agent.core.gpu_findings import Absence, Facts, Gate, GateVerdict
from agent.core.gpus import Gpu, Inventory
from agent.core.topology import Links


class FakeGpus:
    def __init__(self) -> None:
        self.gpus: tuple[Gpu, ...] = ()
        self.links = Links()
        self.parents: dict[str, str] = {}  # of MIG instances
        self.dirty: set[str] = set()
        self.absent: dict[str, Absence] = {}
        self.says: dict[str, Facts] = {}
        self.looks = 0
        self.look_seconds = 0.0
        self._listeners: list[Callable[[str, int], None]] = []

    def send_xid(self, uuid: str, xid: int) -> None:
        for tell in self._listeners:
            tell(uuid, xid)

    async def inventory(self) -> Inventory:
        return Inventory(self.gpus, self.links)

    async def wholes(self) -> Mapping[str, str]:
        return {gpu.uuid: self.parents.get(gpu.uuid, gpu.uuid) for gpu in self.gpus}

    async def condition(self) -> str | None:
        return None

    async def look(self, leased: AbstractSet[str]) -> None:
        assert leased is not None
        self.looks += 1
        await asyncio.sleep(self.look_seconds)

    async def facts(self, uuids: Sequence[str]) -> Mapping[str, Facts | Absence]:
        return {uuid: self.absent.get(uuid, self.says.get(uuid, Facts())) for uuid in uuids}

    async def gates(self, uuids: Sequence[str]) -> Mapping[str, Gate]:
        return {uuid: self._gate(uuid) for uuid in uuids}

    def _gate(self, uuid: str) -> Gate:
        if uuid in self.dirty:
            return Gate(GateVerdict.FOREIGN, "process 4711")
        return Gate(GateVerdict.PASSED if uuid not in self.absent else GateVerdict.NOT_LOOKED)

    def listen(self, tell: Callable[[str, int], None]) -> None:
        self._listeners.append(tell)
