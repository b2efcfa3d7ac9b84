"""jobs/avoided — ports and GPUs that just failed, left alone for a while. Memory only; a restart finds out again."""

from typing import Generic, TypeVar

from agent.interfaces import Clock

T = TypeVar("T", int, str)


class Avoided(Generic[T]):
    """A port that a stranger holds, a GPU that is not clean: out of the choice for `seconds`."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds
        self._until: dict[T, float] = {}

    def mark(self, thing: T) -> None:
        self._until[thing] = self._clock.boot_seconds() + self._seconds

    def now(self) -> frozenset[T]:
        moment = self._clock.boot_seconds()
        self._until = {thing: until for thing, until in self._until.items() if until > moment}
        return frozenset(self._until)
