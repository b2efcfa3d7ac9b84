"""spec/cords — where a chute's cords answer: their paths judged as a stranger's, and a request's method and path matched to one. Calls none."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from agent.spec.faults import Fault, show
from agent.spec.manifest import MAX_PARAMETERS, REMEDY, CordFunction, field_of
from agent.spec.near import find_near

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
MAX_PATH_CHARACTERS = 512
MAX_CONCURRENCY = 64
# Segments that are plain names, or one parameter each.
PATH = re.compile(r"/|(?:/(?:[A-Za-z0-9_][A-Za-z0-9_.-]*|\{[A-Za-z_][A-Za-z0-9_]*\}))+")
FUNCTION = re.compile(r"[^\W\d]\w{0,127}")
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True, slots=True)
class CordMatch:
    """`index`: its place among the chute's cords. `params`: of the path, decoded."""

    index: int
    cord: CordFunction
    params: dict[str, str]


@dataclass(frozen=True, slots=True)
class OtherMethods:
    """The path is a cord's, and the method is not. `allowed`: those that are."""

    allowed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NoCord:
    """`near`: the path of a cord that may have been meant."""

    near: str | None


def match_cord(cords: Sequence[CordFunction], method: str, path: str) -> CordMatch | OtherMethods | NoCord:
    """`path` begins with /, and is as it was sent: percent-encoded. A plain segment goes before a parameter, from the left."""
    segments = _decode(path)
    found = [] if segments is None else _find_all(cords, segments)
    if not found:
        known = {cord.public_api_path: None for cord in cords if cord.public_api_path is not None}
        return NoCord(find_near(path, known))
    for wanted in (method, "GET" if method == "HEAD" else method):
        for match in found:
            if match.cord.method == wanted:
                return match
    return OtherMethods(_allowed(found))


def lines_of(concurrency: int | None) -> int:
    """How many cords of a chute run at once."""
    return min(max(concurrency or 1, 1), MAX_CONCURRENCY)


def find_cord_faults(cords: Sequence[CordFunction]) -> Iterator[Fault]:
    """Of a manifest's cords, which a stranger wrote."""
    forms = Counter((cord.method, _form_of(cord)) for cord in cords)
    for cord in cords:
        yield from _find_own_faults(cord)
        if forms[cord.method, _form_of(cord)] > 1:
            told = (
                f"{show(str(cord.method))} {show(str(cord.public_api_path))} would be answered by two cords"
            )
            yield Fault(
                field_of(cord.function, "public_api_path", "cord"),
                "cord_duplicate",
                told,
                "Give each cord a path or a method of its own.",
            )


def _find_own_faults(cord: CordFunction) -> Iterator[Fault]:
    if not FUNCTION.fullmatch(cord.function):
        yield _lie(cord, "function", "is no name of a function")
    if cord.method not in METHODS:
        known = ", ".join(METHODS)
        yield _fault(cord, "method", f"must be one of {known}, not {show(str(cord.method))}")
    path = cord.public_api_path
    if path is None or len(path) > MAX_PATH_CHARACTERS or not PATH.fullmatch(path):
        told = f"must be a path of plain names and {{parameters}}, not {show(str(path))}"
        yield _fault(cord, "public_api_path", told)
    elif len(set(names := _names_of(path))) < len(names):
        yield _fault(cord, "public_api_path", "has a parameter twice")
    if len(cord.parameters) > MAX_PARAMETERS:
        yield _lie(cord, "parameters", f"has more than {MAX_PARAMETERS} entries")


def _fault(cord: CordFunction, field: str, message: str) -> Fault:
    remedy = (
        'Write it as in @chute.cord(public_api_path="/status/{job_id}", method="GET"), then deploy again.'
    )
    return Fault(field_of(cord.function, field, "cord"), "cord_invalid", message, remedy)


def _lie(cord: CordFunction, field: str, message: str) -> Fault:
    return Fault(field_of(cord.function, field, "cord"), "manifest_invalid", message, REMEDY)


def _names_of(path: str) -> list[str]:
    return [segment[1:-1] for segment in path.split("/") if segment.startswith("{")]


def _form_of(cord: CordFunction) -> str:
    """The same for two paths between which no request could tell."""
    segments = (cord.public_api_path or "").split("/")
    return "/".join("{}" if segment.startswith("{") else segment for segment in segments)


def _find_all(cords: Sequence[CordFunction], segments: list[str]) -> list[CordMatch]:
    """All whose path fits, the plainest first."""
    fitting: list[tuple[tuple[bool, ...], CordMatch]] = []
    for index, cord in enumerate(cords):
        wanted = (cord.public_api_path or "")[1:].split("/")
        params = _fit(wanted, segments)
        if params is not None:
            rank = tuple(segment.startswith("{") for segment in wanted)
            fitting.append((rank, CordMatch(index, cord, params)))
    return [match for _, match in sorted(fitting, key=lambda ranked: ranked[0])]


def _fit(wanted: list[str], segments: list[str]) -> dict[str, str] | None:
    if len(wanted) != len(segments):
        return None
    params: dict[str, str] = {}
    for want, have in zip(wanted, segments, strict=True):
        if want.startswith("{") and have:
            params[want[1:-1]] = have
        elif want != have:
            return None
    return params


def _decode(path: str) -> list[str] | None:
    """Split before it is decoded: a slash that is percent-encoded is part of its segment. None: it is no path."""
    if not path.startswith("/") or _BROKEN_ESCAPE.search(path):
        return None
    try:
        return [unquote_to_bytes(segment).decode() for segment in path[1:].split("/")]
    except UnicodeDecodeError:
        return None


def _allowed(found: Sequence[CordMatch]) -> tuple[str, ...]:
    methods = {str(match.cord.method) for match in found}
    if "GET" in methods:
        methods.add("HEAD")
    return tuple(method for method in METHODS if method in methods or method == "OPTIONS")
