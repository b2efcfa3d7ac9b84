"""Whom the disk guard stops: never one who did not grow, never two for one fall, always one whose growth is the fall."""

from dataclasses import dataclass, replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.disk_guard import (
    FLOOR_BYTES,
    LEAST_PAUSE_SECONDS,
    LINE_BYTES,
    MOST_GRACE_SECONDS,
    MOST_PAUSE_SECONDS,
    NOTABLE_PART,
    STEP_BYTES,
    Measurement,
    Offender,
    Watch,
    choose,
    judge,
    look,
    may_be_stopped,
    may_write,
    say_why,
    seconds_to_next_look,
)
from agent.core.disk_space import DiskSpace, Held, Unit, Where
from agent.core.job import BootTime, ExitFacts, Run, StartIntent, Verdict
from agent.errors import Phase
from tests.unit.core_values import NOW, make_job

MIB, GIB = 1 << 20, 1 << 30
JOBS = ("a", "b", "c", "d")
SHARED = (7, 7)
APART = (7, 8)

sizes = st.sampled_from([0, 4096, MIB, GIB // 3, GIB, 5 * GIB, 8 * GIB])
growths = st.one_of(
    st.sampled_from([0, 1, MIB, STEP_BYTES, 100 * MIB, 300 * MIB, 512 * MIB, GIB]), st.integers(1, GIB)
)


def measured(
    at: float, free: int, held: dict[str, tuple[int, int]], devices: tuple[int, int] = SHARED
) -> Measurement:
    """`held`: by job, in outputs and in the layer. Where the disks are apart, the engine's has much room."""
    at_engine = free if devices[0] == devices[1] else 100 * GIB
    spaces = {Where.OUTPUTS: DiskSpace(devices[0], free), Where.LAYER: DiskSpace(devices[1], at_engine)}
    both = {
        job: {Where.OUTPUTS: Held(outputs, 0, 9), Where.LAYER: Held(layer, 0, 9)}
        for job, (outputs, layer) in held.items()
    }
    return Measurement(at, spaces, both)


@dataclass(frozen=True)
class Fall:
    before: Measurement
    after: Measurement
    growth: dict[str, int]
    size: int


@st.composite
def falls(draw: st.DrawFn) -> Fall:
    held = {job: (draw(sizes), draw(sizes)) for job in JOBS}
    growth = {job: draw(growths) for job in JOBS}
    others = draw(st.sampled_from([0, 0, 0, 0, 64 * MIB, GIB, 4 * GIB, -64 * MIB, -GIB]))
    free = draw(st.integers(0, LINE_BYTES - 1))
    size = sum(growth.values()) + others
    grown = {job: (held[job][0] + growth[job], held[job][1]) for job in JOBS}
    return Fall(measured(0, free + size, held), measured(1, free, grown), growth, size)


@given(falls(), st.sets(st.sampled_from(JOBS)))
def test_nobody_is_stopped_who_did_not_grow_and_nobody_who_may_not_be(
    fall: Fall, stoppable: set[str]
) -> None:
    offender = choose(fall.before, fall.after, stoppable)
    if offender is not None:
        assert offender.job in stoppable
        assert offender.grown == fall.growth[offender.job] > 0


@given(falls())
def test_nobody_is_stopped_while_the_disk_does_not_fall(fall: Fall) -> None:
    if fall.size < STEP_BYTES:
        assert choose(fall.before, fall.after, set(JOBS)) is None


@given(falls())
def test_somebody_is_stopped_where_what_jobs_grew_by_is_the_fall(fall: Fall) -> None:
    if fall.size >= STEP_BYTES and 2 * sum(fall.growth.values()) >= fall.size:
        assert choose(fall.before, fall.after, set(JOBS)) is not None


@given(falls())
def test_who_is_stopped_holds_most_of_those_that_grew_much(fall: Fall) -> None:
    offender = choose(fall.before, fall.after, set(JOBS))
    if offender is not None:
        for job in JOBS:
            if fall.growth[job] * NOTABLE_PART >= max(fall.growth.values()):
                held = (fall.after.held or {})[job]
                assert sum(one.bytes for one in held.values()) <= offender.held


@given(falls(), st.integers(0, 200 * GIB))
def test_nobody_is_stopped_above_the_line(fall: Fall, more: int) -> None:
    raised = {
        where: replace(one, free_bytes=one.free_bytes + LINE_BYTES + more)
        for where, one in fall.after.spaces.items()
    }
    before = {
        where: replace(one, free_bytes=one.free_bytes + LINE_BYTES + more)
        for where, one in fall.before.spaces.items()
    }
    assert choose(replace(fall.before, spaces=before), replace(fall.after, spaces=raised), set(JOBS)) is None


@given(st.lists(st.tuples(growths, growths, st.booleans()), min_size=3, max_size=30))
def test_no_two_are_stopped_for_one_fall(steps: list[tuple[int, int, bool]]) -> None:
    """The second only for what fell after the first was gone, or after he had two measurements to end in."""
    held = {"a": (GIB, 0), "b": (GIB, 0)}
    free, running = LINE_BYTES - 1, {"a", "b"}
    watch, stops = Watch(last=measured(0, free, held)), []
    for number, (of_a, of_b, ends) in enumerate(steps, start=1):
        grown = {"a": of_a if "a" in running else 0, "b": of_b if "b" in running else 0}
        held = {job: (size[0] + grown[job], 0) for job, size in held.items()}
        free = max(0, free - sum(grown.values()))
        before = watch
        watch, offender = judge(watch, measured(number, free, held), running, running)
        if offender is not None:
            assert before.asked is None or before.patience == 0
            stops.append((number, offender.job, before.asked))
        if ends and watch.asked is not None:
            running.discard(watch.asked)
    for (first, job, _), (second, _, asked) in pairwise(stops):
        assert second - first >= (3 if asked == job else 2)


def test_the_quiet_one_that_holds_much_lives_on_beside_the_writer() -> None:
    before = measured(0, 900 * MIB, {"quiet": (50 * GIB, 0), "writer": (10 * MIB, 0)})
    after = measured(1, 400 * MIB, {"quiet": (50 * GIB + 5 * MIB, 0), "writer": (505 * MIB, 0)})
    offender = choose(before, after, {"quiet", "writer"})
    assert offender is not None
    assert (offender.job, offender.held, offender.grown) == ("writer", 505 * MIB, 495 * MIB)


def test_what_the_host_itself_fills_ends_no_job() -> None:
    before = measured(0, 900 * MIB, {"a": (GIB, 0)})
    after = measured(1, 500 * MIB, {"a": (GIB + 50 * MIB, 0)})
    assert choose(before, after, {"a"}) is None


def test_a_trifle_is_nobodys_fault() -> None:
    before = measured(0, 900 * MIB, dict.fromkeys("abcdefghijkl", (GIB, 0)))
    after = measured(1, 868 * MIB, dict.fromkeys("abcdefghijkl", (GIB + MIB, 0)))
    assert choose(before, after, set("abcdefghijkl")) is None


def test_a_writer_to_his_own_files_is_found_where_the_disk_is_the_engines_alone() -> None:
    before = measured(0, 900 * MIB, {"a": (GIB, 0), "b": (0, 0)}, (8, 7))
    after = measured(1, 700 * MIB, {"a": (2 * GIB, 0), "b": (0, 200 * MIB)}, (8, 7))
    swapped = [
        replace(one, spaces={Where.OUTPUTS: one.spaces[Where.LAYER], Where.LAYER: one.spaces[Where.OUTPUTS]})
        for one in (before, after)
    ]
    offender = choose(*swapped, {"a", "b"})
    assert offender is not None
    assert (offender.job, offender.where) == ("b", {Where.LAYER})


def test_a_job_that_was_not_measured_before_is_not_known_to_have_grown() -> None:
    before = measured(0, 900 * MIB, {})
    after = measured(1, 500 * MIB, {"new": (400 * MIB, 0)})
    assert choose(before, after, {"new"}) is None


def test_a_disk_that_fell_over_both_lines_between_two_looks_is_blamed_on_who_wrote_meanwhile() -> None:
    """As one fallocate does: nothing had been measured."""
    with_room = Measurement(0, {Where.OUTPUTS: DiskSpace(7, 70 * GIB)})
    watch, wanted = look(Watch(), with_room)
    assert not wanted
    held = {
        "old": {Where.OUTPUTS: Held(90 * GIB, 0, 5)},
        "taker": {Where.OUTPUTS: Held(70 * GIB, 69 * GIB, 1)},
    }
    full = Measurement(5, {Where.OUTPUTS: DiskSpace(7, GIB // 2)})
    watch, wanted = look(watch, full)
    assert wanted == {Where.OUTPUTS}
    _, offender = judge(watch, replace(full, held=held), held.keys(), held.keys())
    assert offender is not None
    assert offender.job == "taker"


def test_nothing_is_measured_while_there_is_room_or_while_nothing_changes() -> None:
    room = Measurement(0, {Where.OUTPUTS: DiskSpace(7, FLOOR_BYTES)})
    watch, wanted = look(Watch(), room)
    assert not wanted
    low = Measurement(1, {Where.OUTPUTS: DiskSpace(7, FLOOR_BYTES - 1)})
    watch, wanted = look(watch, low)
    assert wanted
    watch, _ = judge(watch, replace(low, held={}), set(), set())
    for free, is_wanted in [
        (-1, False),
        (-STEP_BYTES, False),
        (-1 - STEP_BYTES, True),
        (STEP_BYTES // 2, False),
    ]:
        seen = Measurement(2, {Where.OUTPUTS: DiskSpace(7, min(FLOOR_BYTES - 1, FLOOR_BYTES + free))})
        assert bool(look(watch, seen)[1]) == is_wanted


def test_at_the_first_look_of_all_nobody_is_blamed() -> None:
    full = measured(0, 0, {"a": (GIB, 0)})
    watch, wanted = look(Watch(), replace(full, held=None))
    assert wanted == {Where.OUTPUTS, Where.LAYER}
    assert judge(watch, full, {"a"}, {"a"})[1] is None


@given(st.integers(0, 1 << 42))
def test_the_next_look_comes_before_a_fast_disk_is_down_at_the_floor(free: int) -> None:
    pause = seconds_to_next_look({Where.OUTPUTS: DiskSpace(7, free)})
    assert LEAST_PAUSE_SECONDS <= pause <= MOST_PAUSE_SECONDS
    if pause > LEAST_PAUSE_SECONDS:
        assert free - pause * (4 << 30) >= FLOOR_BYTES - 1
    assert seconds_to_next_look({}) == MOST_PAUSE_SECONDS


def test_the_grace_leaves_half_of_what_is_free() -> None:
    slow = choose(
        measured(0, 900 * MIB, {"a": (0, 0)}), measured(10, 800 * MIB, {"a": (100 * MIB, 0)}), {"a"}
    )
    fast = choose(
        measured(0, 900 * MIB, {"a": (0, 0)}), measured(0.2, 400 * MIB, {"a": (500 * MIB, 0)}), {"a"}
    )
    assert slow is not None
    assert fast is not None
    assert slow.grace_seconds == MOST_GRACE_SECONDS
    assert fast.grace_seconds == pytest.approx(0.08)


@pytest.mark.parametrize(("took", "stopped"), [(0.0, None), (0.5, None), (0.7, "a")])
def test_what_fell_while_all_were_counted_is_not_free_any_more(took: float, stopped: str | None) -> None:
    """300 MiB a second, and 200 MiB above the line as the counting began."""
    before = measured(0, 1524 * MIB, {"a": (0, 0)})
    after = replace(measured(1, 1224 * MIB, {"a": (300 * MIB, 0)}), took=took)
    offender = choose(before, after, {"a"})
    assert (offender and offender.job) == stopped


@pytest.mark.parametrize(("took", "grace"), [(0.05, 0.03), (0.5, 0.0)])
def test_what_the_count_took_is_no_part_of_the_grace(took: float, grace: float) -> None:
    """It writes on meanwhile."""
    after = replace(measured(0.2, 400 * MIB, {"a": (500 * MIB, 0)}), took=took)
    offender = choose(measured(0, 900 * MIB, {"a": (0, 0)}), after, {"a"})
    assert offender is not None
    assert offender.grace_seconds == pytest.approx(grace)


def test_who_is_ending_soon_is_let_end_and_who_has_a_long_grace_is_not() -> None:
    runs = Run(intent=StartIntent("c1", NOW.boot.boot_id))
    job = make_job(phase=Phase.RUNNING, run=runs)
    assert may_be_stopped(job, NOW)
    assert not may_be_stopped(replace(job, kill_at=NOW.after(1)), NOW)
    leaving = replace(job, phase=Phase.STOPPING, kill_at=NOW.after(3600))
    assert may_be_stopped(leaving, NOW)
    assert not may_be_stopped(replace(leaving, kill_at=BootTime("an earlier boot", 1e9)), NOW)
    over = replace(leaving, run=replace(runs, exit=ExitFacts(Verdict.OWN, 0)))
    assert not may_be_stopped(over, NOW)


def test_who_may_run_now_may_write_also_before_the_row_says_that_it_runs() -> None:
    intended = make_job(phase=Phase.RUNNING, run=Run(intent=StartIntent("c1", NOW.boot.boot_id)))
    may_run = {Phase.STARTING, Phase.RUNNING, Phase.STOPPING}
    assert {phase for phase in Phase if may_write(replace(intended, phase=phase))} == may_run
    assert not may_write(replace(intended, phase=Phase.STARTING, run=Run()))


def test_the_job_is_told_how_much_it_held_and_where() -> None:
    offender = Offender("a", frozenset(Where), Unit.BYTES, 3 * GIB, 512 * MIB, 800 * MIB, 1.0)
    assert say_why(offender) == (
        "the host's disk was nearly full (800 MiB free), and the job held 3.0 GiB of it in its output folder and in its "
        "container's own files, 512 MiB more than just before"
    )
