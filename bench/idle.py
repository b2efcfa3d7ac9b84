"""bench/idle — what the daemon costs while twenty jobs run and nobody asks anything."""

import asyncio

from bench.figures import Figure, at_most
from bench.host import NONE, Bench, run_alone
from bench.processes import children, cpu_seconds, resident_megabytes

MOST_MEGABYTES = 80.0
MOST_PERCENT_OF_A_CORE = 0.5
JOBS = 20
SECONDS = 60
SETTLE_SECONDS = 10


async def measure(bench: Bench) -> list[Figure]:
    async with bench.agent({"queues.default": {"concurrency": JOBS}}) as agent:
        async with agent.phases() as phases:
            jobs = [await agent.submit(agent.spec("sleep", "3600", network=NONE)) for _ in range(JOBS)]
            await asyncio.gather(*(phases.at((job, "running")) for job in jobs))
        await asyncio.sleep(SETTLE_SECONDS)
        seconds = bench.size(SECONDS, 20)
        before = cpu_seconds(agent.pid)
        await asyncio.sleep(seconds)
        percent = (cpu_seconds(agent.pid) - before) / seconds * 100
        assert not children(agent.pid), "a helper process would have to be counted too"
        megabytes = resident_megabytes(agent.pid)
    name = f"idle with {JOBS} running jobs"
    return [
        at_most("idle", f"{name}: resident memory", megabytes, MOST_MEGABYTES, "{:.0f} MB"),
        at_most(
            "idle", f"{name}: CPU over {seconds} s", percent, MOST_PERCENT_OF_A_CORE, "{:.2f} % of a core"
        ),
    ]


if __name__ == "__main__":
    run_alone(measure)
