"""Records of lines: joined, numbered, written as JSON; and the place of a log's last lines."""

import json
from base64 import b64decode

from hypothesis import given
from hypothesis import strategies as st

from agent.core.cursor import Cursor, Unread, parse_cursor, since_ns
from agent.core.frames import FrameParser, Slab, Stream, stamp_ns
from agent.core.lines import (
    MOST_LINE_BYTES,
    AttemptMark,
    Cause,
    Line,
    LineJoiner,
    Truncated,
    as_ndjson,
    mark_text,
)
from agent.core.tail import TailFinder
from tests.fakes.logs import frame, line_frames

T = 1_700_000_000 * 10**9
texts = st.binary(max_size=60).map(lambda text: text.replace(b"\n", b"")) | st.sampled_from(
    [b"x" * 16_384, b"x" * 40_000, b"", b'"\\', "ü\u2028".encode()]
)
logs = st.lists(st.tuples(st.sampled_from(list(Stream)), st.integers(0, 3), texts), max_size=15)


def frames_of(log: list[tuple[Stream, int, bytes]]) -> list[bytes]:
    now, raw = T, []
    for stream, step, text in log:
        now += step
        raw += line_frames(stream, now, text)
    return raw


def slab_of(raw: list[bytes]) -> Slab:
    return FrameParser().feed(b"".join(raw))


@given(logs)
def test_each_line_is_one_record_however_long(log: list[tuple[Stream, int, bytes]]) -> None:
    lines = LineJoiner(Cursor(1)).lines(slab_of(frames_of(log)))
    assert [(line.stream, line.text) for line in lines] == [(stream, text) for stream, _, text in log]


@given(logs)
def test_bulk_ndjson_is_the_records_one_by_one(log: list[tuple[Stream, int, bytes]]) -> None:
    slab = slab_of(frames_of(log))
    one_by_one = b"".join(map(as_ndjson, LineJoiner(Cursor(3)).lines(slab)))
    assert LineJoiner(Cursor(3)).ndjson(slab) == one_by_one


@given(logs)
def test_json_tells_every_byte(log: list[tuple[Stream, int, bytes]]) -> None:
    written = LineJoiner(Cursor(1)).ndjson(slab_of(frames_of(log)))
    records = [json.loads(line) for line in written.split(b"\n")[:-1]]
    told = [
        b64decode(record["base64"]) if "base64" in record else record["line"].encode() for record in records
    ]
    assert told == [text for _, _, text in log]


@given(logs, st.data())
def test_reading_on_behind_any_record_gives_the_records_after_it(
    log: list[tuple[Stream, int, bytes]], data: st.DataObject
) -> None:
    raw = frames_of(log)
    lines = LineJoiner(Cursor(1)).lines(slab_of(raw))
    at = data.draw(st.integers(0, len(lines)))
    cursor = parse_cursor(lines[at - 1].cursor) if at else Cursor(1)
    left = [one for one in raw if stamp_of(one) >= since_ns(cursor, None)]
    rest = LineJoiner(cursor).lines(Unread(cursor).take(slab_of(left)))
    assert rest == lines[at:]


def stamp_of(raw: bytes) -> int:
    return stamp_ns(raw, 0)


def test_a_line_that_another_stream_interrupts_is_whole_again_for_who_resumes_in_between() -> None:
    parts = line_frames(Stream.STDOUT, T, b"a" * 20_000)
    raw = [
        *line_frames(Stream.STDOUT, T, b"before"),
        parts[0],
        frame(Stream.STDERR, T + 10**10, b"!\n"),
        parts[1],
    ]
    joiner = LineJoiner(Cursor(1))
    cursor = parse_cursor(joiner.lines(slab_of(raw[:3]))[-1].cursor)
    assert since_ns(cursor, None) == T
    rest = LineJoiner(cursor).lines(Unread(cursor).take(slab_of(raw)))
    assert [line.text for line in rest] == [b"a" * 20_000]


def test_a_line_of_no_end_comes_in_pieces_and_takes_no_more_memory() -> None:
    joiner = LineJoiner(Cursor(1))
    raw = line_frames(Stream.STDOUT, T, b"z" * (3 * MOST_LINE_BYTES + 5))
    lines = [line for one in raw for line in joiner.lines(slab_of([one]))]
    assert [(len(line.text), line.is_cut) for line in lines] == [(MOST_LINE_BYTES, True)] * 3 + [(5, False)]
    again = LineJoiner(parse_cursor(lines[0].cursor))
    assert again.lines(Unread(parse_cursor(lines[0].cursor)).take(slab_of(raw))) == lines[1:]


def test_the_last_line_needs_no_newline() -> None:
    joiner = LineJoiner(Cursor(1))
    assert joiner.lines(slab_of([frame(Stream.STDOUT, T, b"end")])) == []
    assert [(line.text, line.cursor) for line in joiner.flush()] == [(b"end", f"1.1.{T}.")]
    assert joiner.flush() == []


def test_records_that_are_no_lines_are_told_in_both_forms() -> None:
    gone = Truncated(2, Cause.ROTATED, T, "1.2..")
    assert json.loads(as_ndjson(gone)) == {
        "type": "truncated", "attempt": 2, "cause": "rotated", "at": "2023-11-14T22:13:20.000000000Z", "cursor": "1.2..",
    }  # fmt: skip
    assert json.loads(as_ndjson(Truncated(1, Cause.UNREADABLE, None, "1.1..")))["at"] is None
    assert json.loads(as_ndjson(AttemptMark(2, "1.2.."))) == {
        "type": "attempt",
        "attempt": 2,
        "cursor": "1.2..",
    }
    assert mark_text(gone).startswith(b"[gpu-agent] truncated: older lines were rotated away")
    assert mark_text(AttemptMark(2, "1.2..")) == b"[gpu-agent] attempt 2\n"


def test_a_line_tells_its_stamp_as_the_engine_wrote_it() -> None:
    (line,) = LineJoiner(Cursor(1)).lines(slab_of([frame(Stream.STDERR, T + 7, b"x\n")]))
    at = "2023-11-14T22:13:20.000000007Z"
    assert line == Line(1, Stream.STDERR, at, T + 7, b"x", is_cut=False, cursor=f"1.1..{T + 7}")


@given(logs, st.integers(0, 20))
def test_the_tail_is_the_last_lines(log: list[tuple[Stream, int, bytes]], wanted: int) -> None:
    raw = frames_of(log)
    finder = TailFinder(1, wanted, 0)
    for one in raw:
        finder.feed(slab_of([one]))
    cursor = finder.cursor()
    left = [one for one in raw if stamp_of(one) >= since_ns(cursor, None)]
    unread = Unread(cursor)
    lines = LineJoiner(cursor).lines(unread.take(slab_of(left)))
    assert [line.text for line in lines] == [text for _, _, text in log][max(0, len(log) - wanted) :]
    assert not unread.skips_lines


@given(logs, st.integers(0, 20), st.integers(0, 30))
def test_a_look_at_the_end_alone_finds_the_same_tail_or_says_that_it_is_too_short(
    log: list[tuple[Stream, int, bytes]], wanted: int, back: int
) -> None:
    raw = frames_of(log)
    since = T + back
    finder = TailFinder(1, wanted, since)
    finder.feed(slab_of([one for one in raw if stamp_of(one) >= since]))
    cursor = finder.cursor()
    left = [one for one in raw if stamp_of(one) >= since_ns(cursor, None)]
    lines = LineJoiner(cursor).lines(Unread(cursor).take(slab_of(left)))
    if finder.is_full:
        assert [line.text for line in lines] == [text for _, _, text in log][max(0, len(log) - wanted) :]
