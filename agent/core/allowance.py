"""core/allowance — how much of something may pass: a burst, then so much a second. Pure; the time is told by the caller."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Allowance:
    """`left` at `at`, on any clock that never goes back. It may be overdrawn, so that nothing is too large to pass at all."""

    per_second: float
    burst: float
    left: float
    at: float


def opened(per_second: float, burst: float, at: float) -> Allowance:
    return Allowance(per_second, burst, burst, at)


def spend(allowance: Allowance, amount: float, at: float) -> Allowance:
    left = min(allowance.burst, allowance.left + (at - allowance.at) * allowance.per_second)
    return Allowance(allowance.per_second, allowance.burst, left - amount, at)


def wait_seconds(allowance: Allowance, at: float) -> float:
    """How long until something may pass; 0: now."""
    left = allowance.left + (at - allowance.at) * allowance.per_second
    return max(0.0, -left / allowance.per_second)
