"""The parser of raw log frames: any bytes, cut anywhere."""

import struct
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.frames import (
    BrokenFramesError,
    FrameParser,
    Slab,
    Stream,
    first_line_frame,
    stamp,
    stamp_ns,
    stamp_text,
)
from tests.fakes.logs import frame

NS = 1_700_000_000_123_456_789
# Header bytes, newlines and NUL within a text must not be taken for frames.
texts = st.binary(max_size=300) | st.sampled_from(
    [b"", b"\n", frame(Stream.STDOUT, NS, b"fake\n"), b"\x01\0\0\0"]
)
lines = st.lists(st.tuples(st.sampled_from(list(Stream)), st.integers(0, 4 * 10**18), texts), max_size=20)


def parse(chunks: list[bytes]) -> list[tuple[int, int, bytes]]:
    parser = FrameParser()
    found = [read(slab) for slab in map(parser.feed, chunks)]
    return [one for slab in found for one in slab]


def read(slab: Slab) -> list[tuple[int, int, bytes]]:
    return [
        (slab.data[start], stamp_ns(slab.data, start), Slab(slab.data, [start], [end]).texts())
        for start, end in zip(slab.starts, slab.ends, strict=True)
    ]


@given(lines, st.data())
def test_frames_are_found_whatever_they_hold_and_wherever_chunks_are_cut(
    written: list[tuple[Stream, int, bytes]], data: st.DataObject
) -> None:
    raw = b"".join(frame(*line) for line in written)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=8)))
    chunks = [raw[start:end] for start, end in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    assert parse(chunks) == written


@given(lines)
def test_one_byte_at_a_time_is_the_same(written: list[tuple[Stream, int, bytes]]) -> None:
    raw = b"".join(frame(*line) for line in written)
    assert parse([raw[at : at + 1] for at in range(len(raw))]) == written


def test_texts_come_with_their_stamps_or_without() -> None:
    slab = FrameParser().feed(frame(Stream.STDOUT, NS, b"a\n") + frame(Stream.STDERR, NS + 1, b"b\n"))
    assert slab.texts() == b"a\nb\n"
    assert slab.stamped_texts() == b"2023-11-14T22:13:20.123456789Z a\n2023-11-14T22:13:20.123456790Z b\n"


@given(st.integers(0, 4 * 10**18))
def test_a_stamp_is_read_to_the_nanosecond(ns: int) -> None:
    raw = frame(Stream.STDERR, ns, b"x\n")
    assert stamp_ns(raw, 0) == ns
    assert stamp(raw, 0).decode() == stamp_text(ns)
    assert datetime.fromisoformat(stamp_text(ns)).astimezone(UTC).second == ns // 10**9 % 60


def test_an_engine_in_another_time_zone_is_understood() -> None:
    payload = b"2023-11-15T00:13:20.123456789+02:00 hello\n"
    slab = FrameParser().feed(
        struct.pack(">BxxxL", 1, len(payload)) + payload + frame(Stream.STDOUT, NS, b"x\n")
    )
    assert read(slab) == [(1, NS, b"hello\n"), (1, NS, b"x\n")]


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 500 Internal Server Error\r\n\r\n",
        b"\x04\0\0\0\0\0\0\x02ab",
        b"\x01\0\0\x01" + frame(Stream.STDOUT, NS, b"x")[4:],
        b"\x01\0\0\0\xff\xff\xff\xff" + b"x" * 100,
        b"\x01\0\0\0\0\0\0\x05hello",
    ],
)
def test_what_is_no_frame_is_refused(raw: bytes) -> None:
    with pytest.raises(BrokenFramesError, match="no log frame starts with"):
        FrameParser().feed(raw)


def test_a_frame_without_a_stamp_is_refused() -> None:
    raw = struct.pack(">BxxxL", 1, 40) + b"x" * 40
    with pytest.raises(BrokenFramesError, match="no stamp"):
        stamp_ns(FrameParser().feed(raw).data, 0)


def test_a_cut_frame_at_the_end_is_kept_for_the_next_chunk() -> None:
    parser, whole = FrameParser(), frame(Stream.STDOUT, NS, b"x\n")
    assert read(parser.feed(whole[:-1])) == []
    assert read(parser.feed(whole[-1:])) == [(1, NS, b"x\n")]


def test_the_engines_own_failure_is_no_line() -> None:
    text = b"Error grabbing logs: unexpected EOF\n"
    slab = FrameParser().feed(frame(Stream.STDOUT, NS, b"x\n") + struct.pack(">BxxxL", 3, len(text)) + text)
    assert slab.texts() == b"x\n"
    assert slab.failure == "Error grabbing logs: unexpected EOF"


@given(st.integers(0, 4 * 10**18))
def test_the_stamp_of_the_first_line_ever_goes_through_a_file(ns: int) -> None:
    slab = FrameParser().feed(first_line_frame(ns) + frame(Stream.STDOUT, NS, b"x\n"))
    assert (slab.first_ns, slab.texts()) == (ns, b"x\n")
