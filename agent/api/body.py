"""api/body — a request's body as decoded JSON, or a clear refusal. Knows no field of any body."""

import asyncio
import json
from collections.abc import Sequence
from typing import NoReturn

from aiohttp import web

from agent.api.limits import LIMITS
from agent.errors import AgentError, Blame

MAX_BODY_BYTES = 1 << 20
# The longest number of a spec has 19 digits. Turning digits into an int takes time that grows with their square.
MAX_DIGITS = 400
MAX_DEPTH = 100


class BadJsonError(AgentError):
    code, blame = "bad_json", Blame.USER
    remedy = "Send one JSON value as RFC 8259 has it: UTF-8, no duplicate names, no NaN, nothing after it."


class BodyTooLargeError(AgentError):
    code, blame = "body_too_large", Blame.USER
    remedy = "A body may have 1 MiB: put large data into an image, a file or an URL."


class BodyTooSlowError(AgentError):
    code, blame = "body_too_slow", Blame.USER
    remedy = "Send the whole body at once."


class ContentEncodingRefusedError(AgentError):
    code, blame = "content_encoding_refused", Blame.USER
    remedy = "Send the body as it is, without Content-Encoding."


async def read_json(request: web.Request, most_bytes: int = MAX_BODY_BYTES) -> object:
    """Read the whole body as JSON: to decode 1 MiB may hold the loop for a tenth of a second, so who has shown no token has less.

    Raises BadJsonError, BodyTooLargeError, BodyTooSlowError, ContentEncodingRefusedError.
    """
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise ContentEncodingRefusedError("the body is encoded, and a small one could unpack to anything")
    return parse_json(await read_body(request, most_bytes))


async def read_body(request: web.Request, most_bytes: int = MAX_BODY_BYTES) -> bytes:
    if (request.content_length or 0) > most_bytes:
        raise BodyTooLargeError(f"the body has {request.content_length} bytes, {most_bytes} are allowed")
    seconds = request.app[LIMITS].body_seconds
    try:
        async with asyncio.timeout(seconds):
            body = await request.read()
    except TimeoutError:
        raise BodyTooSlowError(f"the body did not arrive within {seconds:g} s") from None
    except web.HTTPRequestEntityTooLarge:
        raise BodyTooLargeError(f"the body has more than {MAX_BODY_BYTES} bytes") from None
    if len(body) > most_bytes:
        raise BodyTooLargeError(f"the body has more than {most_bytes} bytes")
    return body


def parse_json(data: bytes) -> object:
    """Decode one JSON value, strictly. Raises BadJsonError that says what is wrong and where."""
    if not data:
        raise BadJsonError("the body is empty")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as unread:
        raise BadJsonError(f"the body is not UTF-8 (byte {unread.start})") from None
    if "\0" in text:
        raise BadJsonError(f"the body holds a NUL character (character {text.index(chr(0))})")
    refuse_depth(text)
    try:
        return json.loads(
            text,
            object_pairs_hook=refuse_duplicates,
            parse_constant=refuse_constant,
            parse_int=read_int,
            parse_float=read_float,
        )
    except json.JSONDecodeError as unread:
        # The decoder's own message only: `doc` would quote the body, and with it a secret.
        raise BadJsonError(f"{unread.msg} (line {unread.lineno}, column {unread.colno})") from None
    except RecursionError:
        raise BadJsonError(f"the body nests more than {MAX_DEPTH} deep") from None


def refuse_depth(text: str) -> None:
    # Brackets in texts count too, as openings without an end: so this is a bound, not the depth. Only where it
    # is passed does a closer look tell the two apart.
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return
    depth = 0
    in_text = is_escaped = False
    for sign in text:
        if in_text:
            in_text = is_escaped or sign != '"'
            is_escaped = sign == "\\" and not is_escaped
        elif sign == '"':
            in_text = True
        elif sign in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise BadJsonError(f"the body nests more than {MAX_DEPTH} deep")
        elif sign in "]}":
            depth -= 1


def refuse_duplicates(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in pairs:
        if name in found:
            raise BadJsonError(f"the name {name[:64]!a} stands twice in one object")
        found[name] = value
    return found


def refuse_constant(name: str) -> NoReturn:
    raise BadJsonError(f"{name} is no JSON")


def read_int(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise BadJsonError(f"a number has {len(digits)} digits")
    return int(digits)


def read_float(digits: str) -> float:
    number = float(digits)
    if number in {float("inf"), float("-inf")}:
        raise BadJsonError("a number is too large for 64 bits")
    return number
