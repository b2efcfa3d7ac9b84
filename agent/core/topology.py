"""core/topology — how well the GPUs of a host reach each other. Pure: link classes in, sums over sets of GPUs out.

A set of GPUs is a bit mask: bit i is the i-th GPU by PCI address, so that of two sets the one that holds the lowest addresses
is told by its bits alone. Hosts have up to 16 GPUs; the tables over all their sets are then small, and made once a topology.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from functools import lru_cache

# Tables have an entry a set of GPUs.
MOST_GPUS = 16


class LinkClass(IntEnum):
    """What lies between two GPUs, the better the higher."""

    OTHER = 0
    SAME_NUMA_NODE = 1
    SAME_HOST_BRIDGE = 2
    SAME_PCIE_SWITCH = 3
    NVLINK = 4


@dataclass(frozen=True, slots=True)
class Links:
    """Link classes by pair of UUIDs. A pair that is not named has class OTHER."""

    pairs: Mapping[frozenset[str], LinkClass] = field(default_factory=dict)

    def matrix(self, uuids: Sequence[str]) -> "Matrix":
        return tuple(
            tuple(int(self.pairs.get(frozenset((one, other)), LinkClass.OTHER)) for other in uuids)
            for one in uuids
        )


NO_LINKS = Links()
Matrix = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Tables:
    """For each set of GPUs: the sum of its pairs' classes, and the least of them (NVLINK where there is no pair)."""

    sums: Sequence[int]
    least: Sequence[int]


@lru_cache(maxsize=4)
def tables(matrix: Matrix) -> Tables:
    """A set is its highest GPU and a set of lower ones: each doubling of the tables adds one GPU to all sets so far."""
    sums, least = [0], [int(LinkClass.NVLINK)]
    for row in matrix:
        to_sums, to_least = [0], [int(LinkClass.NVLINK)]
        for link in row[: len(sums).bit_length() - 1]:
            to_sums += [total + link for total in to_sums]
            to_least += [min(lowest, link) for lowest in to_least]
        sums += [total + more for total, more in zip(sums, to_sums, strict=True)]
        least += [min(pair) for pair in zip(least, to_least, strict=True)]
    return Tables(sums, least)


def twins(matrix: Matrix, among: int) -> list[list[int]]:
    """Sort the GPUs of `among` into groups whose members no link tells apart: any of them will do as well as another."""
    groups: list[list[int]] = []
    for gpu in bits(among):
        group = next((group for group in groups if _are_twins(matrix, group[0], gpu)), None)
        if group is None:
            groups.append([gpu])
        else:
            group.append(gpu)
    return groups


def _are_twins(matrix: Matrix, one: int, other: int) -> bool:
    return all(
        matrix[one][third] == matrix[other][third]
        for third in range(len(matrix))
        if third not in (one, other)
    )


def bits(mask: int) -> Iterator[int]:
    """The GPUs of a set, lowest first."""
    while mask:
        lowest = mask & -mask
        yield lowest.bit_length() - 1
        mask ^= lowest
