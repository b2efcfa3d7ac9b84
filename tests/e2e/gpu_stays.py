"""gpu_stays — who had which GPU when, and whether that broke I1 or I8. Pure; times are nanoseconds of the wall clock.

A stay is longer than the truth, from before the container's process until after its end, and a spell is shorter, from after it could
be seen until before it no longer could. So what breaks a rule here broke it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

NOT_YET = 1 << 62


@dataclass(frozen=True, slots=True)
class Stay:
    """A container's time with its GPUs, by what the engine told of it."""

    container: str
    gpus: frozenset[str]
    begin: int
    end: int = NOT_YET


@dataclass(frozen=True, slots=True)
class Spell:
    """A time in which the driver told of a GPU in use. `container`: whose; "" for somebody's who was there before the daemon."""

    gpu: str
    container: str
    begin: int
    end: int = NOT_YET


def shared(stays: Iterable[Stay]) -> list[str]:
    """I1: no GPU is in two running containers."""
    faults = []
    by_gpu: dict[str, list[Stay]] = {}
    for stay in sorted(stays, key=lambda stay: stay.begin):
        for gpu in stay.gpus:
            by_gpu.setdefault(gpu, []).append(stay)
    for gpu, line in by_gpu.items():
        faults += [
            f"I1: {gpu} was in {one.container[:12]} and {other.container[:12]}"
            for one, other in pairwise(line)
            if other.begin < one.end
        ]
    return faults


def begun_on_used(stays: Sequence[Stay], spells: Iterable[Spell]) -> list[str]:
    """I8: no container starts on a GPU that is in use."""
    return [
        f"I8: {stay.container[:12]} was started on {spell.gpu}, in use by {spell.container[:12] or 'a stranger'}"
        for spell in certain(stays, spells)
        for stay in stays
        if spell.gpu in stay.gpus
        and stay.container != spell.container
        and spell.begin < stay.begin < spell.end
    ]


def certain(stays: Iterable[Stay], spells: Iterable[Spell]) -> list[Spell]:
    """Those that nobody can have missed: they began while the GPU was not free yet, so every gate came later."""
    ends = {stay.container: stay.end for stay in stays}
    return [spell for spell in spells if spell.begin < ends.get(spell.container, NOT_YET)]
