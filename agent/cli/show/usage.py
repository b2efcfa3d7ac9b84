"""cli/show/usage — what GPUs did, for people: the figures of a job, and those of a moment. Pure."""

from collections.abc import Mapping
from typing import Any

from agent.cli.show.words import size_text, span_text

Json = Mapping[str, Any]

JOULES_PER_WH = 3600.0
# Below this share of the GPU time a figure is told with what it covers.
NEARLY_ALL = 0.95


def usage_facts(usage: Json | None) -> list[tuple[str, str | None]]:
    """Rows for the facts of a job; none where it has had no GPU."""
    if usage is None:
        return []
    seconds = usage["gpu_seconds"]
    busy, slowed = usage["utilisation"], usage["slowdown_seconds"]
    return [
        ("gpu time", None if seconds is None else span_text(seconds)),
        ("gpu busy", None if busy is None else f"{busy:.0f} %{_of_time(usage, 'utilisation')}"),
        ("gpu memory", None if usage["peak_memory"] is None else f"{size_text(usage['peak_memory'])} at most"),
        ("gpu energy", None if usage["energy"] is None else f"{energy_text(usage['energy'])}{_of_time(usage, 'energy')}"),
        ("slowed down", f"{span_text(slowed)} of it, by heat or power" if slowed else None),
    ]  # fmt: skip


def energy_text(joules: float) -> str:
    hours = joules / JOULES_PER_WH
    return f"{hours / 1000:.2f} kWh" if hours >= 1000 else f"{hours:.3g} Wh"


def _of_time(usage: Json, figure: str) -> str:
    """A figure that covers but a part of the time is not passed off as one of all of it."""
    whole, known = usage["gpu_seconds"], usage[f"{figure}_seconds"]
    if not whole or known >= NEARLY_ALL * whole:
        return ""
    return f" (known for {span_text(known)})"
