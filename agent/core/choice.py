"""core/choice — which of the free GPUs a job gets: the best linked set, and of equal ones that which leaves the best for others.

Pure and deterministic. A set's score is compared term by term, larger first: the least link class in it, the sum of its classes,
then the best such sum that 2, 4 and 8 of the GPUs left could have. Equal scores: the lowest PCI addresses.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from math import comb
from typing import TypeVar

from agent.core.topology import LinkClass, Matrix, bits, tables, twins
from agent.spec import Interconnect

T = TypeVar("T", int, tuple[int, int])

# What a later job may want of the GPUs that are left.
LEFT_SIZES = (2, 4, 8)
# To build a set and look its sum up, against a step down a ranked list; measured (bench/gpu_choice.py).
TRY_COST = 6


@dataclass(frozen=True, slots=True)
class Score:
    """`left`: for 2, 4 and 8 of the GPUs left the best sum of link classes; 0 where fewer are left."""

    least_link: int
    links: int
    left: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ChosenSet:
    """`mask` is the set; `considered`: how many sets were compared, where those that differ only by twins count as one."""

    mask: int
    score: Score
    considered: int


@lru_cache(maxsize=256)
def best_set(matrix: Matrix, fit: int, free: int, count: int, interconnect: Interconnect) -> ChosenSet | None:
    """Choose `count` GPUs of `fit`, a part of `free`. None: there are too few, or none so linked as is asked for."""
    table = tables(matrix)
    sets = _sets(_groups(matrix, fit, free), count)
    if interconnect is Interconnect.NVLINK:
        sets = [mask for mask in sets if table.least[mask] == LinkClass.NVLINK]
    if not sets:
        return None
    best = sets
    if interconnect is not Interconnect.ANY:
        best = _highest(best, [(table.least[mask], table.sums[mask]) for mask in best])
    for size in LEFT_SIZES:
        best = _highest(best, best_sums(matrix, [free & ~mask for mask in best], size))
    mask = min(best, key=lambda mask: tuple(bits(mask)))
    left = tuple(best_sums(matrix, [free & ~mask], size)[0] for size in LEFT_SIZES)
    return ChosenSet(mask, Score(table.least[mask], table.sums[mask], left), len(sets))


@lru_cache(maxsize=16)
def largest_linked(matrix: Matrix, fit: int) -> int:
    """How many GPUs of `fit` have NVLink to each other."""
    return max(size for size in range(fit.bit_count() + 1) if linked_sets(matrix, fit, size))


def linked_sets(matrix: Matrix, fit: int, count: int) -> list[int]:
    """All sets of `count` GPUs of `fit` that have NVLink to each other."""
    least = tables(matrix).least
    sets = (sum(chosen) for chosen in combinations([1 << gpu for gpu in bits(fit)], count))
    return [mask for mask in sets if least[mask] == LinkClass.NVLINK]


def _highest(sets: list[int], values: Sequence[T]) -> list[int]:
    most = max(values)
    return [mask for mask, its in zip(sets, values, strict=True) if its == most]


def _groups(matrix: Matrix, fit: int, free: int) -> list[list[int]]:
    """Twins, told apart by whether the job may have them, since the others are left in any case."""
    return [
        [gpu for gpu in group if fit >> gpu & 1]
        for group in twins(matrix, free)
        if any(fit >> gpu & 1 for gpu in group)
    ]


def _sets(groups: Sequence[Sequence[int]], count: int) -> list[int]:
    """All sets of `count` GPUs, where of twins the lowest are taken first."""
    by_size: list[list[int]] = [[0], *([] for _ in range(count))]
    for group in groups:
        for size in range(count, 0, -1):
            first = 0
            for taken, gpu in enumerate(group[:size], 1):
                first |= 1 << gpu
                by_size[size] += [mask | first for mask in by_size[size - taken]]
    return by_size[count]


def best_sums(matrix: Matrix, lefts: Sequence[int], size: int) -> list[int]:
    """For each of `lefts`, sets of one and the same size: the best sum that `size` of its GPUs have; 0 where they are fewer."""
    available = lefts[0].bit_count()
    if available < size:
        return [0] * len(lefts)
    ways = comb(available, size)
    # Either try all sets of what is left, or go down the list of all sets until one is left whole: a step of that is cheaper.
    if ways * ways * TRY_COST <= comb(len(matrix), size):
        return [_best_of(matrix, left, size) for left in lefts]
    best_first, found = ranked(matrix, size), []
    for left in lefts:
        taken = ~left
        for total, mask in best_first:
            if not mask & taken:
                found.append(total)
                break
    return found


def _best_of(matrix: Matrix, left: int, size: int) -> int:
    sums = tables(matrix).sums
    return max(sums[sum(chosen)] for chosen in combinations([1 << gpu for gpu in bits(left)], size))


@lru_cache(maxsize=16)
def ranked(matrix: Matrix, size: int) -> list[tuple[int, int]]:
    """All sets of so many GPUs of the host with their sums, the best first."""
    sums = tables(matrix).sums
    return sorted(((sums[mask], mask) for mask in range(len(sums)) if mask.bit_count() == size), reverse=True)
