"""adapters/jobsocket/reading — a line that a job sent as a call, or why it is none. Pure; runs here, and for large lines in the child."""

import json
import struct
from dataclasses import dataclass
from itertools import islice
from typing import NoReturn

from agent.core.told import MOST_VALUES, read_points
from agent.interfaces.job_socket import Call

# Before each frame between the daemon and the child that reads large lines.
LENGTH = struct.Struct(">I")
# So many metrics are gone through at once.
PIECE = 500
MOST_ID_CHARACTERS = 64
MOST_NAME_CHARACTERS = 64
# All fields of a call but its payload and its metrics: a traceback, a hundred statuses.
MOST_FIELD_BYTES = 512 << 10
# They are read once more where the line came from, in the loop: half a megabyte of empty lists would hold it for 80 ms.
MOST_FIELD_VALUES = 2_000
# Of the object, and of a payload in it: deeper ones are nobody's data.
_LARGEST_ID = 2**53


@dataclass(frozen=True, slots=True)
class Request:
    """`id` goes back with the answer."""

    id: int | str
    call: Call


@dataclass(frozen=True, slots=True)
class NoRequest:
    """`id` None: it has none that could be answered. `is_json`: whether what comes behind it can still be understood."""

    message: str
    id: int | str | None = None
    is_json: bool = True


def read_request(line: bytes) -> Request | NoRequest:
    """Never raises, whatever the line is."""
    try:
        sent = json.loads(line, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        return NoRequest(f"the line is no JSON: {error!s:.200}", is_json=False)
    if not isinstance(sent, dict):
        return NoRequest("a request is a JSON object")
    request_id, name = sent.pop("id", None), sent.pop("call", None)
    if not _is_id(request_id):
        return NoRequest("a request has an id: a whole number, or a text")
    if not isinstance(name, str) or not name or len(name) > MOST_NAME_CHARACTERS:
        return NoRequest("a request has a call: its name", request_id)
    try:
        return _complete(request_id, name, sent)
    except (RecursionError, ValueError) as error:
        return NoRequest(f"the call can't be read: {error!s:.200}", request_id)


def _complete(request_id: int | str, name: str, fields: dict[str, object]) -> Request | NoRequest:
    has_payload = "payload" in fields
    payload = canonical(fields.pop("payload", None)) if has_payload else None
    metrics = fields.pop("metrics", None) or []
    if not isinstance(metrics, list):
        return NoRequest("metrics is a list", request_id)
    if len(metrics) > MOST_VALUES:
        return NoRequest(f"a report has at most {MOST_VALUES} metrics", request_id)
    if _holds_more(fields, MOST_FIELD_VALUES):
        return NoRequest(
            f"the call holds more than {MOST_FIELD_VALUES} values beside its payload", request_id
        )
    if len(json.dumps(fields, allow_nan=False)) > MOST_FIELD_BYTES:
        return NoRequest(f"the call holds more than {MOST_FIELD_BYTES} bytes beside its payload", request_id)
    # What is no metric ends here, where it holds up nobody: one alone may be two megabytes of empty lists.
    points = [list(point) for point in read_points(metrics)]
    pieces = tuple(points[start : start + PIECE] for start in range(0, len(points), PIECE))
    return Request(request_id, Call(name, fields, payload, pieces))


def _holds_more(value: object, most: int) -> bool:
    """Whether there are more values in it than that, itself among them; it looks at no more."""
    left, found = [value], 0
    while left and found <= most:
        found += 1
        inner = left.pop()
        if isinstance(inner, dict):
            left.extend(islice(inner.values(), most + 1))
        elif isinstance(inner, list):
            left.extend(inner[: most + 1])
    return found > most


def canonical(value: object) -> bytes:
    """The same for the same value, whatever the order of names and the white space were. One line.

    Raises ValueError for what is no JSON elsewhere: a number beyond a double, which Python reads as infinity, and half a character.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()


def _is_id(value: object) -> bool:
    if isinstance(value, str):
        return 0 < len(value) <= MOST_ID_CHARACTERS
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _LARGEST_ID


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")
