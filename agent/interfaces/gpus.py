"""interfaces/gpus — what the shell needs to know of GPUs, and the promises on each method. No implementation."""

from collections.abc import Sequence
from typing import Protocol

from agent.core.gpus import Inventory


class Gpus(Protocol):
    async def inventory(self) -> Inventory: ...

    async def unclean(self, uuids: Sequence[str]) -> tuple[str, ...]:
        """Of these GPUs those that are not clean (processes, memory not back to idle, reset pending): the gate."""
        ...
