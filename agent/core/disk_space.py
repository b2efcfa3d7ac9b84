"""core/disk_space — what is free on a disk, and what a folder holds of it, in bytes and in files. Values alone; decides and measures nothing.

A disk is full when its bytes are used up, and as full when its inodes are: nobody can make a file then. So that one set of lines and
paces serves both, what is there of either is said in bytes, by `worth` and `room`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

# So many bytes have one inode where nobody asked mke2fs for anything else (mke2fs.conf, inode_ratio).
INODE_BYTES = 16 << 10
# What a file takes of a disk's bytes beside its blocks, where inodes are made as they are needed: XFS's inode. Elsewhere it is a trifle.
OWN_BYTES = 512
# Of what nobody counts.
ENDLESS = 1 << 62


class Where(StrEnum):
    """What jobs fill. Both may be on one disk."""

    OUTPUTS = "outputs"  # in the state folder
    LAYER = "layer"  # at the engine: what containers write outside their outputs


class Unit(StrEnum):
    """What may be scarce on a disk."""

    BYTES = "bytes"
    FILES = "files"


@dataclass(frozen=True, slots=True)
class DiskSpace:
    """`device` is the same for two folders on one file system. `free_files` None: it makes inodes as it needs them, and counts none.
    `used_files`: no folder on it has more; 0 where it is not known.
    """

    device: int
    free_bytes: int
    free_files: int | None = None
    used_files: int = 0

    @property
    def room(self) -> int:
        return self.room_in(self.scarce)

    @property
    def scarce(self) -> Unit:
        """What there is less of."""
        return min(Unit, key=self.room_in)

    def room_in(self, unit: Unit) -> int:
        if unit is Unit.BYTES:
            return self.free_bytes
        return ENDLESS if self.free_files is None else self.free_files * INODE_BYTES


Spaces = Mapping[Where, DiskSpace]


@dataclass(frozen=True, slots=True)
class Held:
    """What a walk counted: allocated bytes, inodes, and those of them that changed since a given moment. One that was cut short
    saw `entries` of them. `is_fresh_whole`: all folders in which something was made since, as far as they were found, were read to
    their end.
    """

    bytes: int = 0
    fresh_bytes: int = 0
    entries: int = 0
    is_whole: bool = True
    files: int = 0
    fresh_files: int = 0
    is_fresh_whole: bool = True

    def __add__(self, other: "Held") -> "Held":
        return Held(
            self.bytes + other.bytes,
            self.fresh_bytes + other.fresh_bytes,
            self.entries + other.entries,
            self.is_whole and other.is_whole,
            self.files + other.files,
            self.fresh_files + other.fresh_files,
            self.is_fresh_whole and other.is_fresh_whole,
        )

    def worth(self, unit: Unit) -> int:
        return _worth(self.bytes, self.files, unit)

    def fresh_worth(self, unit: Unit) -> int:
        return _worth(self.fresh_bytes, self.fresh_files, unit)


def _worth(size: int, files: int, unit: Unit) -> int:
    return size + files * OWN_BYTES if unit is Unit.BYTES else files * INODE_BYTES


@dataclass(frozen=True, slots=True)
class CountLimits:
    """`fresh_since`: UTC seconds. What changed at or after it is counted as fresh."""

    entries: int
    seconds: float
    fresh_since: float
