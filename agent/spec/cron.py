"""spec/cron — the five fields of cron: read with every fault, and the minutes that they name. In UTC; reads no clock."""

from bisect import bisect_right
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise

from cronsim import CronSim, CronSimError

from agent.errors import AgentError, Blame
from agent.spec.faults import Fault, show

MAX_CRON_CHARACTERS = 200
FIELDS = ("minute", "hour", "day of the month", "month", "day of the week")
RANGES = ("0-59", "0-23", "1-31", "1-12 or JAN-DEC", "0-7 or SUN-SAT")
ALIASES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
REMEDY = 'Write five fields, as in "0 3 * * *" (at 3:00 UTC), or one of @yearly, @monthly, @weekly, @daily, @hourly.'
# The library reads more (L, LW, #), which other programs read otherwise or not at all.
SIGNS = frozenset("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ*,/-")
WORDS = frozenset(
    [
        "SUN",
        "MON",
        "TUE",
        "WED",
        "THU",
        "FRI",
        "SAT",
        "JAN",
        "FEB",
        "MAR",
        "APR",
        "MAY",
        "JUN",
        "JUL",
        "AUG",
        "SEP",
        "OCT",
        "NOV",
        "DEC",
    ]
)
ANY_TIME = datetime(2000, 1, 1, tzinfo=UTC)
MINUTE = 60
# Between two leap days there are up to eight years. Judged by the first ones from ANY_TIME on.
LONGEST, LOOKED_AT = timedelta(days=8 * 366), 3
# Of more than a year of minutes nobody wants the exact number.
MAX_COUNTED_DAYS = 366


class CronUnreadableError(AgentError):
    """The cron of a schedule that was kept can't be read: its row is damaged, or of another release."""

    code, blame = "cron_unreadable", Blame.HOST
    remedy = "Remove the schedule and make it again; of a function's, deploy its chute again."


def find_cron_faults(text: object, field: str) -> list[Fault]:
    """All that keeps `text`, of any type, from being a schedule; none: every function below takes it."""
    if not isinstance(text, str):
        return [Fault(field, "wrong_type", "must be text", REMEDY)]
    if len(text) > MAX_CRON_CHARACTERS:
        return [Fault(field, "too_long", f"has more than {MAX_CRON_CHARACTERS} characters", REMEDY)]
    if text.strip().startswith("@"):
        if text.strip().lower() in ALIASES:
            return []
        return [Fault(field, "cron_invalid", f"{show(text)} is no schedule here", REMEDY)]
    parts = text.upper().split()
    if len(parts) != len(FIELDS):
        return [Fault(field, "cron_invalid", f"has {len(parts)} fields, and five are a schedule", REMEDY)]
    faults = list(_find_field_faults(parts, field))
    return faults or list(_find_rareness(parts, field))


def tidy_cron(text: str) -> str:
    """As it is kept and shown: on one line, single spaces."""
    return " ".join(text.split())


def next_after(text: str, at: float) -> float:
    """The first of its minutes after `at`, in UTC seconds."""
    return next(_minutes_after(text, at))


def next_few(text: str, at: float, count: int) -> tuple[float, ...]:
    """The first `count` of its minutes after `at`."""
    return tuple(islice(_minutes_after(text, at), count))


def latest_until(text: str, at: float) -> float:
    """The last of its minutes that is not after `at`."""
    return next(_read(text, _whole(at) + timedelta(seconds=1), reverse=True)).timestamp()


def count_between(text: str, after: float, until: float) -> int:
    """How many of its minutes come after `after`, and not after `until`: those of the last MAX_COUNTED_DAYS days of that time."""
    read = _read(text, ANY_TIME)
    marks = sorted((hour * 60 + minute) * MINUTE for hour in read.hours for minute in read.minutes)
    last = _whole(until).replace(hour=0, minute=0, second=0)
    first = max(_whole(after).replace(hour=0, minute=0, second=0), last - timedelta(days=MAX_COUNTED_DAYS))
    count = 0
    for number in range((last - first).days + 1):
        day = first + timedelta(days=number)
        if day.month in read.months and read.match_day(day):
            begins = day.timestamp()
            count += bisect_right(marks, until - begins) - bisect_right(marks, after - begins)
    return count


def _minutes_after(text: str, at: float) -> Iterator[float]:
    for moment in _read(text, _whole(at)):
        yield moment.timestamp()


def _read(text: str, begin: datetime, *, reverse: bool = False) -> CronSim:
    """Of what was kept. Raises CronUnreadableError."""
    try:
        return CronSim(_plain(text), begin, reverse=reverse)
    except (CronSimError, ValueError) as error:  # of digits without end Python makes no number
        raise CronUnreadableError(f"the cron {show(text)} cannot be read: {type(error).__name__}") from error


def _plain(text: str) -> str:
    return ALIASES.get(text.strip().lower(), text)


def _whole(at: float) -> datetime:
    return datetime.fromtimestamp(at // 1, UTC)


def _find_field_faults(parts: list[str], field: str) -> Iterator[Fault]:
    for index, part in enumerate(parts):
        if not _is_field(part, index):
            message = f"{show(part)} is no {FIELDS[index]}"
            remedy = (
                f"Write * or numbers of {RANGES[index]}: lists (1,2), ranges (1-5) and steps (*/2) of them."
            )
            yield Fault(field, "cron_invalid", message, remedy)


def _is_field(part: str, index: int) -> bool:
    words = "".join(sign if sign.isalpha() else " " for sign in part).split()
    if not SIGNS.issuperset(part) or not WORDS.issuperset(words):
        return False
    alone = ["*"] * len(FIELDS)
    alone[index] = part
    try:
        CronSim(" ".join(alone), ANY_TIME)
    except CronSimError:
        return False
    return True


def _find_rareness(parts: list[str], field: str) -> Iterator[Fault]:
    remedy = "Name a day that some month of yours has."
    text = " ".join(parts)
    try:
        first = list(islice(CronSim(text, ANY_TIME), LOOKED_AT))
    except CronSimError:
        first = []
    if not first:
        yield Fault(field, "cron_never", f"{show(text)} never comes: no month has such a day", remedy)
    elif any(later - earlier > LONGEST for earlier, later in pairwise([ANY_TIME, *first])):
        # A leap day that is a Sunday, say: to find the next one takes a thousand times as long as of any other.
        message = f"{show(text)} comes too rarely: more than eight years may lie between two of its minutes"
        yield Fault(field, "cron_never", message, remedy)
