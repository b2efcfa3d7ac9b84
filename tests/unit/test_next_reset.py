"""Which GPU is reset next, and which never."""

from agent.core.gpu_findings import GpuState
from agent.core.gpu_record import GpuHealth
from agent.core.gpu_reset import next_reset, refuse_kind, refuse_order
from agent.core.gpus import Gpu

GPUS = [Gpu(f"GPU-{n}", "NVIDIA H100", 80 << 30, pci=f"0{n}") for n in range(4)]
STATES = (GpuState.OK, GpuState.RESETTING, GpuState.RESETTING, GpuState.QUARANTINED)
HEALTHS = {gpu.uuid: GpuHealth(gpu.uuid, state) for gpu, state in zip(GPUS, STATES, strict=True)}


def test_the_first_that_waits_for_its_reset_is_next() -> None:
    assert next_reset(GPUS, HEALTHS, set()) == GPUS[1]
    assert next_reset(GPUS, {}, set()) is None  # nobody has judged them yet


def test_one_that_a_job_holds_is_passed_over() -> None:
    assert next_reset(GPUS, HEALTHS, {"GPU-1"}) == GPUS[2]
    assert next_reset(GPUS, HEALTHS, {"GPU-1", "GPU-2"}) is None


def test_only_what_is_whole_is_reset() -> None:
    assert refuse_kind(GPUS[0]) is None
    for pci, whole in (("0000:17:00.0", "PCI 0000:17:00.0"), ("", "its GPU")):
        refusal = refuse_kind(Gpu("MIG-1", "NVIDIA A100", 10 << 30, pci=pci, mig="1g.10gb"))
        assert refusal is not None
        assert refusal.code == "gpu_is_instance"
        assert whole in refusal.words


def test_a_gpu_that_the_config_leaves_to_others_is_not_reset() -> None:
    assert refuse_order(GPUS[0], ("*",)) is None
    refusal = refuse_order(GPUS[0], ("GPU-9",))
    assert refusal is not None
    assert refusal.code == "gpu_not_used"
