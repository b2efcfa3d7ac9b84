"""What is spoken with a job: however its bytes are cut, the same answer comes out, and one of two meanings is refused."""

import re

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.api.proxy.wire import (
    COUNTED_READ_BYTES,
    MAX_EVENTS_AT_ONCE,
    MAX_HEAD_BYTES,
    MAX_HEADERS,
    MAX_INTERIM_ANSWERS,
    READ_BYTES,
    AnswerHead,
    Wire,
)
from agent.core.proxy_heads import NO_BODY, BadAnswerError, BadRequestHeadError, Chunked, Header, Sized

HOST = ("Host", "x")
UPGRADE = [HOST, ("Connection", "Upgrade"), ("Upgrade", "websocket")]
LENGTH = "Content-Length"
OPEN = b"HTTP/1.1 200 OK\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
bodies = st.lists(st.binary(min_size=1, max_size=50), max_size=8)
cuts = st.lists(st.integers(1, 30), max_size=30)


def asked(method: str = "GET", headers: list[Header] | None = None) -> Wire:
    wire = Wire()
    wire.ask(method, "/", [HOST, ("Connection", "close")] if headers is None else headers, NO_BODY)
    return wire


def read_head(wire: Wire, raw: bytes) -> tuple[AnswerHead | None, bytes]:
    """The head, and what was not fed, as the shell reads: no more than it may."""
    while (head := wire.take_head()) is None and raw:
        most = wire.read_at_most
        wire.feed(raw[:most])
        raw = raw[most:]
    return head, raw


def head_of(raw: bytes, method: str = "GET") -> AnswerHead:
    head, _ = read_head(asked(method), raw)
    assert head is not None
    return head


def take_all(wire: Wire) -> bytes:
    body = b""
    while not wire.is_over and (piece := wire.take_body()):
        body += piece
    return body


def read_cut(wire: Wire, raw: bytes, sizes: list[int]) -> bytes:
    """The body of an answer that comes in pieces of these sizes."""
    body, at, head = b"", 0, None
    for size in [*sizes, len(raw)]:
        if wire.is_over or at >= len(raw):
            break
        wire.feed(raw[at : at + size])
        at += size
        head = head or wire.take_head()
        body += take_all(wire) if head is not None else b""
    return body


def end(wire: Wire) -> None:
    wire.feed(b"")
    assert wire.take_body() == b""


def chunked(pieces: list[bytes], extension: bytes = b"", trailer: bytes = b"") -> bytes:
    chunks = b"".join(b"%X%b\r\n%b\r\n" % (len(piece), extension, piece) for piece in pieces)
    return chunks + b"0\r\n" + trailer + b"\r\n"


def test_a_request_is_written_as_its_parts() -> None:
    headers = [HOST, ("NaMe", "caf\udcc3\udca9"), ("A", "b"), ("A", "c")]
    raw = Wire().ask("GET", "/a?b", headers, NO_BODY)
    assert raw == "GET /a?b HTTP/1.1\r\nHost: x\r\nNaMe: café\r\nA: b\r\nA: c\r\n\r\n".encode()


def test_a_body_is_framed_as_its_head_says() -> None:
    sized, chunks = Wire(), Wire()
    sized.ask("POST", "/", [HOST, (LENGTH, "5")], Sized(5))
    assert [sized.write(b"hel"), sized.write(b"lo"), sized.end()] == [b"hel", b"lo", b""]
    chunks.ask("POST", "/", [HOST, ("Transfer-Encoding", "chunked")], Chunked())
    assert [chunks.write(b"x" * 17), chunks.end()] == [b"11\r\n" + b"x" * 17 + b"\r\n", b"0\r\n\r\n"]


def test_a_request_without_a_body_is_whole_with_its_head() -> None:
    for more in (Wire.end, lambda wire: wire.write(b"x")):
        with pytest.raises(h11.LocalProtocolError):
            more(asked("POST"))


@pytest.mark.parametrize(
    ("method", "target", "header"),
    [
        ("GET", "/a b", ("A", "b")),
        ("GET", "/\r\nA: b", ("A", "b")),
        ("GET", "/é", ("A", "b")),
        ("G T", "/", ("A", "b")),
        ("GET", "/", ("A", "b\r\nC: d")),
        ("GET", "/", ("A", "b\x00")),
        ("GET", "/", ("A b", "c")),
        ("GET", "/", ("Ä", "c")),
        ("GET", "/", ("Host", "y")),
        ("GET", "/", (LENGTH, "1, 2")),
    ],
)
def test_a_request_that_would_be_another_is_not_written(method: str, target: str, header: Header) -> None:
    with pytest.raises(BadRequestHeadError):
        Wire().ask(method, target, [HOST, header], NO_BODY)


def test_an_answer_is_read() -> None:
    raw = b"HTTP/1.1 404 Not Found\r\nA: b\r\nSet-Cookie: x\r\nset-cookie:\ty \r\nEmpty:\r\nN: caf\xc3\xa9\r\nM: \xe9\r\n\r\n"
    headers = (("A", "b"), ("Set-Cookie", "x"), ("set-cookie", "y"), ("Empty", ""), ("N", "café"), ("M", "é"))
    assert head_of(raw) == AnswerHead(404, "Not Found", headers)


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.0 200 OK\nA: b\n\n",
        b"HTTP/1.1 200 OK\nA: b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\n\n",
        b"HTTP/1.1 200 OK\r\nA: b\n\r\n",
    ],
)
def test_lines_of_an_answers_head_may_end_with_a_line_feed_alone(raw: bytes) -> None:
    assert head_of(raw).headers == (("A", "b"),)


@pytest.mark.parametrize(
    "raw", [b"HTTP/1.1 200\r\n\r\n", b"HTTP/1.1 200 \r\n\r\n", b"HTTP/1.1 200 \x01\r\n\r\n"]
)
def test_an_answer_needs_no_reason(raw: bytes) -> None:
    assert head_of(raw) == AnswerHead(200, "", ())


@pytest.mark.parametrize(
    "raw",
    [
        b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/0.9 200 OK\r\n\r\n",
        b"HTTP/1.1 99 Low\r\n\r\n",
        b"HTTP/1.1 099 Low\r\n\r\n",
        b"HTTP/1.1 600 High\r\n\r\n",
        b"HTTP/1.1 +20 x\r\n\r\n",
        b"HTTP/1.1  200 OK\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
        b"SSH-2.0-x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",  # obs-fold
        b"HTTP/1.1 200 OK\nA: b\n\tc\n\n",
        b"HTTP/1.1 103 Early\r\nA: b\r\n c\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\tA: b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n: b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\x00c\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\x01c\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\x7fc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\rSet-Cookie: c\r\n\r\n",
        "HTTP/1.1 200 OK\r\nÄ: b\r\n\r\n".encode(),
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * (MAX_HEADERS + 1) + b"\r\n",
        b"HTTP/1.1 103 Early\r\n" + b"A: b\r\n" * (MAX_HEADERS + 1) + b"\r\nHTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * MAX_INTERIM_ANSWERS + OPEN,
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",  # nobody asked for it
    ],
)
def test_an_answer_that_is_no_http_is_refused_and_not_quoted(raw: bytes) -> None:
    with pytest.raises(BadAnswerError) as refused:
        read_head(asked(), raw)
    assert "Set-Cookie" not in str(refused.value)


def test_as_many_headers_and_interim_answers_as_there_may_be_are_read() -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\n" * (MAX_INTERIM_ANSWERS - 1)
    head = head_of(interim + b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * MAX_HEADERS + b"\r\n")
    assert (head.status, len(head.headers)) == (200, MAX_HEADERS)


@given(st.binary(max_size=400))
def test_whatever_comes_is_read_or_refused_and_what_is_read_holds_no_line_end(raw: bytes) -> None:
    for begin in (b"", b"HTTP/1.1 200 ", b"HTTP/1.1 200 OK\r\nA: "):
        try:
            head, _ = read_head(asked(), begin + raw + b"\r\n\r\n")
        except BadAnswerError:
            continue
        for text in () if head is None else (head.reason, *(part for pair in head.headers for part in pair)):
            assert not re.search(r"[\r\n\x00]", text)


def test_a_head_is_found_whole_and_only_then() -> None:
    raw = b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n"
    wire = asked()
    for at in range(len(raw)):
        assert wire.take_head() is None
        wire.feed(raw[at : at + 1])
    assert wire.take_head() == AnswerHead(200, "OK", (("A", "b"),))


def test_a_head_longer_than_a_head_may_be_is_refused_before_its_end() -> None:
    begin = b"HTTP/1.1 200 OK\r\nA: "
    fill = MAX_HEAD_BYTES - len(begin) - 4
    assert head_of(begin + b"x" * fill + b"\r\n\r\n" + b"y" * MAX_HEAD_BYTES).status == 200
    for raw in (begin + b"x" * MAX_HEAD_BYTES, begin + b"x" * (fill + 1) + b"\r\n\r\n"):
        with pytest.raises(BadAnswerError):
            read_head(asked(), raw)


def test_a_head_that_breaks_off_is_refused() -> None:
    wire = asked()
    wire.feed(b"HTTP/1.1 200 OK\r\nA: b\r\n")
    assert wire.take_head() is None
    wire.feed(b"")
    with pytest.raises(BadAnswerError):
        wire.take_head()


@pytest.mark.parametrize(
    "lines",
    [
        ["Content-Length: 5", "Transfer-Encoding: chunked"],
        ["Transfer-Encoding: chunked", "Content-Length: 5"],
        ["Content-Length: 5", "Content-Length: 6"],
        ["Content-Length: 5, 6"],
        ["Content-Length: -5"],
        ["Content-Length: +5"],
        ["Content-Length: 0x5"],
        ["Content-Length:"],
        ["Content-Length: " + "1" * 19],
        ["Transfer-Encoding: gzip, chunked"],
        ["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"],
        ["Transfer-Encoding: chunked, chunked"],
        ["Transfer-Encoding: identity"],
    ],
)
def test_an_answer_with_an_ambiguous_length_is_refused(lines: list[str]) -> None:
    with pytest.raises(BadAnswerError):
        head_of("\r\n".join(["HTTP/1.1 200 OK", *lines, "", ""]).encode())


@pytest.mark.parametrize("lines", [["Content-Length: 5"], ["Content-Length: 5", "content-length: 5"]])
def test_a_length_that_is_told_twice_is_one_length(lines: list[str]) -> None:
    assert head_of("\r\n".join(["HTTP/1.1 200 OK", *lines, "", ""]).encode()).length == 5


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
def test_an_answer_that_has_no_body_is_over_whatever_it_says(method: str, status: int) -> None:
    for framing in (b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b""):
        wire = asked(method)
        head, _ = read_head(wire, b"HTTP/1.1 %d x\r\n%b\r\nmore" % (status, framing))
        assert head is not None
        assert (wire.take_body(), wire.is_over) == (b"", True)


def test_what_comes_behind_a_switch_is_the_other_protocols() -> None:
    wire = asked(headers=UPGRADE)
    head, behind = read_head(
        wire, b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\x00\r\n\r\n"
    )
    assert head is not None
    assert (head.status, wire.rest, behind) == (101, b"\x00\r\n\r\n", b"")


@given(
    bodies,
    cuts,
    st.sampled_from([b"", b";a=b", b';q="x y"', b"  "]),
    st.sampled_from([b"", b"A: b\r\nC: d\r\n"]),
    st.binary(max_size=20),
)
def test_chunks_however_they_are_cut_are_the_body_and_nothing_behind_it(
    pieces: list[bytes], sizes: list[int], extension: bytes, trailer: bytes, behind: bytes
) -> None:  # fmt: skip
    wire = asked()
    assert read_cut(wire, CHUNKED + chunked(pieces, extension, trailer) + behind, sizes) == b"".join(pieces)
    assert wire.is_over


@given(bodies, st.data())
def test_chunks_that_break_off_anywhere_are_no_whole_body(pieces: list[bytes], data: st.DataObject) -> None:
    raw = chunked(pieces)
    wire = asked()
    read_cut(wire, CHUNKED + raw[: data.draw(st.integers(0, len(raw) - 1))], [])
    assert not wire.is_over
    with pytest.raises(BadAnswerError, match="body of the answer"):
        end(wire)


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
        b"1" * 21 + b"\r\n",  # no length of this world
        b"1;a\nb\r\nx\r\n",
        b"1;" + b"x" * MAX_HEAD_BYTES,
        b"0\r\n" + b"A: b\r\n" * (MAX_HEAD_BYTES // 6 + 1),
        b"0\r\n" + b"x" * MAX_HEAD_BYTES,
    ],
)
def test_chunks_that_are_not_well_formed_are_refused(raw: bytes) -> None:
    with pytest.raises(BadAnswerError):
        read_cut(asked(), CHUNKED + raw, [len(CHUNKED)])


def test_chunks_whose_lines_end_with_a_line_feed_alone_are_never_whole() -> None:
    wire = asked()
    assert read_cut(wire, CHUNKED + b"1\nx\n0\n\n", []) == b""
    with pytest.raises(BadAnswerError):
        end(wire)


def test_of_many_small_chunks_only_so_many_are_taken_at_once() -> None:
    wire = asked()
    wire.feed(CHUNKED + chunked([b"x"] * (MAX_EVENTS_AT_ONCE + 1)))
    assert wire.take_head() is not None
    assert [len(wire.take_body()), wire.is_over] == [MAX_EVENTS_AT_ONCE, False]
    assert [len(wire.take_body()), wire.is_over] == [1, True]


@given(st.binary(max_size=200), cuts, st.binary(max_size=20))
def test_a_sized_body_ends_with_its_last_byte(body: bytes, sizes: list[int], behind: bytes) -> None:
    wire = asked()
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
    assert read_cut(wire, raw + body + behind, sizes) == body
    assert wire.is_over


def test_more_is_read_at_once_of_what_is_only_counted() -> None:
    chunks, sized = asked(), asked()
    chunks.feed(CHUNKED)
    sized.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
    assert [chunks.read_at_most, sized.read_at_most] == [MAX_HEAD_BYTES - len(CHUNKED), MAX_HEAD_BYTES - 38]
    assert None not in (chunks.take_head(), sized.take_head())
    assert [chunks.read_at_most, sized.read_at_most] == [READ_BYTES, COUNTED_READ_BYTES]


def test_a_sized_body_that_comes_short_is_not_whole() -> None:
    wire = asked()
    assert read_cut(wire, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n1234", []) == b"1234"
    with pytest.raises(BadAnswerError):
        end(wire)


@given(st.binary(max_size=200), cuts)
def test_a_body_without_a_length_ends_with_the_connection(body: bytes, sizes: list[int]) -> None:
    wire = asked()
    assert read_cut(wire, OPEN + body, sizes) == body
    assert not wire.is_over
    end(wire)
    assert wire.is_over
