"""interfaces/gpus — what the shell needs to know of GPUs, and the promises on each method. No implementation."""

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Protocol

from agent.core.gpu_findings import Absence, Facts, Gate, ResetEnd
from agent.core.gpu_usage import GpuSample
from agent.core.gpus import Gpu, Inventory


class Gpus(Protocol):
    """A driver that hangs, fails or is not there holds up no call for longer than its deadline, and raises from none."""

    async def inventory(self) -> Inventory:
        """What the host has, those GPUs included that do not answer now. Known at once, as last seen."""
        ...

    async def condition(self) -> str | None:
        """Why there are no GPUs, or why they can't be asked, in plain words. None: they can."""
        ...

    async def look(self, leased: AbstractSet[str]) -> None:
        """Read the host anew: what there is, and how much memory is in use where there is neither a lease nor a process."""
        ...

    async def facts(self, uuids: Sequence[str]) -> Mapping[str, Facts | Absence]:
        """What the driver says of each just now; every UUID is a key."""
        ...

    async def gates(self, uuids: Sequence[str]) -> Mapping[str, Gate]:
        """Whether each is clean just now: no process, memory back to idle, no reset pending; every UUID is a key.

        For GPUs that no job holds: a process there is nobody's that we know. One that can't be asked is not clean.
        """
        ...

    async def samples(self, uuids: Sequence[str]) -> Mapping[str, GpuSample | None]:
        """What each does just now; every UUID is a key. None: it can't be asked, or tells nothing."""
        ...

    def listen(self, tell: Callable[[str, int], None]) -> None:
        """Have `tell(uuid, xid)` called in the event loop for each XID from now on. It must return at once."""
        ...

    async def reset(self, gpu: Gpu) -> ResetEnd:
        """Reset a whole GPU that no job holds. Ends within minutes, whatever hangs; other calls may wait until then.

        To reset one again that is being reset does no harm: the second waits for the first. A cancelled call is cut off.
        """
        ...
