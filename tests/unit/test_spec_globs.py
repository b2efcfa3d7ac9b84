"""Patterns of outputs: what is read, and what is refused with its field, its rule and what to write instead."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.globs import compile_choice
from agent.spec.globs import find_glob_faults, read_glob
from agent.spec.limits import MAX_GLOB_CHARACTERS, MAX_GLOBS

REFUSED = [
    ("", "empty_text", "empty"),
    ("a" * (MAX_GLOB_CHARACTERS + 1), "too_long", "256 characters"),
    ("a\nb", "unprintable", "control character"),
    ("a\u202eb", "unprintable", "control character"),
    ("/outputs/*.pt", "glob_invalid", "begins with a slash"),
    ("/", "glob_invalid", "begins with a slash"),
    ("!*.tmp", "glob_invalid", "outputs.exclude"),
    ("a\\*", "glob_invalid", "backslash"),
    ("..", "glob_invalid", "empty name, . or .."),
    ("a/../b", "glob_invalid", "empty name, . or .."),
    (".", "glob_invalid", "empty name, . or .."),
    ("./", "glob_invalid", "empty name, . or .."),
    ("././a", "glob_invalid", "empty name, . or .."),
    ("a/./b", "glob_invalid", "empty name, . or .."),
    ("a//b", "glob_invalid", "empty name, . or .."),
    ("a//", "glob_invalid", "empty name, . or .."),
    ("[ab", "glob_invalid", "no ] closes"),
    ("[", "glob_invalid", "no ] closes"),
    ("[]", "glob_invalid", "no ] closes"),
    ("[!]", "glob_invalid", "no ] closes"),
    ("[a/b]", "glob_invalid", "no ] closes within the name"),
    ("a]", "glob_invalid", "holds ] outside"),
    ("*.{pt,bin}", "glob_invalid", "holds { outside"),
    ("[z-a]", "glob_invalid", "range that ends"),
    ("[%FF-a]", "glob_invalid", "range that ends"),
    ("[[:digit:]]", "glob_invalid", "class of characters"),
]


@pytest.mark.parametrize(("glob", "code", "words"), REFUSED)
@pytest.mark.parametrize("field", ["include", "exclude"])
def test_a_bad_pattern_is_named_with_its_rule_and_a_remedy(
    field: str, glob: str, code: str, words: str
) -> None:
    faults = list(find_glob_faults({field: ["*.pt", glob]}))
    assert [(fault.field, fault.code) for fault in faults] == [(f"outputs.{field}.1", code)]
    assert words in faults[0].message
    assert faults[0].remedy


def test_too_many_patterns_are_one_fault_and_not_one_each() -> None:
    faults = list(find_glob_faults({"include": ["*"] * MAX_GLOBS, "exclude": ["["] * (MAX_GLOBS + 9)}))
    assert [fault.field for fault in faults][:2] == ["outputs.exclude", "outputs.exclude.0"]
    assert faults[0].code == "too_many"
    assert len(faults) == MAX_GLOBS + 1


def test_no_pattern_at_all_includes_nothing_and_excludes_nothing() -> None:
    assert [fault.code for fault in find_glob_faults({"include": [], "exclude": []})] == ["empty_list"]


@pytest.mark.parametrize("outputs", [None, [], "x", {}, {"include": "*.pt"}, {"exclude": [7, None, ["["]]}])
def test_what_is_of_another_type_is_passed_over(outputs: object) -> None:
    assert list(find_glob_faults(outputs)) == []


@given(
    st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("*?[]!-/.%{"), min_size=1, max_size=40)
)
def test_any_text_is_a_fault_or_a_pattern_that_compiles(glob: str) -> None:
    faults = list(find_glob_faults({"include": [glob]}))
    if faults:
        assert all((fault.field, fault.code, fault.message, fault.remedy) for fault in faults)
        assert all(fault.message.isprintable() for fault in faults)
    else:
        compile_choice((glob,), (glob,))


def test_stars_within_a_name_are_one_and_two_as_a_name_are_folders() -> None:
    assert read_glob("a***b/**/c") == read_glob("a*b/**/c")
    assert read_glob("**/c").names == read_glob("c").names
    assert read_glob("./c").names != read_glob("c").names
