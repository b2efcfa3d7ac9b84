"""GPUs of a host, as a list; a test says which are not clean."""

from collections.abc import Sequence

from agent.core.gpus import Gpu


class FakeGpus:
    def __init__(self) -> None:
        self.gpus: tuple[Gpu, ...] = ()
        self.dirty: set[str] = set()

    async def inventory(self) -> tuple[Gpu, ...]:
        return self.gpus

    async def unclean(self, uuids: Sequence[str]) -> tuple[str, ...]:
        return tuple(uuid for uuid in uuids if uuid in self.dirty)
