"""jobs/gpu_samples — what GPUs do just now, asked for at most once a second however many look. Sums nothing up."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agent.core.gpu_usage import GpuSample
from agent.interfaces import Clock, Gpus

FRESH_SECONDS = 1.0
# Who looks each second is asked for together with all others who do.
_WANTED_SECONDS = 2.5


@dataclass(frozen=True, slots=True)
class GpuReading:
    """Samples of one moment. `at` is seconds on CLOCK_BOOTTIME; of a GPU that could not be asked there is None."""

    at: float
    samples: Mapping[str, GpuSample | None]


class GpuSamples:
    """One for all who look."""

    def __init__(self, gpus: Gpus, clock: Clock) -> None:
        self._gpus = gpus
        self._clock = clock
        self._turn = asyncio.Lock()
        self._last = GpuReading(0.0, {})
        self._asked_at = float("-inf")
        self._wanted_at: dict[str, float] = {}

    @property
    def last(self) -> GpuReading:
        """What was read last for somebody who looks, however long ago: nothing is asked for it."""
        return self._last

    async def take(self, uuids: Sequence[str]) -> GpuReading:
        """A reading that has all of these, and is at most a second old."""
        now = asyncio.get_running_loop().time
        async with self._turn:
            self._wanted_at |= dict.fromkeys(uuids, now())
            left = self._asked_at + FRESH_SECONDS - now()
            if left > 0 and self._last.samples.keys() >= set(uuids):
                return self._last
            await asyncio.sleep(left)
            self._asked_at = now()
            since = self._asked_at - _WANTED_SECONDS
            self._wanted_at = {uuid: at for uuid, at in self._wanted_at.items() if at >= since}
            self._last = await self.take_now(tuple(self._wanted_at))
            return self._last

    async def take_now(self, uuids: Sequence[str]) -> GpuReading:
        """For who can't wait: of these, at once."""
        samples = await self._gpus.samples(uuids)
        return GpuReading(self._clock.boot_seconds(), samples)
