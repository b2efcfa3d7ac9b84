"""bench/lag — how late an event loop is. Stands beside what runs in it; measures nothing else."""

import asyncio

# So often the loop is asked.
TICK_SECONDS = 0.005


class Lag:
    """How late the loop is at each tick, also at those that it slept through: a long stop counts for as long as it lasts."""

    def __init__(self) -> None:
        self.late: list[float] = [0.0]

    async def watch(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due += TICK_SECONDS
            await asyncio.sleep(max(0.0, due - loop.time()))
            while (late := loop.time() - due) > TICK_SECONDS:
                self.late.append(late)
                due += TICK_SECONDS
            self.late.append(max(0.0, late))
