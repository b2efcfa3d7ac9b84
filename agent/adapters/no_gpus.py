"""adapters/no_gpus — a host without GPUs, which is a normal state: every list is empty."""

from collections.abc import Sequence

from agent.core.gpus import NO_INVENTORY, Inventory


class NoGpus:
    async def inventory(self) -> Inventory:
        return NO_INVENTORY

    async def unclean(self, uuids: Sequence[str]) -> tuple[str, ...]:
        return tuple(uuids)  # none is known here, so none can be vouched for
