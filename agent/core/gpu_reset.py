"""core/gpu_reset — which GPU is to be reset now, and which is never reset. Pure: resets none, and judges no end of a reset."""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet

from agent.core.gpu_findings import GpuState
from agent.core.gpu_health import Refusal, is_used
from agent.core.gpu_record import GpuHealth
from agent.core.gpus import Gpu


def refuse_kind(gpu: Gpu) -> Refusal | None:
    """A reset is of a whole GPU and takes its MIG instances away, and the agent makes none: they would be missing for ever."""
    if gpu.mig is None:
        return None
    whole = f"the GPU at PCI {gpu.pci}" if gpu.pci else "its GPU"
    return Refusal(
        "gpu_is_instance",
        f"a MIG instance can't be reset, and a reset of {whole} would take away all instances of it; "
        "reboot the host and make them anew",
    )


def refuse_order(gpu: Gpu, use: Sequence[str]) -> Refusal | None:
    """What no look at it can change."""
    if not is_used(gpu.uuid, use):
        words = (
            "[gpus] use does not name it: it may be another agent's; run `nvidia-smi --gpu-reset` yourself"
        )
        return Refusal("gpu_not_used", words)
    return refuse_kind(gpu)


def is_ordered(health: GpuHealth | None) -> bool:
    """Whether a reset of it was ordered whose end nobody has judged yet."""
    return health is not None and health.state is GpuState.RESETTING


def next_reset(gpus: Iterable[Gpu], healths: Mapping[str, GpuHealth], held: AbstractSet[str]) -> Gpu | None:
    """The first that waits for its reset. `held`: by a job that was granted it in the moment of the order, and gives it back."""
    return next((gpu for gpu in gpus if is_ordered(healths.get(gpu.uuid)) and gpu.uuid not in held), None)
