"""The grant: who gets what now. Nothing is given twice, no limit is passed, nobody is passed for ever."""

import time
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.core.gpus import Gpu, GpusNeverFitError, Inventory, choose_gpus, fitting, refuse_if_never
from agent.core.job import Job, Stop, StopCause
from agent.core.lease import Lease, PortLease
from agent.core.ports import NatMap, PortRange, choose_ports, held_ports
from agent.core.queue import Host, grant, order
from agent.core.retry import MOST_BACKOFF_SECONDS
from agent.core.state import ACTIVE
from agent.errors import Phase
from agent.spec import Gpus, Interconnect, Port, Proto
from tests.tries import tries
from tests.unit.core_values import WALL, make_job
from tests.unit.gpu_hosts import MIXED, MIXED_LINKS

GIB = 2**30
BIG, SMALL = 80 * GIB, 24 * GIB
INVENTORY = Inventory(
    (Gpu("A", "NVIDIA H100", BIG), Gpu("B", "NVIDIA H100", BIG), Gpu("C", "NVIDIA L4", SMALL))
)

HOST = Host(PortRange(20000, 20003), frozenset(), {"default": 100}, ageing=1.0, inventory=INVENTORY)


def waiting(
    seq: int,
    *,
    ports: int = 0,
    gpus: int = 0,
    disk: int | None = None,
    queue: str = "default",
    priority: int = 0,
    age: float = 0,
) -> Job:
    # Of all protos: a number that one job has for udp is no other's for tcp.
    protos = ("tcp", "udp", "http")
    wanted = [{"name": f"p{n}", "port": 9000 + n, "proto": protos[(seq + n) % 3]} for n in range(ports)]
    fields = {"ports": wanted, "gpus": gpus, "queue": queue, "priority": priority, "disk": disk}
    return make_job(fields, id=f"job-{seq}", seq=seq, queued_at=WALL - age, image_digest="busybox@sha256:1")


def granted(jobs: list[Job], host: Host = HOST, now: float = WALL) -> dict[str, Job]:
    return {job.id: job for job, _ in grant(jobs, host, now)}


def chosen(wanted: Gpus, unavailable: set[str], inventory: Inventory = INVENTORY) -> tuple[str, ...] | None:
    choice = choose_gpus(inventory, wanted, unavailable)
    return None if choice is None else choice.uuids


@st.composite
def rows(draw: st.DrawFn) -> list[Job]:
    """Some hold what an earlier grant gave them, the others wait."""
    jobs = [
        replace(
            waiting(
                seq,
                ports=draw(st.integers(0, 3)),
                gpus=draw(st.integers(0, 3)),
                disk=draw(st.sampled_from([None, None, GIB])),
                queue=draw(st.sampled_from(["default", "slow"])),
                priority=draw(st.integers(-5, 5)),
                age=draw(st.floats(0, 10_000)),
            ),
            not_before=draw(st.sampled_from([None, None, None, WALL - 1, WALL + 1])),
            image_digest=draw(st.sampled_from(["busybox@sha256:1"] * 3 + [None])),
            has_disk=draw(st.booleans()),
            job_stop=draw(st.sampled_from([None] * 5 + [Stop(StopCause.CANCEL, WALL)])),
        )
        for seq in range(draw(st.integers(0, 8)))
    ]
    first = granted(jobs[: draw(st.integers(0, 4))])
    return [first.get(job.id, job) for job in jobs]


HOSTS = st.builds(
    Host,
    ports=st.sampled_from([PortRange(20000, 20003), PortRange(20000, 20000)]),
    bad_ports=st.frozensets(st.integers(20000, 20003), max_size=3),
    queue_limits=st.fixed_dictionaries({"default": st.integers(0, 5)}, optional={"slow": st.integers(0, 2)}),
    ageing=st.sampled_from([0.0, 1.0]),
    inventory=st.just(INVENTORY),
    bad_gpus=st.frozensets(st.sampled_from("ABC"), max_size=2),
)


@pytest.mark.slow
@settings(max_examples=tries(300))
@given(rows(), HOSTS)
def test_nothing_is_given_twice_and_no_limit_is_passed(jobs: list[Job], host: Host) -> None:
    changed = granted(jobs, host)
    after = [changed.get(job.id, job) for job in jobs]
    held = Counter(port.host_port for job in after if job.lease for port in job.lease.ports)
    held.update(uuid for job in after if job.lease for uuid in job.lease.gpus)
    assert not [thing for thing, times in held.items() if times > 1]
    for queue in {job.spec.queue for job in jobs}:
        limit = host.queue_limits.get(queue, host.queue_limits["default"])
        active = sum(job.phase in ACTIVE for job in after if job.spec.queue == queue)
        before = sum(job.phase in ACTIVE for job in jobs if job.spec.queue == queue)
        assert active <= max(limit, before)


# None; a part of the range; all of it, crosswise.
NATS = [(), ((20000, 20001, 40000),), ((20000, 20001, 20002), (20002, 20003, 20000))]
# The protos of each new job's ports, and which of the jobs ends then.
ROUNDS = st.lists(
    st.tuples(
        st.lists(st.lists(st.sampled_from(Proto), min_size=1, max_size=2), max_size=2), st.integers(0, 9)
    ),
    min_size=2,
    max_size=6,
)


@given(ROUNDS, st.sampled_from(NATS))
def test_no_two_ports_are_ever_met_at_one_number_whatever_their_protos_and_the_nat(
    rounds: list[tuple[list[list[Proto]], int]], spans: tuple[tuple[int, int, int], ...]
) -> None:
    """I2, as the clients meet it. Stricter than the kernel, which would let one number be two jobs', one for each transport."""
    jobs: list[Job] = []
    nat, seq = NatMap("gpu.example.org", spans), 0
    for new, ending in rounds:
        for protos in new:
            seq += 1
            ports = [{"name": f"p{n}", "port": 9000 + n, "proto": proto} for n, proto in enumerate(protos)]
            jobs.append(make_job({"ports": ports}, id=f"job-{seq}", seq=seq, image_digest="busybox@sha256:1"))
        changed = granted(jobs)
        jobs = [changed.get(job.id, job) for job in jobs]
        held = [port for job in jobs if job.lease for port in job.lease.ports]
        assert len({port.host_port for port in held}) == len(held)
        assert len({nat.outside(port.host_port) for port in held}) == len(held)
        for job in jobs:
            if job.lease is not None:
                assert [port.proto for port in job.lease.ports] == [port.proto for port in job.spec.ports]
        if jobs:
            del jobs[ending % len(jobs)]


@settings(max_examples=tries(300))
@given(rows(), HOSTS)
def test_who_is_granted_may_start_and_gets_what_he_asked_for(jobs: list[Job], host: Host) -> None:
    before = {job.id: job for job in jobs}
    for job in granted(jobs, host).values():
        was = before[job.id]
        assert was.phase is Phase.QUEUED
        assert not was.stop_asked
        if job.phase is not Phase.STARTING:
            assert job == replace(was, waiting_for=job.waiting_for, waiting_words=job.waiting_words)
            continue
        assert job.lease is not None
        assert job.image_digest is not None
        assert job.spec.disk is None or job.has_disk
        assert job.not_before is None or job.not_before <= WALL
        assert [port.name for port in job.lease.ports] == [port.name for port in job.spec.ports]
        assert all(port.host_port in host.ports for port in job.lease.ports)
        assert not {port.host_port for port in job.lease.ports} & host.bad_ports
        assert len(job.lease.gpus) == job.spec.gpus.count
        assert not set(job.lease.gpus) & host.bad_gpus


@pytest.mark.slow
@settings(max_examples=tries(300))
@given(rows(), HOSTS)
def test_a_second_grant_starts_nobody_and_a_third_changes_nothing(jobs: list[Job], host: Host) -> None:
    """What a job waits for may be another thing once those behind it were granted; then it rests."""
    changed = granted(jobs, host)
    jobs = [changed.get(job.id, job) for job in jobs]
    changed = granted(jobs, host)
    assert not [job for job in changed.values() if job.phase is Phase.STARTING]
    assert granted([changed.get(job.id, job) for job in jobs], host) == {}


@settings(max_examples=tries(300))
@given(rows(), HOSTS)
def test_who_comes_later_gets_nothing_that_an_earlier_one_waits_for(jobs: list[Job], host: Host) -> None:
    """Fair backfill: whatever was given to later ones, the first that waits for resources could not have had it."""
    changed = granted(jobs, host)
    after = {job.id: changed.get(job.id, job) for job in jobs}
    for place, job in enumerate(order([job for job in jobs if job.phase is Phase.QUEUED], host.ageing, WALL)):
        if after[job.id].waiting_for not in {"gpus", "ports"} or job.stop_asked:
            continue
        if len(job.spec.ports) > len(host.ports):
            continue  # nothing is kept for what the host can't give
        later = order([job for job in jobs if job.phase is Phase.QUEUED], host.ageing, WALL)[place + 1 :]
        taken = [after[one.id].lease for one in later if after[one.id].phase is Phase.STARTING]
        if after[job.id].waiting_for == "ports":
            assert not [lease for lease in taken if lease and lease.ports]
        kept = {gpu.uuid for gpu in fitting(host.inventory, job.spec.gpus)}
        free_before = kept - {uuid for one in jobs if one.lease for uuid in one.lease.gpus} - host.bad_gpus
        if after[job.id].waiting_for == "gpus" and len(free_before) < job.spec.gpus.count:
            assert not [lease for lease in taken if lease and set(lease.gpus) & free_before]
        return  # those behind it compete with each other


def test_ageing_lets_nobody_starve() -> None:
    """A stream of jobs of the highest priority that never ends, one place, and an old job of the lowest."""
    host = replace(HOST, queue_limits={"default": 1}, ageing=1.0)
    old = waiting(1, priority=-100)
    for minute in range(300):
        now = WALL + 60 * minute
        fresh = replace(waiting(minute + 2, priority=100), queued_at=now)
        if granted([old, fresh], host, now)[old.id].phase is Phase.STARTING:
            return
    pytest.fail("it starved")


@pytest.mark.parametrize("other", [{"queue": "slow"}, {"ports": 1}])
def test_a_job_that_needs_two_scarce_things_at_once_is_not_starved_by_jobs_for_one(
    other: dict[str, Any],
) -> None:
    """The GPU comes free while the other thing is held, and the other way round, in turn and for ever."""
    host = replace(
        HOST,
        queue_limits={"default": 10, "slow": 1},
        inventory=Inventory(INVENTORY.gpus[:1]),
        ports=PortRange(20000, 20000),
    )
    both = waiting(1, gpus=1, **other)
    running = list(granted([waiting(2, gpus=1), waiting(3, **other)], host).values())
    for round_ in range(200):
        now = WALL + 60 * round_
        fresh = [waiting(10 + 2 * round_, gpus=1), waiting(11 + 2 * round_, **other)]
        changed = granted([both, *running, *(replace(job, queued_at=now) for job in fresh)], host, now)
        both = changed.get(both.id, both)
        if both.phase is Phase.STARTING:
            return
        started = [job for job in changed.values() if job.phase is Phase.STARTING]
        ends = (lambda job: job.spec.gpus.count) if round_ % 2 else (lambda job: not job.spec.gpus.count)
        running = [job for job in [*running, *started] if not ends(job)]
    pytest.fail(f"it waits for {both.waiting_for} for ever")


def test_a_job_for_many_gpus_is_not_starved_by_jobs_for_one() -> None:
    big = waiting(1, gpus=2)
    holder = replace(waiting(0, gpus=1), phase=Phase.RUNNING, lease=Lease(("A",)))
    changed = granted(
        [holder, big, waiting(2, gpus=1), waiting(3, gpus=1)],
        replace(HOST, inventory=Inventory(INVENTORY.gpus[:2])),
    )
    assert changed["job-1"].waiting_for == "gpus"
    assert changed["job-2"].waiting_for == "turn"
    assert changed["job-3"].waiting_for == "turn"


def test_a_job_that_wants_more_ports_than_the_range_has_by_now_says_so_and_holds_up_nobody() -> None:
    rows = granted([waiting(1, ports=5), waiting(2, ports=1), waiting(3, ports=3)])
    assert rows["job-1"].waiting_for == "ports"
    assert rows["job-1"].waiting_words == "5 ports, of which this host has 4 in [ports] range"
    assert [rows[name].phase for name in ("job-2", "job-3")] == [Phase.STARTING] * 2


def test_a_small_job_may_pass_where_it_takes_nothing_from_the_one_ahead() -> None:
    big = make_job(
        {"gpus": {"count": 2, "models": ["*H100"]}}, id="job-1", seq=1, image_digest="busybox@sha256:1"
    )
    l4 = make_job(
        {"gpus": {"count": 1, "models": ["*L4"]}}, id="job-2", seq=2, image_digest="busybox@sha256:1"
    )
    holder = replace(waiting(0, gpus=1), phase=Phase.RUNNING, lease=Lease(("A",)))
    changed = granted([holder, big, l4, waiting(3)])
    assert changed["job-1"].waiting_for == "gpus"
    assert changed["job-2"].lease == Lease(("C",))
    assert changed["job-3"].phase is Phase.STARTING


@pytest.mark.parametrize(
    ("columns", "waits_for"),
    [
        ({"not_before": WALL + 1}, "not_before"),
        ({"not_before": WALL + 1, "attempt": 2}, "backoff"),
        ({"image_digest": None}, "image"),
        ({}, "disk"),
    ],
)
def test_what_a_job_waits_for_is_named(columns: dict[str, object], waits_for: str) -> None:
    assert granted([replace(waiting(1, disk=GIB), **columns)])["job-1"].waiting_for == waits_for


@pytest.mark.parametrize("columns", [{"attempt": 2}, {"start_moves": 1}], ids=str)
def test_a_clock_that_is_set_back_makes_no_pause_between_two_tries_longer_than_the_most(
    columns: dict[str, object],
) -> None:
    job = replace(waiting(1), not_before=WALL + MOST_BACKOFF_SECONDS, **columns)  # type: ignore[arg-type] # columns of a row
    assert granted([job])["job-1"].phase is Phase.QUEUED
    assert granted([job], now=WALL - 3600)["job-1"].phase is Phase.STARTING


def test_what_a_user_wants_to_wait_for_may_be_far() -> None:
    assert granted([replace(waiting(1), not_before=WALL + 10**9)])["job-1"].waiting_for == "not_before"


def short(job: Job) -> Job:
    """It has looked, and there was no room."""
    return replace(job, waiting_for="disk", waiting_words="so much is wanted")


def test_jobs_reserve_their_disk_side_by_side_as_long_as_there_is_room() -> None:
    rows = granted([waiting(1, disk=GIB), waiting(2, disk=GIB)])
    assert [job.waiting_for for job in rows.values()] == ["disk", "disk"]


def test_behind_a_job_that_found_no_room_nobody_reserves_and_who_needs_none_starts() -> None:
    host = replace(HOST, free_disk_bytes=GIB)
    holder = replace(waiting(0, disk=2 * GIB), phase=Phase.RUNNING, lease=Lease(), has_disk=True)
    rows = granted([holder, short(waiting(1, disk=3 * GIB)), waiting(2, disk=GIB), waiting(3)], host)
    assert "job-1" not in rows, "it goes on waiting, with the same words"
    assert rows["job-2"].waiting_for == "turn"
    assert rows["job-3"].phase is Phase.STARTING


def test_room_is_not_kept_where_the_ends_of_other_jobs_could_not_make_enough_of_it() -> None:
    host = replace(HOST, free_disk_bytes=GIB)
    holder = replace(waiting(0, disk=GIB), phase=Phase.RUNNING, lease=Lease(), has_disk=True)
    rows = granted([holder, short(waiting(1, disk=3 * GIB)), waiting(2, disk=GIB)], host)
    assert rows["job-2"].waiting_for == "disk"


def test_who_has_its_disk_already_starts_however_short_the_disk_is() -> None:
    ready = replace(waiting(2, disk=GIB), has_disk=True)
    assert granted([short(waiting(1, disk=GIB)), ready])["job-2"].phase is Phase.STARTING


def test_a_full_queue_is_named_before_the_image_so_that_nothing_is_pulled_too_early() -> None:
    job = replace(waiting(1), image_digest=None)
    assert granted([job], replace(HOST, queue_limits={"default": 0}))["job-1"].waiting_for == "queue"


def test_order_is_priority_then_age_then_arrival() -> None:
    jobs = [
        waiting(1),
        waiting(2, priority=3),
        waiting(3, age=600),
        waiting(4, age=30),
        waiting(5, priority=3),
    ]
    assert [job.seq for job in order(jobs, 1.0, WALL)] == [3, 2, 5, 1, 4]


@given(st.integers(0, 6), st.frozensets(st.integers(1, 6)), st.integers(1, 6))
def test_ports_are_the_lowest_free_ones_or_none(count: int, taken: frozenset[int], last: int) -> None:
    wanted = tuple(Port(name=f"p{n}", port=80 + n, proto=Proto.TCP) for n in range(count))
    free = [port for port in range(1, last + 1) if port not in taken]
    chosen = choose_ports(wanted, PortRange(1, last), taken)
    if count > len(free):
        assert chosen is None
    else:
        assert chosen is not None
        assert [lease.host_port for lease in chosen] == free[:count]
        assert [(lease.name, lease.port) for lease in chosen] == [(port.name, port.port) for port in wanted]


def test_the_ledger_is_what_the_rows_say() -> None:
    lease = Lease((), (PortLease("web", 80, Proto.TCP, 20001),))
    assert held_ports([replace(waiting(1), lease=lease), waiting(2)]) == {20001}


def test_a_range_has_both_its_ends() -> None:
    ports = PortRange(5, 7)
    assert [port for port in range(10) if port in ports] == [5, 6, 7]
    assert len(ports) == 3


def test_ports_seen_from_outside_follow_their_spans() -> None:
    nat = NatMap("host", ((20000, 20009, 40000), (20010, 20010, 50000)))
    assert [nat.outside(port) for port in (20000, 20009, 20010, 20011)] == [40000, 40009, 50000, 20011]


def test_gpus_are_chosen_by_model_and_memory_among_those_not_taken() -> None:
    assert chosen(Gpus(count=1, models=("*L4",)), set()) == ("C",)
    assert chosen(Gpus(count=1, min_memory=BIG), {"A"}) == ("B",)
    assert chosen(Gpus(count=2, min_memory=BIG), {"A"}) is None
    assert chosen(Gpus(count=0), set("ABC")) == ()


def test_what_this_host_can_never_give_is_refused() -> None:
    refuse_if_never(INVENTORY, Gpus(count=3))
    for never in (Gpus(count=4), Gpus(count=3, min_memory=BIG), Gpus(count=1, models=("*A100",))):
        with pytest.raises(GpusNeverFitError):
            refuse_if_never(INVENTORY, never)


def test_models_that_no_gpu_has_are_told_with_those_that_there_are() -> None:
    with pytest.raises(GpusNeverFitError) as refused:
        refuse_if_never(INVENTORY, Gpus(count=1, models=("H100", "A100")))
    assert str(refused.value) == (
        "1 GPU(s) of models H100, A100 wanted; the most that this host could give the job are 0; "
        "its models are NVIDIA H100, NVIDIA L4"
    )


def test_gpus_linked_by_nvlink_are_given_together_or_not_at_all() -> None:
    mixed = Inventory(MIXED, MIXED_LINKS)
    pair = Gpus(count=2, interconnect=Interconnect.NVLINK)
    assert chosen(pair, set(), mixed) == ("GPU-00", "GPU-01")
    assert chosen(pair, {"GPU-01"}, mixed) == ("GPU-02", "GPU-03")
    assert chosen(pair, {"GPU-01", "GPU-03"}, mixed) is None
    refuse_if_never(mixed, pair)
    with pytest.raises(GpusNeverFitError, match="the most that this host could give the job are 2"):
        refuse_if_never(mixed, Gpus(count=3, interconnect=Interconnect.NVLINK))


def test_a_job_of_linked_gpus_is_not_passed_for_ever_by_jobs_of_one() -> None:
    """Kept for it is a set that it can take, and not any two that are free."""
    holders = [
        replace(waiting(n, gpus=1), phase=Phase.RUNNING, lease=Lease((uuid,), ()))
        for n, uuid in enumerate(("GPU-00", "GPU-02"), 1)
    ]
    spec = Gpus(count=2, interconnect=Interconnect.NVLINK)
    first = waiting(3, priority=5)
    first = replace(first, spec=first.spec.model_copy(update={"gpus": spec}))
    host = replace(HOST, inventory=Inventory(MIXED[:4], MIXED_LINKS))
    rows = granted([*holders, first, waiting(4, gpus=1), waiting(5, gpus=1)], host)
    assert rows["job-3"].waiting_for == "gpus"
    assert rows["job-4"].lease == Lease(("GPU-03",), ())
    assert rows["job-5"].waiting_for == "turn"
    freed = granted([holders[1], rows["job-3"], rows["job-4"], rows["job-5"]], host)
    assert freed["job-3"].lease == Lease(("GPU-00", "GPU-01"), ())


def test_an_instance_is_given_for_its_profile_and_a_whole_gpu_for_none() -> None:
    whole = Gpu("A", "A100", BIG, pci="2")
    halves = tuple(Gpu(f"MIG-{n}", "A100", BIG // 2, pci="1", mig="3g.40gb") for n in range(2))
    host = Inventory((whole, *halves))
    assert chosen(Gpus(count=1), set(), host) == ("A",)
    assert chosen(Gpus(count=2, mig="3g.40gb"), set(), host) == ("MIG-0", "MIG-1")
    assert chosen(Gpus(count=2, mig="3g.40gb", interconnect=Interconnect.NVLINK), set(), host) is None
    assert chosen(Gpus(count=1, mig="1g.10gb"), set(), host) is None
    with pytest.raises(GpusNeverFitError):
        refuse_if_never(host, Gpus(count=2))


def test_the_grant_says_why_it_is_these_gpus() -> None:
    host = replace(HOST, inventory=Inventory(MIXED, MIXED_LINKS))
    ((_, events),) = grant([waiting(1, gpus=2)], host, WALL)
    (told,) = [event for event in events if event.type == "job.gpus_chosen"]
    assert told.data == {
        "gpus": ["GPU-00", "GPU-01"],
        "considered": 10,
        "least_link": 4,
        "links": 4,
        "left": [4, 9, 0],
    }


def test_a_thousand_waiting_jobs_are_decided_in_a_moment() -> None:
    """Twice as many take about twice as long, not four times."""
    few, many = _seconds(1000), _seconds(4000)
    assert few < 0.5
    assert many < 12 * few


def _seconds(count: int) -> float:
    host = replace(HOST, ports=PortRange(20000, 23999), queue_limits={"default": 40})
    running = [
        replace(
            waiting(seq), phase=Phase.RUNNING, lease=Lease((), (PortLease("a", 80, Proto.TCP, 20000 + seq),))
        )
        for seq in range(20)
    ]
    queued = [waiting(seq, ports=1, gpus=seq % 2) for seq in range(20, count + 20)]
    taken = []
    for _ in range(3):
        began = time.process_time()
        grant([*running, *queued], host, WALL)
        taken.append(time.process_time() - began)
    return min(taken)
