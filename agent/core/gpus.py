"""core/gpus — which GPUs a job gets. Pure: an inventory in; a choice, "not now", or a refusal out."""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from fnmatch import fnmatchcase

from agent.core.choice import Score, best_set, largest_linked, linked_sets
from agent.core.topology import MOST_GPUS, NO_LINKS, Links, Matrix, bits
from agent.errors import AgentError, Blame, Phase
from agent.spec import Gpus as Wanted
from agent.spec import Interconnect

MOST_NAMED = 3


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU that can be leased whole, or a MIG instance: `mig` is then its profile, `whole` the UUID of the GPU that it is part
    of. `pci` orders them.
    """

    uuid: str
    model: str
    memory_bytes: int
    pci: str = ""
    numa_node: int | None = None
    mig: str | None = None
    whole: str | None = None


@dataclass(frozen=True, slots=True)
class Inventory:
    """What the host has, well or not, and what links it."""

    gpus: tuple[Gpu, ...] = ()
    links: Links = NO_LINKS

    @property
    def wholes(self) -> Mapping[str, str]:
        """Of each the UUID of the GPU that it is or, for a MIG instance, is part of."""
        return {gpu.uuid: gpu.whole or gpu.uuid for gpu in self.gpus}


NO_INVENTORY = Inventory()


class GpusNeverFitError(AgentError):
    code, phase, blame = "gpus_never_fit", Phase.QUEUED, Blame.USER
    remedy = "Ask for what this host has (GET /v1/host; models are globs, as in *L40S*), or use another host."

    def __init__(self, wanted: Wanted, fitting: int, models: Sequence[str] = ()) -> None:
        linked = " linked by NVLink" if wanted.interconnect is Interconnect.NVLINK else ""
        of_models = f" of models {', '.join(wanted.models)}" if wanted.models else ""
        has = f"; its models are {', '.join(models)}" if wanted.models and models else ""
        super().__init__(
            f"{wanted.count} GPU(s){of_models}{linked} wanted; the most that this host could give the job are {fitting}{has}"
        )


def fitting(inventory: Inventory, wanted: Wanted) -> list[Gpu]:
    """All that could ever serve, in the order of the inventory."""
    return [gpu for gpu in inventory.gpus if _matches(gpu, wanted)]


def refuse_if_never(inventory: Inventory, wanted: Wanted) -> None:
    """Raises GpusNeverFitError where no waiting would help."""
    most = _most(inventory, wanted, fitting(inventory, wanted))
    if most < wanted.count:
        raise GpusNeverFitError(wanted, most, sorted({gpu.model for gpu in inventory.gpus}))


def why_stuck(inventory: Inventory, wanted: Wanted, stuck: Mapping[str, str]) -> str | None:
    """What a job waits for that no time brings. None where all GPUs but those in `stuck` would do, sooner or later."""
    could = fitting(inventory, wanted)
    if _most(inventory, wanted, [gpu for gpu in could if gpu.uuid not in stuck]) >= wanted.count:
        return None
    most = _most(inventory, wanted, could)
    if most < wanted.count:  # it was not so when the job was accepted
        return f"more GPUs than the {most} that this host has left for it"
    named = [f"{gpu.uuid}, which {stuck[gpu.uuid]}" for gpu in could if gpu.uuid in stuck]
    more = [f"{len(named) - MOST_NAMED} more"] if len(named) > MOST_NAMED else []
    return "; ".join([*named[:MOST_NAMED], *more])


def _most(inventory: Inventory, wanted: Wanted, could: Sequence[Gpu]) -> int:
    """How many of these, which all fit, one job can have at once."""
    is_linked = wanted.interconnect is Interconnect.NVLINK
    if wanted.mig is not None:
        # Nothing links MIG instances.
        return min(len(could), 1) if is_linked else len(could)
    if not is_linked:  # asked of each job that waits: without the matrix
        return len({gpu.uuid for gpu in could}.intersection(_whole_uuids(inventory)))
    host = _Whole.of(inventory)
    return largest_linked(host.matrix, host.mask(could))


@dataclass(frozen=True, slots=True)
class GpuChoice:
    """`score` and `considered` say why; MIG instances have no score, since nothing links them."""

    uuids: tuple[str, ...]
    score: Score | None = None
    considered: int = 1


NO_GPUS = GpuChoice(())


def choose_gpus(inventory: Inventory, wanted: Wanted, unavailable: AbstractSet[str]) -> GpuChoice | None:
    """`unavailable`: taken, kept for another, or unwell. None is "not now"."""
    if wanted.count == 0:
        return NO_GPUS
    fit = [gpu for gpu in fitting(inventory, wanted) if gpu.uuid not in unavailable]
    if len(fit) < wanted.count:
        return None
    if wanted.mig is not None:
        return _choose_instances(fit, wanted)
    host = _Whole.of(inventory)
    free = host.mask(gpu for gpu in inventory.gpus if gpu.uuid not in unavailable)
    chosen = best_set(host.matrix, host.mask(fit), free, wanted.count, wanted.interconnect)
    return None if chosen is None else GpuChoice(host.members(chosen.mask), chosen.score, chosen.considered)


def _choose_instances(fit: Sequence[Gpu], wanted: Wanted) -> GpuChoice | None:
    if wanted.interconnect is Interconnect.NVLINK and wanted.count > 1:
        return None
    first = sorted(fit, key=_place)[: wanted.count]
    return GpuChoice(tuple(gpu.uuid for gpu in first))


def gpus_to_keep(
    inventory: Inventory, wanted: Wanted, taken: AbstractSet[str], stuck: AbstractSet[str]
) -> set[str]:
    """What a job that waits will take as soon as enough is free: as much of it free now as can be.

    `taken`: also those that are not well. Those that are `stuck` will not be free in any time.
    """
    could = [gpu for gpu in fitting(inventory, wanted) if gpu.uuid not in stuck]
    if wanted.interconnect is not Interconnect.NVLINK or wanted.mig is not None:
        return {gpu.uuid for gpu in sorted(could, key=lambda gpu: gpu.uuid in taken)[: wanted.count]}
    host = _Whole.of(inventory)
    fit, free = host.mask(could), host.mask(gpu for gpu in could if gpu.uuid not in taken)
    linked = linked_sets(host.matrix, fit, wanted.count)
    return set(host.members(max(linked, key=lambda mask: (mask & free).bit_count()))) if linked else set()


@dataclass(frozen=True, slots=True)
class _Whole:
    """The GPUs that are leased whole, by PCI address, as sets are counted in `core/topology`."""

    uuids: tuple[str, ...]
    matrix: Matrix

    @classmethod
    def of(cls, inventory: Inventory) -> "_Whole":
        uuids = _whole_uuids(inventory)
        return cls(uuids, inventory.links.matrix(uuids))

    def mask(self, gpus: Iterable[Gpu]) -> int:
        wanted = {gpu.uuid for gpu in gpus}
        return sum(1 << place for place, uuid in enumerate(self.uuids) if uuid in wanted)

    def members(self, mask: int) -> tuple[str, ...]:
        return tuple(self.uuids[place] for place in bits(mask))


def _whole_uuids(inventory: Inventory) -> tuple[str, ...]:
    whole = sorted((gpu for gpu in inventory.gpus if gpu.mig is None), key=_place)
    return tuple(gpu.uuid for gpu in whole[:MOST_GPUS])


def _place(gpu: Gpu) -> tuple[str, str]:
    return gpu.pci, gpu.uuid


def _matches(gpu: Gpu, wanted: Wanted) -> bool:
    if gpu.mig != wanted.mig:
        return False
    if wanted.min_memory is not None and gpu.memory_bytes < wanted.min_memory:
        return False
    return not wanted.models or any(fnmatchcase(gpu.model, glob) for glob in wanted.models)
