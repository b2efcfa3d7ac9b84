"""core/told — what a function tells of itself while it runs: progress, statuses, metrics; read from what its job sends, and bounded. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from agent.core.metrics import Metric, Number, read_number, read_value

MOST_TASKS = 100
MOST_MESSAGE_CHARACTERS = 1_000
MOST_NAME_CHARACTERS = 200
MOST_STATUS_CHARACTERS = 500
MOST_LABEL_CHARACTERS = 100
MOST_VALUES = 20_000  # of one report
_LARGEST_SEQ = 2**53


class BadReportError(ValueError):
    """What a job sent is no report."""


@dataclass(frozen=True, slots=True)
class Progress:
    """`percent` from 0 to 100; None: it is not known."""

    percent: Number | None
    message: str | None


@dataclass(frozen=True, slots=True)
class Told:
    """All that is kept of what a job told, as of report `seq` of that attempt (0: of none).

    Statuses and metrics go on from attempt to attempt, as the output folder does.
    """

    attempt: int = 0
    seq: int = 0
    progress: Progress | None = None
    statuses: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, Metric] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class News:
    """One report: what is new since the one before."""

    seq: int
    progress: Progress | None
    statuses: Mapping[str, str]


def read_news(fields: Mapping[str, object]) -> News:
    """All of a report but its metrics. Raises BadReportError."""
    seq = fields.get("seq")
    if not isinstance(seq, int) or isinstance(seq, bool) or not 1 <= seq <= _LARGEST_SEQ:
        raise BadReportError("seq must be a whole number from 1")
    return News(seq, _read_progress(fields.get("progress")), _read_statuses(fields.get("statuses")))


def read_points(values: Sequence[object]) -> Iterator[tuple[str, Number | str, float]]:
    """Name, value, time. Raises BadReportError."""
    for value in values:
        if not isinstance(value, list) or len(value) != 3:
            raise BadReportError("a metric must be [name, value, time]")
        name, recorded, at = value[0], read_value(value[1]), read_number(value[2])
        if not isinstance(name, str) or not name or recorded is None or at is None:
            raise BadReportError("a metric must be [text, number or text, unix time]")
        yield _cut(name, MOST_NAME_CHARACTERS), _text(recorded), at


def _read_progress(value: object) -> Progress | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise BadReportError('progress must be {"percent", "message"}')
    percent, message = value.get("percent"), value.get("message")
    number = read_number(percent)
    if (percent is not None and (number is None or not 0 <= number <= 100)) or not isinstance(
        message, str | None
    ):
        raise BadReportError("progress must be from 0 to 100 percent, its message a text")
    return Progress(number, None if message is None else _cut(message, MOST_MESSAGE_CHARACTERS))


def _read_statuses(value: object) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(status, str) for status in value.values()):
        raise BadReportError("statuses must be {task: text}")
    last = list(value.items())[-MOST_TASKS:]
    return {_cut(task, MOST_NAME_CHARACTERS): _cut(status, MOST_STATUS_CHARACTERS) for task, status in last}


def _cut(text: str, most: int) -> str:
    """Half of a surrogate pair, which JSON may hold, is no text anywhere else."""
    return text[:most].encode("utf-8", "replace").decode()


def _text(value: Number | str) -> Number | str:
    return _cut(value, MOST_LABEL_CHARACTERS) if isinstance(value, str) else value
