"""chutes/testing/routes — which cord a method and a path lead to, as on a host. Calls none."""

from __future__ import annotations

from typing import Any, Mapping, NamedTuple, Sequence
from urllib.parse import parse_qs, unquote

from chutes.chute.cord import Cord


class Found(NamedTuple):
    cord: Cord
    params: dict[str, str]


class NotFound(NamedTuple):
    """`methods`: those that the path has, if it has any."""

    methods: tuple[str, ...]


def find(cords: Sequence[Cord], method: str, path: str) -> Found | NotFound:
    """A plain name goes before a parameter in its place."""
    given = path.split("/")
    fitting = [
        Found(cord, params)
        for cord in sorted(cords, key=lambda each: [part.startswith("{") for part in parts_of(each)])
        if (params := match(parts_of(cord), given)) is not None
    ]
    for found in fitting:
        if found.cord.method == method.upper():
            return found
    return NotFound(tuple(sorted({found.cord.method for found in fitting})))


def match(parts: list[str], given: list[str]) -> dict[str, str] | None:
    if len(parts) != len(given):
        return None
    params: dict[str, str] = {}
    for part, text in zip(parts, given):
        if part.startswith("{") and text:
            params[part[1:-1]] = unquote(text)
        elif part != unquote(text):
            return None
    return params


def parts_of(cord: Cord) -> list[str]:
    return cord.public_api_path.split("/")


def read_query(written: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """As a host gives it: texts, and a list where a name has more than one."""
    many = parse_qs(written, keep_blank_values=True)
    for name, value in given.items():
        many[name] = [text_of(each) for each in (value if isinstance(value, (list, tuple)) else [value])]
    return {name: texts[0] if len(texts) == 1 else texts for name, texts in many.items()}


def text_of(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
