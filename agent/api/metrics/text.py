"""api/metrics/text — families as Prometheus reads them: the one owner of prometheus_client. Decides nothing.

It is imported at the first scrape and not before (`handlers/metrics`), with the web servers that the library brings along.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from agent.api.metrics.families import Family, FamilyKind


@dataclass(frozen=True, slots=True)
class Collected(Collector):
    metrics: Sequence[Metric]

    def collect(self) -> Iterator[Metric]:
        return iter(self.metrics)


def write_text(families: Iterable[Family]) -> bytes:
    """How a label is escaped and a number written is the library's to know."""
    return generate_latest(Collected([_metric(family) for family in families]))


def _metric(family: Family) -> Metric:
    if family.kind is FamilyKind.HISTOGRAM:
        return _histogram(family)
    make = CounterMetricFamily if family.kind is FamilyKind.COUNTER else GaugeMetricFamily
    made = make(family.name, family.about, labels=family.labels)
    for labels, value in family.values.items():
        made.add_metric(labels, value)
    return made


def _histogram(family: Family) -> Metric:
    made = HistogramMetricFamily(family.name, family.about, labels=family.labels)
    for labels, spread in family.spreads.items():
        bounds = map(floatToGoString, (*spread.bounds, float("inf")))
        made.add_metric(labels, list(zip(bounds, accumulate(spread.counts), strict=True)), spread.total)
    return made
