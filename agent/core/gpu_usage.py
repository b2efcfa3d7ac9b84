"""core/gpu_usage — what GPUs did: at one moment, and summed up over an attempt. Pure values; core/gpu_account gathers them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from agent.core.gpu_findings import Slowdown


@dataclass(frozen=True, slots=True)
class GpuSample:
    """What one GPU did at one moment. None: not supported or not read, which is no fault.

    `energy_joules` is a counter since the driver was loaded. Of a MIG instance power and energy are None: the driver knows
    them of its whole GPU only.
    """

    utilisation_percent: float | None = None
    used_bytes: int | None = None
    power_watts: float | None = None
    celsius: float | None = None
    slowdowns: frozenset[Slowdown] | None = None
    energy_joules: float | None = None


NOTHING_TOLD = GpuSample()


@dataclass(frozen=True, slots=True)
class Sum:
    """An amount, and over how much time it was gathered. Of all other time nothing is known."""

    amount: float = 0.0
    seconds: float = 0.0

    def plus(self, amount: float, seconds: float) -> "Sum":
        return Sum(self.amount + amount, self.seconds + seconds)

    @property
    def mean(self) -> float | None:
        return self.amount / self.seconds if self.seconds > 0 else None

    @property
    def known(self) -> float | None:
        return self.amount if self.seconds > 0 else None


NO_SUM = Sum()


@dataclass(frozen=True, slots=True)
class GpuUse:
    """One GPU within an attempt. `busy`: seconds at full utilisation; `energy`: joules; `slowed`: seconds slowed down."""

    uuid: str
    peak_bytes: int | None = None
    busy: Sum = NO_SUM
    energy: Sum = NO_SUM
    slowed: Sum = NO_SUM


@dataclass(frozen=True, slots=True)
class GpuUsage:
    """All GPUs of an attempt. `peak_bytes`: the most that all of them held at one moment."""

    gpus: tuple[GpuUse, ...] = ()
    peak_bytes: int | None = None


def total(usages: Sequence[GpuUsage]) -> GpuUsage:
    """Of several attempts: amounts add up, peaks do not."""
    uses: dict[str, GpuUse] = {}
    for use in (use for usage in usages for use in usage.gpus):
        uses[use.uuid] = _joined(uses[use.uuid], use) if use.uuid in uses else use
    return GpuUsage(tuple(uses.values()), most(usage.peak_bytes for usage in usages))


def sum_of(sums: Iterable[Sum]) -> Sum:
    found = NO_SUM
    for one in sums:
        found = found.plus(one.amount, one.seconds)
    return found


def most(values: Iterable[int | None]) -> int | None:
    return max((value for value in values if value is not None), default=None)


def _joined(one: GpuUse, other: GpuUse) -> GpuUse:
    return GpuUse(
        one.uuid,
        most((one.peak_bytes, other.peak_bytes)),
        sum_of((one.busy, other.busy)),
        sum_of((one.energy, other.energy)),
        sum_of((one.slowed, other.slowed)),
    )
