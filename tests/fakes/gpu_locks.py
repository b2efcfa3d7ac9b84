"""Locks of GPUs in memory: `host` is what all agents of one test share, and an agent's locks end when the test says so."""

from collections.abc import Collection, Mapping

from agent.core.gpu_locks import LockHolder
from agent.interfaces import GpuLocksUnusableError


class FakeGpuLocks:
    def __init__(self, host: dict[str, LockHolder], own: LockHolder) -> None:
        self.host, self.own = host, own
        self.trouble: str | None = None

    async def take(self, gpus: Collection[str]) -> Mapping[str, LockHolder | None]:
        if self.trouble is not None:
            raise GpuLocksUnusableError(self.trouble)
        for gpu in gpus:
            self.host.setdefault(gpu, self.own)
        return {gpu: self.host[gpu] for gpu in gpus if self.host[gpu] != self.own}

    def close(self) -> None:
        for gpu in [gpu for gpu, holder in self.host.items() if holder == self.own]:
            del self.host[gpu]
