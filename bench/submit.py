"""bench/submit — from the submit to "running" as a client hears it, against the engine's own create and start."""

import asyncio
import time
from statistics import median

from bench.figures import TIMES_RAW, Figure, at_most, describe
from bench.host import BRIDGE, NONE, Agent, Bench, Json, run_alone
from bench.sightings import Sightings

MOST_RATIO = 1.10
SAMPLES = 50
WARM_UP = 3
# The engine and the disk are still busy with the container before: neither sample is to pay for that.
STILL_SECONDS = 0.3


async def measure(bench: Bench) -> list[Figure]:
    async with bench.agent() as agent, agent.phases() as phases:
        return [await _ratio(bench, agent, phases, network) for network in (NONE, BRIDGE)]


async def _ratio(bench: Bench, agent: Agent, phases: Sightings, network: str) -> Figure:
    spec = agent.spec("sleep", "600", network=network)
    # Its container stays: the twin mounts what belongs to it.
    model = await agent.submit(spec)
    await phases.at((model, "running"))
    twin = await bench.raw.twin(agent, model)
    raw, ours = [], []
    for number in range(bench.size(SAMPLES, 10) + WARM_UP):
        taken = await _raw_seconds(bench, twin), await our_seconds(agent, phases, spec)
        if number >= WARM_UP:
            raw.append(taken[0])
            ours.append(taken[1])
    await agent.cancel(model)
    print(f"  {network}: raw {describe(raw, 'ms', 1e3)}; ours {describe(ours, 'ms', 1e3)}")
    name = f"submit → running, network {network}, median of {len(raw)}"
    return at_most("submit", name, median(ours) / median(raw), MOST_RATIO, f"{TIMES_RAW} create + start")


async def _raw_seconds(bench: Bench, twin: Json) -> float:
    await asyncio.sleep(STILL_SECONDS)
    began = time.perf_counter()
    container = await bench.raw.create(twin)
    await bench.raw.start(container)
    taken = time.perf_counter() - began
    await bench.raw.remove(container)
    return taken


async def our_seconds(agent: Agent, phases: Sightings, spec: Json) -> float:
    await asyncio.sleep(STILL_SECONDS)
    began = time.perf_counter()
    job = await agent.submit(spec)
    taken = await phases.at((job, "running")) - began
    await agent.cancel(job)
    await phases.at((job, "finished"))
    return taken


if __name__ == "__main__":
    run_alone(measure)
