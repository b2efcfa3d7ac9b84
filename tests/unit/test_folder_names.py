"""Names of output files: bytes on disk, text on the way, and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.adapters.folders.names import MAX_DEPTH, MAX_PATH_BYTES, to_bytes, to_text

NAMES = st.binary(min_size=1, max_size=40).filter(
    lambda name: not {0, 0x2F} & set(name) and name not in (b".", b"..")
)
PATHS = st.lists(NAMES, min_size=1, max_size=10).map(b"/".join)


@given(PATHS)
def test_every_path_travels_as_clean_utf8_and_comes_back(raw: bytes) -> None:
    text = to_text(raw)
    assert to_bytes(text) == raw
    assert text.encode("utf-8")
    assert not any(ord(character) < 32 or 127 <= ord(character) < 160 for character in text)


@given(st.text(max_size=60))
def test_a_path_from_outside_is_refused_or_the_only_way_to_write_its_file(text: str) -> None:
    raw = to_bytes(text)
    if raw is not None:
        assert to_text(raw) == text
        assert not raw.startswith(b"/")
        assert b".." not in raw.split(b"/")


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"a/b.txt", "a/b.txt"),
        ("größe".encode(), "größe"),
        (b"\xff.bin", "%FF.bin"),
        (b"100%", "100%25"),
        (b"two\nlines\x1b[31m", "two%0Alines%1B[31m"),
        (b"\xc2\x9b", "%C2%9B"),
        (b"\xed\xa0\x80", "%ED%A0%80"),
    ],
)
def test_what_is_no_clean_utf8_is_percent_encoded(raw: bytes, text: str) -> None:
    assert to_text(raw) == text
    assert to_bytes(text) == raw


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/etc/passwd",
        "..",
        "a/../b",
        "a//b",
        "a/",
        "./a",
        "%2e%2e/a",
        "%2E%2E/a",
        "a%2Fb",
        "%00",
        "a\0b",
        "%41",
        "100%",
        "%ff",
        "line\nbreak",
        "\ud800",
        "a" * (MAX_PATH_BYTES + 1),
        "/".join("a" * (MAX_DEPTH + 1)),
    ],
)
def test_a_path_that_no_listing_holds_is_refused(text: str) -> None:
    assert to_bytes(text) is None
