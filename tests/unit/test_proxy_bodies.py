"""Where bodies end: however the bytes are cut, the same body comes out, and nothing behind it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.proxy_bodies import BodyReader, reader_of
from agent.core.proxy_heads import BadAnswerError, Chunked, Sized, UntilClose

bodies = st.lists(st.binary(min_size=1, max_size=50), max_size=8)
cuts = st.lists(st.integers(1, 30), max_size=30)


def feed_cut(reader: BodyReader, raw: bytes, sizes: list[int]) -> bytes:
    body, at = b"", 0
    for size in [*sizes, len(raw)]:
        if at < len(raw):
            body += reader.feed(raw[at : at + size])
            at += size
    return body


def chunked(pieces: list[bytes], extension: bytes = b"", trailer: bytes = b"") -> bytes:
    chunks = b"".join(b"%X%b\r\n%b\r\n" % (len(piece), extension, piece) for piece in pieces)
    return chunks + b"0\r\n" + trailer + b"\r\n"


@given(
    bodies,
    cuts,
    st.sampled_from([b"", b";a=b", b' ;q="x y"']),
    st.sampled_from([b"", b"A: b\r\nC: d\r\n"]),
    st.binary(max_size=20),
)
def test_chunks_however_they_are_cut_are_the_body_and_nothing_behind_it(
    pieces: list[bytes], sizes: list[int], extension: bytes, trailer: bytes, behind: bytes
) -> None:  # fmt: skip
    reader = reader_of(Chunked())
    assert feed_cut(reader, chunked(pieces, extension, trailer) + behind, sizes) == b"".join(pieces)
    assert reader.is_done
    reader.end()


@given(bodies, st.data())
def test_chunks_that_break_off_anywhere_are_no_whole_body(pieces: list[bytes], data: st.DataObject) -> None:
    raw = chunked(pieces)
    reader = reader_of(Chunked())
    reader.feed(raw[: data.draw(st.integers(0, len(raw) - 1))])
    assert not reader.is_done
    with pytest.raises(BadAnswerError):
        reader.end()


@pytest.mark.parametrize(
    "raw",
    [
        b"x\r\n",
        b"\r\n",
        b"-1\r\n",
        b"+1\r\n",
        b"0x1\r\n",
        b"1 1\r\n",
        b"1\r\nab\r\n",  # longer than it said
        b"1\r\naXX0\r\n\r\n",
        b"11111111111111111\r\n",  # no length of this world
        b"1;\x00\r\n",
        b"1;" + b"x" * 5000,
        b"0\r\n" + b"A: b\r\n" * 5000,
        b"0\r\n" + b"x" * 5000,
    ],
)
def test_chunks_that_are_not_well_formed_are_refused(raw: bytes) -> None:
    with pytest.raises(BadAnswerError):
        reader_of(Chunked()).feed(raw)


@given(st.binary(max_size=200), cuts, st.binary(max_size=20))
def test_a_sized_body_ends_with_its_last_byte(body: bytes, sizes: list[int], behind: bytes) -> None:
    reader = reader_of(Sized(len(body)))
    assert feed_cut(reader, body + behind, sizes) == body
    assert reader.is_done
    reader.end()


def test_a_sized_body_that_comes_short_is_not_whole() -> None:
    reader = reader_of(Sized(5))
    assert reader.feed(b"1234") == b"1234"
    with pytest.raises(BadAnswerError):
        reader.end()


@given(st.binary(max_size=200), cuts)
def test_a_body_without_a_length_ends_with_the_connection(body: bytes, sizes: list[int]) -> None:
    reader = reader_of(UntilClose())
    assert feed_cut(reader, body, sizes) == body
    assert not reader.is_done
    reader.end()
    assert reader.is_done
