"""Cursors: their text, and that reading on from one gives what is behind it, once."""

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.cursor import (
    SLACK_NS,
    BadCursorError,
    Cursor,
    Place,
    Unread,
    advance,
    parse_cursor,
    since_ns,
)
from agent.core.frames import FrameParser, Slab, Stream, stamp_ns
from tests.fakes.logs import frame

T = 1_700_000_000 * 10**9
places = st.none() | st.builds(Place, st.integers(0, 10**19 - 1), st.integers(0, 10**9 - 1), st.booleans())
cursors = st.builds(Cursor, st.integers(1, 999_999), places, places)


@st.composite
def logs(draw: st.DrawFn) -> list[tuple[Stream, int, bytes]]:
    """Two streams, each monotone, the two together not quite; many equal stamps; some lines in parts."""
    now, written = T, []
    for number in range(draw(st.integers(0, 40))):
        stream = draw(st.sampled_from(list(Stream)))
        now += draw(st.sampled_from([0, 0, 1, 1000, SLACK_NS // 2, 3 * SLACK_NS]))
        early = draw(st.sampled_from([0, 0, 1, SLACK_NS // 4]))
        last = max((ns for before, ns, _ in written if before is stream), default=0)
        ends = draw(st.sampled_from([b"\n", b"\n", b""]))
        written.append((stream, max(last, now - early), b"%d" % number + ends))
    return same_stamps_for_parts(written)


def same_stamps_for_parts(written: list[tuple[Stream, int, bytes]]) -> list[tuple[Stream, int, bytes]]:
    begun: dict[Stream, int] = {}
    result = []
    for stream, ns, text in written:
        at = begun.pop(stream, ns)
        if not text.endswith(b"\n"):
            begun[stream] = at
        result.append((stream, at, text))
    return result


def slab_of(written: list[tuple[Stream, int, bytes]]) -> Slab:
    return FrameParser().feed(b"".join(frame(*line) for line in written))


def read_on(written: list[tuple[Stream, int, bytes]], cursor: Cursor, only: Stream | None = None) -> bytes:
    """As the engine would answer: what is not older than `since`."""
    since = since_ns(cursor, only)
    left = [line for line in written if line[1] >= since]
    return Unread(cursor, 0, only).take(slab_of(left)).texts()


@given(cursors)
def test_a_cursor_survives_its_text_and_a_url(cursor: Cursor) -> None:
    text = str(cursor)
    assert parse_cursor(text) == cursor
    assert re.fullmatch(r"[0-9A-Za-z._~-]+", text)
    assert len(text) < 80


@pytest.mark.parametrize(
    "text",
    ["", "1", "1.1", "1.1..x", "2.1..", "1.0..", "1.-1..", "1.1.5-.", "1.1...", "1.1.5--1.", "1.1..\n", " 1.1..", "1.1.٣.", "1.1.5~~.",
     "1.1." + "9" * 20 + ".", "1.9999999..", "1.1.~.", "x" * 100_000],
)  # fmt: skip
def test_what_is_no_cursor_is_refused_in_few_words(text: str) -> None:
    with pytest.raises(BadCursorError, match="no cursor") as refused:
        parse_cursor(text)
    assert (refused.value.code, len(str(refused.value)) < 200) == ("bad_cursor", True)


@given(st.text(max_size=60))
def test_any_text_is_a_cursor_or_refused(text: str) -> None:
    try:
        assert str(parse_cursor(text)).startswith("1.")
    except BadCursorError:
        return


@given(logs(), st.data())
def test_reading_on_from_any_cursor_gives_the_rest_once(
    written: list[tuple[Stream, int, bytes]], data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(written)))
    cursor = advance(Cursor(1), slab_of(written[:at]))
    assert read_on(written, parse_cursor(str(cursor))) == b"".join(text for _, _, text in written[at:])


@given(logs(), st.data())
def test_the_cursor_does_not_depend_on_how_the_log_came(
    written: list[tuple[Stream, int, bytes]], data: st.DataObject
) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(written)), max_size=5)))
    cursor = Cursor(1)
    for start, end in zip([0, *cuts], [*cuts, len(written)], strict=True):
        cursor = advance(cursor, slab_of(written[start:end]))
    assert cursor == advance(Cursor(1), slab_of(written))


@given(logs(), st.data(), st.sampled_from(list(Stream)))
def test_one_stream_alone_is_read_on_alone(
    written: list[tuple[Stream, int, bytes]], data: st.DataObject, only: Stream
) -> None:
    at = data.draw(st.integers(0, len(written)))
    before = Unread(Cursor(1), 0, only).take(slab_of(written[:at]))
    cursor = advance(Cursor(1), before)
    rest = b"".join(text for stream, _, text in written[at:] if stream is only)
    assert read_on(written, cursor, only) == rest


@given(logs(), st.data())
def test_no_gap_is_told_where_nothing_was_rotated_away(
    written: list[tuple[Stream, int, bytes]], data: st.DataObject
) -> None:
    cursor = advance(Cursor(1), slab_of(written[: data.draw(st.integers(0, len(written)))]))
    unread = Unread(cursor)
    unread.take(slab_of([line for line in written if line[1] >= since_ns(cursor, None)]))
    assert not unread.skips_lines


@given(st.integers(1, 8), st.integers(0, 9))
def test_a_gap_is_told_where_the_newest_line_read_is_gone(at: int, dropped: int) -> None:
    written = [(Stream(1 + number % 2), T + number, b"%d\n" % number) for number in range(10)]
    unread = Unread(advance(Cursor(1), slab_of(written[:at])))
    rest = unread.take(slab_of(written[dropped:]))
    assert unread.skips_lines == (dropped >= at)
    assert rest.texts() == b"".join(text for _, _, text in written[max(at, dropped) :])


def test_a_stream_that_was_silent_for_long_costs_no_second_reading() -> None:
    cursor = Cursor(1, Place(T + 3600 * 10**9), Place(T))
    assert since_ns(cursor, None) == T + 3600 * 10**9 - SLACK_NS
    assert since_ns(Cursor(1, Place(T), None), None) == T - SLACK_NS


def test_a_line_that_is_not_finished_is_read_on_however_late_its_parts_come() -> None:
    begun = [(Stream.STDOUT, T, b"part"), (Stream.STDERR, T + 60 * SLACK_NS, b"other\n")]
    cursor = advance(Cursor(1), slab_of(begun))
    assert read_on([*begun, (Stream.STDOUT, T, b"end\n")], cursor) == b"end\n"


def test_a_clock_that_was_set_back_hides_nothing_from_a_reader_that_meets_its_place() -> None:
    written = [(Stream.STDOUT, T + 10, b"a\n"), (Stream.STDOUT, T + 20, b"b\n"), (Stream.STDOUT, T, b"c\n")]
    assert Unread(Cursor(1, Place(T + 20))).take(slab_of(written)).texts() == b"c\n"


@given(logs(), st.integers(0, 60 * SLACK_NS))
def test_nothing_older_than_asked_for_is_given(written: list[tuple[Stream, int, bytes]], after: int) -> None:
    taken = Unread(Cursor(1), T + after).take(slab_of(written))
    assert all(stamp_ns(taken.data, start) >= T + after for start in taken.starts)
    assert len(taken) == sum(ns >= T + after for _, ns, _ in written)


def test_a_busy_log_is_read_on_from_each_of_many_places() -> None:
    """The tests above, at one fixed and larger size."""
    rng = random.Random(5)
    now, written = T, []
    for number in range(3000):
        now += rng.choice([0, 0, 1, 5])
        written.append((rng.choice(list(Stream)), now, b"%d\n" % number))
    for at in range(0, 3000, 100):
        cursor = advance(Cursor(1), slab_of(written[:at]))
        assert read_on(written, cursor) == b"".join(text for _, _, text in written[at:])
