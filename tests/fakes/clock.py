"""A clock that stands on the loop's time: under looptime it is virtual, and a step of the wall clock is one assignment."""

import asyncio


class FakeClock:
    def __init__(self, boot_id: str = "boot-1", started: float = 1_800_000_000.0) -> None:
        self.boot_id = boot_id
        self.started = started
        self.asleep = 0.0  # how long the host was suspended: the loop's own clock stands still then

    def now(self) -> float:
        return self.started + self.boot_seconds()

    def boot_seconds(self) -> float:
        return asyncio.get_running_loop().time() + self.asleep
