"""core/globs — which output files `include` and `exclude` choose. Pure; how a pattern is written is spec/globs' to say.

A path is chosen if a pattern of `include` fits it, or a folder on its way, and none of `exclude` does. Paths are in their text
form, as a list of outputs writes them.

Patterns and names both may be made to be slow. So each pattern becomes a regular expression that never tries a star
again: what follows a star is taken where it fits first (an atomic group), and a later place could fit no better, since
behind it is a star again or, behind the last one, the end of the name alone. That bounds one path to patterns times
path: some 15 ms for the longest of both and the most patterns. Everyday ones take a microsecond.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from agent.spec.globs import Glob, NameGlob, OneOf, Wild, read_glob, read_names

_ANY = "[^/]*"
_NAME_END = r"(?=/|\Z)"


@dataclass(frozen=True, slots=True)
class OutputChoice:
    """Compiled once for a spec, by `compile_choice`."""

    _include: re.Pattern[str]
    _exclude: re.Pattern[str]
    _beginnings: tuple[tuple[re.Pattern[str], ...], ...]

    def takes(self, path: str) -> bool:
        """Whether the file is chosen."""
        own = "/".join(read_names(path)) if "%" in path else path
        return self._include.match(own) is not None and self._exclude.match(own) is None

    def enters(self, folder: str) -> bool:
        """Whether there can be a chosen file in it: a walk may leave out a folder where there can't."""
        names = read_names(folder)
        if self._exclude.match("/".join((*names, ""))) is not None:
            return False
        return any(
            all(begins.fullmatch(name) for begins, name in zip(beginning, names, strict=False))
            for beginning in self._beginnings
        )


def compile_choice(include: Sequence[str], exclude: Sequence[str]) -> OutputChoice:
    """Raises ValueError for a pattern that `spec.globs.find_glob_faults` has a fault for."""
    included = [read_glob(glob) for glob in include]
    excluded = [read_glob(glob) for glob in exclude]
    beginnings = tuple(_beginning(glob) for glob in included)
    return OutputChoice(_compile(included), _compile(excluded), beginnings)


def _compile(globs: Iterable[Glob]) -> re.Pattern[str]:
    # Without any the expression is one that nothing fits.
    return re.compile("|".join(map(_as_expression, globs)) or "(?!)")


def _as_expression(glob: Glob) -> str:
    """Fits a path of a file from its beginning, or a folder on its way: what comes behind is not looked at."""
    runs = [list(run) for is_name, run in groupby(glob.names, lambda name: name is not None) if is_name]
    first = "" if glob.names[0] is None else _as_names(runs.pop(0))
    parts = [first]
    for number, run in enumerate(runs):
        slash = "/" if first or number else ""
        parts.append(f"(?>{slash}(?:[^/]+/)*?{_as_names(run)})")
    if glob.names[-1] is None or glob.folder_only:
        parts.append(_below(glob))
    return "(?:" + "".join(parts) + ")"


def _below(glob: Glob) -> str:
    """What behind the last name a `**` or a slash at the end asks for."""
    if any(name is not None for name in glob.names):
        return "/"
    return "[^/]+/" if glob.folder_only else ""


def _as_names(run: Iterable[NameGlob | None]) -> str:
    return "/".join(_as_name(name) for name in run if name is not None)


def _as_name(name: NameGlob) -> str:
    runs = ["".join(map(_as_character, run)) for run in _between_stars(name)]
    first, *rest = runs
    if not rest:
        return first + _NAME_END
    middle = "".join(f"(?>{_ANY}?{run})" for run in rest[:-1])
    # The last run has one place, the end: there is nothing to try again.
    return f"{first}{middle}{_ANY}{rest[-1]}{_NAME_END}"


def _between_stars(name: NameGlob) -> list[list[str | Wild | OneOf]]:
    runs: list[list[str | Wild | OneOf]] = [[]]
    for part in name:
        if part is Wild.ANY:
            runs.append([])
        else:
            runs[-1].append(part)
    return runs


def _as_character(part: str | Wild | OneOf) -> str:
    if isinstance(part, OneOf):
        ranges = "".join(f"{re.escape(low)}-{re.escape(high)}" for low, high in part.ranges)
        # A range may run across the slash.
        return f"[^/{ranges}]" if part.is_negated else f"(?!/)[{ranges}]"
    return "[^/]" if part is Wild.ONE else re.escape(part)


def _beginning(glob: Glob) -> tuple[re.Pattern[str], ...]:
    """The names that a path must begin with."""
    names: list[re.Pattern[str]] = []
    for name in glob.names:
        if name is None:
            break
        names.append(re.compile(_as_name(name)))
    return tuple(names)


EVERY_OUTPUT = compile_choice(("**",), ())
