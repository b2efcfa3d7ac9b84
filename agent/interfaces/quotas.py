"""interfaces/quotas — the quota volumes of jobs' outputs, as far as they are this host's, and the promises on each method. No implementation.

A quota is a file system in an image in the job's folder, with its whole size reserved. The engine mounts it for the
container by the device that `attach` names; `Folders` reads it by itself.
"""

from dataclasses import dataclass
from typing import Protocol

from agent.errors import AgentError, Blame


class QuotaUnavailableError(AgentError):
    """No quota volume can be made on this host: a program, a device or a kernel's call is missing, or failed."""

    code, blame = "quota_unavailable", Blame.HOST
    remedy = "See the check disk_quotas of `gpu-agent doctor`; jobs without `disk` are not affected."


@dataclass(frozen=True, slots=True)
class Shortage:
    """There is no room for it now. `free_bytes`: what may be reserved; the host keeps some of its disk to itself."""

    wanted_bytes: int
    free_bytes: int


class Quotas(Protocol):
    """Each method may be cut off anywhere and called again. All raise QuotaUnavailableError, StateFullError, StateReadOnlyError."""

    @property
    def free_bytes(self) -> int:
        """What may still be reserved, as it was at the last `reserve`; at first 0."""
        ...

    async def reserve(self, job_id: str, size_bytes: int) -> Shortage | None:
        """Make the job's file system, with all its room. None: it is there. Raises JobFolderMissingError."""
        ...

    async def attach(self, job_id: str) -> str:
        """The block device of the job's file system: the one that it has, or a new one. It stays until `release`, a boot, or
        somebody else's doing. Raises JobFolderMissingError where nothing is reserved.
        """
        ...

    async def refill(self, job_id: str) -> bool:
        """Reserve again what somebody took of its room: a trim of all file systems of the host does. Whether it has all of
        it; true where none is reserved.
        """
        ...

    async def held(self) -> set[str]:
        """The jobs that have a device, or room that they do not fill; also those whose folder is gone."""
        ...

    async def release(self, job_id: str) -> None:
        """Nothing writes to it any more: give back the room that it did not fill, and let its device go once nobody has it
        open. What was written stays readable. Gone is fine. Where it raises, the device is let go all the same.
        """
        ...

    async def why_impossible(self) -> str | None:
        """What this host lacks for any quota; None: nothing that can be seen before one is made."""
        ...

    async def rest(self) -> None:
        """Let go of what nobody has read for a while. To be called now and then."""
        ...
