"""core/gpu_account — an attempt's account of its GPUs, folded from samples: what lies between two counts only where both tell it.

Energy is the difference of the driver's counter, which also spans the daemon's absence. A GPU without one has its power
integrated over time. Where neither tells, nothing is added, neither amount nor time. Reads no clock and no GPU.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from agent.core.gpu_usage import NOTHING_TOLD, GpuSample, GpuUsage, GpuUse, Sum, most

# Two samples that are further apart say nothing of what was between them. They are taken each five seconds.
MOST_GAP_SECONDS = 15.0
# A sample that comes later after the container's end is of an idle GPU, or of one that is another's by now.
MOST_LATE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Last:
    """What the next sample of a GPU is compared with. The counter may have been read earlier than all else."""

    at: float
    busy: float | None
    watts: float | None
    slowed: float | None
    counter_at: float | None = None
    joules: float | None = None


@dataclass(frozen=True, slots=True)
class GpuAccount:
    """Of one container, and so of one attempt. Times are seconds on CLOCK_BOOTTIME of the boot `boot_id`."""

    container: str
    boot_id: str
    usage: GpuUsage
    last: Mapping[str, Last]


def opened(container: str, boot_id: str, uuids: Sequence[str]) -> GpuAccount:
    return GpuAccount(container, boot_id, GpuUsage(tuple(GpuUse(uuid) for uuid in uuids)), {})


def fold(account: GpuAccount, at: float, samples: Mapping[str, GpuSample | None]) -> GpuAccount:
    """The account with one reading more. One that was folded already, or is older, changes nothing.

    A GPU that could not be asked (None, or one that told nothing) is as if it had not been looked at.
    """
    uses, last = [], dict(account.last)
    for use in account.usage.gpus:
        sample = samples.get(use.uuid)
        before = last.get(use.uuid)
        if sample is None or sample == NOTHING_TOLD or (before is not None and at <= before.at):
            uses.append(use)
            continue
        uses.append(_use(use, before, at, sample))
        last[use.uuid] = _next(before, at, sample)
    usage = GpuUsage(tuple(uses), most((account.usage.peak_bytes, _held(account, samples))))
    return replace(account, usage=usage, last=last)


def is_late(at: float, ended_at: float | None) -> bool:
    """Whether a reading is too long after the container's end to belong to it, or nobody knows when that was. On one clock."""
    return ended_at is None or at - ended_at > MOST_LATE_SECONDS


def _held(account: GpuAccount, samples: Mapping[str, GpuSample | None]) -> int | None:
    """By all at this moment. Where one does not tell it is no sum of all."""
    total = 0
    for use in account.usage.gpus:
        sample = samples.get(use.uuid)
        if sample is None or sample.used_bytes is None:
            return None
        total += sample.used_bytes
    return total if account.usage.gpus else None


def _use(use: GpuUse, before: Last | None, at: float, sample: GpuSample) -> GpuUse:
    peak = most((use.peak_bytes, sample.used_bytes))
    if before is None:
        return replace(use, peak_bytes=peak)
    now = _next(None, at, sample)
    seconds = at - before.at
    return GpuUse(
        use.uuid,
        peak,
        _between(use.busy, before.busy, now.busy, seconds),
        _with_energy(use.energy, before, now),
        _between(use.slowed, before.slowed, now.slowed, seconds),
    )


def _between(total: Sum, one: float | None, other: float | None, seconds: float) -> Sum:
    """The trapezoid between two moments."""
    if one is None or other is None or seconds > MOST_GAP_SECONDS:
        return total
    return total.plus((one + other) / 2 * seconds, seconds)


def _with_energy(total: Sum, before: Last, now: Last) -> Sum:
    """Once there is a counter, what it has missed is waited for: to add power meanwhile would count it twice."""
    if before.joules is None or before.counter_at is None:
        return _between(total, before.watts, now.watts, now.at - before.at)
    if now.joules is None:
        return total
    if now.joules >= before.joules:
        return total.plus(now.joules - before.joules, now.at - before.counter_at)
    # It went backwards: the driver was loaded anew, and nobody knows what the counter had reached.
    return _between(total, before.watts, now.watts, now.at - before.at)


def _next(before: Last | None, at: float, sample: GpuSample) -> Last:
    percent, slowdowns, joules = sample.utilisation_percent, sample.slowdowns, sample.energy_joules
    is_kept = joules is None and before is not None
    return Last(
        at,
        None if percent is None else percent / 100,
        sample.power_watts,
        None if slowdowns is None else float(bool(slowdowns)),
        before.counter_at if is_kept and before is not None else (None if joules is None else at),
        before.joules if is_kept and before is not None else joules,
    )


def dump_accounts(accounts: Mapping[str, GpuAccount]) -> str:
    """As JSON that `load_accounts` reads back to equal values."""
    return json.dumps([_row(account) for account in accounts.values()], separators=(",", ":"))


def load_accounts(text: str) -> dict[str, GpuAccount]:
    """By container. Raises ValueError for what `dump_accounts` did not write."""
    try:
        found = [_account(row) for row in _rows(json.loads(text))]
    except (TypeError, KeyError, IndexError, AttributeError) as unread:
        raise ValueError(f"these are no accounts of GPUs: {unread!r}") from unread
    return {account.container: account for account in found}


def _row(account: GpuAccount) -> list[object]:
    gpus = [
        [
            use.uuid,
            use.peak_bytes,
            *_pair(use.busy),
            *_pair(use.energy),
            *_pair(use.slowed),
            _last_row(account, use),
        ]
        for use in account.usage.gpus
    ]
    return [account.container, account.boot_id, account.usage.peak_bytes, gpus]


def _pair(total: Sum) -> tuple[float, float]:
    return total.amount, total.seconds


def _last_row(account: GpuAccount, use: GpuUse) -> list[float | None] | None:
    last = account.last.get(use.uuid)
    return (
        None if last is None else [last.at, last.busy, last.watts, last.slowed, last.counter_at, last.joules]
    )


def _rows(told: object) -> list[Any]:
    if not isinstance(told, list):
        raise TypeError(f"{type(told).__name__} is no list")
    return told


def _account(row: Any) -> GpuAccount:  # noqa: ANN401 - JSON
    container, boot_id, peak, gpus = row
    uses = tuple(_use_of(str(uuid), *map(_number, figures)) for uuid, *figures, _ in gpus)
    last = {str(gpu[0]): Last(*map(_number, gpu[-1])) for gpu in gpus if gpu[-1] is not None}
    return GpuAccount(str(container), str(boot_id), GpuUsage(uses, _number(peak)), last)


def _use_of(uuid: str, peak: Any, *sums: Any) -> GpuUse:  # noqa: ANN401 - JSON
    busy, busy_seconds, joules, joules_seconds, slowed, slowed_seconds = sums
    return GpuUse(
        uuid, peak, Sum(busy, busy_seconds), Sum(joules, joules_seconds), Sum(slowed, slowed_seconds)
    )


def _number(value: Any) -> Any:  # noqa: ANN401 - JSON
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    raise TypeError(f"{value!r} is no number")
