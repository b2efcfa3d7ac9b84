"""GPUs of a host, as a list; a test says which are not clean."""

from collections.abc import Sequence

from agent.core.gpus import Gpu, Inventory
from agent.core.topology import Links


class FakeGpus:
    def __init__(self) -> None:
        self.gpus: tuple[Gpu, ...] = ()
        self.links = Links()
        self.dirty: set[str] = set()

    async def inventory(self) -> Inventory:
        return Inventory(self.gpus, self.links)

    async def unclean(self, uuids: Sequence[str]) -> tuple[str, ...]:
        return tuple(uuid for uuid in uuids if uuid in self.dirty)
