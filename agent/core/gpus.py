"""core/gpus — which GPUs a job gets. Pure: an inventory in; a choice, "not now", or a refusal out."""

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from fnmatch import fnmatchcase

from agent.core.job import Job
from agent.errors import AgentError, Blame, Phase
from agent.spec import Gpus as Wanted


@dataclass(frozen=True, slots=True)
class Gpu:
    uuid: str
    model: str
    memory_bytes: int


class GpusNeverFitError(AgentError):
    code, phase, blame = "gpus_never_fit", Phase.QUEUED, Blame.USER
    remedy = "Ask for what this host has (GET /v1/host), or use another host."

    def __init__(self, wanted: Wanted, fitting: int) -> None:
        super().__init__(f"{wanted.count} GPU(s) wanted; this host has {fitting} that could serve the job")


def held_gpus(jobs: Iterable[Job]) -> set[str]:
    return {uuid for job in jobs if job.lease is not None for uuid in job.lease.gpus}


def fitting(inventory: Sequence[Gpu], wanted: Wanted) -> list[Gpu]:
    """All that could ever serve, in the order of the inventory."""
    return [gpu for gpu in inventory if _matches(gpu, wanted)]


def refuse_if_never(inventory: Sequence[Gpu], wanted: Wanted) -> None:
    """Raises GpusNeverFitError where no waiting would help."""
    could = fitting(inventory, wanted)
    if len(could) < wanted.count:
        raise GpusNeverFitError(wanted, len(could))


def choose_gpus(inventory: Sequence[Gpu], wanted: Wanted, taken: AbstractSet[str]) -> tuple[str, ...] | None:
    """UUIDs. None is "not now"."""
    free = [gpu.uuid for gpu in fitting(inventory, wanted) if gpu.uuid not in taken]
    return tuple(free[: wanted.count]) if len(free) >= wanted.count else None


def _matches(gpu: Gpu, wanted: Wanted) -> bool:
    if wanted.min_memory is not None and gpu.memory_bytes < wanted.min_memory:
        return False
    return not wanted.models or any(fnmatchcase(gpu.model, glob) for glob in wanted.models)
