"""api/metrics/families — what a family of metrics is, and how one is made. Pure values; knows no text format."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

# Before each name, so that a host's other exporters are told from this one.
PREFIX = "gpu_agent_"
# One sample's labels, in the order of its family's.
Labels = tuple[str, ...]


class FamilyKind(StrEnum):
    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Spread:
    """A histogram's sample. `counts`: how many were no more than each of `bounds` and more than the one before; one more of those beyond."""

    bounds: Sequence[float]
    counts: Sequence[int]
    total: float


@dataclass(frozen=True, slots=True)
class Family:
    """`name` with its unit and, of a counter, with `_total`. A histogram has `spreads`, all others have `values`."""

    kind: FamilyKind
    name: str
    about: str
    labels: Labels = ()
    values: Mapping[Labels, float] = field(default_factory=dict)
    spreads: Mapping[Labels, Spread] = field(default_factory=dict)


def gauge(name: str, about: str, value: float) -> Family:
    return gauges(name, about, (), {(): value})


def gauges(name: str, about: str, labels: Labels, values: Mapping[Labels, float]) -> Family:
    return Family(FamilyKind.GAUGE, PREFIX + name, about, labels, values)


def counter(name: str, about: str, value: float) -> Family:
    return counters(name, about, (), {(): value})


def counters(name: str, about: str, labels: Labels, values: Mapping[Labels, float]) -> Family:
    return Family(FamilyKind.COUNTER, PREFIX + name, about, labels, values)


def histogram(name: str, about: str, labels: Labels, spreads: Mapping[Labels, Spread]) -> Family:
    return Family(FamilyKind.HISTOGRAM, PREFIX + name, about, labels, spreads=spreads)


def with_zeros(values: Mapping[Labels, float], wanted: Iterable[Labels]) -> dict[Labels, float]:
    """Those that are wanted stand there with 0 before the first: of what appears with 1 nobody sees that it was 0 before."""
    return {**dict.fromkeys(wanted, 0.0), **values}
