"""chutes/_runtime/cords/answers — what a cord's function returned or raised, as an answer or as why there is none. Sends nothing."""

from __future__ import annotations

import re
from json import dumps
from typing import Any, Iterator, Mapping, NamedTuple

from chutes._runtime.failures import MAX_MESSAGE_CHARACTERS, member_of
from chutes._runtime.results import MAX_RESULT_BYTES
from chutes._runtime.texts import name_of, shorten, text_of

JSON, BYTES, TEXT = "application/json", "application/octet-stream", "text/plain; charset=utf-8"

# What a host takes: more would be dropped there.
MAX_HEADERS, MAX_HEADERS_CHARACTERS = 32, 16_000
HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,200}")
HEADER_VALUE = re.compile(r"[\x20-\x7e]*")


class Whole(NamedTuple):
    status: int
    content_type: str
    headers: Mapping[str, str]
    body: bytes


class Refusal(NamedTuple):
    """Why there is no answer: raised, binding, result_not_json, result_too_large, bad_status or unknown_cord."""

    kind: str
    type: str
    message: str
    error: BaseException | None = None


class NotJsonError(Exception):
    """Something that strict JSON can't hold. The text says what, and why not."""


def refused(kind: str, error: BaseException) -> Refusal:
    return Refusal(kind, name_of(error), shorten(text_of(error), MAX_MESSAGE_CHARACTERS), error)


def returned(value: Any, media_type: str | None = None) -> Whole | Refusal:
    """`media_type`: of bytes, where the decorator says one."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return _bounded(Whole(200, media_type or BYTES, {}, bytes(value)))
    try:
        return _bounded(Whole(200, JSON, {}, json_of(value, "the returned")))
    except NotJsonError as error:
        return refused("result_not_json", error)


def raised(error: BaseException) -> Whole | Refusal:
    """An HTTPException is the author's own answer, of whichever web framework it is."""
    if not is_http(error):
        return refused("raised", error)
    given, detail = member_of(error, "status_code"), member_of(error, "detail")
    # By the classes' own methods here and below: an author's subclass may do anything in its own.
    status = int.__int__(given) if issubclass(type(given), int) else 0
    if not 400 <= status <= 599:
        told = f"an HTTPException has a status from 400 to 599, and this one {text_of(given)[:80]}"
        return refused("bad_status", error)._replace(message=told)
    try:
        body = json_of({"detail": detail}, "the detail, in a")
    except NotJsonError:
        # The status is what matters: an exception as the detail is a text then.
        body = json_of({"detail": shorten(text_of(detail), MAX_MESSAGE_CHARACTERS)}, "the detail")
    return _bounded(Whole(status, JSON, dict(_passing(member_of(error, "headers"))), body))


def is_http(error: BaseException) -> bool:
    names = {each.__name__ for each in type(error).__mro__}
    try:
        return "HTTPException" in names and hasattr(error, "status_code") and hasattr(error, "detail")
    except BaseException:  # noqa: BLE001 — a property of the author's making
        return False


def json_of(value: Any, what: str) -> bytes:
    """Strict. Raises NotJsonError: NaN, infinities and halves of surrogate pairs are no JSON."""
    try:
        return dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()
    except BaseException as why:  # noqa: BLE001 — a mapping of the author's making may raise anything
        told = f"{what} {name_of(value)} is no JSON: {shorten(text_of(why), 1_000)}"
        raise NotJsonError(told) from (why if isinstance(why, Exception) else None)


def _bounded(answer: Whole) -> Whole | Refusal:
    size = len(answer.body)
    if size <= MAX_RESULT_BYTES:
        return answer
    told = (
        f"the answer has {size} bytes, and {MAX_RESULT_BYTES} are the most: "
        "yield it in pieces, or let a job write it to a file of its outputs"
    )
    return Refusal("result_too_large", "ResultTooLargeError", told)


def _passing(headers: Any) -> Iterator[tuple[str, str]]:
    """Those that can stand in a head."""
    if not issubclass(type(headers), dict):
        return
    left = MAX_HEADERS_CHARACTERS
    for name, value in list(dict.items(headers))[:MAX_HEADERS]:
        if type(name) is str and type(value) is str:
            left -= len(name) + len(value)
            if left >= 0 and HEADER_NAME.fullmatch(name) and HEADER_VALUE.fullmatch(value):
                yield name, value
