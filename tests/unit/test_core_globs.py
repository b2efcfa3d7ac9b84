"""Which outputs patterns choose: a table for people, a plain matcher as oracle, and patterns made to be slow."""

import time
from functools import cache

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent.adapters.folders.names import to_text
from agent.core.globs import EVERY_OUTPUT, compile_choice
from agent.spec.globs import NameGlob, OneOf, Wild, read_glob
from agent.spec.limits import MAX_GLOB_CHARACTERS, MAX_GLOBS

CHOSEN = [
    # without a slash: in any folder
    ("*.pt", "a.pt runs/1/a.pt .pt .hidden.pt", "a.pth a.pt.tmp apt runs/a.pt5"),
    ("logs", "logs logs/a x/logs/y/z", "log logs2 xlogs/a"),
    ("logs/", "logs/a x/logs/y/z", "logs x/logs"),
    ("*", "a a/b .c", ""),
    # with one: from the folder of outputs on
    ("./*.pt", "a.pt", "runs/a.pt"),
    ("./logs/", "logs/a", "logs x/logs/a"),
    ("runs/*.pt", "runs/a.pt runs/b.pt/c", "a.pt runs/1/a.pt x/runs/a.pt"),
    ("runs/*/best", "runs/1/best runs/1/best/a", "runs/best runs/1/2/best"),
    ("runs/*", "runs/a runs/a/b", "runs"),
    # any number of folders
    ("**", "a a/b/c", ""),
    ("**/*.pt", "a.pt x/y/a.pt", "a.pth"),
    ("runs/**/best.pt", "runs/best.pt runs/1/2/best.pt", "best.pt x/runs/best.pt runs/1/best.pt2"),
    ("runs/**", "runs/a runs/a/b", "runs x/runs/a"),
    ("a/**/b/**/c", "a/b/c a/b/b/c a/x/b/y/c a/b/c/d", "a/c/b a/b a/c"),
    ("**/a/**", "a/b x/a/b", "a x/a"),
    ("**/", "a/b", "a"),
    ("**/**/a/**/**/b", "a/b x/a/y/b", "b/a"),
    ("x**y", "xy xay", "x/y xa"),
    # within a name
    ("?.txt", "a.txt ö.txt ?.txt", ".txt ab.txt a/.txt2"),
    ("a?c", "abc a%25c a%0Ac a%FFc a%C2%85c", "ac a/c abbc"),
    ("[ab-d].x", "a.x c.x", "e.x -.x A.x"),
    ("[!ab-d].x", "e.x", "a.x c.x .x"),
    ("[^a]b", "bb a/bb", "ab b a/b"),
    ("a[.-0]b", "a.b a0b", "a/b"),
    ("a[!x]b", "ayb", "a/b axb"),
    ("[]a].x", "].x a.x", "b.x"),
    ("[!]a].x", "b.x", "].x a.x"),
    ("[a-].x", "a.x -.x", "b.x"),
    ("[*][?][[][{]", "*?[{", "abcd"),
    ("*a*b", "ab aab xaxbxb", "ba abx"),
    ("a.b+c(d|e)$^", "a.b+c(d|e)$^", "axb+c(d|e)$^ a.bbcd"),
    # names that a list writes in another way
    ("100%.txt", "100%25.txt", "100%.txt2"),
    ("100%25.txt", "100%25.txt", "100%2525.txt"),
    ("*5", "a5", "a%25"),
    ("%FF*", "%FFa", "%FEa"),
    ("%2A", "%252A", "*"),
]  # fmt: skip


@pytest.mark.parametrize(("glob", "chosen", "left"), CHOSEN)
def test_a_pattern_chooses_these_and_not_those(glob: str, chosen: str, left: str) -> None:
    choice = compile_choice((glob,), ())
    assert [path for path in (chosen + " " + left).split() if choice.takes(path)] == chosen.split()


def test_what_is_excluded_is_never_chosen() -> None:
    choice = compile_choice(("**/*.pt", "logs"), ("*.tmp.pt", "cache/", "logs/debug/**"))
    paths = "a.pt x/a.pt a.tmp.pt x/cache/a.pt cache logs/a logs/debug/a logs/debug"
    assert [path for path in paths.split() if choice.takes(path)] == [
        "a.pt",
        "x/a.pt",
        "logs/a",
        "logs/debug",
    ]


def test_without_a_pattern_nothing_is_chosen() -> None:
    choice = compile_choice((), ())
    assert not choice.takes("a")
    assert not choice.enters("a")


def test_a_walk_need_not_enter_where_nothing_can_be_chosen() -> None:
    choice = compile_choice(("runs/*/best/**", "./top.txt"), ("*_tmp",))
    for folder in ("runs", "runs/1", "runs/1/best", "runs/1/best/deep", "top.txt"):
        assert choice.enters(folder), folder
    for folder in ("cache", "runs/1/other", "runs_tmp", "runs/1_tmp", "runs/1/best/x_tmp/y"):
        assert not choice.enters(folder), folder
    without = compile_choice(("**",), ("cache/", "./data/**"))
    assert [folder for folder in ("cache", "x/cache", "data", "x/data") if without.enters(folder)] == [
        "x/data"
    ]


# The oracle: no regular expression and no cleverness.


def fits(glob: str, path: tuple[str, ...]) -> bool:
    read = read_glob(glob)

    @cache
    def names_fit(at: int, start: int) -> bool:
        """Whether names[at:] fit a beginning of path[start:]."""
        if at == len(read.names):
            return start < len(path) if read.folder_only or read.names[-1] is None else start > 0
        name = read.names[at]
        if name is None:
            return any(names_fit(at + 1, later) for later in range(start, len(path) + 1))
        return start < len(path) and name_fits(name, path[start]) and names_fit(at + 1, start + 1)

    if all(name is None for name in read.names):
        return len(path) > 1 or not read.folder_only
    return names_fit(0, 0)


def name_fits(name: NameGlob, text: str) -> bool:
    @cache
    def rest_fits(at: int, start: int) -> bool:
        if at == len(name):
            return start == len(text)
        part = name[at]
        if part is Wild.ANY:
            return any(rest_fits(at + 1, later) for later in range(start, len(text) + 1))
        return start < len(text) and character_fits(part, text[start]) and rest_fits(at + 1, start + 1)

    return rest_fits(0, 0)


def character_fits(part: str | Wild | OneOf, character: str) -> bool:
    if isinstance(part, OneOf):
        return any(low <= character <= high for low, high in part.ranges) != part.is_negated
    return part is Wild.ONE or part == character


NAMES = st.text("ab.-%\n", min_size=1, max_size=5).filter(lambda name: name not in (".", ".."))
PATHS = st.lists(NAMES, min_size=1, max_size=5).map(tuple)
NAME_GLOBS = st.one_of(
    st.just("**"),
    st.lists(st.sampled_from(["a", "b", ".", "-", "*", "**", "?", "[ab]", "[!b]", "[+-a]"]), min_size=1, max_size=5)
    .map("".join)
    .filter(lambda name: name not in (".", "..")),
)  # fmt: skip
GLOBS = st.tuples(
    st.sampled_from(["", "./"]), st.lists(NAME_GLOBS, min_size=1, max_size=5).map("/".join), st.sampled_from(["", "/"])
).map("".join)  # fmt: skip


def as_listed(path: tuple[str, ...]) -> str:
    return to_text("/".join(path).encode())


@given(GLOBS, PATHS)
@example("**/a/**/b/", ("a", "b", "b"))
@example("a*ab", ("aab",))
@example("*a*ab*b", ("aabab",))
def test_the_compiled_pattern_fits_just_what_the_plain_matcher_says(glob: str, path: tuple[str, ...]) -> None:
    assert compile_choice((glob,), ()).takes(as_listed(path)) == fits(glob, path)


@given(st.lists(GLOBS, max_size=3), st.lists(GLOBS, max_size=2), PATHS)
@example(["a/**/b"], [], ("a", "c", "b"))
@example(["**"], ["a/*"], ("a", "b"))
def test_no_folder_on_the_way_to_a_chosen_file_is_left_out(
    include: list[str], exclude: list[str], path: tuple[str, ...]
) -> None:
    choice = compile_choice(include, exclude)
    chosen = any(fits(glob, path) for glob in include) and not any(fits(glob, path) for glob in exclude)
    assert choice.takes(as_listed(path)) == chosen
    if chosen:
        assert all(choice.enters(as_listed(path[:depth])) for depth in range(1, len(path)))


@given(PATHS)
def test_every_output_is_every_output(path: tuple[str, ...]) -> None:
    assert EVERY_OUTPUT.takes(as_listed(path))
    assert EVERY_OUTPUT.enters(as_listed(path))


SLOW = [
    "a*" * 127 + "b",
    "**/" * 80 + "b",
    "**/*" * 60 + "b",
    "**/" + "*/" * 60 + "**/b",
    "**/" + "*a" * 120 + "b",
    "**/*" + "[!b]" * 60 + "b*",
    "*" + "?" * 250 + "b",
    "**/a*/**/a*/**/a*/**/a*/**/a*/**/*a*a*a*a*a*a*b",
    "*[ab]?" * 40 + "c",
]
LONG_PATHS = ["/".join(["a" * 255] * 4), "/".join(["a"] * 64), "/".join(["a" * 15] * 64), "%FF" * 1024]


@pytest.mark.parametrize(
    "glob", [SLOW[0], *(pytest.param(glob, marks=pytest.mark.slow) for glob in SLOW[1:])]
)
def test_a_pattern_made_to_be_slow_is_bounded(glob: str) -> None:
    """As many as there may be, as long as they may be, on the longest paths: where stars were tried again, this took ages."""
    assert len(glob) <= MAX_GLOB_CHARACTERS
    began = time.process_time()
    choice = compile_choice(("z", *[glob] * (MAX_GLOBS - 1)), [glob] * MAX_GLOBS)
    for path in LONG_PATHS:
        choice.takes(path)
        choice.takes(f"z/{path}"[:1024])  # included, so that `exclude` is tried to its end, too
    assert time.process_time() - began < 1
