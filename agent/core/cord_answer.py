"""core/cord_answer — what a launcher sends back for the call of a cord: its head, and the frames of a stream. Pure; every byte may be hostile."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from struct import Struct

from agent.core.proxy_headers import may_come_from_a_job
from agent.core.proxy_heads import has_control_characters, is_token

MOST_HEAD_BYTES = 64 << 10
MOST_WHOLE_BYTES = 8 << 20
MOST_FRAME_BYTES = 64 << 10
# Of a byte each they take less than a millisecond.
FRAMES_AT_ONCE = 1_000
MOST_HEADERS, MOST_HEADERS_SEEN = 32, 128
MOST_VALUE_CHARACTERS = 4_096
MOST_TYPE_CHARACTERS, MOST_MESSAGE_CHARACTERS = 200, 4_000
JSON_TYPE = "application/json"
OK = 200
ERRORS = range(400, 600)

_CONTENT_TYPE = re.compile(
    r"[A-Za-z0-9!#$&^_.+-]{1,64}/[A-Za-z0-9!#$&^_.+-]{1,64}(?:; ?[A-Za-z]{1,32}=[A-Za-z0-9_.+-]{1,64}){0,4}"
)
# By it a client knows what the agent says from what an author does.
_PROBLEM = "application/problem+json"
# What the answer is made of says them, or the agent does: one URL has the cords of every owner's chute of that name, so that a cache
# before us would give one the answer of the other's.
_OURS = frozenset(
    {
        "age",
        "cache-control",
        "content-disposition",
        "content-encoding",
        "content-security-policy",
        "content-type",
        "date",
        "edge-control",
        "expires",
        "pragma",
        "server",
        "set-cookie",
        "x-content-type-options",
    }
)
# To caches before us; and which other sites' pages may read what a cord answers to its owner's token.
_OURS_BY_START = ("access-control-", "surrogate-")
_OURS_BY_END = "-cache-control"
_LENGTH = Struct(">I")


class BadCordAnswerError(Exception):
    """What came is none of the protocol. What comes behind it can't be understood."""


class CordFaultKind(StrEnum):
    """Why a cord gave no answer. The words are the job socket's."""

    RAISED = "raised"
    BINDING = "binding"
    NOT_JSON = "result_not_json"
    TOO_LARGE = "result_too_large"
    BAD_STATUS = "bad_status"
    UNKNOWN = "unknown_cord"


@dataclass(frozen=True, slots=True)
class CordHead:
    """`size` None: a stream of frames follows."""

    status: int
    content_type: str
    headers: tuple[tuple[str, str], ...]
    size: int | None


@dataclass(frozen=True, slots=True)
class CordFault:
    """In the words of the author's process."""

    kind: CordFaultKind
    type: str
    message: str


def read_head(line: bytes) -> CordHead | CordFault:
    """Raises BadCordAnswerError."""
    try:
        head = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadCordAnswerError(f"the head is no JSON: {error!s:.200}") from None
    if not isinstance(head, dict):
        raise BadCordAnswerError("the head is no object")
    if "error" in head:
        return _read_fault(head["error"])
    status = _number(head.get("status"))
    if status is None or not (status == OK or status in ERRORS):
        raise BadCordAnswerError("its status is neither 200 nor one from 400 to 599")
    size = None if head.get("stream") is True else _size(head.get("bytes"))
    headers = head.get("headers")
    return CordHead(
        status,
        _content_type(head.get("content_type")),
        _headers(headers) if isinstance(headers, dict) else (),
        size,
    )


class Frames:
    """The frames of one stream: four bytes of length, so many bytes; one of length 0 ends it whole.

    `count`: how many were found. `is_behind`: there may be more in what was fed, since only so many are looked for at a time.
    """

    def __init__(self) -> None:
        self._unread = bytearray()
        self.count = 0
        self.is_behind = False
        self.is_over = False

    def feed(self, data: bytes) -> bytes:
        """What of it is the author's, joined. Raises BadCordAnswerError."""
        self._unread += data
        found, at, enough = bytearray(), 0, self.count + FRAMES_AT_ONCE
        while len(self._unread) - at >= _LENGTH.size and not self.is_over and self.count < enough:
            (size,) = _LENGTH.unpack_from(self._unread, at)
            if size > MOST_FRAME_BYTES:
                raise BadCordAnswerError(f"a frame has more than {MOST_FRAME_BYTES} bytes")
            end = at + _LENGTH.size + size
            if end > len(self._unread):
                break
            found += self._unread[at + _LENGTH.size : end]
            at, self.count, self.is_over = end, self.count + 1, size == 0
        del self._unread[:at]
        self.is_behind = self.count == enough and not self.is_over
        if self.is_over and self._unread:
            raise BadCordAnswerError("something follows the end of a stream")
        return bytes(found)


def _read_fault(error: object) -> CordFault:
    fields = error if isinstance(error, dict) else {}
    kind = fields.get("kind")
    if not isinstance(kind, str) or kind not in set(CordFaultKind):
        raise BadCordAnswerError("its error is of no kind that is known")
    return CordFault(
        CordFaultKind(kind),
        _text(fields, "type", MOST_TYPE_CHARACTERS),
        _text(fields, "message", MOST_MESSAGE_CHARACTERS),
    )


def _content_type(value: object) -> str:
    if not isinstance(value, str) or not _CONTENT_TYPE.fullmatch(value) or _PROBLEM in value.lower():
        raise BadCordAnswerError("its content type is none")
    return value


def _headers(headers: Mapping[object, object]) -> tuple[tuple[str, str], ...]:
    """Those that may pass, each once; what may not is left out, and what comes behind many is not looked at."""
    kept: dict[str, tuple[str, str]] = {}
    for name, value in islice(headers.items(), MOST_HEADERS_SEEN):
        if _may_pass(name, value):
            kept.setdefault(str(name).lower(), (str(name), str(value)))
    return tuple(islice(kept.values(), MOST_HEADERS))


def _may_pass(name: object, value: object) -> bool:
    if not isinstance(name, str) or not isinstance(value, str) or len(value) > MOST_VALUE_CHARACTERS:
        return False
    if not is_token(name) or not value.isascii() or has_control_characters(value):
        return False
    lowered = name.lower()
    is_ours = lowered in _OURS or lowered.startswith(_OURS_BY_START) or lowered.endswith(_OURS_BY_END)
    return not is_ours and may_come_from_a_job(lowered)


def _text(fields: Mapping[str, object], name: str, most: int) -> str:
    value = fields.get(name)
    return value[:most].encode("utf-8", "replace").decode() if isinstance(value, str) else ""


def _size(value: object) -> int:
    size = _number(value)
    if size is None or not 0 <= size <= MOST_WHOLE_BYTES:
        raise BadCordAnswerError(f"bytes must be from 0 to {MOST_WHOLE_BYTES}")
    return size


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
