"""adapters/nvml/hung — which GPUs (by index) hung when touched, and until when they are left alone. Reads no clock."""

from dataclasses import dataclass, field

_FIRST_SECONDS = 60.0
_LONGEST_SECONDS = 3600.0


@dataclass(slots=True)
class Hung:
    """Each hang costs a deadline, and may leave a process that only a reboot ends: so it is tried more and more rarely."""

    _until: dict[int, float] = field(default_factory=dict)
    _times: dict[int, int] = field(default_factory=dict)

    def add(self, index: int, now: float) -> None:
        times = self._times[index] = self._times.get(index, 0) + 1
        self._until[index] = now + min(_FIRST_SECONDS * 2 ** (times - 1), _LONGEST_SECONDS)

    def at(self, now: float) -> list[int]:
        return sorted(index for index, until in self._until.items() if until > now)

    def answered(self, indices: set[int]) -> None:
        for index in indices:
            self._until.pop(index, None)
            self._times.pop(index, None)
