"""api/metrics/of_gpus — families of GPUs: what there are, how they are, and what was seen of them lately. Pure; asks no driver."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from agent.api.metrics.families import Family, Labels, counters, gauges, with_zeros
from agent.core.gpu_findings import GpuState
from agent.core.gpu_record import GpuHealth
from agent.core.gpu_usage import GpuSample
from agent.core.gpus import Gpu

# Nobody has looked at it yet, and so it is not leased.
UNKNOWN = "unknown"
STATES = (*(state.value for state in GpuState), UNKNOWN)
GPU = ("uuid", "index", "model")


@dataclass(frozen=True, slots=True)
class GpusSeen:
    """`barred`: those that no job may get now, for their health or since the config leaves them out. `leased` None: the database does not say."""

    gpus: Sequence[Gpu]
    healths: Mapping[str, GpuHealth]
    barred: AbstractSet[str]
    leased: AbstractSet[str] | None


def gpu_families(seen: GpusSeen) -> tuple[Family, ...]:
    gpus, healths, leased = seen.gpus, seen.healths, seen.leased
    states = {gpu.uuid: healths[gpu.uuid].state.value if gpu.uuid in healths else UNKNOWN for gpu in gpus}
    by_state: dict[Labels, float] = {(state,): n for state, n in Counter(states.values()).items()}
    each = {
        (*labels, state): float(states[labels[0]] == state) for labels in _labels(gpus) for state in STATES
    }
    held = {} if leased is None else {labels: float(labels[0] in leased) for labels in _labels(gpus)}
    sizes = {labels: float(gpu.memory_bytes) for labels, gpu in zip(_labels(gpus), gpus, strict=True)}
    free = {labels: float(labels[0] not in seen.barred) for labels in _labels(gpus)}
    return (
        gauges("gpus", "GPUs by state.", ("state",), with_zeros(by_state, [(state,) for state in STATES])),
        gauges("gpu_state", "1 for the state that the GPU is in, 0 for all others.", (*GPU, "state"), each),
        gauges(
            "gpu_leasable", "1: a job may get the GPU, at once or after the job that holds it.", GPU, free
        ),
        gauges("gpu_leased", "1: a job holds the GPU.", GPU, held),
        gauges("gpu_memory_size_bytes", "Memory that the GPU has.", GPU, sizes),
    )


def sample_families(gpus: Sequence[Gpu], samples: Mapping[str, GpuSample | None]) -> tuple[Family, ...]:
    """What another's job does on a GPU shows in these: for who may know it."""

    def told(read: Callable[[GpuSample], float | None]) -> dict[Labels, float]:
        found = ((labels, samples.get(labels[0])) for labels in _labels(gpus))
        values = ((labels, read(sample)) for labels, sample in found if sample is not None)
        return {labels: value for labels, value in values if value is not None}

    return (
        gauges("gpu_utilization_ratio", "Share of the time in which the GPU was busy, 0 to 1.", GPU, told(_ratio)),
        gauges("gpu_memory_used_bytes", "Memory of the GPU that is in use.", GPU, told(lambda of: of.used_bytes)),
        gauges("gpu_temperature_celsius", "Temperature of the GPU.", GPU, told(lambda of: of.celsius)),
        gauges("gpu_power_watts", "Power that the GPU draws.", GPU, told(lambda of: of.power_watts)),
        counters("gpu_energy_joules_total", "Energy that the GPU took since its driver was loaded.", GPU, told(lambda of: of.energy_joules)),
    )  # fmt: skip


def _labels(gpus: Sequence[Gpu]) -> list[Labels]:
    return [(gpu.uuid, str(index), gpu.model) for index, gpu in enumerate(gpus)]


def _ratio(sample: GpuSample) -> float | None:
    return None if sample.utilisation_percent is None else sample.utilisation_percent / 100
