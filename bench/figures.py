"""bench/figures — a measured figure beside its bar, and tables of them. Measures nothing."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median, stdev

TIMES = "{:.2f} \N{MULTIPLICATION SIGN} "
TIMES_RAW = TIMES + "raw"


@dataclass(frozen=True, slots=True)
class Figure:
    """`bench` is the module that repeats it. `holds`: the bar is kept."""

    bench: str
    name: str
    bar: str
    measured: str
    holds: bool


def at_most(bench: str, name: str, measured: float, most: float, text: str, error: str = "") -> Figure:  # noqa: PLR0913, PLR0917 - a row of the table
    """`text` shows a value, as TIMES_RAW does; `error` is shown after the measured one."""
    return Figure(bench, name, "≤ " + text.format(most), text.format(measured) + error, measured <= most)


def at_least(bench: str, name: str, measured: float, least: float, text: str) -> Figure:
    return Figure(bench, name, "≥ " + text.format(least), text.format(measured), measured >= least)


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that so many percent of all are not above."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def error_of_median(values: Sequence[float]) -> float:
    """Its standard error, shown beside a small difference so that nobody takes noise for a figure."""
    return 1.25 * stdev(values) / math.sqrt(len(values))


def describe(values: Sequence[float], unit: str, factor: float) -> str:
    """The spread of a sample, for the lines between the figures."""
    middle, p90, p99 = (
        factor * value for value in (median(values), percentile(values, 90), percentile(values, 99))
    )
    return f"median {middle:.1f}, p90 {p90:.1f}, p99 {p99:.1f} {unit}"


def as_text(figures: Sequence[Figure]) -> str:
    lines = [
        (figure.name, figure.bar, figure.measured, "ok" if figure.holds else "MISSED") for figure in figures
    ]
    widths = [max(len(line[column]) for line in lines) for column in range(4)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines
    )


def as_markdown(figures: Sequence[Figure]) -> str:
    head = ["| figure | bar | measured | | how to repeat |", "|---|---|---|---|---|"]
    return "\n".join(
        head
        + [
            f"| {figure.name} | {figure.bar} | {figure.measured} | {'ok' if figure.holds else '**missed**'} "
            f"| `python -m bench {figure.bench}` |"
            for figure in figures
        ]
    )
