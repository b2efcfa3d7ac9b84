"""bench/exit_seen — from the engine's own word of a death to the job's event that says so, both as a client hears them."""

import asyncio
import json
from statistics import median
from urllib.parse import quote

from bench.figures import Figure, at_most, describe, percentile
from bench.host import ENGINE_API, NONE, Bench, run_alone
from bench.sightings import job_of_death, reading

MOST_MILLISECONDS = 30.0
SAMPLES = 100


async def measure(bench: Bench) -> list[Figure]:
    filters = quote(json.dumps({"type": ["container"], "event": ["die"]}))
    delays = []
    async with (
        bench.agent() as agent,
        agent.phases() as phases,
        reading(bench.raw.session, f"{ENGINE_API}/events?filters={filters}", job_of_death) as deaths,
    ):
        # Long enough that it is seen to run: its end is then an edge of its own.
        spec = agent.spec("sleep", "0.3", network=NONE)
        for _ in range(bench.size(SAMPLES, 20)):
            job = await agent.submit(spec)
            died, told = await asyncio.gather(deaths.at(job), phases.at((job, "stopping")))
            delays.append((told - died) * 1e3)
            await phases.at((job, "finished"))
    print(f"  {describe(delays, 'ms', 1.0)}")
    name = f"exit seen after the engine's event, of {len(delays)}"
    return [
        at_most("exit_seen", f"{name}: median", median(delays), MOST_MILLISECONDS, "{:.0f} ms"),
        at_most("exit_seen", f"{name}: p99", percentile(delays, 99), MOST_MILLISECONDS, "{:.0f} ms"),
    ]


if __name__ == "__main__":
    run_alone(measure)
