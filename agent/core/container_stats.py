"""core/container_stats — what one container uses at one moment, and its processor time between two. Pure; no engine's words."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ContainerStats:
    """Counters run from the container's start. None: the engine does not tell, or there is no such thing (no network)."""

    cpu_seconds: float | None = None
    memory_bytes: int | None = None
    memory_limit_bytes: int | None = None
    pids: int | None = None
    received_bytes: int | None = None
    sent_bytes: int | None = None
    read_bytes: int | None = None
    written_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class StatsReading:
    """`at` is on any clock that runs evenly. `stats` None: the container does not run, or can't be asked."""

    at: float
    stats: ContainerStats | None


def cpu_percent(before: StatsReading | None, now: StatsReading) -> float | None:
    """Of one core: 400 where four are busy. None where two readings do not tell it."""
    if before is None or before.stats is None or now.stats is None or now.at <= before.at:
        return None
    earlier, later = before.stats.cpu_seconds, now.stats.cpu_seconds
    if earlier is None or later is None or later < earlier:
        return None
    return 100 * (later - earlier) / (now.at - before.at)
