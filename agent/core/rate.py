"""core/rate — how fast something moves, smoothed over some seconds. Pure."""

import math
from dataclasses import dataclass

# What was that long ago counts a third.
SMOOTHING_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Rate:
    """`weight` bytes, each worth less the longer it is ago, since `begun_at`. Times are of any one clock that never goes back."""

    begun_at: float
    at: float
    weight: float

    def per_second(self, at: float) -> float:
        """As seen at that time: it falls where nothing moves. 0 before the first moment has passed."""
        seconds = SMOOTHING_SECONDS * -math.expm1(-(at - self.begun_at) / SMOOTHING_SECONDS)
        return self._faded(at) / seconds if seconds > 0 else 0.0

    def _faded(self, at: float) -> float:
        return self.weight * math.exp(-(at - self.at) / SMOOTHING_SECONDS)


def measure(rate: Rate | None, moved: int, at: float) -> Rate:
    """With what moved just now."""
    if rate is None:
        return Rate(at, at, moved)
    return Rate(rate.begun_at, at, rate._faded(at) + moved)  # noqa: SLF001 - its own module
