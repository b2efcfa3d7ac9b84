"""What a launcher answers, which may be anything: a head is read or refused, headers that may not pass are dropped, frames are joined."""

import json
from itertools import islice
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.cord_answer import (
    FRAMES_AT_ONCE,
    MOST_FRAME_BYTES,
    MOST_HEADERS,
    MOST_HEADERS_SEEN,
    MOST_WHOLE_BYTES,
    BadCordAnswerError,
    CordFault,
    CordFaultKind,
    CordHead,
    Frames,
    read_head,
)

HEAD = {"status": 200, "content_type": "application/json", "headers": {}, "stream": False, "bytes": 2}


def head(**changes: object) -> CordHead | CordFault:
    return read_head(json.dumps({**HEAD, **changes}).encode())


def headers_of(headers: object) -> list[str]:
    read = head(headers=headers)
    assert isinstance(read, CordHead)
    return [name for name, _ in read.headers]


def frames(*pieces: bytes) -> bytes:
    return b"".join(pack(">I", len(piece)) + piece for piece in pieces)


def test_a_whole_answer_has_a_size_and_a_stream_none() -> None:
    assert head() == CordHead(200, "application/json", (), 2)
    assert head(stream=True) == CordHead(200, "application/json", (), None)
    assert head(status=503, content_type="text/plain; charset=utf-8") == CordHead(
        503, "text/plain; charset=utf-8", (), 2
    )


@pytest.mark.parametrize("status", [None, 0, 100, 101, 199, 201, 204, 304, 399, 600, 999, "200", 200.0, True])
def test_a_status_that_frames_otherwise_or_is_none_is_refused(status: object) -> None:
    with pytest.raises(BadCordAnswerError):
        head(status=status)


@pytest.mark.parametrize("size", [None, -1, MOST_WHOLE_BYTES + 1, "2", 2.0, True])
def test_a_size_that_is_none_is_refused(size: object) -> None:
    with pytest.raises(BadCordAnswerError):
        head(bytes=size)


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "text",
        "text/plain\r\nX: y",
        "a/b; c=d\n",
        "a/" + "b" * 65,
        "ä/b",
        5,
        "application/problem+json",
        "Application/Problem+JSON; charset=utf-8",
    ],
)
def test_a_content_type_that_is_none_is_refused(value: object) -> None:
    with pytest.raises(BadCordAnswerError):
        head(content_type=value)


@pytest.mark.parametrize(
    "name",
    [
        "Connection",
        "transfer-encoding",
        "Content-Length",
        "content-type",
        "Set-Cookie",
        "Server",
        "Content-Security-Policy",
        "Content-Disposition",
        "Content-Encoding",
        "X-Content-Type-Options",
        "Date",
        "Strict-Transport-Security",
        "Alt-Svc",
        "X-Accel-Redirect",
        "Cache-Control",
        "Expires",
        "Age",
        "Pragma",
        "Surrogate-Control",
        "CDN-Cache-Control",
        "Cloudflare-CDN-Cache-Control",
        "Edge-Control",
        "Access-Control-Allow-Origin",
        "a b",
        "",
        "x\r\ny",
    ],
)
def test_a_header_that_may_not_pass_is_dropped(name: str) -> None:
    assert headers_of({name: "1", "X-Mine": "2"}) == ["X-Mine"]


@pytest.mark.parametrize("value", ["a\r\nb: c", "a\nb", "\0", "ä", "x" * 5000, None, 1, ["a"]])
def test_a_value_that_may_not_pass_takes_its_header_with_it(value: object) -> None:
    assert headers_of({"X-Mine": value, "Retry-After": "5"}) == ["Retry-After"]


def test_no_more_headers_pass_than_may() -> None:
    assert len(headers_of({f"X-{number}": "" for number in range(100)})) == MOST_HEADERS
    assert headers_of([["X-Mine", "2"]]) == []


def test_a_name_passes_once_whatever_its_case() -> None:
    read = head(headers={"Vary": "a", "VARY": "b", "vary": "c", "X-Mine": "d"})
    assert isinstance(read, CordHead)
    assert read.headers == (("Vary", "a"), ("X-Mine", "d"))


def test_of_very_many_headers_only_the_first_are_looked_at() -> None:
    refused = {f"access-control-{number}": "" for number in range(5_000)}
    assert headers_of({**dict(islice(refused.items(), MOST_HEADERS_SEEN - 1)), "X-Mine": ""}) == ["X-Mine"]
    assert headers_of({**refused, "X-Mine": ""}) == []


@pytest.mark.parametrize("kind", CordFaultKind)
def test_an_error_is_read_with_its_words(kind: CordFaultKind) -> None:
    read = read_head(json.dumps({"error": {"kind": kind, "type": "E", "message": "m" * 9_000}}).encode())
    assert read == CordFault(kind, "E", "m" * 4_000)


def test_the_words_of_an_error_are_cut_and_can_be_sent() -> None:
    said = {"kind": "raised", "type": "E" * 9_000, "message": "half a character: \ud800"}
    assert read_head(json.dumps({"error": said}).encode()) == CordFault(
        CordFaultKind.RAISED, "E" * 200, "half a character: ?"
    )


@pytest.mark.parametrize("error", [None, [], {}, {"kind": "other"}, {"kind": ["raised"]}])
def test_an_error_of_no_kind_is_refused(error: object) -> None:
    with pytest.raises(BadCordAnswerError):
        read_head(json.dumps({"error": error}).encode())


@pytest.mark.parametrize("line", [b"", b"x", b"[]", b"null", b"[" * 60_000, b"\xff", b'{"status": 1e999}'])
def test_a_line_that_is_no_head_is_refused(line: bytes) -> None:
    with pytest.raises(BadCordAnswerError):
        read_head(line)


@given(st.binary(max_size=200))
def test_any_line_is_a_head_or_refused(line: bytes) -> None:
    try:
        read_head(line)
    except BadCordAnswerError:
        return


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=8), st.integers(1, 30))
def test_frames_are_joined_however_they_are_cut(pieces: list[bytes], cut: int) -> None:
    read, sent = Frames(), frames(*pieces, b"")
    found = b"".join(read.feed(sent[at : at + cut]) for at in range(0, len(sent), cut))
    assert (found, read.is_over, read.count) == (b"".join(pieces), True, len(pieces) + 1)


def test_of_many_frames_only_so_many_are_looked_for_at_a_time() -> None:
    read, whole = Frames(), FRAMES_AT_ONCE * 2 + 5
    found = [read.feed(frames(*[b"x"] * whole, b""))]
    while read.is_behind:
        found.append(read.feed(b""))
    assert [len(piece) for piece in found] == [FRAMES_AT_ONCE, FRAMES_AT_ONCE, 5]
    assert (read.is_over, read.count) == (True, whole + 1)


def test_a_stream_without_its_last_frame_is_not_over() -> None:
    read = Frames()
    assert read.feed(frames(b"abc")) == b"abc"
    assert not read.is_over


def test_a_frame_that_is_too_large_is_refused_by_its_length_alone() -> None:
    with pytest.raises(BadCordAnswerError):
        Frames().feed(pack(">I", MOST_FRAME_BYTES + 1))


def test_what_follows_the_last_frame_is_refused() -> None:
    with pytest.raises(BadCordAnswerError):
        Frames().feed(frames(b"a", b"") + b"x")
