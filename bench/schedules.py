"""bench/schedules — a thousand schedules of which one is due: how long after its minute its job's row is there, and what the others cost."""

import asyncio
import time

from bench.figures import Figure, at_most, describe
from bench.host import Agent, Bench, Json, run_alone
from bench.processes import cpu_seconds

MOST_SECONDS = 1.0
MOST_PERCENT_OF_A_CORE = 0.5
SCHEDULES = 1_000
MINUTES = 3
MINUTE = 60.0
# Before its minute a client begins to look, and then so often.
AHEAD_SECONDS, LOOK_SECONDS = 0.5, 0.01
SECONDS = 60
SETTLE_SECONDS = 10


async def measure(bench: Bench) -> list[Figure]:
    async with bench.agent() as agent:
        count = bench.size(SCHEDULES, 100)
        for number in range(count - 1):
            await _add(agent, f"s{number}", "0 0 29 2 *")
        await asyncio.sleep(SETTLE_SECONDS)
        seconds = bench.size(SECONDS, 20)
        before = cpu_seconds(agent.pid)
        await asyncio.sleep(seconds)
        percent = (cpu_seconds(agent.pid) - before) / seconds * 100
        schedule = await _add(agent, "due", "* * * * *")
        late = await _late(agent, schedule, bench.size(MINUTES, 1))
    print(f"  rows after their minutes: {describe(late, 'ms', 1e3)}")
    name = f"{count} schedules"
    return [
        at_most("schedules", f"{name}: from the minute to its job as a client sees it, worst of {len(late)}", max(late), MOST_SECONDS, "{:.3f} s"),
        at_most("schedules", f"{name}, none due: CPU over {seconds} s", percent, MOST_PERCENT_OF_A_CORE, "{:.2f} % of a core"),
    ]  # fmt: skip


async def _add(agent: Agent, name: str, cron: str) -> str:
    body = {"name": name, "cron": cron, "spec": agent.spec("true")}
    return str((await agent.call("POST", "/v1/schedules", body))["id"])


async def _late(agent: Agent, schedule: str, minutes: int) -> list[float]:
    """Of each of the next minutes, how long after it a client saw its job."""
    late: list[float] = []
    for _ in range(minutes):
        due = (time.time() // MINUTE + 1) * MINUTE
        await asyncio.sleep(due - time.time() - AHEAD_SECONDS)
        while len(await _jobs(agent, schedule)) == len(late):  # noqa: ASYNC110 - what a client sees is what is measured
            await asyncio.sleep(LOOK_SECONDS)
        late.append(time.time() - due)
    return late


async def _jobs(agent: Agent, schedule: str) -> list[Json]:
    found: list[Json] = (await agent.call("GET", f"/v1/jobs?schedule={schedule}"))["items"]
    return found


if __name__ == "__main__":
    run_alone(measure)
