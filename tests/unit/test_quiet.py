"""Which files are due: quiet for long enough, or renamed into place; and how many may wait."""

from hypothesis import given
from hypothesis import strategies as st

from agent.core.quiet import Noticed, QuietFiles, Sighting

QUIET = 5.0
MOST = 100


def seen(path: str, size: int = 1, noticed: Noticed = Noticed.CLOSED) -> Sighting:
    return Sighting(path, size, 1_000 + size, noticed)


def taken(quiet: QuietFiles, now: float) -> list[str]:
    return [sighting.path for sighting in quiet.take_due(now)]


def test_a_closed_file_is_due_once_it_was_quiet_for_long_enough_and_then_no_more() -> None:
    quiet = QuietFiles(QUIET, MOST)
    quiet.see(seen("a"), 10)
    assert quiet.next_due_at() == 15
    assert taken(quiet, 14.9) == []
    assert taken(quiet, 15) == ["a"]
    assert (taken(quiet, 99), quiet.next_due_at()) == ([], None)


def test_a_file_that_is_written_again_begins_anew_with_what_it_is_now() -> None:
    quiet = QuietFiles(QUIET, MOST)
    quiet.see(seen("a", 1), 10)
    quiet.see(seen("a", 2), 14)
    assert taken(quiet, 18) == []
    assert quiet.take_due(19) == [seen("a", 2)]


def test_a_file_that_is_only_opened_and_closed_again_stays_quiet() -> None:
    quiet = QuietFiles(QUIET, MOST)
    quiet.see(seen("a"), 10)
    quiet.see(seen("a"), 14)
    assert taken(quiet, 15) == ["a"]


def test_a_file_that_was_renamed_in_is_due_at_once() -> None:
    quiet = QuietFiles(QUIET, MOST)
    quiet.see(seen("slow"), 10)
    quiet.see(seen("a", noticed=Noticed.MOVED_IN), 11)
    assert quiet.next_due_at() == 11
    assert taken(quiet, 11) == ["a"]
    quiet.see(seen("slow", noticed=Noticed.MOVED_IN), 12)
    assert (taken(quiet, 12), taken(quiet, 99)) == (["slow"], [])


def test_a_file_that_was_renamed_in_and_is_written_to_has_to_be_quiet() -> None:
    quiet = QuietFiles(QUIET, MOST)
    quiet.see(seen("a", 1, Noticed.MOVED_IN), 10)
    quiet.see(seen("a", 2), 10)
    assert (taken(quiet, 14), taken(quiet, 15)) == ([], ["a"])


def test_a_file_that_was_found_has_to_be_quiet() -> None:
    quiet = QuietFiles(QUIET, MOST)
    quiet.see(seen("a", noticed=Noticed.FOUND), 10)
    assert (taken(quiet, 14), taken(quiet, 15)) == ([], ["a"])


def test_what_is_too_much_is_refused_and_what_waits_already_is_not() -> None:
    quiet = QuietFiles(QUIET, 2)
    assert quiet.see(seen("a"), 1)
    assert quiet.see(seen("b", noticed=Noticed.MOVED_IN), 1)
    assert not quiet.see(seen("c"), 1)
    assert quiet.see(seen("a", 2), 2)
    quiet.forget("b")
    assert quiet.see(seen("c"), 2)
    assert sorted(taken(quiet, 9)) == ["a", "c"]


STEPS = st.lists(
    st.tuples(st.floats(0, 4), st.sampled_from("abc"), st.integers(1, 3), st.sampled_from(list(Noticed))), max_size=30
)  # fmt: skip


@given(STEPS, st.floats(0, 6))
def test_nothing_is_due_before_it_was_quiet_and_nothing_waits_for_ever(
    steps: list[tuple[float, str, int, Noticed]], quiet_seconds: float
) -> None:
    quiet, now = QuietFiles(quiet_seconds, MOST), 0.0
    changed: dict[str, tuple[int, float]] = {}  # path → size, and since when it is so
    for pause, path, size, noticed in steps:
        now += pause
        for due in quiet.take_due(now):
            held, since = changed.pop(due.path)
            assert due.size_bytes == held
            assert due.noticed is Noticed.MOVED_IN or now >= since + quiet_seconds
        assert quiet.see(seen(path, size, noticed), now)
        if changed.get(path, (0, 0.0))[0] != size or noticed is Noticed.MOVED_IN:
            changed[path] = (size, now)
    assert {due.path for due in quiet.take_due(now + quiet_seconds)} == set(changed)
    assert quiet.next_due_at() is None
