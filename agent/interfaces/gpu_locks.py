"""interfaces/gpu_locks — what keeps the agents of one host off each other's GPUs, and its promises. No implementation."""

from collections.abc import Collection, Mapping
from typing import Protocol

from agent.core.gpu_locks import LockHolder
from agent.errors import AgentError, Blame


class GpuLocksUnusableError(AgentError):
    """The locks of GPUs can't be taken at all, so nobody knows whether another agent has them."""

    code, blame = "gpu_locks_unusable", Blame.HOST
    remedy = (
        "[gpus] lock_dir must be a folder that belongs to the agent's user, that no other can write to, and that is no link; "
        "under systemd the unit's ReadWritePaths must name it, or the folder around it."
    )


class GpuLocks(Protocol):
    """A lock ends with the process that has it, however that ends, and is never inherited by what that process started."""

    async def take(self, gpus: Collection[str]) -> Mapping[str, LockHolder | None]:
        """Lock each GPU until our end; one that is ours already is fine. Returns those that another process has, with who it
        says it is. Of agents that want the same at the same time one gets all of it. Raises GpuLocksUnusableError.
        """
        ...
