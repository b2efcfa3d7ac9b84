"""What a command wrote comes out of the engine's frames as it was written, wherever the socket cuts them."""

from itertools import groupby
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.adapters.docker.exec_frames import BrokenExecFramesError, ExecFrames
from agent.core.frames import Stream

PIECES = st.lists(st.tuples(st.sampled_from([Stream.STDOUT, Stream.STDERR]), st.binary(max_size=40)))


def frame(stream: int, data: bytes) -> bytes:
    return pack(">BxxxL", stream, len(data)) + data


def joined(pieces: list[tuple[Stream, bytes]]) -> list[tuple[Stream, bytes]]:
    """What follows on one stream as one piece."""
    groups = groupby([piece for piece in pieces if piece[1]], key=lambda piece: piece[0])
    return [(stream, b"".join(data for _, data in group)) for stream, group in groups]


@given(PIECES, st.lists(st.integers(1, 30), min_size=1))
def test_cut_anywhere_each_byte_comes_once_in_order_on_its_stream(
    pieces: list[tuple[Stream, bytes]], sizes: list[int]
) -> None:
    wire, frames, seen = b"".join(frame(*piece) for piece in pieces), ExecFrames(), []
    at = turn = 0
    while at < len(wire):
        size = sizes[turn % len(sizes)]
        seen += [(found.stream, found.data) for found in frames.feed(wire[at : at + size])]
        at, turn = at + size, turn + 1
    assert joined(seen) == joined(pieces)
    assert all(data for _, data in seen)
    assert frames.is_whole


@given(PIECES)
def test_one_chunk_gives_one_piece_for_what_follows_on_one_stream(pieces: list[tuple[Stream, bytes]]) -> None:
    found = ExecFrames().feed(b"".join(frame(*piece) for piece in pieces))
    assert [(one.stream, one.data) for one in found] == joined(pieces)


@pytest.mark.parametrize("cut", range(1, 12))
def test_an_end_within_a_frame_is_no_end(cut: int) -> None:
    frames = ExecFrames()
    frames.feed(frame(1, b"text")[:cut])
    assert frames.is_whole is (cut == 12)


def test_what_is_no_frame_is_not_waited_for() -> None:
    with pytest.raises(BrokenExecFramesError):
        ExecFrames().feed(b"HTTP/1.1 500 sorry")


def test_the_engines_own_complaint_is_shown_where_errors_are() -> None:
    (found,) = ExecFrames().feed(frame(3, b"can't read"))
    assert (found.stream, found.data) == (Stream.STDERR, b"can't read")
