"""core/proxy_heads — what of the heads of messages is well-formed, and how long a request's body is. Pure; what is spoken with a job is `api/proxy/wire`'s."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from agent.errors import AgentError, Blame

Header = tuple[str, str]
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
class Sized:
    """A body of so many bytes."""

    length: int


@dataclass(frozen=True, slots=True)
class Chunked:
    """A body in chunks."""


Framing = Sized | Chunked
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
