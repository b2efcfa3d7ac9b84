"""No hardware is in two leases, also where an operator cuts a GPU anew under one: into instances, out of them, or otherwise."""

from dataclasses import dataclass, replace
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.core.gpu_parts import held_gpus, parts_of, sharing
from agent.core.gpus import Gpu, Inventory
from agent.core.job import Job
from agent.core.lease import GpuPart, Lease
from agent.core.queue import Host
from agent.errors import Phase
from tests.tries import tries
from tests.unit.core_values import WALL, make_job
from tests.unit.test_core_queue import HOST, granted

PROFILE = "1g.10gb"
WHOLE = Gpu("W", "A100", 80, pci="1")
OTHER = Gpu("O", "A100", 80, pci="2")


def instance(uuid: str, whole: str = "W") -> Gpu:
    return Gpu(uuid, "A100", 10, pci="1", mig=PROFILE, whole=whole)


def job(seq: int, *, mig: str | None = None, gpus: int = 1, lease: Lease | None = None) -> Job:
    fields = {"gpus": {"count": gpus, "mig": mig}}
    made = make_job(fields, id=f"job-{seq}", seq=seq, queued_at=WALL, image_digest="busybox@sha256:1")
    return made if lease is None else replace(made, phase=Phase.RUNNING, lease=lease)


def on(*gpus: Gpu) -> Host:
    return replace(HOST, inventory=Inventory(gpus), queue_limits={"default": 100})


LEASE_OF_A = Lease(("A",), parts=(GpuPart("A", "W"),))


def test_a_lease_of_an_instance_says_of_which_gpu_it_is_and_one_of_a_gpu_says_nothing() -> None:
    changed = granted([job(1, mig=PROFILE), job(2)], on(instance("A"), OTHER))
    assert changed["job-1"].lease == LEASE_OF_A
    assert changed["job-2"].lease == Lease(("O",))
    assert parts_of(Inventory((OTHER,)), ["O", "gone"]) == ()


def test_a_gpu_is_not_given_whole_while_an_instance_of_it_is_held() -> None:
    """MIG mode was turned off under the lease."""
    holder = job(1, lease=LEASE_OF_A)
    changed = granted([holder, job(2), job(3)], on(WHOLE, OTHER))
    assert changed["job-2"].lease == Lease(("O",))
    assert changed["job-3"].waiting_for == "gpus"
    assert granted([job(3)], on(WHOLE))["job-3"].lease == Lease(("W",))


def test_no_instance_is_given_of_a_gpu_that_is_held_whole() -> None:
    """MIG mode was turned on under the lease."""
    changed = granted([job(1, lease=Lease(("W",))), job(2, mig=PROFILE)], on(instance("A"), instance("B")))
    assert changed["job-2"].waiting_for == "gpus"


def test_of_a_gpu_that_was_cut_anew_under_a_lease_nothing_is_given_until_that_is_back() -> None:
    """Which of the new ones has the hardware of the old one is not known."""
    host = on(instance("B"), instance("C"), instance("D", whole="V"))
    changed = granted([job(1, lease=LEASE_OF_A), job(2, mig=PROFILE), job(3, mig=PROFILE)], host)
    assert changed["job-2"].lease == Lease(("D",), parts=(GpuPart("D", "V"),))
    assert changed["job-3"].waiting_for == "gpus"


def test_an_instance_beside_one_that_is_held_and_there_is_free() -> None:
    changed = granted([job(1, lease=LEASE_OF_A), job(2, mig=PROFILE)], on(instance("A"), instance("B")))
    assert changed["job-2"].lease == Lease(("B",), parts=(GpuPart("B", "W"),))


@pytest.mark.parametrize("first", [None, PROFILE])
def test_where_a_gpu_and_its_instances_are_listed_at_once_one_grant_gives_out_only_either(
    first: str | None,
) -> None:
    second = PROFILE if first is None else None
    changed = granted([job(1, mig=first), job(2, mig=second)], on(WHOLE, instance("A")))
    assert changed["job-1"].phase is Phase.STARTING
    assert changed["job-2"].phase is Phase.QUEUED


def test_what_is_kept_for_a_job_that_waits_is_kept_under_each_of_its_names() -> None:
    holder = job(1, lease=Lease(("O",)))
    changed = granted([holder, job(2, gpus=2), job(3, mig=PROFILE)], on(WHOLE, OTHER, instance("A")))
    assert changed["job-2"].waiting_for == "gpus"
    assert changed["job-3"].waiting_for == "turn"


def test_a_lease_from_before_leases_named_the_gpu_holds_it_while_its_instance_is_listed() -> None:
    listed = Inventory((WHOLE, instance("A"), instance("B")))
    assert held_gpus([Lease(("A",))], listed) == {"A", "W"}
    assert sharing(listed, {"W"}) == {"W", "A", "B"}


# the hardware itself


SLOTS = 4


@dataclass(frozen=True)
class Unit:
    """What can be leased, and the hardware that it is."""

    gpu: Gpu
    slots: frozenset[tuple[str, int]]


def whole_unit(card: str) -> Unit:
    return Unit(Gpu(card, "A100", 80, pci=card), frozenset((card, slot) for slot in range(SLOTS)))


@st.composite
def cut_anew(draw: st.DrawFn, card: str, before: list[Unit], names: "count[int]") -> list[Unit]:
    """As an operator may leave a card: whole, or in instances, of which those that stay keep their names."""
    if draw(st.booleans()):
        return [whole_unit(card)]
    stay = [unit for unit in before if unit.gpu.mig is not None and draw(st.booleans())]
    used = {slot for unit in stay for slot in unit.slots}
    free = [(card, slot) for slot in range(SLOTS) if (card, slot) not in used]
    made = [
        Unit(Gpu(f"MIG-{next(names)}", "A100", 10, card, mig=PROFILE, whole=card), frozenset({slot}))
        for slot in free
        if draw(st.booleans())
    ]
    return [*stay, *made]


@settings(max_examples=tries(300), deadline=None)
@given(st.data())
def test_no_hardware_is_ever_in_two_leases_however_gpus_are_cut_under_them(data: st.DataObject) -> None:
    names, seqs = count(), count()
    cards = {card: [whole_unit(card)] for card in ("C0", "C1")}
    hardware: dict[str, frozenset[tuple[str, int]]] = {}
    jobs: list[Job] = []
    for _ in range(data.draw(st.integers(1, 10))):
        match data.draw(st.sampled_from(["cut", "submit", "submit", "end"])):
            case "cut":
                card = data.draw(st.sampled_from(sorted(cards)))
                cards[card] = data.draw(cut_anew(card, cards[card], names))
            case "submit":
                jobs.append(job(next(seqs), mig=data.draw(st.sampled_from([None, PROFILE]))))
            case "end":
                jobs = [one for one in jobs if one.lease is None or data.draw(st.booleans())]
        units = [unit for card in cards.values() for unit in card]
        hardware |= {unit.gpu.uuid: unit.slots for unit in units}
        changed = granted(jobs, on(*(unit.gpu for unit in units)))
        jobs = [changed.get(one.id, one) for one in jobs]
        held = [slot for one in jobs if one.lease for uuid in one.lease.gpus for slot in hardware[uuid]]
        assert len(held) == len(set(held))
