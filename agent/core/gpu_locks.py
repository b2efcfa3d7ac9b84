"""core/gpu_locks — which GPUs an agent keeps from the other agents of its host, and who has one that it can't get. Pure; locks none.

What is kept is the whole GPU, also where only an instance of it is leased: a reset, a fault, or a change of MIG mode is
always all of its instances'.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from agent.core.gpu_health import is_used


@dataclass(frozen=True, slots=True)
class LockHolder:
    """The agent that says of itself that it has a GPU."""

    agent: str
    pid: int
    state_dir: str

    def __str__(self) -> str:
        return f"gpu-agent {self.agent} (process {self.pid}, state folder {self.state_dir})"


def managed_gpus(wholes: Mapping[str, str], use: Sequence[str], leased: AbstractSet[str]) -> frozenset[str]:
    """`wholes`: of each unit that can be leased the GPU that it is, or is part of. `leased`: a job may still run on what the
    config's `use` no longer names.
    """
    return frozenset(whole for unit, whole in wholes.items() if is_used(unit, use) or unit in leased)
