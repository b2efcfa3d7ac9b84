"""bench/throughput — jobs that do nothing, eight at a time, against the engine's own create, start, wait and remove."""

import asyncio
import time
from statistics import median

from bench.figures import TIMES_RAW, Figure, at_least
from bench.host import BRIDGE, NONE, Agent, Bench, Json, run_alone
from bench.sightings import Sightings

LEAST_RATIO = 0.9
AT_ONCE = 8
JOBS = 48
ROUNDS = 5


async def measure(bench: Bench) -> list[Figure]:
    async with bench.agent({"queues.default": {"concurrency": AT_ONCE}}) as agent, agent.phases() as phases:
        return [await _ratio(bench, agent, phases, network) for network in (NONE, BRIDGE)]


async def _ratio(bench: Bench, agent: Agent, phases: Sightings, network: str) -> Figure:
    model = await agent.submit(agent.spec("sleep", "600", network=network))
    await phases.at((model, "running"))
    twin = {**await bench.raw.twin(agent, model), "Cmd": ["true"]}
    # The model takes one of the eight places; what the twin mounts stays after its end.
    await agent.cancel(model)
    await phases.at((model, "finished"))
    jobs = bench.size(JOBS, 2 * AT_ONCE)
    ratios = []
    for _ in range(bench.size(ROUNDS, 2)):
        raw = await _raw_rate(bench, twin, jobs)
        ours = await _our_rate(agent, phases, agent.spec("true", network=network), jobs)
        ratios.append(ours / raw)
        print(f"  {network}: raw {raw:.1f} jobs/s, ours {ours:.1f}, ratio {ours / raw:.2f}")
    name = f"no-op jobs, {AT_ONCE} at a time, network {network}, median of {len(ratios)} rounds of {jobs}"
    return at_least("throughput", name, median(ratios), LEAST_RATIO, TIMES_RAW)


async def _raw_rate(bench: Bench, twin: Json, jobs: int) -> float:
    places = asyncio.Semaphore(AT_ONCE)

    async def run_one() -> None:
        async with places:
            container = await bench.raw.create(twin)
            await bench.raw.start(container)
            await bench.raw.wait(container)
            await bench.raw.remove(container)

    began = time.perf_counter()
    await asyncio.gather(*(run_one() for _ in range(jobs)))
    return jobs / (time.perf_counter() - began)


async def _our_rate(agent: Agent, phases: Sightings, spec: Json, jobs: int) -> float:
    """All are submitted at once: the queue lets eight at a time through."""
    began = time.perf_counter()
    ids = await asyncio.gather(*(agent.submit(spec) for _ in range(jobs)))
    ends = await asyncio.gather(*(phases.at((job, "finished")) for job in ids))
    return jobs / (max(ends) - began)


if __name__ == "__main__":
    run_alone(measure)
