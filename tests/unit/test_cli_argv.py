"""Which words of `run …` are ours, and which are the command's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.cli.argv import Known, split_words

KNOWN = Known({"--env", "-e", "--port", "-p", "--outputs", "-o"}, {"--json", "--help", "-d"})


@pytest.mark.parametrize(
    ("written", "ours", "words"),
    [
        ("busybox", "", "busybox"),
        ("-e A=1 busybox sh", "-e A=1", "busybox sh"),
        ("busybox sh -e A=1", "-e A=1", "busybox sh"),
        ("busybox -o out --json", "-o out --json", "busybox"),
        ("busybox sh -c exit", "", "busybox sh -c exit"),
        ("busybox sh -ec exit", "", "busybox sh -ec exit"),
        ("busybox train.py --epochs 3 -p web:8080", "-p web:8080", "busybox train.py --epochs 3"),
        ("busybox --env=A=1 x", "--env=A=1", "busybox x"),
        ("-o out busybox -- ls -o -p /", "-o out", "busybox ls -o -p /"),
        ("busybox -- --json", "", "busybox --json"),
        ("-- busybox -d", "", "busybox -d"),
        ("--nonsense busybox", "--nonsense", "busybox"),
        ("busybox cat -", "", "busybox cat -"),
    ],
)
def test_options_stand_anywhere_before_two_dashes_and_the_rest_is_the_commands(
    written: str, ours: str, words: str
) -> None:
    assert split_words(written.split(), KNOWN) == [*ours.split(), "--", *words.split()]


def test_an_option_without_its_value_is_left_for_the_parser_to_name() -> None:
    assert split_words(["busybox", "-e"], KNOWN) == ["-e", "--", "busybox"]


PAIRS = st.lists(st.sampled_from([("-e", "A=1"), ("x",), ("--json",), ("-x",), ("",)]), max_size=6)


@given(st.lists(st.text(max_size=5)), PAIRS)
def test_behind_two_dashes_no_word_is_ever_ours(words: list[str], before: list[tuple[str, ...]]) -> None:
    found = split_words(["image", *(word for pair in before for word in pair), "--", *words], KNOWN)
    kept = found[found.index("--") + 1 :]
    assert kept[:1] == ["image"]
    assert kept[len(kept) - len(words) :] == words


@given(st.lists(st.text(max_size=4)))
def test_no_word_is_ever_lost_or_made_up(words: list[str]) -> None:
    found = split_words(words, KNOWN)
    marker = ["--"] if "--" not in words else []
    assert sorted(found) == sorted([*words, *marker])
