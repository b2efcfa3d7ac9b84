"""core/metrics — what is kept of the numbers and texts that a function records under one name, however many there are. Pure.

Of numbers: their count, sum, extremes, the last one, and a series that is thinned by halves, so that it always spans all of the
time. Of texts: how often each came.
"""

import math
from dataclasses import dataclass, field

MOST_POINTS = 600
MOST_LABELS = 50
MOST_NAMES = 100
_LARGEST = 1.7976931348623157e308

Number = int | float
Point = tuple[float, Number]  # when, what


@dataclass(slots=True)
class Metric:
    """One name's. Changed in place: a report may bring thousands of values. `other`: texts beyond the most labels that are kept.

    `points` are the numbers whose index is a multiple of `stride`, from the first on.
    """

    count: int = 0
    total: float = 0.0
    low: Number | None = None
    high: Number | None = None
    last: Number | None = None
    stride: int = 1
    labels: dict[str, int] = field(default_factory=dict)
    other: int = 0
    points: list[Point] = field(default_factory=list)

    def add(self, value: Number | str, at: float) -> None:
        if isinstance(value, str):
            self._count_label(value)
        else:
            self._add_number(value, at)

    def copy(self) -> "Metric":
        """As it is now, for who writes it down meanwhile."""
        facts = (self.count, self.total, self.low, self.high, self.last, self.stride)
        return Metric(*facts, labels=dict(self.labels), other=self.other, points=list(self.points))

    def _count_label(self, label: str) -> None:
        if label in self.labels or len(self.labels) < MOST_LABELS:
            self.labels[label] = self.labels.get(label, 0) + 1
        else:
            self.other += 1

    def _add_number(self, value: Number, at: float) -> None:
        self._add_point(value, at)
        self.count += 1
        # A sum beyond all numbers is no JSON.
        self.total = max(-_LARGEST, min(_LARGEST, self.total + value))
        self.low = value if self.low is None else min(self.low, value)
        self.high = value if self.high is None else max(self.high, value)
        self.last = value

    def _add_point(self, value: Number, at: float) -> None:
        if self.count % self.stride:
            return
        if len(self.points) == MOST_POINTS:
            del self.points[1::2]
            self.stride *= 2
            if self.count % self.stride:
                return
        self.points.append((at, value))


def read_number(value: object) -> Number | None:
    """A number that JSON has, and that a double holds; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, int):
        return value if abs(value) <= 2**53 else _as_float(value)
    return value if math.isfinite(value) else None


def _as_float(value: int) -> float | None:
    try:
        return float(value)
    except OverflowError:
        return None


def read_value(value: object) -> Number | str | None:
    return value if isinstance(value, str) else read_number(value)
