"""spec/globs — the patterns of `outputs.include` and `exclude`, read strictly. What they choose is core/globs' to say.

    *         any characters of one name, a leading dot among them
    ?         one character
    [a-z0-9_] one of these; [!…] or [^…] one other than these; [*] [?] [[] [{] stand for the character itself
    **        as a whole name: any number of folders, none among them
    a/b       a pattern with a slash in it begins at the folder of outputs
    a         one without begins in any folder, and so does a/; ./a begins at the folder of outputs
    a/        a folder, not a file

A pattern that fits a folder takes all that is in it. What is written otherwise elsewhere (`!` in front, `{a,b}`, a backslash)
is refused: taken for plain characters, it would choose nothing, in silence.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from agent.spec.faults import Fault, join_path
from agent.spec.limits import MAX_GLOB_CHARACTERS, MAX_GLOBS
from agent.spec.text import UNPRINTABLE

FIELDS = ("include", "exclude")
# What a list of outputs writes as %XX: the percent sign, control characters and bytes that are no UTF-8.
_WRITTEN_OTHERWISE = re.compile(r"(?:%(?:25|7F|[0189A-F][0-9A-F]))+")


class Wild(StrEnum):
    """What is no character nor one of some."""

    ONE = "?"
    ANY = "*"


@dataclass(frozen=True, slots=True)
class OneOf:
    """A character within one of the ranges, or within none of them; never a slash. Ends are part of a range."""

    ranges: tuple[tuple[str, str], ...]
    is_negated: bool


NameGlob = tuple[str | Wild | OneOf, ...]


@dataclass(frozen=True, slots=True)
class Glob:
    """A pattern as names; None is `**`. `folder_only`: it ended in a slash."""

    names: tuple[NameGlob | None, ...]
    folder_only: bool


def find_glob_faults(outputs: object) -> Iterator[Fault]:
    """Of `outputs` as decoded JSON."""
    if not isinstance(outputs, dict):
        return
    for field in FIELDS:
        if isinstance(globs := outputs.get(field), list):
            yield from _find_list_faults(("outputs", field), globs)


def _find_list_faults(path: tuple[str, str], globs: list[object]) -> Iterator[Fault]:
    if path[1] == "include" and not globs:
        yield Fault(
            join_path(*path),
            "empty_list",
            "chooses no file at all",
            'Write ["**"] for every file, or leave it out.',
        )
    if len(globs) > MAX_GLOBS:
        yield Fault(
            join_path(*path),
            "too_many",
            f"has more than {MAX_GLOBS} patterns",
            "Name folders, or collect what belongs together in one.",
        )
    for index, glob in enumerate(globs[:MAX_GLOBS]):
        if isinstance(glob, str):
            yield from _find_faults(join_path(*path, index), glob)


def _find_faults(where: str, glob: str) -> Iterator[Fault]:
    if not glob:
        yield Fault(where, "empty_text", "may not be empty", "Write a pattern such as *.pt, or leave it out.")
    elif len(glob) > MAX_GLOB_CHARACTERS:
        yield Fault(
            where, "too_long", f"has more than {MAX_GLOB_CHARACTERS} characters", "Shorten it with *."
        )
    elif UNPRINTABLE.search(glob):
        yield Fault(
            where,
            "unprintable",
            "holds a line end or another control character",
            "Write it as the list of outputs does (%0A), or as ?.",
        )
    else:
        try:
            read_glob(glob)
        except ValueError as unread:
            yield Fault(
                where, "glob_invalid", str(unread), "Write it as docs/api.md says, for example **/*.pt."
            )


def read_glob(glob: str) -> Glob:
    """The pattern in parts. Raises ValueError."""
    _refuse_what_it_is_not(glob)
    is_anchored = glob.startswith("./")
    rest = glob.removeprefix("./")
    folder_only = rest.endswith("/")
    names = read_names(rest.removesuffix("/"))
    for name in names:
        if name in ("", ".", ".."):
            raise ValueError("has an empty name, . or .. in it, which no path of an output has")
    parts = tuple(None if name == "**" else _read_name(name) for name in names)
    # As rsync and .gitignore have it: who writes *.pt means those in folders, too.
    if len(names) == 1 and not is_anchored:
        parts = (None, *parts)
    return Glob(parts, folder_only)


def _refuse_what_it_is_not(glob: str) -> None:
    if glob.startswith("/"):
        raise ValueError("begins with a slash, but patterns are relative to the folder of outputs")
    if glob.startswith("!"):
        raise ValueError("begins with !, which excludes nothing here: that is what outputs.exclude is for")
    if "\\" in glob:
        raise ValueError("holds a backslash; names are set off by /, and [*] is the character * itself")


def read_names(path: str) -> list[str]:
    """The names of a path or pattern as a list of outputs writes it, in their own characters.

    A byte that is no UTF-8 becomes half of a surrogate pair, as in Python's own names of files.
    """
    return _WRITTEN_OTHERWISE.sub(_in_own_characters, path).split("/")


def _in_own_characters(match: re.Match[str]) -> str:
    return bytes.fromhex(match[0].replace("%", "")).decode("utf-8", "surrogateescape")


def _read_name(name: str) -> NameGlob:
    parts: list[str | Wild | OneOf] = []
    at = 0
    while at < len(name):
        character = name[at]
        at += 1
        if character == "[":
            one_of, at = _read_set(name, at)
            parts.append(one_of)
        elif character in "]{}":
            raise ValueError(
                f"holds {character} outside of a set; [{character}] is the character itself, "
                "and alternatives are patterns of their own"
            )
        elif character in "*?":
            # Two stars within a name are one: only as a whole name they mean folders.
            if character == "?" or parts[-1:] != [Wild.ANY]:
                parts.append(Wild(character))
        else:
            parts.append(character)
    return tuple(parts)


def _read_set(name: str, start: int) -> tuple[OneOf, int]:
    """The set whose `[` is before `start`, and where it ends."""
    is_negated = name[start : start + 1] in ("!", "^")
    first = start + is_negated
    end = name.find("]", first + 1)  # one that comes first is a character of the set
    if end < 0:
        raise ValueError("holds a [ that no ] closes within the name; [[] is the character itself")
    inner = name[first:end]
    if inner.startswith(("[:", "[.", "[=")):
        raise ValueError(f"holds {inner[:2]}, a class of characters, which is not known here; write ranges")
    return OneOf(tuple(_read_ranges(inner)), is_negated), end + 1


def _read_ranges(inner: str) -> Iterator[tuple[str, str]]:
    at = 0
    while at < len(inner):
        low = inner[at]
        has_range = inner[at + 1 : at + 2] == "-" and at + 2 < len(inner)
        high = inner[at + 2] if has_range else low
        if low > high:
            raise ValueError("holds a range that ends before it begins")
        yield low, high
        at += 3 if has_range else 1
