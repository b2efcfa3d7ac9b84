"""jobs/ports — ports that a stranger was found on: left alone for an hour. Memory only; a restart finds out again."""

from agent.interfaces import Clock

BAD_FOR_SECONDS = 3600.0


class BadPorts:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until: dict[int, float] = {}

    def mark(self, port: int) -> None:
        self._until[port] = self._clock.boot_seconds() + BAD_FOR_SECONDS

    def now(self) -> frozenset[int]:
        moment = self._clock.boot_seconds()
        self._until = {port: until for port, until in self._until.items() if until > moment}
        return frozenset(self._until)
