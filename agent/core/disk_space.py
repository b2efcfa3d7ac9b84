"""core/disk_space — what is free on a disk, and what a folder holds of it. Values alone; decides and measures nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Where(StrEnum):
    """What jobs fill. Both may be on one disk."""

    OUTPUTS = "outputs"  # in the state folder
    LAYER = "layer"  # at the engine: what containers write outside their outputs


@dataclass(frozen=True, slots=True)
class DiskSpace:
    """`device` is the same for two folders on one file system."""

    device: int
    free_bytes: int


@dataclass(frozen=True, slots=True)
class Held:
    """What a walk counted: allocated bytes, and those of them in files that changed since a given moment. One that was cut
    short saw `entries` of them.
    """

    bytes: int = 0
    fresh_bytes: int = 0
    entries: int = 0
    is_whole: bool = True

    def __add__(self, other: "Held") -> "Held":
        return Held(
            self.bytes + other.bytes,
            self.fresh_bytes + other.fresh_bytes,
            self.entries + other.entries,
            self.is_whole and other.is_whole,
        )


@dataclass(frozen=True, slots=True)
class CountLimits:
    """`fresh_since`: UTC seconds. What changed at or after it is counted as fresh."""

    entries: int
    seconds: float
    fresh_since: float


Spaces = Mapping[Where, DiskSpace]
