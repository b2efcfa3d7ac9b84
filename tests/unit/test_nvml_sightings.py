"""The child's inventory laid over what was known: nothing known is lost, and nothing that answers is called missing."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from agent.adapters.nvml.record import Known
from agent.adapters.nvml.sightings import see
from agent.core.gpus import Gpu


def known(uuid: str, whole: str | None = None) -> Known:
    mig = None if whole is None else "1g.10gb"
    gpu = Gpu(uuid, "NVIDIA L40S", 45, pci=whole or uuid, numa_node=1, mig=mig, whole=whole)
    return Known(gpu, whole or uuid, 7)


def row(uuid: str | None, **more: object) -> dict[str, Any]:
    return {
        "index": 0,
        "uuid": uuid,
        "name": "NVIDIA L40S",
        "memory_bytes": 45,
        "pci": uuid,
        "faults": {},
        **more,
    }


GPUS = st.sets(st.sampled_from([f"GPU-{place}" for place in range(6)]))


@given(before=GPUS, now=GPUS, nameless=st.integers(0, 2))
def test_all_that_was_or_is_there_is_listed_and_just_what_is_not_there_is_unwell(
    before: set[str], now: set[str], nameless: int
) -> None:
    rows = [row(uuid) for uuid in sorted(now)] + [row(None, faults={"gpu": "gpu_lost"})] * nameless
    seen = see(rows, [known(uuid) for uuid in sorted(before)])
    assert [one.gpu.uuid for one in seen.known] == sorted(before | now)
    assert set(seen.unwell) == before - now
    assert seen.is_whole == (before <= now and nameless == 0)


def test_what_a_gpu_does_not_tell_now_is_as_it_was() -> None:
    silent = row(
        "GPU-1", name=None, memory_bytes=None, pci=None, numa_node=None, faults={"name": "not_supported"}
    )
    assert see([silent], [known("GPU-1")]).known == (known("GPU-1"),)


def test_a_gpu_that_answers_and_fails_is_listed_once_and_unwell() -> None:
    failing = row("GPU-1", memory_bytes=None, faults={"memory_bytes": "gpu_lost", "minor": "nvml_999"})
    seen = see([failing], [known("GPU-1")])
    assert len(seen.known) == 1
    assert seen.unwell == {"GPU-1": "it has fallen off the bus; it fails when asked for minor (nvml_999)"}


def test_a_gpu_in_mig_mode_without_instances_has_nothing_to_lease() -> None:
    assert see([row("GPU-1", is_mig=True, instances=[])], [known("GPU-1")]).known == ()


def test_an_instance_goes_with_its_gpu_and_without_it_by_the_operators_hand_only() -> None:
    before = [known("MIG-1", whole="GPU-1")]
    assert set(see([], before).unwell) == {"MIG-1"}
    assert see([row("GPU-1", is_mig=True, instances=[])], before).known == ()


def test_a_gpu_that_does_not_say_whether_it_is_in_mig_mode_is_as_it_was() -> None:
    """A whole GPU beside instances that are leased, or instances of one that is, would be the same hardware twice."""
    silent = row("GPU-1", is_mig=None, instances=[], faults={"is_mig": "nvml_999"})
    for before in ([known("MIG-1", whole="GPU-1"), known("MIG-2", whole="GPU-1")], [known("GPU-1")]):
        seen = see([silent], before)
        assert list(seen.known) == before
        assert set(seen.unwell) == {one.gpu.uuid for one in before}
    without = row("GPU-1", is_mig=None, instances=[], faults={"is_mig": "not_supported"})
    assert [one.gpu.uuid for one in see([without], []).known] == ["GPU-1"]


def test_a_gpu_that_hangs_is_said_to() -> None:
    seen = see([row(None, faults={"gpu": "skipped"})], [known("GPU-1")])
    assert "hangs" in seen.unwell["GPU-1"]
