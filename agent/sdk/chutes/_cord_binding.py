"""chutes/_cord_binding — how a request becomes the arguments of a cord's function: its path, its JSON body, its query. Calls nothing."""

from __future__ import annotations

import re
from math import isfinite
from typing import Any, Callable, Mapping, NamedTuple, NoReturn

from chutes._binding import Bound, arrange, find_misfits, is_all_for, write_names
from chutes._signature import Parameter, read_parameters, write_call
from chutes.errors import PayloadError

# More digits are no number that anybody writes, and long ones take Python long.
WHOLE = re.compile(r"[+-]?[0-9]{1,1000}")
DECIMAL = re.compile(r"[+-]?([0-9]{1,400}(\.[0-9]{0,400})?|\.[0-9]{1,400})([eE][+-]?[0-9]{1,4})?")
SWITCHES = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}  # fmt: skip
OPTIONAL = (
    re.compile(r"Optional\[(.+)\]"),
    re.compile(r"Union\[(.+), ?None\]"),
    re.compile(r"Union\[None, ?(.+)\]"),
    re.compile(r"(.+) ?\| ?None"),
    re.compile(r"None ?\| ?(.+)"),
)
LIST = re.compile(r"(?:[Ll]ist|Sequence|[Ss]et|Tuple|tuple)(?:\[(.+?)(?:, ?\.\.\.)?\])?")
SINGLE = frozenset({"int", "float", "bool", "str"})


class Request(NamedTuple):
    """What of a request a cord may ask for. A name of the query that comes more than once has a list of texts."""

    params: Mapping[str, str]
    query: Mapping[str, Any]
    has_body: bool
    body: Any


def bind_request(function: Callable[..., Any], request: Request) -> Bound:
    """Give the arguments that come after `self`. Raises PayloadError, with the signature that was expected.

    A body that is an object gives named parameters. A lone one, beside those of the path, whose name is not in the body gets
    all of it. What came as text, in path and query, is turned into the number or the switch that the annotation says.
    """
    parameters = read_parameters(function)
    named = [each for each in parameters if each.is_named]
    is_closed = not any(each.kind == "var_keyword" for each in parameters)
    body = gather_body(function, named, request, is_closed=is_closed)
    texts = {**request.query, **request.params}
    twice = [name for name in body if name in texts] + [
        name for name in request.query if name in request.params
    ]
    wrong = [f"{write_names(dict.fromkeys(twice))} given twice"] if twice else []
    values = {**texts, **body}
    wrong += find_misfits(function, named, values, is_closed=is_closed)
    annotations = {each.name: each.annotation or "" for each in named}
    for name, text in texts.items():
        if name not in body and name in annotations:
            read = convert(text, annotations[name])
            values[name] = read.value
            wrong += [f"{name} {read.fault}"] if read.fault else []
    if wrong:
        refuse(function, "; ".join(wrong))
    return arrange(function, named, values)


def gather_body(
    function: Callable[..., Any], named: list[Parameter], request: Request, *, is_closed: bool
) -> dict[str, Any]:
    if not request.has_body:
        return {}
    asked = [each for each in named if each.name not in request.params]
    body = request.body
    if is_closed and len(asked) == 1 and is_lone(asked[0], request):
        return {asked[0].name: body}
    if not isinstance(body, dict):
        if body is None:
            return {}
        refuse(function, f"its body is a {type(body).__name__} and no object")
    return dict(body)


def is_lone(lone: Parameter, request: Request) -> bool:
    """Whether all of the body is meant for it."""
    body = request.body
    if isinstance(body, dict) or body is None:
        return lone.name not in request.query and (body is None or is_all_for(lone, body))
    return True


class Read(NamedTuple):
    value: Any
    fault: str = ""


def convert(given: Any, annotation: str) -> Read:
    """`given` is a text, or a list of texts."""
    kind = without_none(annotation.strip("'\" "))
    listed = LIST.fullmatch(kind)
    if listed is not None:
        inner = without_none(listed.group(1) or "str")
        read = [convert_one(text, inner) for text in (given if isinstance(given, list) else [given])]
        return Read([each.value for each in read], next((each.fault for each in read if each.fault), ""))
    if isinstance(given, list):
        return Read(given, "is given twice" if kind in SINGLE else "")
    return convert_one(given, kind)


def convert_one(text: str, kind: str) -> Read:
    if kind == "int":
        return Read(int(text)) if WHOLE.fullmatch(text) else Read(text, f"is no whole number: {text!r:.60}")
    if kind == "float":
        number = float(text) if DECIMAL.fullmatch(text) else None
        return (
            Read(text, f"is no number: {text!r:.60}")
            if number is None or not isfinite(number)
            else Read(number)
        )
    if kind == "bool":
        switch = SWITCHES.get(text.lower())
        return Read(text, f"is neither true nor false: {text!r:.60}") if switch is None else Read(switch)
    return Read(text)


def without_none(annotation: str) -> str:
    """`int` of `Optional[int]` and its kin."""
    text = annotation.replace("typing.", "").strip()
    for form in OPTIONAL:
        found = form.fullmatch(text)
        if found is not None:
            return found.group(1).strip()
    return text


def refuse(function: Callable[..., Any], what: str) -> NoReturn:
    raise PayloadError(f"the request does not fit {write_call(function)}: {what}")
