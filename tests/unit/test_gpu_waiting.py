"""Who waits for GPUs: what is kept for him and for how long, and when nothing is, since no time would bring what he needs."""

from dataclasses import replace
from math import ceil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.core.gpu_findings import GpuState, Need
from agent.core.gpu_outlook import stuck_gpus
from agent.core.gpu_record import GpuHealth
from agent.core.gpus import Gpu, Inventory
from agent.core.job import Job
from agent.core.lease import Lease
from agent.core.ports import PortRange
from agent.core.queue import Host
from agent.errors import Phase
from agent.spec import Gpus, Interconnect
from tests.tries import tries
from tests.unit.core_values import WALL
from tests.unit.gpu_hosts import MIXED, MIXED_LINKS
from tests.unit.test_core_queue import HOST, HOSTS, INVENTORY, granted, rows, waiting

MISSING, QUARANTINED, RESETTING = GpuState.MISSING, GpuState.QUARANTINED, GpuState.RESETTING
WAITS_FOR_REPAIR = "gpu_repair"


def stuck(*uuids: str, host: Host = HOST) -> Host:
    return replace(host, bad_gpus=frozenset(uuids), stuck_gpus=dict.fromkeys(uuids, "needs a reset"))


def unwell(state: GpuState, *needs: Need) -> GpuHealth:
    return GpuHealth("A", state=state, needs=frozenset(needs))


# what a GPU waits for


@pytest.mark.parametrize(
    ("health", "words"),
    [
        (unwell(MISSING, Need.PROBATION), "is missing"),
        (unwell(MISSING, Need.PROBATION, Need.REBOOT), "is missing and needs a reboot of the host"),
        (unwell(QUARANTINED, Need.PROBATION, Need.RESET), "needs a reset"),
        (unwell(QUARANTINED, Need.OPERATOR), "is held until an operator restores it"),
        (unwell(RESETTING, Need.REBOOT, Need.RESET), "needs a reboot of the host"),
    ],
)
def test_a_gpu_that_waits_for_somebody_is_stuck_and_says_for_what(health: GpuHealth, words: str) -> None:
    assert stuck_gpus(["A"], {"A": health}, ["*"]) == {"A": words}


@pytest.mark.parametrize(
    "health",
    [
        unwell(GpuState.OK),
        unwell(GpuState.SUSPECT, Need.QUIET),
        unwell(GpuState.SUSPECT, Need.CLEAN),
        unwell(QUARANTINED, Need.PROBATION),
        unwell(RESETTING, Need.RESET, Need.PROBATION),
    ],
)
def test_a_gpu_that_gets_well_by_itself_is_not_stuck(health: GpuHealth) -> None:
    assert stuck_gpus(["A"], {"A": health}, ["*"]) == {}


def test_a_gpu_that_is_not_lent_is_stuck_and_one_that_nobody_has_judged_is_not() -> None:
    assert stuck_gpus(["A", "B"], {}, ["B"]) == {"A": "the config does not lend ([gpus] use)"}


# who can't be served


def test_a_job_that_needs_a_stuck_gpu_says_which_and_keeps_nothing_from_those_behind_it() -> None:
    changed = granted([waiting(1, gpus=3), waiting(2, gpus=1), waiting(3, gpus=1)], stuck("B"))
    assert (changed["job-1"].waiting_for, changed["job-1"].waiting_words) == (
        WAITS_FOR_REPAIR,
        "B, which needs a reset",
    )
    assert {changed[name].phase for name in ("job-2", "job-3")} == {Phase.STARTING}


def test_neither_its_ports_nor_its_place_in_a_queue_are_kept_for_it() -> None:
    host = replace(stuck("B"), queue_limits={"default": 1}, ports=PortRange(20000, 20000))
    changed = granted([waiting(1, gpus=3, ports=1), waiting(2, ports=1)], host)
    assert changed["job-1"].waiting_for == WAITS_FOR_REPAIR
    assert changed["job-2"].phase is Phase.STARTING


def test_a_gpu_that_gets_well_by_itself_is_waited_for_and_what_is_free_meanwhile_is_kept() -> None:
    host = replace(HOST, bad_gpus=frozenset("B"))
    changed = granted([waiting(1, gpus=3), waiting(2, gpus=1)], host)
    assert (changed["job-1"].waiting_for, changed["job-1"].waiting_words) == ("gpus", None)
    assert changed["job-2"].waiting_for == "turn"
    assert granted(list(changed.values()))["job-1"].phase is Phase.STARTING


def test_a_job_that_others_can_serve_is_not_stopped_by_a_stuck_one() -> None:
    holder = replace(waiting(0, gpus=1), phase=Phase.RUNNING, lease=Lease(("A",)))
    changed = granted([holder, waiting(1, gpus=2), waiting(2, gpus=1)], stuck("B"))
    assert changed["job-1"].waiting_for == "gpus"
    assert changed["job-2"].waiting_for == "turn"
    assert granted([changed["job-1"]], stuck("B"))["job-1"].lease == Lease(("A", "C"))


def test_linked_gpus_are_waited_for_only_where_a_whole_set_can_be_well() -> None:
    host = replace(HOST, inventory=Inventory(MIXED[:4], MIXED_LINKS))
    pair = Gpus(count=2, interconnect=Interconnect.NVLINK)
    first = waiting(1)
    first = replace(first, spec=first.spec.model_copy(update={"gpus": pair}))
    one_pair_left = granted([first, waiting(2, gpus=2)], stuck("GPU-00", host=host))
    assert one_pair_left["job-1"].lease == Lease(("GPU-02", "GPU-03"))
    none_left = granted([first, waiting(2, gpus=2)], stuck("GPU-00", "GPU-02", host=host))
    assert none_left["job-1"].waiting_words == "GPU-00, which needs a reset; GPU-02, which needs a reset"
    assert none_left["job-2"].phase is Phase.STARTING


def test_only_a_few_of_many_stuck_gpus_are_named() -> None:
    many = tuple(Gpu(f"G{n}", "NVIDIA H100", 2**36, pci=f"{n}") for n in range(8))
    host = stuck(*(gpu.uuid for gpu in many), host=replace(HOST, inventory=Inventory(many)))
    words = granted([waiting(1, gpus=1)], host)["job-1"].waiting_words
    assert words == "; ".join([*(f"G{n}, which needs a reset" for n in range(3)), "5 more"])


def test_a_job_for_more_than_the_host_has_left_is_told_so_and_holds_up_nobody() -> None:
    changed = granted([waiting(1, gpus=4), waiting(2, gpus=1)])
    assert changed["job-1"].waiting_words == "more GPUs than the 3 that this host has left for it"
    assert changed["job-2"].phase is Phase.STARTING


def test_what_it_waits_for_is_forgotten_once_that_is_mended() -> None:
    waits = granted([waiting(1, gpus=3)], stuck("B"))["job-1"]
    holder = replace(waiting(0, gpus=1), phase=Phase.RUNNING, lease=Lease(("A",)))
    again = granted([holder, waits])["job-1"]
    assert (again.waiting_for, again.waiting_words) == ("gpus", None)


@st.composite
def hosts_with_stuck_gpus(draw: st.DrawFn) -> Host:
    lost = draw(st.frozensets(st.sampled_from("ABC"), min_size=1))
    host = draw(HOSTS)
    return replace(
        host, bad_gpus=host.bad_gpus | lost, stuck_gpus=dict.fromkeys(sorted(lost), "needs a reset")
    )


@pytest.mark.slow
@settings(max_examples=tries(300))
@given(rows(), hosts_with_stuck_gpus())
def test_nobody_waits_behind_one_that_can_not_be_served(jobs: list[Job], host: Host) -> None:
    """All others are decided as if it were not there."""
    most = len(INVENTORY.gpus) - len(host.stuck_gpus)
    portless = {job.id for job in jobs if len(job.spec.ports) > len(host.ports)}
    gpuless = {job.id for job in jobs if job.spec.gpus.count > most}
    hopeless = {job.id for job in jobs if job.phase is Phase.QUEUED} & (portless | gpuless)
    changed = granted(jobs, host)
    others = granted([job for job in jobs if job.id not in hopeless], host)
    assert {name: job for name, job in changed.items() if name not in hopeless} == others
    for name in hopeless & changed.keys():
        assert changed[name].phase is Phase.QUEUED
        has_words = changed[name].waiting_for in {"ports", WAITS_FOR_REPAIR}
        assert has_words == (changed[name].waiting_words is not None)


# ageing


EIGHT = Inventory(tuple(Gpu(f"G{n}", "NVIDIA H100", 2**36, pci=f"{n}") for n in range(8)))


@settings(max_examples=tries(60), deadline=None)
@given(
    gap=st.integers(0, 12),
    ageing=st.sampled_from([0.5, 1.0, 3.0]),
    minutes=st.integers(1, 9),
    a_minute=st.integers(1, 4),
    limit=st.sampled_from([8, 100]),
)
def test_a_job_for_eight_gpus_behind_a_stream_of_jobs_for_one_starts_within_the_ageing_bound(
    gap: int, ageing: float, minutes: int, a_minute: int, limit: int
) -> None:
    """Only those go before it that were accepted less than their lead in priority / ageing minutes after it; then it is next."""
    host = replace(HOST, inventory=EIGHT, ageing=ageing, queue_limits={"default": limit})
    window = ceil(gap / ageing)
    ahead = 8 + window * a_minute
    bound = window + minutes * (ceil(ahead / 8) + 1)
    big = waiting(10, gpus=8)
    ends: dict[str, int] = {}
    accepted: dict[str, int] = {}
    running = list(granted([waiting(n, gpus=1) for n in range(1, 9)], host).values())
    ends.update((job.id, minutes) for job in running)
    queued = [big]
    for minute in range(bound + 1):
        now = WALL + 60 * minute
        running = [job for job in running if ends[job.id] > minute]
        for _ in range(a_minute):
            fresh = replace(waiting(20 + len(accepted), gpus=1, priority=gap), queued_at=now)
            accepted[fresh.id] = minute
            queued.append(fresh)
        changed = granted([*running, *queued], host, now)
        queued = [changed.get(job.id, job) for job in queued]
        started = [job for job in queued if job.phase is Phase.STARTING]
        if any(job.id == big.id for job in started):
            return
        assert all(accepted[job.id] < window for job in started), f"passed at minute {minute}"
        ends.update((job.id, minute + minutes) for job in started)
        running += started
        queued = [job for job in queued if job.phase is Phase.QUEUED]
    pytest.fail(f"it has not started within {bound} minutes")
