"""api/gpu_figures — what GPUs did, as the JSON that clients rely on: figures of jobs and attempts, and of one moment. Sums in core."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from agent.core.gpu_usage import NOTHING_TOLD, GpuSample, GpuUsage, GpuUse, Sum, sum_of, total
from agent.core.job import ClosedAttempt, ExitFacts, Job
from agent.core.lease import Lease

Json = dict[str, object]
NOTHING_KNOWN = GpuUsage()


@dataclass(frozen=True, slots=True)
class Held:
    """The GPUs of one attempt that is over, for how long its container had them, and what they did as far as is known."""

    gpu_seconds: float | None
    usage: GpuUsage


def held_by_attempt(attempt: ClosedAttempt) -> Held | None:
    return _held(attempt.exit, attempt.lease, attempt.gpu_usage)


def held_by_job(job: Job, attempts: Sequence[ClosedAttempt]) -> Held | None:
    """All attempts that are over, the one that is just being closed among them. None: none has had a GPU."""
    every = [held_by_attempt(attempt) for attempt in attempts]
    if job.attempt not in {attempt.number for attempt in attempts}:
        every.append(_held(job.run.exit, job.run.held, job.run.gpu_usage))
    found = [held for held in every if held is not None]
    if not found:
        return None
    seconds = [held.gpu_seconds for held in found if held.gpu_seconds is not None]
    return Held(sum(seconds) if seconds else None, total([held.usage for held in found]))


def _held(facts: ExitFacts | None, lease: Lease | None, usage: GpuUsage | None) -> Held | None:
    if facts is None or lease is None or not lease.gpus:
        return None
    return Held(count_gpu_seconds(facts, lease), usage or NOTHING_KNOWN)


def count_gpu_seconds(facts: ExitFacts, lease: Lease | None) -> float | None:
    """From the start of the container to its end, by the engine's stamps: making it, and the look after it, are the host's."""
    if facts.started_at is None or facts.finished_at is None or lease is None:
        return None
    return len(lease.gpus) * max(0.0, facts.finished_at - facts.started_at)


def show_held(held: Held | None) -> Json | None:
    return None if held is None else show_usage(held.usage, held.gpu_seconds)


def show_usage(usage: GpuUsage, gpu_seconds: float | None) -> Json:
    """`…_seconds` beside a figure: over how many GPU-seconds it is known. Of other time nothing is."""
    return {
        "gpu_seconds": rounded(gpu_seconds, 3),
        "peak_memory": usage.peak_bytes,
        **_figures(usage.gpus),
        "gpus": [{"uuid": use.uuid, "peak_memory": use.peak_bytes, **_figures([use])} for use in usage.gpus],
    }


def show_sample(sample: GpuSample | None) -> Json:
    """None: it can't be asked just now, and tells as little as a card that supports nothing."""
    told = sample or NOTHING_TOLD
    return {
        "utilisation": told.utilisation_percent,
        "memory_used": told.used_bytes,
        "power": told.power_watts,
        "temperature": told.celsius,
        "slowdowns": None if told.slowdowns is None else sorted(told.slowdowns),
    }


def _figures(uses: Iterable[GpuUse]) -> Json:
    given = list(uses)
    busy, energy, slowed = (
        sum_of(sums)
        for sums in (
            [use.busy for use in given],
            [use.energy for use in given],
            [use.slowed for use in given],
        )
    )
    return {
        "utilisation": _percent(busy),
        "utilisation_seconds": rounded(busy.seconds, 3),
        "energy": rounded(energy.known, 1),
        "energy_seconds": rounded(energy.seconds, 3),
        "slowdown_seconds": rounded(slowed.known, 3),
    }


def _percent(busy: Sum) -> float | None:
    return None if busy.mean is None else round(100 * busy.mean, 1)


def rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
