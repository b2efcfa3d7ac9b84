"""adapters/nvml/sightings — the child's inventory, laid over what was known: what is there, what is missing, what fails. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agent.adapters.nvml.record import Known
from agent.core.gpus import Gpu

Row = Mapping[str, Any]

# An answer of a healthy GPU that has no such thing, or does not let us see it.
_HARMLESS = frozenset({"not_supported", "function_not_found", "no_permission", "not_found"})
# nvml.h: the states of nvmlGpuFabricState_t. A GPU on NVSwitches runs no CUDA before its fabric is complete.
_NO_FABRIC, _FABRIC_COMPLETE = 0, 3
_WORDS = {
    "gpu_lost": "it has fallen off the bus",
    "reset_required": "it wants a reset",
    "skipped": "it hangs when asked, and is left alone for a while",
}


@dataclass(frozen=True, slots=True)
class Sighting:
    """`known`: all, also those of old that did not answer. `unwell`: those that can't be used, and why."""

    known: tuple[Known, ...]
    unwell: Mapping[str, str]
    nameless: tuple[str, ...] = ()

    @property
    def is_whole(self) -> bool:
        return not self.unwell and not self.nameless


def see(rows: Sequence[Row], before: Sequence[Known]) -> Sighting:
    """A GPU that does not tell its UUID is one of those missing, or one that was never seen; NVML does not say which.

    An instance is missing with its GPU only: one that a GPU which answers does not list was taken away by the operator.
    """
    named = [row for row in rows if row.get("uuid")]
    nameless = tuple(_words(row) for row in rows if not row.get("uuid"))
    there = {str(row["uuid"]) for row in named}
    old = {known.gpu.uuid: known for known in before}
    missing = [known for known in before if known.whole not in there]
    unwell = {known.gpu.uuid: _why_missing(nameless) for known in missing}
    seen = []
    for row in named:
        units = list(_units(row, old))
        seen += units
        if words := _words(row):
            unwell |= {known.gpu.uuid: words for known in units}
    everything = sorted((*seen, *missing), key=lambda known: (known.gpu.pci, known.gpu.uuid))
    return Sighting(tuple(everything), unwell, nameless)


def is_harmless(code: str | None) -> bool:
    return code is None or code in _HARMLESS


def _units(row: Row, old: Mapping[str, Known]) -> Iterator[Known]:
    """A GPU in MIG mode is its instances: it can't be used whole. One that does not say which mode it is in is as it was."""
    was = [known for known in old.values() if known.whole == row["uuid"]]
    if was and not is_harmless(row["faults"].get("is_mig")):
        yield from was
        return
    before = old.get(row["uuid"])
    whole = Known(
        _gpu(row, before), row["uuid"], _or(row.get("minor"), None if before is None else before.minor)
    )
    if not row.get("is_mig"):
        yield whole
    for instance in row.get("instances", ()):
        if instance.get("uuid"):
            yield Known(_instance(instance, whole, old.get(instance["uuid"])), whole.whole, whole.minor)


def _gpu(row: Row, before: Known | None) -> Gpu:
    """What it does not tell now is as it was."""
    was = None if before is None else before.gpu
    return Gpu(
        uuid=row["uuid"],
        model=row.get("name") or (was.model if was else "unknown"),
        memory_bytes=row.get("memory_bytes") or (was.memory_bytes if was else 0),
        pci=row.get("pci") or (was.pci if was else ""),
        numa_node=_or(row.get("numa_node"), None if was is None else was.numa_node),
    )


def _instance(row: Row, whole: Known, before: Known | None) -> Gpu:
    was = None if before is None else before.gpu
    return Gpu(
        uuid=row["uuid"],
        model=whole.gpu.model,
        memory_bytes=row.get("memory_bytes") or (was.memory_bytes if was else 0),
        pci=whole.gpu.pci,
        numa_node=whole.gpu.numa_node,
        mig=row.get("profile") or (was.mig if was else None) or "unknown",
        whole=whole.whole,
    )


def _or(value: int | None, otherwise: int | None) -> int | None:
    return otherwise if value is None else value


def _words(row: Row) -> str:
    """What is wrong with a GPU that answers, or with one that does not tell its name."""
    codes = {code: name for name, code in row["faults"].items() if not is_harmless(code)}
    words = [_WORDS.get(code, f"it fails when asked for {name} ({code})") for code, name in codes.items()]
    fabric = row.get("fabric")
    if fabric and (fabric["state"] not in {_NO_FABRIC, _FABRIC_COMPLETE} or fabric["status"] != 0):
        words.append("its NVLink fabric is not set up (see NVIDIA's Fabric Manager on the host)")
    return "; ".join(words)


def _why_missing(nameless: Sequence[str]) -> str:
    if not nameless:
        return "missing: the driver no longer lists it"
    return f"missing: a GPU does not tell its name ({'; '.join(sorted(set(nameless)))})"
