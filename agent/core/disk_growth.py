"""core/disk_growth — by how much a folder grew between two counts, also where these were cut short. Pure; blames nobody.

What a walk did not reach may hide its maker. Two bounds are told, therefore: what the folder surely grew by, and what it is likely to
have grown by at most. Neither is more than nothing for a folder in which nothing changed.
"""

from dataclasses import dataclass

from agent.core.disk_space import Held, Unit


@dataclass(frozen=True, slots=True)
class Growth:
    """In bytes, or what files are worth in them. Both are the same where both counts were whole."""

    known: int = 0
    likely: int = 0

    def __add__(self, other: "Growth") -> "Growth":
        return Growth(self.known + other.known, self.likely + other.likely)


def between(then: Held, now: Held, unit: Unit, used_files: int) -> Growth:
    """What was freshly changed at `now` changed since `then`. `used_files`: on the whole disk."""
    grown = max(0, now.worth(unit) - then.worth(unit))
    if then.is_whole and now.is_whole:
        return Growth(grown, grown)
    # One that saw more than the one before finds what was there before, too. And what grew in the sight of both is fresh.
    may_compare = then.is_whole or now.entries <= then.entries
    known = min(grown, now.fresh_worth(unit)) if may_compare else 0
    return Growth(known, _likely(now, unit, used_files))


def since_unmeasured(now: Held, unit: Unit, used_files: int) -> Growth:
    """All that changed is taken for grown: nothing had been counted before."""
    return Growth(now.fresh_worth(unit), _likely(now, unit, used_files))


def _likely(now: Held, unit: Unit, used_files: int) -> int:
    """What is fresh in what was seen. Where a folder in which something was made was not read to its end, that is a sample of it:
    ext4 tells names in the order of their hashes, and new ones lie anywhere among the old. Of how much is not known, but no job has
    more files than the disk.
    """
    fresh = now.fresh_worth(unit)
    if now.is_fresh_whole or now.files == 0:
        return fresh
    return fresh * max(now.files, used_files) // now.files
