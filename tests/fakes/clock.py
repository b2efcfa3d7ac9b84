"""A clock that stands on the loop's time: under looptime it is virtual, and a step of the wall clock is one assignment."""

import asyncio


class FakeClock:
    def __init__(self, boot_id: str = "boot-1", started: float = 1_800_000_000.0) -> None:
        self.boot_id = boot_id
        self.started = started

    def now(self) -> float:
        return self.started + asyncio.get_running_loop().time()

    def boot_seconds(self) -> float:
        return asyncio.get_running_loop().time()
