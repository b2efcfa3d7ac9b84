"""core/backoff — how long to wait before something that failed is tried again. Pure."""

from email.utils import parsedate_to_datetime

FIRST_PAUSE_SECONDS, MOST_PAUSE_SECONDS = 2.0, 900.0


def full_jitter(first: float, most: float, failures: int, jitter: float) -> float:
    """Seconds: anything from 0 to `first`, doubled with each failure before this one, and no more than `most`. `jitter` in [0, 1)."""
    return jitter * float(min(most, first * 2 ** min(failures, 32)))


def endpoint_pause(failures: int, jitter: float) -> float:
    """Seconds until a user's endpoint is asked again."""
    return full_jitter(FIRST_PAUSE_SECONDS, MOST_PAUSE_SECONDS, failures, jitter)


def read_retry_after(text: str | None, now: float) -> float:
    """Seconds from now (RFC 9110, section 10.2.3); 0 where there is none, or none that can be read."""
    if text is None:
        return 0.0
    if text.isascii() and (digits := text.strip(" \t")).isdecimal():
        return float(digits[:12])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, OverflowError):
        return 0.0
