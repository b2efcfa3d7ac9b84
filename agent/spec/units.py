"""spec/units — sizes and durations as people write them, read into bytes and seconds. Knows no field and no limit but int64."""

import re

from agent.spec.limits import INT64_MAX

SIZE_FORMS = (
    "a size is whole bytes (1048576) or a number with B, KB, MB, GB, TB, KiB, MiB, GiB or TiB (64GiB, 1.5GB)"
)
DURATION_FORMS = (
    "a duration is whole seconds (90) or numbers with d, h, m and s, the largest first (1h, 90s, 1h30m)"
)

UNIT_BYTES = {
    "": 1,
    "b": 1,
    **{f"{letter}b": 1000**power for power, letter in enumerate("kmgt", start=1)},
    **{f"{letter}ib": 1024**power for power, letter in enumerate("kmgt", start=1)},
}
# Bounded digits: the text comes from outside, and Python's integers do not overflow but grow.
SIZE = re.compile(r"([0-9]{1,19})(?:\.([0-9]{1,9}))? ?([A-Za-z]*)")
DURATION = re.compile(r"(?:([0-9]{1,9})d)?(?:([0-9]{1,9})h)?(?:([0-9]{1,9})m)?(?:([0-9]{1,9})s)?")
SECONDS = re.compile(r"[0-9]{1,19}")
UNIT_SECONDS = (86_400, 3_600, 60, 1)


def parse_size(written: str | int) -> int:
    """Read a size into bytes. Units are decimal (MB = 10^6) or binary (MiB = 2^20), in either case.

    A bare `4g` is refused: programs disagree on whether it is decimal. Part of a byte is dropped.

    Raises ValueError with the accepted forms: unreadable, negative, or more than int64 holds.
    """
    if isinstance(written, bool):
        raise ValueError(SIZE_FORMS)  # noqa: TRY004 - one kind of error for all that is no size
    if isinstance(written, int):
        return refuse_beyond_int64(written, SIZE_FORMS)
    found = SIZE.fullmatch(written.strip(" "))
    if found is None or found[3].lower() not in UNIT_BYTES:
        raise ValueError(SIZE_FORMS)
    unit, fraction = UNIT_BYTES[found[3].lower()], found[2] or ""
    if fraction and unit == 1:
        raise ValueError(SIZE_FORMS)
    return refuse_beyond_int64(
        int(found[1]) * unit + int(fraction or 0) * unit // 10 ** len(fraction), SIZE_FORMS
    )


def parse_duration(written: str | int) -> int:
    """Read a duration into seconds: `30`, `90s`, `1h`, `1h30m`, `2d`.

    Raises ValueError with the accepted forms: unreadable, negative, or more than int64 holds.
    """
    if isinstance(written, bool):
        raise ValueError(DURATION_FORMS)  # noqa: TRY004 - one kind of error for all that is no duration
    if isinstance(written, int):
        return refuse_beyond_int64(written, DURATION_FORMS)
    text = written.strip(" ")
    if SECONDS.fullmatch(text):
        return refuse_beyond_int64(int(text), DURATION_FORMS)
    found = DURATION.fullmatch(text)
    if found is None or not text:
        raise ValueError(DURATION_FORMS)
    counts = (int(digits or 0) for digits in found.groups())
    return sum(count * seconds for count, seconds in zip(counts, UNIT_SECONDS, strict=True))


def refuse_beyond_int64(number: int, forms: str) -> int:
    if not 0 <= number <= INT64_MAX:
        raise ValueError(f"{forms}, from 0 to {INT64_MAX}")
    return number
