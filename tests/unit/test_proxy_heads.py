"""Heads of requests: one that can be read in two ways is refused."""

import pytest

from agent.core.proxy_heads import (
    BadRequestHeadError,
    Chunked,
    Framing,
    Header,
    Sized,
    check_target,
    request_framing,
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
