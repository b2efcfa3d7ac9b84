"""api/json_value — whether bytes that a job sent are one JSON value that can stand within an answer. Makes no value of them.

To make one of 256 KiB would hold the loop for up to 50 ms; so it is gone through in pieces, and the bytes are passed on as they are.
That takes up to 150 ms in all: what a job sent stays as it is, and is looked at once however often it is asked for.
"""

import asyncio
import math
import re
from collections.abc import Iterator

from agent.api.body import MAX_DEPTH, MAX_DIGITS

TOKEN = re.compile(
    r"[ \t\n\r]*(?:(?P<sign>[\[\]{},:])"
    r'|(?P<text>"[^"\\\x00-\x1f]*(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*)*")'
    r"|(?P<number>-?(?:0|[1-9][0-9]*)(?:[.][0-9]+)?(?:[eE][-+]?[0-9]+)?)|(?P<word>true|false|null))"
)
WHITE = " \t\n\r"
# So many take half a millisecond.
TOKENS_AT_ONCE = 500
# What may come next. Behind `[` and `{` there may be nothing.
VALUE, FIRST_VALUE, NAME, FIRST_NAME, COLON, NEXT = (
    "value",
    "first value",
    "name",
    "first name",
    "colon",
    "next",
)
CLOSED_BY = {"]": "[", "}": "{"}


class Looked:
    """What was found of the last results that were asked for. A key is for one result and no other, ever."""

    def __init__(self, most: int = 1000) -> None:
        self._most = most
        self._found: dict[tuple[int, int], bool] = {}

    async def is_json(self, key: tuple[int, int], data: bytes) -> bool:
        known = self._found.get(key)
        if known is None:
            known = self._found[key] = await is_json_value(data)
            if len(self._found) > self._most:
                del self._found[next(iter(self._found))]
        return known


async def is_json_value(data: bytes) -> bool:
    """Strictly, no deeper and with no longer numbers than a body may have, so that every client can read it."""
    try:
        text = data.decode().rstrip(WHITE)
    except UnicodeDecodeError:
        return False
    grammar, at = _Grammar(), 0
    for count, token in enumerate(_tokens(text)):
        if not grammar.takes(token):
            return False
        at = token.end()
        if count % TOKENS_AT_ONCE == TOKENS_AT_ONCE - 1:
            await asyncio.sleep(0)
    return at == len(text) and grammar.is_complete


def _tokens(text: str) -> Iterator[re.Match[str]]:
    at = 0
    while (found := TOKEN.match(text, at)) is not None:
        yield found
        at = found.end()


class _Grammar:
    def __init__(self) -> None:
        self._wanted = VALUE
        self._open: list[str] = []

    @property
    def is_complete(self) -> bool:
        return self._wanted is NEXT and not self._open

    def takes(self, token: re.Match[str]) -> bool:
        """Whether this may come here."""
        sign = token["sign"]
        if sign is not None:
            return self._takes_sign(sign)
        if self._wanted in (NAME, FIRST_NAME):
            self._wanted = COLON
            return token["text"] is not None
        is_wanted = self._wanted in (VALUE, FIRST_VALUE)
        self._wanted = NEXT
        return is_wanted and (token["number"] is None or _is_number_for_all(token["number"]))

    def _takes_sign(self, sign: str) -> bool:
        if sign in "[{":
            is_wanted = self._wanted in (VALUE, FIRST_VALUE) and len(self._open) < MAX_DEPTH
            self._open.append(sign)
            self._wanted = FIRST_VALUE if sign == "[" else FIRST_NAME
            return is_wanted
        if sign == ":":
            is_wanted, self._wanted = self._wanted is COLON, VALUE
            return is_wanted
        if not self._open:
            return False
        if sign == ",":
            is_wanted = self._wanted is NEXT
            self._wanted = VALUE if self._open[-1] == "[" else NAME
            return is_wanted
        is_wanted = self._wanted in (NEXT, FIRST_VALUE, FIRST_NAME) and self._open.pop() == CLOSED_BY[sign]
        self._wanted = NEXT
        return is_wanted


def _is_number_for_all(number: str) -> bool:
    return len(number) <= MAX_DIGITS and math.isfinite(float(number))
