"""spec/text — what no text of a spec may hold, and how deep and large a body may be. Knows no field."""

import re
from collections.abc import Iterator

from agent.spec.faults import Fault, join_path
from agent.spec.limits import INT64_MAX, INT64_MIN, MAX_DEPTH, MAX_VALUES

SCALARS = (str, int, float, bool, type(None))

SURROGATE = re.compile("[\ud800-\udfff]")
# Line ends, escape sequences and direction overrides would let a job's name forge a line in a table or a log.
UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")

Path = tuple[object, ...]


def find_unreadable(body: object) -> Fault | None:
    """Say why a body can't be looked at further: not an object, no JSON, too deep or too large."""
    if not isinstance(body, dict):
        return Fault("body", "wrong_type", f"must be an object, not {describe(body)}", "Send a JSON object.")
    for count, (path, value) in enumerate(walk(body)):
        if len(path) > MAX_DEPTH:
            return Fault(
                "body", "too_deep", f"nests more than {MAX_DEPTH} deep", "No field of a job nests that deep."
            )
        if count >= MAX_VALUES:
            return Fault(
                "body", "too_large", f"has more than {MAX_VALUES} values", "Put data into a file or a secret."
            )
        if not isinstance(value, (dict, list, *SCALARS)):
            return Fault(join_path(*path), "wrong_type", "is no JSON value", "Send JSON.")
    return None


def find_text_faults(body: object) -> Iterator[Fault]:
    """Find NUL, lone surrogates and numbers past int64, in every name and value of a readable body."""
    for path, value in walk(body):
        where = join_path(*path)
        if isinstance(value, str) and "\x00" in value:
            yield Fault(
                where,
                "nul_character",
                "holds a NUL character",
                "Leave it out: no argument, variable or name can carry it.",
            )
        if isinstance(value, str) and SURROGATE.search(value):
            yield Fault(
                where,
                "not_unicode",
                "holds half of a surrogate pair",
                "Send text that can be written as UTF-8.",
            )
        if isinstance(value, int) and not INT64_MIN <= value <= INT64_MAX:
            yield Fault(where, "number_out_of_range", "is a number beyond 64 bits", "Send a smaller number.")


def replace_unusable(value: object) -> object:
    """Copy a readable body with stand-ins for what `find_text_faults` reported, so that the other rules can look at the rest."""
    if isinstance(value, dict):
        return {replace_unusable(key): replace_unusable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [replace_unusable(item) for item in value]
    if isinstance(value, str):
        return SURROGATE.sub("\ufffd", value)
    if isinstance(value, int) and not INT64_MIN <= value <= INT64_MAX:
        return 0
    return value


def walk(body: object) -> Iterator[tuple[Path, object]]:
    """Give every value below the body with its path; a name in an object counts as a value of its own.

    Neither recursive nor eager, since depth and width are hostile until they were counted.
    """
    pending = [give_children((), body)]
    while pending:
        found = next(pending[-1], None)
        if found is None:
            pending.pop()
            continue
        yield found
        pending.append(give_children(*found))


def give_children(path: Path, value: object) -> Iterator[tuple[Path, object]]:
    if isinstance(value, dict):
        for key, item in value.items():
            # A name is text like any other, and a key of another type is no JSON.
            yield (*path, key), key if isinstance(key, str) else object()
            yield (*path, key), item
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield (*path, index), item


def describe(value: object) -> str:
    """Name the JSON type of a value, with no word of what it holds."""
    for kind, name in (
        (type(None), "null"),
        (bool, "true or false"),
        (str, "text"),
        (int, "a number"),
        (float, "a number with a fraction"),
        (list, "a list"),
        (dict, "an object"),
    ):
        if isinstance(value, kind):
            return name
    return "something that is no JSON"
