"""chutes/testing/routes — which cord a method and a path lead to, as on a host. Calls none."""

from __future__ import annotations

import re
from typing import Any, Mapping, NamedTuple, Sequence
from urllib.parse import parse_qs, unquote_to_bytes

from chutes._cord_rules import METHODS
from chutes.chute.cord import Cord

BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


class Found(NamedTuple):
    cord: Cord
    params: dict[str, str]


class NotFound(NamedTuple):
    """`methods`: those that the path has, if it has any."""

    methods: tuple[str, ...]


def find(cords: Sequence[Cord], method: str, path: str) -> Found | NotFound:
    """A plain name goes before a parameter in its place. What answers GET answers HEAD, where no cord does."""
    given = decode(path)
    fitting = [
        Found(cord, params)
        for cord in sorted(cords, key=lambda each: [part.startswith("{") for part in parts_of(each)])
        if given is not None and (params := match(parts_of(cord), given)) is not None
    ]
    for wanted in (method, "GET" if method == "HEAD" else method):
        for found in fitting:
            if found.cord.method == wanted:
                return found
    return NotFound(allowed({found.cord.method for found in fitting}))


def allowed(methods: set[str]) -> tuple[str, ...]:
    """With those that a host answers for a cord."""
    if not methods:
        return ()
    known = methods | {"OPTIONS"} | ({"HEAD"} if "GET" in methods else set())
    return tuple(method for method in METHODS if method in known)


def match(parts: list[str], given: list[str]) -> dict[str, str] | None:
    if len(parts) != len(given):
        return None
    params: dict[str, str] = {}
    for part, text in zip(parts, given):
        if part.startswith("{") and text:
            params[part[1:-1]] = text
        elif part != text:
            return None
    return params


def parts_of(cord: Cord) -> list[str]:
    return cord.public_api_path[1:].split("/")


def decode(path: str) -> list[str] | None:
    """Split before it is decoded: a slash that is percent-encoded is part of its place. None: it is no path."""
    if not path.startswith("/") or BROKEN_ESCAPE.search(path):
        return None
    try:
        return [unquote_to_bytes(part).decode() for part in path[1:].split("/")]
    except UnicodeError:
        return None


def read_query(written: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """As a host gives it: texts, and a list where a name has more than one."""
    many = parse_qs(written, keep_blank_values=True)
    for name, value in given.items():
        many[name] = [text_of(each) for each in (value if isinstance(value, (list, tuple)) else [value])]
    return {name: texts[0] if len(texts) == 1 else texts for name, texts in many.items()}


def text_of(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
