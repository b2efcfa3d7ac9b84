"""core/gpu_strangers — containers that are not ours and were given GPUs, and whether those may be ours to lease. Pure.

What has a process on a GPU fails the gate; a container that has none there just now does not. So it is told of, and no more:
whoever only watches a GPU may well share it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agent.core.gpu_health import is_used

_UUIDS = ("GPU-", "MIG-")


@dataclass(frozen=True, slots=True)
class GpuStranger:
    """`gpus` are as its maker named them: UUIDs or what they begin with, numbers, device nodes, or "all". `agent`: another agent's."""

    name: str
    gpus: tuple[str, ...]
    agent: str | None = None


@dataclass(frozen=True, slots=True)
class GpuStrangers:
    """`unseen`: how many containers were not looked at yet."""

    found: tuple[GpuStranger, ...] = ()
    unseen: int = 0


def own_uuids(wholes: Mapping[str, str], use: Sequence[str]) -> frozenset[str]:
    """What we may lease, and the GPUs that it is part of: whoever has the whole has its instances."""
    return frozenset(uuid for unit, whole in wholes.items() if is_used(unit, use) for uuid in (unit, whole))


def may_overlap(stranger: GpuStranger, own: frozenset[str]) -> bool:
    """Only UUIDs tell for sure that it does not: which GPU has which number is the driver's affair."""
    return any(
        not gpu.startswith(_UUIDS) or any(uuid.startswith(gpu) for uuid in own) for gpu in stranger.gpus
    )
