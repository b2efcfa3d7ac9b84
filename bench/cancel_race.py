"""bench/cancel_race — a cancel at a random moment while its container comes up, many times. What may be left over is nothing."""

import asyncio
import random
from collections import Counter

from bench.figures import Figure
from bench.host import BRIDGE, Agent, Bench, run_alone
from bench.sightings import Sightings

RACES = 200
AT_ONCE = 8
# Most of the time that such a job takes from its submit to its end, so that the cancel is at times too late.
LONGEST_SECONDS = 0.5
ALLOWED = {"cancelled", "succeeded"}


async def measure(bench: Bench) -> list[Figure]:
    races = bench.size(RACES, 24)
    places = asyncio.Semaphore(AT_ONCE)
    chance = random.Random(2)
    async with bench.agent() as agent, agent.phases() as phases:

        async def run_one() -> str:
            async with places:
                return await _race(agent, phases, chance.uniform(0, LONGEST_SECONDS))

        outcomes = Counter(await asyncio.gather(*(run_one() for _ in range(races))))
        containers = len(agent.daemon.containers())
        ports = len(agent.daemon.held_ports())
    print(f"  {dict(outcomes)}")
    others = sum(count for outcome, count in outcomes.items() if outcome not in ALLOWED)
    measured = f"{containers} containers, {ports} ports, {others} other outcomes"
    bar = "0 containers, 0 ports, 0 other outcomes"
    name = f"cancel at a random moment of the creation, {races} times: what is left"
    return [Figure("cancel_race", name, bar, measured, measured == bar)]


async def _race(agent: Agent, phases: Sightings, seconds: float) -> str:
    spec = agent.spec("true", network=BRIDGE, ports=[{"name": "web", "port": 8080, "proto": "http"}])
    job = await agent.submit(spec)
    await asyncio.sleep(seconds)
    async with agent.api.post(f"http://agent/v1/jobs/{job}/cancel") as reply:
        assert reply.status in {202, 409}, await reply.text()
    await phases.at((job, "finished"))
    return str((await agent.call("GET", f"/v1/jobs/{job}"))["outcome"])


if __name__ == "__main__":
    run_alone(measure)
