"""core/proxy_heads — the heads of HTTP/1.1 messages between us and a job: written, and read strictly. Pure; bodies are `proxy_bodies`.

What a job answers is hostile. Nothing of it is passed on as bytes: it is taken apart here, and written anew for the client.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from agent.errors import AgentError, Blame

Header = tuple[str, str]
MAX_HEAD_BYTES = 64 << 10
MAX_HEADERS = 200
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: ([^\r\n]*))?")
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
# RFC 9110, 5.5: a value has no control characters but the tab.
_BAD_IN_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_LENGTH = re.compile(r"[0-9]{1,18}")
_TARGET = re.compile(r"/[\x21\x22\x24-\x7e]*")


class BadAnswerError(AgentError):
    """What the job's port sends is not the HTTP/1.1 that can be passed on."""

    code, blame = "port_bad_answer", Blame.USER
    remedy = "See what the program at the port sends: HTTP/1.0 or 1.1, one framing of the body, headers of 64 KiB at most."


class BadRequestHeadError(AgentError):
    """A request to a job's port that could be read in two ways, or not at all."""

    code, blame = "request_ambiguous", Blame.USER
    remedy = "Send well-formed HTTP/1.1: one Host, one framing of the body, a path that begins with /."


@dataclass(frozen=True, slots=True)
class AnswerHead:
    status: int
    reason: str
    headers: tuple[Header, ...]


@dataclass(frozen=True, slots=True)
class Sized:
    """A body of so many bytes."""

    length: int


@dataclass(frozen=True, slots=True)
class Chunked:
    """A body in chunks."""


@dataclass(frozen=True, slots=True)
class UntilClose:
    """A body that ends with the connection."""


Framing = Sized | Chunked | UntilClose
NO_BODY = Sized(0)


def is_token(text: str) -> bool:
    return _TOKEN.fullmatch(text) is not None


def has_control_characters(text: str) -> bool:
    return _BAD_IN_VALUE.search(text) is not None


def values_of(headers: Iterable[Header], name: str) -> list[str]:
    """The values of all headers of this name, which is given in lower case."""
    return [value for given, value in headers if given.lower() == name]


def tokens_of(headers: Iterable[Header], name: str) -> list[str]:
    """The comma-separated words of all headers of this name, in lower case."""
    words = (word.strip().lower() for value in values_of(headers, name) for word in value.split(","))
    return [word for word in words if word]


def check_target(target: str) -> None:
    """Origin form alone (RFC 9112, 3.2.1), without a fragment. Raises BadRequestHeadError."""
    if not _TARGET.fullmatch(target):
        raise BadRequestHeadError("the request's target is no path")


def request_framing(headers: Sequence[Header]) -> Framing:
    """How long the request's body is. Raises BadRequestHeadError for all that one side could read otherwise than the other."""
    lengths, codings = values_of(headers, "content-length"), values_of(headers, "transfer-encoding")
    if lengths and codings:
        raise BadRequestHeadError("the request has both Content-Length and Transfer-Encoding")
    if codings:
        if len(codings) != 1 or codings[0].lower() != "chunked":
            raise BadRequestHeadError("the only transfer coding that is passed on is chunked")
        return Chunked()
    if not lengths:
        return NO_BODY
    if len(lengths) != 1 or not _LENGTH.fullmatch(lengths[0]):
        raise BadRequestHeadError("the request's Content-Length is not one number")
    return Sized(int(lengths[0]))


def write_request(method: str, target: str, headers: Iterable[Header]) -> bytes:
    """The head of the request, as the job gets it. The values were checked by who made them."""
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(lines).encode("utf-8", "surrogateescape")


def find_head_end(data: bytes | bytearray) -> int | None:
    """Where the body begins. None: the head is not whole yet. Raises BadAnswerError where it is longer than a head may be."""
    ends = [data.find(mark) + len(mark) for mark in (b"\n\r\n", b"\n\n") if mark in data]
    end = min(ends) if ends else None
    if (len(data) if end is None else end) > MAX_HEAD_BYTES:
        raise BadAnswerError(f"the head of the answer is longer than {MAX_HEAD_BYTES} bytes")
    return end


def read_answer(head: bytes) -> AnswerHead:
    """The head of an answer, whole, empty line included. A line may end with LF alone. Raises BadAnswerError."""
    lines = [line.removesuffix(b"\r") for line in head.split(b"\n")][:-2]
    found = _STATUS_LINE.fullmatch(lines[0]) if lines else None
    if found is None:
        raise BadAnswerError("the answer does not begin with a status line of HTTP/1")
    if len(lines) - 1 > MAX_HEADERS:
        raise BadAnswerError(f"the answer has more than {MAX_HEADERS} headers")
    headers = tuple(_read_header(line) for line in lines[1:])
    return AnswerHead(int(found[2]), _reason(found[3]), headers)


def answer_framing(head: AnswerHead, method: str) -> Framing:
    """How long the answer's body is (RFC 9112, 6.3). Raises BadAnswerError where it says two things of that."""
    if method == "HEAD" or head.status < 200 or head.status in {204, 304}:
        return NO_BODY
    lengths, codings = (
        set(values_of(head.headers, "content-length")),
        tokens_of(head.headers, "transfer-encoding"),
    )
    if lengths and codings:
        raise BadAnswerError("the answer has both Content-Length and Transfer-Encoding")
    if codings:
        if codings != ["chunked"]:
            raise BadAnswerError("the only transfer coding that is passed on is chunked")
        return Chunked()
    if not lengths:
        return UntilClose()
    if len(lengths) != 1 or not _LENGTH.fullmatch(next(iter(lengths))):
        raise BadAnswerError("the answer's Content-Length is not one number")
    return Sized(int(lengths.pop()))


def _read_header(line: bytes) -> Header:
    name, colon, value = _text(line).partition(":")
    # A line that begins with a space would go on with the one before (obs-fold): every reader makes something else of it.
    if not colon or not is_token(name):
        raise BadAnswerError("a header of the answer has no well-formed name")
    value = value.strip(" \t")
    if has_control_characters(value):
        raise BadAnswerError(f"the answer's header {name[:64]} has control characters")
    return name, value


def _reason(given: bytes | None) -> str:
    text = _text(given or b"")
    return "" if has_control_characters(text) else text[:200]


def _text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")
