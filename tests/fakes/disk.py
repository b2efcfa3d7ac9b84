"""A disk of so many bytes, and who holds how much of it. What is written where is the test's affair."""

import itertools
from dataclasses import dataclass, field

from agent.core.disk_space import CountLimits, DiskSpace, Held

_devices = itertools.count(1)


@dataclass
class FakeDisk:
    """`others`: what is nobody's that is asked for, such as the host's own files. Writes beyond its end are cut, and counted.
    `entries`: how many files one has, where it is not one.
    """

    size_bytes: int = 2**40
    others: int = 0
    device: int = field(default_factory=lambda: next(_devices))
    by_owner: dict[str, int] = field(default_factory=dict)
    entries: dict[str, int] = field(default_factory=dict)
    refused: int = 0
    least_free: int = 2**63

    def space(self) -> DiskSpace:
        return DiskSpace(self.device, self.free_bytes)

    @property
    def free_bytes(self) -> int:
        return self.size_bytes - self.others - sum(self.by_owner.values())

    def held(self, owner: str, limits: CountLimits) -> Held:
        """All bytes in the last of its entries, which counts as fresh where it is written at all."""
        held = self.by_owner.get(owner, 0)
        entries = self.entries.get(owner, int(held > 0))
        if entries > limits.entries:
            return Held(entries=limits.entries, is_whole=False)
        return Held(held, held, entries)

    def write(self, owner: str, size: int) -> None:
        taken = min(size, self.free_bytes)
        self.refused += taken < size
        self.by_owner[owner] = self.by_owner.get(owner, 0) + taken
        self.least_free = min(self.least_free, self.free_bytes)

    def remove(self, owner: str) -> None:
        self.by_owner.pop(owner, None)
