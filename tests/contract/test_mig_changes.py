"""GPUs that an operator cuts anew under a lease, as the real child and binding tell it: no hardware is given out twice."""

from dataclasses import replace
from pathlib import Path

import pytest

from agent.adapters.nvml.gpus import NvmlGpus
from agent.core.job import Job
from agent.core.lease import GpuPart, Lease
from agent.core.ports import PortRange
from agent.core.queue import Host as Grantable
from agent.core.queue import grant
from agent.errors import Phase
from tests.contract.nvml_world import Make, gpus_on
from tests.nvml_standin import profiles
from tests.nvml_standin.profiles import GIB, Host, Instance, uuid_of
from tests.unit.core_values import WALL, make_job

SPLIT, PROFILE = 2, "1g.10gb"
OTHERS = [uuid_of(place) for place in range(8) if place not in (SPLIT, 5)]


def job(seq: int, *, gpus: int = 1, mig: str | None = None) -> Job:
    fields = {"gpus": {"count": gpus, "mig": mig}}
    return make_job(fields, id=f"job-{seq}", seq=seq, queued_at=WALL, image_digest="busybox@sha256:1")


async def after_a_grant(gpus: NvmlGpus, *jobs: Job) -> list[Job]:
    await gpus.look()
    host = Grantable(
        PortRange(20000, 20003), frozenset(), {"default": 9}, ageing=1.0, inventory=await gpus.inventory()
    )
    changed = {one.id: one for one, _ in grant(jobs, host, WALL)}
    return [changed.get(one.id, one) for one in jobs]


def whole_again(host: Host) -> Host:
    """MIG mode off."""
    card = replace(host.cards[SPLIT].having("mig_mode 0"), instances=())
    return replace(host, cards=(*host.cards[:SPLIT], card, *host.cards[SPLIT + 1 :]))


def cut_otherwise(host: Host) -> Host:
    """The first instance destroyed, and another one made in its place."""
    _, *rest = host.cards[SPLIT].instances
    new = Instance(1, "MIG-2-new", (f"name NVIDIA A100-SXM4-80GB MIG {PROFILE}", f"memory {10 * GIB} 0 0"))
    card = replace(host.cards[SPLIT], instances=(new, *rest))
    return replace(host, cards=(*host.cards[:SPLIT], card, *host.cards[SPLIT + 1 :]))


async def test_a_gpu_whose_mig_mode_is_turned_off_under_a_lease_is_not_given_out_whole(
    standin: Make, tmp_path: Path
) -> None:
    machine = standin(profiles.a100_mig())
    async with gpus_on(machine, tmp_path / "record") as gpus:
        (holder,) = await after_a_grant(gpus, job(1, mig=PROFILE))
        assert holder.lease == Lease(("MIG-2-0",), parts=(GpuPart("MIG-2-0", uuid_of(SPLIT)),))
        machine.become(whole_again(profiles.a100_mig()))
        _, six, one_more = await after_a_grant(gpus, holder, job(2, gpus=6), job(3))
        assert uuid_of(SPLIT) in {gpu.uuid for gpu in (await gpus.inventory()).gpus}
        assert six.lease == Lease(tuple(OTHERS))
        assert (one_more.phase, one_more.waiting_for) == (Phase.QUEUED, "gpus")
        six, one_more = await after_a_grant(gpus, six, one_more)
        assert one_more.lease == Lease((uuid_of(SPLIT),))


async def test_a_gpu_whose_mig_mode_is_turned_on_under_a_lease_gives_out_no_instance(
    standin: Make, tmp_path: Path
) -> None:
    machine = standin(whole_again(profiles.a100_mig()))
    async with gpus_on(machine, tmp_path / "record") as gpus:
        holder, other = await after_a_grant(gpus, job(1, gpus=7), job(2, mig=PROFILE))
        assert holder.lease is not None
        assert uuid_of(SPLIT) in holder.lease.gpus
        machine.become(profiles.a100_mig())
        holder, other = await after_a_grant(gpus, holder, other)
        assert "MIG-2-0" in {gpu.uuid for gpu in (await gpus.inventory()).gpus}
        assert other.waiting_for == "gpus"
        (other,) = await after_a_grant(gpus, other)
        assert other.phase is Phase.STARTING


async def test_of_a_gpu_that_is_cut_otherwise_under_a_lease_nothing_is_given_out(
    standin: Make, tmp_path: Path
) -> None:
    machine = standin(profiles.a100_mig())
    async with gpus_on(machine, tmp_path / "record") as gpus:
        (holder,) = await after_a_grant(gpus, job(1, mig=PROFILE))
        machine.become(cut_otherwise(profiles.a100_mig()))
        holder, other = await after_a_grant(gpus, holder, job(2, mig=PROFILE))
        assert {"MIG-2-new", "MIG-2-3"} <= {gpu.uuid for gpu in (await gpus.inventory()).gpus}
        assert other.waiting_for == "gpus"
        (other,) = await after_a_grant(gpus, other)
        assert other.lease is not None
        assert other.lease.gpus == ("MIG-2-3",)


@pytest.mark.parametrize("is_held", [True, False])
async def test_a_gpu_that_does_not_say_whether_it_is_in_mig_mode_is_not_taken_for_a_whole_one(
    standin: Make, tmp_path: Path, *, is_held: bool
) -> None:
    host = profiles.a100_mig()
    machine = standin(host)
    async with gpus_on(machine, tmp_path / "record") as gpus:
        (holder,) = await after_a_grant(gpus, job(1, mig=PROFILE))
        before = await gpus.inventory()
        machine.become(host.but(SPLIT, f"fail MigMode {profiles.GPU_IS_LOST}"))
        rows = [holder] if is_held else []
        *_, seven = await after_a_grant(gpus, *rows, job(2, gpus=7))
        assert await gpus.inventory() == before
        assert (seven.phase, seven.waiting_words) == (
            Phase.QUEUED,
            "more GPUs than the 6 that this host has left for it",
        )
