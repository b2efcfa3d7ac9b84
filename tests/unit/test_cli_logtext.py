"""NDJSON of a log as the bytes that a job wrote, by the writer that the API uses."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.cli.logtext import LogText, Mark, Stamps, Text
from agent.core.cursor import Cursor
from agent.core.frames import FrameParser, Stream
from agent.core.lines import AttemptMark, Cause, LineJoiner, Truncated, as_ndjson
from tests.fakes.logs import line_frames

LINES = st.lists(
    st.tuples(
        st.sampled_from(Stream),
        st.one_of(
            st.binary(max_size=40),
            st.text(max_size=30).map(str.encode),
            st.sampled_from([b"", b'{"a": "\\n"}', b'","cursor":"x"}', b"\x1b[31mred", b"plain"]),
        ).map(lambda line: line.replace(b"\n", b"")),
    ),
    max_size=12,
)


def ndjson(lines: list[tuple[Stream, bytes]]) -> bytes:
    raw = b"".join(
        part
        for number, (stream, line) in enumerate(lines)
        for part in line_frames(stream, 10**18 + number, line)
    )
    return LineJoiner(Cursor(1)).ndjson(FrameParser().feed(raw))


def read(text: LogText, chunks: list[bytes]) -> tuple[bytes, bytes, list[str]]:
    """What goes to stdout, what to stderr, and the marks."""
    pieces = [piece for chunk in chunks for piece in text.pieces(text.take(chunk))]
    texts = [piece for piece in pieces if isinstance(piece, Text)]
    out, err = (
        b"".join(piece.data for piece in texts if piece.stream == name) for name in (b"stdout", b"stderr")
    )
    return out, err, [piece.text for piece in pieces if isinstance(piece, Mark)]


def cut(whole: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({place % (len(whole) + 1) for place in places} | {0, len(whole)})
    return [whole[start:end] for start, end in pairwise(ends)]


@pytest.mark.slow
@given(LINES, st.lists(st.integers(min_value=0), max_size=8))
def test_every_line_comes_out_with_its_own_bytes_on_its_own_stream_however_chunks_are_cut(
    lines: list[tuple[Stream, bytes]], places: list[int]
) -> None:
    out, err, marks = read(LogText(Stamps.HIDDEN), cut(ndjson(lines), places))
    assert out == b"".join(line + b"\n" for stream, line in lines if stream is Stream.STDOUT)
    assert err == b"".join(line + b"\n" for stream, line in lines if stream is Stream.STDERR)
    assert marks == []


@given(LINES, st.lists(st.integers(min_value=0), max_size=8))
def test_the_cursor_is_always_behind_the_last_whole_line(
    lines: list[tuple[Stream, bytes]], places: list[int]
) -> None:
    whole = ndjson(lines)
    seen = b""
    text = LogText(Stamps.HIDDEN)
    for chunk in cut(whole, places):
        seen += chunk
        text.take(chunk)
        complete = seen[: seen.rfind(b"\n") + 1].splitlines()
        expected = (
            complete[-1].rpartition(b'"cursor":"')[2].removesuffix(b'"}').decode() if complete else None
        )
        assert text.cursor == expected


def test_a_long_line_comes_out_whole_though_it_is_sent_in_pieces_and_its_stamp_stands_once() -> None:
    line = b"x" * (3 << 20)
    whole = ndjson([(Stream.STDOUT, line), (Stream.STDOUT, b"after")])
    assert whole.count(b"\n") > 2
    assert read(LogText(Stamps.HIDDEN), [whole])[0] == line + b"\nafter\n"
    for chunks in ([whole], whole.splitlines(keepends=True)):
        stamped = read(LogText(Stamps.SHOWN), chunks)[0]
        assert stamped.count(b"2001-09-09T") == 2
        assert stamped.endswith(b"Z after\n")


def test_stamps_stand_before_each_line() -> None:
    lines = [(Stream.STDOUT, b"one"), (Stream.STDERR, b'"two"')]
    out, err, _ = read(LogText(Stamps.SHOWN), [ndjson(lines)])
    assert out == b"2001-09-09T01:46:40.000000000Z one\n"
    assert err == b'2001-09-09T01:46:40.000000001Z "two"\n'


def test_what_the_agent_says_in_between_is_no_line_of_the_job() -> None:
    records = [
        Truncated(1, Cause.ROTATED, 10**18, "1.1.."),
        Truncated(1, Cause.UNREADABLE, None, "1.1.."),
        AttemptMark(2, "1.2.."),
    ]
    whole = b"".join(map(as_ndjson, records)) + ndjson([(Stream.STDOUT, b"line")])
    out, _, marks = read(LogText(Stamps.HIDDEN), [whole])
    assert out == b"line\n"
    assert marks == [
        "older lines were rotated away; what is left begins at 2001-09-09T01:46:40.000000000Z",
        "the log can't be read further",
        "attempt 2",
    ]


def test_a_new_answer_does_not_go_on_with_the_half_line_of_the_broken_one() -> None:
    whole = ndjson([(Stream.STDOUT, b"one"), (Stream.STDOUT, b"two")])
    text = LogText(Stamps.HIDDEN)
    first = read(text, [whole[:-10]])[0]
    text.restart()
    second = read(text, [whole[whole.index(b"\n") + 1 :]])[0]
    assert first + second == b"one\ntwo\n"
