"""chutes/_cord_rules — where a cord may answer: every fault of it at once. Serves nothing."""

from __future__ import annotations

import re
from typing import Iterator, Sequence

from chutes._binding import name_of_the_chute
from chutes._field_rules import Form, find_text_fault
from chutes._function_rules import find_function_faults, is_function
from chutes._signature import read_parameters
from chutes.chute.cord import Cord
from chutes.errors import Fault

PARAMETER = re.compile(r"\{(\w+)\}")
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
# Segments that are plain names, or one parameter each.
PATH = Form(
    re.compile(r"/|(/([A-Za-z0-9_][A-Za-z0-9_.-]*|\{[A-Za-z_][A-Za-z0-9_]*\}))+"),
    512,
    "a path of plain names and {parameters}",
    '"/status/{job_id}"',
)

# Of a type and a subtype, with a character set at most. Compiled where it is needed, since most cords have none.
MEDIA_TYPE = (
    r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]*/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]*( *; *charset=[A-Za-z0-9_-]+)?"
)
MAX_MEDIA_TYPE_CHARACTERS = 200


def find_cord_faults(cord: Cord, others: Sequence[Cord]) -> Iterator[Fault]:
    """`cord` may hold anything: it was made of what the author wrote."""
    yield from find_function_faults(cord.function)
    if cord.method not in METHODS:
        yield Fault("method", f"{cord.method!r:.80} is no method", f"Write one of {', '.join(METHODS)}.")
    yield from find_text_fault("public_api_path", cord.public_api_path, PATH)
    for other in others:
        if (shape_of(other), other.method) == (shape_of(cord), cord.method):
            told = f"{cord.method} {cord.public_api_path} is another cord's"
            as_it = "" if other.public_api_path == cord.public_api_path else f", {other.public_api_path}"
            yield Fault("public_api_path", told + as_it, "Give it another path.")
    yield from find_parameter_faults(cord)


def shape_of(cord: Cord) -> str:
    """Two paths that differ only in the names of their parameters are one."""
    return PARAMETER.sub("{}", str(cord.public_api_path))


def find_parameter_faults(cord: Cord) -> Iterator[Fault]:
    if not is_function(cord.function) or not isinstance(cord.public_api_path, str):
        return
    names = PARAMETER.findall(cord.public_api_path)
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield Fault("public_api_path", f"{{{name}}} is in it twice", "Give each parameter a name of its own.")
    parameters = read_parameters(cord.function)
    if any(each.kind == "var_keyword" for each in parameters):
        known = set(names) - set(name_of_the_chute(cord.function))
    else:
        known = {each.name for each in parameters if each.is_named}
    for name in dict.fromkeys(names):
        if name not in known:
            told = f"{{{name}}} is no parameter of {cord.function.__name__}"
            yield Fault("public_api_path", told, f"Add {name} to the function, or take it out of the path.")


def media_type_of(cord: Cord) -> str | None:
    """Its `output_content_type`, where that is a plain one: for bytes and streams."""
    given = cord.options.get("output_content_type")
    if not isinstance(given, str) or len(given) > MAX_MEDIA_TYPE_CHARACTERS:
        return None
    return given if re.fullmatch(MEDIA_TYPE, given) else None
