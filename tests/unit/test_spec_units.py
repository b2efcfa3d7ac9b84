"""Sizes and durations as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.spec import parse_duration, parse_size

INT64_MAX = 2**63 - 1


@pytest.mark.parametrize(
    ("written", "size"),
    [
        (0, 0),
        (1048576, 1048576),
        ("1048576", 1048576),
        ("1B", 1),
        ("100MB", 100_000_000),
        ("64GiB", 64 * 2**30),
        ("64 GiB", 64 * 2**30),
        (" 64gib ", 64 * 2**30),
        ("1KB", 1000),
        ("1KiB", 1024),
        ("2TB", 2 * 10**12),
        ("2TiB", 2 * 2**40),
        ("1.5GB", 1_500_000_000),
        ("0.5KiB", 512),
        ("0.000000001KB", 0),
    ],
)
def test_a_size_reads_as_bytes(written: str | int, size: int) -> None:
    assert parse_size(written) == size


@pytest.mark.parametrize(
    "written",
    ["", " ", "4g", "4k", "GiB", "-1", "-1GiB", "1e9", "0x10", "1.5", "1.5B", "1,5GB", "1_000", "64GiBs", "6 4", "٣", "1\n",
     "9" * 100, "9" * 19 + "TB", -1, 2**63, 10**30, True],
)  # fmt: skip
def test_what_is_no_size_is_refused_with_the_accepted_forms(written: str | int) -> None:
    with pytest.raises(ValueError, match=r"a size is whole bytes .* GiB"):
        parse_size(written)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [(30, 30), ("30", 30), ("0", 0), ("90s", 90), ("1h", 3600), ("15m", 900), ("2d", 172_800), ("1h30m", 5400), ("1d2h3m4s", 93_784)],
)  # fmt: skip
def test_a_duration_reads_as_seconds(written: str | int, seconds: int) -> None:
    assert parse_duration(written) == seconds


@pytest.mark.parametrize(
    "written",
    [
        "",
        " ",
        "h",
        "1.5h",
        "-5",
        "5ms",
        "30m1h",
        "1h 30m",
        "1w",
        "1H",
        "٣",
        "9" * 20,
        "1s\n",
        -1,
        10**30,
        True,
    ],
)
def test_what_is_no_duration_is_refused_with_the_accepted_forms(written: str | int) -> None:
    with pytest.raises(ValueError, match=r"a duration is whole seconds .* 90s"):
        parse_duration(written)


@given(st.one_of(st.text(), st.from_regex(r"[0-9]{0,40}(\.[0-9]{0,12})? ?[KMGTkmgt]?i?[Bb]?"), st.integers()))
def test_a_size_is_an_int64_or_a_value_error_never_anything_else(written: str | int) -> None:
    try:
        size = parse_size(written)
    except ValueError:
        return
    assert type(size) is int
    assert 0 <= size <= INT64_MAX


@given(
    st.one_of(
        st.text(), st.from_regex(r"([0-9]{0,12}d)?([0-9]{0,12}h)?([0-9]{0,12}m)?[0-9]{0,30}s?"), st.integers()
    )
)
def test_a_duration_is_an_int64_or_a_value_error_never_anything_else(written: str | int) -> None:
    try:
        seconds = parse_duration(written)
    except ValueError:
        return
    assert type(seconds) is int
    assert 0 <= seconds <= INT64_MAX


@given(st.integers(0, INT64_MAX))
def test_a_number_of_bytes_reads_the_same_as_text_and_as_number(size: int) -> None:
    assert parse_size(size) == parse_size(str(size)) == size
