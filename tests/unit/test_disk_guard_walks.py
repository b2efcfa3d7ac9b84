"""The disk guard where inodes are scarce, and where trees are larger than a walk: never one who made nothing, always one who makes the fall."""

from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.disk_growth import Growth, between
from agent.core.disk_guard import (
    FLOOR_BYTES,
    LINE_BYTES,
    STEP_BYTES,
    Measurement,
    Offender,
    Watch,
    choose,
    judge,
    look,
    low,
    say_why,
    seconds_to_next_look,
)
from agent.core.disk_space import INODE_BYTES, OWN_BYTES, DiskSpace, Held, Unit, Where

MIB, GIB = 1 << 20, 1 << 30
JOBS = ("a", "b", "c", "d")
LINE_FILES, STEP_FILES = LINE_BYTES // INODE_BYTES, STEP_BYTES // INODE_BYTES

numbers = st.sampled_from([0, 1, 300, 5_000, 50_000, 400_000, 2_000_000])
reaches = st.sampled_from([10_000, 15_000, 30_000, 60_000])


@dataclass(frozen=True)
class Fall:
    unit: Unit
    before: Measurement
    after: Measurement
    made: dict[str, int]
    file_bytes: int
    size: int


def walked(draw: st.DrawFn, old: int, made: int, file_bytes: int) -> Held:
    """So many of the entries as the walk reaches: as they come, or first the folder that the new ones are in. A sample of the old ones
    may hold anything.
    """
    total, reach = old + made, draw(reaches)
    if total <= reach:
        return Held(total * file_bytes, made * file_bytes, total, files=total, fresh_files=made)
    hot_first = draw(st.booleans())
    fresh = min(made, reach) if hot_first else made * reach // total
    drift = draw(st.sampled_from([0, 0, GIB, 5 * GIB]))
    links = draw(st.sampled_from([0, 0, (reach - fresh) // 2]))
    return Held(
        reach * file_bytes + drift,
        fresh * file_bytes,
        reach,
        is_whole=False,
        files=reach - links,
        fresh_files=fresh,
        is_fresh_whole=made == 0 or (hot_first and made < reach),
    )


@st.composite
def falls(draw: st.DrawFn) -> Fall:
    unit = draw(st.sampled_from(Unit))
    file_bytes = draw(st.sampled_from([4096, 65536] if unit is Unit.BYTES else [0, 4096]))
    old, made = {job: draw(numbers) for job in JOBS}, {job: draw(numbers) for job in JOBS}
    worth = INODE_BYTES if unit is Unit.FILES else file_bytes + draw(st.sampled_from([0, OWN_BYTES]))
    others = draw(st.sampled_from([0, 0, 0, 20_000, 1_000_000, -1_000_000]))
    room, size = draw(st.integers(0, LINE_BYTES - 1)), (sum(made.values()) + others) * worth
    used = sum(old.values()) + sum(made.values()) + draw(numbers)
    held = [
        {job: {Where.OUTPUTS: walked(draw, old[job], new[job], file_bytes)} for job in JOBS}
        for new in (dict.fromkeys(JOBS, 0), made)
    ]
    spaces = [
        DiskSpace(7, 100 * GIB, free // INODE_BYTES, used)
        if unit is Unit.FILES
        else DiskSpace(7, free, 1 << 40, used)
        for free in (room + size, room)
    ]
    before, after = (
        Measurement(at, {Where.OUTPUTS: space}, of_jobs)
        for at, (space, of_jobs) in enumerate(zip(spaces, held, strict=True))
    )
    return Fall(unit, before, after, made, file_bytes, size)


@given(falls(), st.sets(st.sampled_from(JOBS)))
def test_nobody_is_ended_who_made_nothing_and_nobody_who_may_not_be(fall: Fall, stoppable: set[str]) -> None:
    offender = choose(fall.before, fall.after, stoppable)
    if offender is not None:
        assert offender.job in stoppable
        assert fall.made[offender.job] > 0
        assert offender.unit is fall.unit


@given(falls())
def test_nobody_is_told_to_have_grown_by_more_than_he_made(fall: Fall) -> None:
    offender = choose(fall.before, fall.after, set(JOBS))
    if offender is not None:
        worth = 1 if fall.unit is Unit.FILES else fall.file_bytes + OWN_BYTES
        assert 0 < offender.grown <= fall.made[offender.job] * worth


@given(falls())
def test_somebody_is_ended_where_what_jobs_made_is_the_fall_however_large_their_trees(fall: Fall) -> None:
    worth = INODE_BYTES if fall.unit is Unit.FILES else fall.file_bytes
    total = sum(fall.made.values())
    if fall.size >= STEP_BYTES and total >= 5_000 and 2 * total * worth >= fall.size:
        assert choose(fall.before, fall.after, set(JOBS)) is not None


def disk(free_files: int | None, free_bytes: int = 100 * GIB, used_files: int = 0) -> dict[Where, DiskSpace]:
    return {Where.OUTPUTS: DiskSpace(7, free_bytes, free_files, used_files)}


def of(**held: Held) -> dict[str, dict[Where, Held]]:
    return {job: {Where.OUTPUTS: one} for job, one in held.items()}


def whole(files: int, fresh: int = 0) -> Held:
    return Held(0, 0, files, files=files, fresh_files=fresh)


def cut_short(fresh: int, seen: int = 60_000, *, is_fresh_whole: bool = False) -> Held:
    return Held(0, 0, seen, is_whole=False, files=seen, fresh_files=fresh, is_fresh_whole=is_fresh_whole)


def test_the_room_of_a_disk_is_what_is_left_of_bytes_or_of_inodes_whichever_is_less() -> None:
    assert DiskSpace(7, 5 * GIB, 1000).room == 1000 * INODE_BYTES
    assert DiskSpace(7, 5 * GIB, 1 << 30).room == 5 * GIB
    assert DiskSpace(7, 5 * GIB, None).room == 5 * GIB
    assert low(disk(FLOOR_BYTES // INODE_BYTES - 1)) == {Where.OUTPUTS}
    assert low(disk(131_072)) == set()
    assert low(disk(None)) == set()
    assert seconds_to_next_look(disk(131_073)) < seconds_to_next_look(disk(1_000_000))


def test_who_makes_files_on_a_disk_with_much_room_in_bytes_is_found_and_the_quiet_one_with_most_is_not() -> (
    None
):
    before = Measurement(0, disk(50_000), of(quiet=whole(40_000), maker=whole(10)))
    after = Measurement(1, disk(40_000), of(quiet=whole(40_001, 1), maker=whole(10_009, 9_999)))
    offender = choose(before, after, {"quiet", "maker"})
    assert offender is not None
    assert (offender.job, offender.held, offender.grown, offender.free) == ("maker", 10_009, 9_999, 40_000)
    assert not offender.is_sampled
    assert offender.grace_seconds == pytest.approx(2.0)


@pytest.mark.parametrize(("free", "made", "is_stopped"), [(-1, 0, True), (0, 0, False), (-1, -1, False)])
def test_the_line_and_the_step_are_in_inodes_what_they_are_in_bytes(
    free: int, made: int, *, is_stopped: bool
) -> None:
    made, free = STEP_FILES + made, LINE_FILES + free
    before = Measurement(0, disk(free + made), of(a=whole(0)))
    after = Measurement(1, disk(free), of(a=whole(made, made)))
    assert (choose(before, after, {"a"}) is not None) == is_stopped


def test_a_disk_that_is_low_in_bytes_and_does_not_fall_still_has_its_inodes_guarded() -> None:
    before = Measurement(0, disk(50_000, 10 * MIB), of(a=whole(0)))
    seen = Measurement(1, disk(50_000 - STEP_FILES, 10 * MIB))
    after = replace(seen, held=of(a=whole(STEP_FILES, STEP_FILES)))
    assert look(Watch(before), seen)[1] == {Where.OUTPUTS}
    offender = choose(before, after, {"a"})
    assert offender is not None
    assert offender.unit is Unit.FILES


def test_inodes_of_which_there_are_many_are_not_worth_a_measurement() -> None:
    before = Measurement(0, disk(10_000_000, GIB), of(a=whole(0)))
    assert look(Watch(before), Measurement(1, disk(9_000_000, GIB)))[1] == set()


def test_a_bomb_of_files_is_found_by_what_is_fresh_in_what_was_seen_of_it() -> None:
    """A million files in one folder: of 20,000 new ones a walk sees 1,200."""
    before = Measurement(0, disk(60_000), of(bomb=cut_short(900), quiet=cut_short(0), small=whole(9)))
    after = Measurement(
        1,
        disk(40_000, used_files=1_200_000),
        of(bomb=cut_short(1_200), quiet=cut_short(1, is_fresh_whole=True), small=whole(10, 1)),
    )
    watch, offender = judge(Watch(before), after, {"bomb", "quiet", "small"}, {"bomb", "quiet", "small"})
    assert offender is not None
    assert (offender.job, offender.held, offender.grown, offender.is_sampled) == (
        "bomb",
        60_000,
        1_200,
        True,
    )
    assert watch.asked == "bomb"


def test_a_large_tree_with_a_log_is_not_ended_for_what_the_host_makes() -> None:
    """Also where the log is in a folder that the walk does not get through."""
    for is_fresh_whole in (True, False):
        then, now = cut_short(2, is_fresh_whole=is_fresh_whole), cut_short(3, is_fresh_whole=is_fresh_whole)
        before = Measurement(0, disk(60_000, used_files=1_180_000), of(large=then))
        after = Measurement(1, disk(40_000, used_files=1_200_000), of(large=now))
        assert choose(before, after, {"large"}) is None


def test_a_folder_that_was_seen_to_its_end_is_no_sample() -> None:
    before = Measurement(0, disk(60_000), of(large=cut_short(0)))
    for is_fresh_whole in (True, False):
        now = cut_short(300, is_fresh_whole=is_fresh_whole)
        after = Measurement(1, disk(40_000, used_files=1_200_000), of(large=now))
        assert (choose(before, after, {"large"}) is None) == is_fresh_whole


def test_what_was_counted_in_part_is_not_told_as_the_whole_also_where_the_growth_is_known() -> None:
    before = Measurement(0, disk(60_000), of(a=whole(40_000)))
    after = Measurement(1, disk(40_000), of(a=cut_short(20_000)))
    offender = choose(before, after, {"a"})
    assert offender is not None
    assert (offender.held, offender.grown, offender.is_sampled) == (60_000, 20_000, True)


def test_where_known_growth_is_the_fall_no_sample_is_looked_at() -> None:
    before = Measurement(0, disk(60_000), of(bomb=cut_short(0), writer=whole(0)))
    after = Measurement(1, disk(40_000), of(bomb=cut_short(30_000), writer=whole(6_000, 6_000)))
    offender = choose(before, after, {"bomb", "writer"})
    assert offender is not None
    assert offender.job == "writer"


@pytest.mark.parametrize("leaving", [[whole(0), whole(20_000, 20_000)], [cut_short(0), cut_short(20_000)]])
def test_what_one_makes_who_is_ending_is_nobody_elses_fault(leaving: list[Held]) -> None:
    before = Measurement(0, disk(60_000), of(leaving=leaving[0], large=cut_short(0)))
    after = Measurement(1, disk(40_000, used_files=1_200_000), of(leaving=leaving[1], large=cut_short(2_000)))
    assert choose(before, after, {"large"}) is None


def test_a_bomb_that_took_all_between_two_looks_is_found() -> None:
    before = Measurement(0, disk(1_000_000))
    watch, _ = look(Watch(), before)
    after = Measurement(
        5, disk(30_000, used_files=1_200_000), of(bomb=cut_short(14_900, 15_000), old=cut_short(0, 15_000))
    )
    assert judge(watch, after, {"bomb", "old"}, {"bomb", "old"})[1] is not None
    assert judge(watch, after, {"old"}, {"old"})[1] is None


def test_a_place_that_was_not_measured_before_is_not_known_to_have_grown() -> None:
    """The engine was late then. What a container holds would all be taken for new."""
    spaces = [{where: DiskSpace(7, 100 * GIB, free) for where in Where} for free in (60_000, 40_000)]
    before = Measurement(0, spaces[0], of(a=whole(5)))
    after = Measurement(1, spaces[1], {"a": {Where.OUTPUTS: whole(5), Where.LAYER: whole(30_000, 1)}})
    assert choose(before, after, {"a"}) is None


@pytest.mark.parametrize(
    ("then", "now", "known"),
    [
        (whole(100), whole(400, 350), 300),
        (whole(400), whole(100, 100), 0),
        (whole(100), cut_short(350, 400), 300),  # at least that
        (whole(300), cut_short(50, 400), 50),
        (cut_short(0, 100), cut_short(70, 100), 0),
        (cut_short(0, 90), cut_short(70, 100), 0),  # it saw more
        (cut_short(0, 90), whole(100, 70), 0),
    ],
)
def test_what_a_folder_surely_grew_by(then: Held, now: Held, known: int) -> None:
    grown = between(then, now, Unit.FILES, used_files=1000)
    assert grown.known == known * INODE_BYTES
    assert grown.likely >= grown.known


def test_a_sample_is_scaled_to_the_whole_disk_at_most_and_to_nothing_where_that_is_not_known() -> None:
    then, now = cut_short(0, 100), cut_short(50, 100)
    assert between(then, now, Unit.FILES, 1000).likely == 500 * INODE_BYTES
    assert between(then, now, Unit.FILES, 0).likely == 50 * INODE_BYTES
    assert between(then, replace(now, is_fresh_whole=True), Unit.FILES, 1000).likely == 50 * INODE_BYTES
    assert between(then, cut_short(0, 0), Unit.FILES, 1000) == Growth()


def test_empty_files_take_bytes_where_inodes_are_made_as_they_are_needed() -> None:
    before = Measurement(0, disk(None, 900 * MIB), of(a=whole(0)))
    after = Measurement(1, disk(None, 800 * MIB), of(a=whole(200_000, 200_000)))
    offender = choose(before, after, {"a"})
    assert offender is not None
    assert (offender.unit, offender.grown) == (Unit.BYTES, 200_000 * OWN_BYTES)


def test_the_job_is_told_of_files_where_these_were_scarce_and_of_a_sample_where_it_was_one() -> None:
    offender = Offender("a", frozenset([Where.OUTPUTS]), Unit.FILES, 150_000, 20_000, 41_000, 1.0)
    assert say_why(offender) == (
        "the host's disk had hardly an inode left for a file (41,000 free), and the job held 150,000 files in its output folder, "
        "20,000 more than just before"
    )
    assert say_why(replace(offender, is_sampled=True)) == (
        "the host's disk had hardly an inode left for a file (41,000 free), and the job held at least 150,000 files in its output "
        "folder, at least 20,000 of them made or changed since just before"
    )
