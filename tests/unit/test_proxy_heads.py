"""Heads of messages: a request that can be read in two ways is refused, and so is an answer."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.proxy_heads import (
    MAX_HEAD_BYTES,
    MAX_HEADERS,
    AnswerHead,
    BadAnswerError,
    BadRequestHeadError,
    Chunked,
    Framing,
    Header,
    Sized,
    UntilClose,
    answer_framing,
    check_target,
    find_head_end,
    read_answer,
    request_framing,
    write_request,
)

CL, TE = "Content-Length", "Transfer-Encoding"


@pytest.mark.parametrize(
    ("headers", "framing"),
    [
        ([], Sized(0)),
        ([(CL, "0")], Sized(0)),
        ([("content-length", "17")], Sized(17)),
        ([(TE, "chunked")], Chunked()),
        ([("transfer-ENCODING", "Chunked")], Chunked()),
    ],
)
def test_a_requests_framing(headers: list[Header], framing: Framing) -> None:
    assert request_framing(headers) == framing


@pytest.mark.parametrize(
    "headers",
    [
        [(CL, "5"), (TE, "chunked")],
        [(TE, "chunked"), (CL, "5")],
        [(CL, "5"), (CL, "6")],
        [(CL, "5"), (CL, "5")],
        [(CL, "5, 5")],
        [(CL, "+5")],
        [(CL, "-1")],
        [(CL, "0x5")],
        [(CL, "5 ")],
        [(CL, "")],
        [(CL, "٥")],  # noqa: RUF001 - a digit, but not of HTTP
        [(CL, "1" * 19)],
        [(TE, "identity")],
        [(TE, "gzip, chunked")],
        [(TE, "chunked, chunked")],
        [(TE, "chunked"), (TE, "chunked")],
        [(TE, "chunked"), (TE, "identity")],
        [(TE, "xchunked")],
        [(TE, "\x0bchunked")],
        [(TE, "chunked ")],
        [(TE, "")],
    ],
)
def test_a_request_with_an_ambiguous_length_is_refused(headers: list[Header]) -> None:
    with pytest.raises(BadRequestHeadError):
        request_framing(headers)


@pytest.mark.parametrize("target", ["/", "/a?b=c", "/../%2e%2e/x", "//x", "/a%2Fb", '/"quoted"'])
def test_targets_that_pass_as_they_are(target: str) -> None:
    check_target(target)


@pytest.mark.parametrize(
    "target", ["", "*", "http://evil/", "evil:80", "/a b", "/a#b", "/é", "/\r\nX: y", "/\x00", "?x"]
)
def test_targets_that_do_not(target: str) -> None:
    with pytest.raises(BadRequestHeadError):
        check_target(target)


def test_an_answer_is_read() -> None:
    head = read_answer(
        b"HTTP/1.1 404 Not Found\r\nA: b\r\nSet-Cookie: x\r\nset-cookie:\ty \r\nEmpty:\r\n\r\n"
    )
    assert head == AnswerHead(
        404, "Not Found", (("A", "b"), ("Set-Cookie", "x"), ("set-cookie", "y"), ("Empty", ""))
    )


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.0 200 OK\nA: b\n\n",
        b"HTTP/1.1 200 OK\nA: b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\n\n",
        b"HTTP/1.1 200 OK\r\nA: b\n\r\n",
    ],
)
def test_lines_of_an_answer_may_end_with_a_line_feed_alone(raw: bytes) -> None:  # fmt: skip
    assert find_head_end(raw) == len(raw)
    assert read_answer(raw).headers == (("A", "b"),)


@pytest.mark.parametrize(
    "raw", [b"HTTP/1.1 200\r\n\r\n", b"HTTP/1.1 200 \r\n\r\n", b"HTTP/1.1 200 \x01\r\n\r\n"]
)
def test_an_answer_needs_no_reason(raw: bytes) -> None:
    assert read_answer(raw) == AnswerHead(200, "", ())


@pytest.mark.parametrize(
    "raw",
    [
        b"\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 99 Low\r\n\r\n",
        b"HTTP/1.1 600 High\r\n\r\n",
        b"HTTP/1.1 +20 x\r\n\r\n",
        b"HTTP/1.1  200 OK\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
        b"SSH-2.0-x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",  # obs-fold
        b"HTTP/1.1 200 OK\r\n\tA: b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n: b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\x00c\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\rSet-Cookie: c\r\n\r\n",
        "HTTP/1.1 200 OK\r\nÄ: b\r\n\r\n".encode(),
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * (MAX_HEADERS + 1) + b"\r\n",
    ],
)
def test_an_answer_that_is_no_http_is_refused(raw: bytes) -> None:
    with pytest.raises(BadAnswerError):
        read_answer(raw)


@given(st.binary(max_size=400))
def test_whatever_comes_is_read_or_refused_and_what_is_read_holds_no_line_end(raw: bytes) -> None:
    try:
        end = find_head_end(raw)
        head = None if end is None else read_answer(raw[:end])
    except BadAnswerError:
        return
    for text in () if head is None else (head.reason, *(part for header in head.headers for part in header)):
        assert not re.search(r"[\r\n\x00]", text)


def test_a_head_is_found_whole_and_only_then() -> None:
    raw = b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n"
    assert [find_head_end(raw[:size]) for size in range(len(raw))] == [None] * len(raw)
    assert find_head_end(raw + b"body\r\n\r\n") == len(raw)


def test_a_head_longer_than_a_head_may_be_is_refused_before_its_end() -> None:
    assert find_head_end(b"x" * MAX_HEAD_BYTES) is None
    for raw in (b"x" * (MAX_HEAD_BYTES + 1), b"x" * MAX_HEAD_BYTES + b"\r\n\r\n"):
        with pytest.raises(BadAnswerError):
            find_head_end(raw)
    assert find_head_end(b"short\r\n\r\n" + b"x" * MAX_HEAD_BYTES) == 9


def head_of(*headers: Header, status: int = 200) -> AnswerHead:
    return AnswerHead(status, "", headers)


@pytest.mark.parametrize(
    ("head", "method", "framing"),
    [
        (head_of((CL, "5")), "GET", Sized(5)),
        (head_of((CL, "5"), (CL, "5")), "GET", Sized(5)),
        (head_of((TE, "chunked")), "GET", Chunked()),
        (head_of(), "GET", UntilClose()),
        (head_of((CL, "5")), "HEAD", Sized(0)),
        (head_of((CL, "5"), (TE, "chunked")), "HEAD", Sized(0)),
        (head_of((CL, "5"), status=204), "GET", Sized(0)),
        (head_of((CL, "5"), status=304), "GET", Sized(0)),
    ],
)
def test_an_answers_framing(head: AnswerHead, method: str, framing: Framing) -> None:
    assert answer_framing(head, method) == framing


@pytest.mark.parametrize(
    "headers",
    [
        [(CL, "5"), (TE, "chunked")],
        [(CL, "5"), (CL, "6")],
        [(CL, "5, 6")],
        [(CL, "-5")],
        [(TE, "gzip, chunked")],
        [(TE, "chunked"), (TE, "chunked")],
        [(TE, "identity")],
    ],
)
def test_an_answer_with_an_ambiguous_length_is_refused(headers: list[Header]) -> None:
    with pytest.raises(BadAnswerError):
        answer_framing(head_of(*headers), "GET")


def test_a_request_is_written_as_its_parts() -> None:
    raw = write_request("GET", "/a?b", [("Host", "x"), ("Name", "caf\udcc3\udca9")])
    assert raw == "GET /a?b HTTP/1.1\r\nHost: x\r\nName: café\r\n\r\n".encode()
