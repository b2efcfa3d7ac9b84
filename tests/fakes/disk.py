"""A disk of so many bytes, and who holds how much of it. What is written where is the test's affair."""

import itertools
from dataclasses import dataclass, field

from agent.core.disk_space import CountLimits, DiskSpace, Held

_devices = itertools.count(1)


@dataclass
class FakeDisk:
    """`others`: what is nobody's that is asked for, such as the host's own files. Writes beyond its end are cut, and counted.
    `entries`: how many files one has, where it is not one, written long ago. `inodes` None: it makes them as they are needed.
    """

    size_bytes: int = 2**40
    others: int = 0
    device: int = field(default_factory=lambda: next(_devices))
    by_owner: dict[str, int] = field(default_factory=dict)
    entries: dict[str, int] = field(default_factory=dict)
    inodes: int | None = None
    others_files: int = 0
    made: dict[str, list[tuple[float, int]]] = field(default_factory=dict)
    refused: int = 0
    least_free: int = 2**63
    least_free_files: int = 2**63

    def space(self) -> DiskSpace:
        return DiskSpace(self.device, self.free_bytes, self.free_files, self.used_files)

    @property
    def free_bytes(self) -> int:
        return self.size_bytes - self.others - sum(self.by_owner.values())

    @property
    def used_files(self) -> int:
        owners = {*self.by_owner, *self.entries, *self.made}
        return self.others_files + sum(self._files(owner) for owner in owners)

    @property
    def free_files(self) -> int | None:
        return None if self.inodes is None else self.inodes - self.used_files

    def held(self, owner: str, limits: CountLimits) -> Held:
        """All bytes in the last of its entries, which counts as fresh where it is written at all. Of too many files a sample is seen,
        as of one large folder.
        """
        held, files = self.by_owner.get(owner, 0), self._files(owner)
        fresh = sum(count for at, count in self.made.get(owner, ()) if at >= limits.fresh_since)
        if files <= limits.entries:
            return Held(held, held, files, files=files, fresh_files=fresh + int(held > 0))
        seen = limits.entries
        return Held(
            entries=seen,
            is_whole=False,
            files=seen,
            fresh_files=fresh * seen // files,
            is_fresh_whole=fresh == 0,
        )

    def write(self, owner: str, size: int) -> None:
        taken = min(size, self.free_bytes)
        self.refused += taken < size
        self.by_owner[owner] = self.by_owner.get(owner, 0) + taken
        self.least_free = min(self.least_free, self.free_bytes)

    def make(self, owner: str, files: int, at: float) -> None:
        """Empty ones. `at`: UTC seconds."""
        taken = files if self.free_files is None else min(files, self.free_files)
        self.refused += taken < files
        self.made.setdefault(owner, []).append((at, taken))
        self.least_free_files = min(self.least_free_files, self.free_files or 0)

    def remove(self, owner: str) -> None:
        self.by_owner.pop(owner, None)
        self.made.pop(owner, None)

    def _files(self, owner: str) -> int:
        one_of_bytes = int(self.by_owner.get(owner, 0) > 0)
        return self.entries.get(owner, one_of_bytes) + sum(count for _, count in self.made.get(owner, ()))
