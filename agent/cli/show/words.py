"""cli/show/words — sizes, spans, times and hostile text as people read them. Draws nothing."""

import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

Json = Mapping[str, Any]

UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
# Beside control characters: marks that turn the direction of what follows, and private ones that fonts draw anyhow.
HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})


def clean(text: object) -> str:
    """Text of somebody else's, made fit for a terminal: what would move its cursor or hide something shows as an escape."""
    return "".join(map(_visible, str(text)))


def _visible(character: str) -> str:
    if character in {"\n", "\t"}:
        return character
    if unicodedata.category(character) in HIDDEN:
        return character.encode("unicode_escape").decode()
    return character


def one_line(text: object) -> str:
    """As `clean`, with line ends shown too: for cells of tables."""
    return clean(text).replace("\n", "\\n").replace("\t", " ")


def fit(text: object, width: int) -> str:
    """On one line of at most `width` characters."""
    shown = one_line(text)
    return shown if len(shown) <= width else shown[: max(0, width - 1)] + "…"


def size_text(count: int | None) -> str:
    """Bytes with a binary unit, in at most eight characters up to PiB."""
    if count is None:
        return "-"
    amount, unit = float(count), 0
    while amount >= 1023.95 and unit < len(UNITS) - 1:
        amount, unit = amount / 1024, unit + 1
    return f"{count} B" if unit == 0 else f"{amount:.1f} {UNITS[unit]}"


def span_text(seconds: float) -> str:
    """A time span in its one or two largest units: 42s, 5m, 3h20m, 12d."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m"
    hours, minutes = whole // 3600, whole // 60 % 60
    if hours < 10:
        return f"{hours}h{minutes:02d}m"
    return f"{hours}h" if hours < 48 else f"{hours // 24}d"


def seconds_of(time: str | None) -> float | None:
    """A time of the API, in seconds since the epoch."""
    return None if time is None else datetime.fromisoformat(time).timestamp()


def time_text(time: str | None) -> str:
    """A time of the API as local time, to the second."""
    if time is None:
        return "-"
    return f"{datetime.fromisoformat(time).astimezone():%Y-%m-%d %H:%M:%S}"


def stamp_of(seconds: float | None) -> str:
    """Seconds since the epoch as local time, to the minute."""
    if seconds is None:
        return "never"
    return f"{datetime.fromtimestamp(seconds, UTC).astimezone():%Y-%m-%d %H:%M}"


def age_text(time: str | None, now: float) -> str:
    seconds = seconds_of(time)
    return "-" if seconds is None else span_text(now - seconds)
