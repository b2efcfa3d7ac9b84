"""bench/cords — a call of a cord: what the agent adds to a warm one, and a cold one against the start of a job of the same chute."""

import asyncio
import time
from statistics import median

from bench.figures import Figure, at_most, describe, error_of_median
from bench.functions import Functions, python_image
from bench.host import Agent, Bench, run_alone
from bench.submit import STILL_SECONDS

MOST_WARM_SECONDS, MOST_COLD_SECONDS = 0.005, 0.3
WARM, COLD, WARM_UP = 400, 12, 2
CHUTE = "corded"
# All clocks are the host's monotonic one, which a container shares.
FUNCTIONS = """
import asyncio, time
chute.concurrency = 4

@chute.cord()
async def coroutine(self, seconds):
    began = time.monotonic()
    await asyncio.sleep(seconds)
    return {"began": began, "seconds": time.monotonic() - began}

@chute.cord()
def plain(self, seconds):
    began = time.monotonic()
    time.sleep(seconds)
    return {"began": began, "seconds": time.monotonic() - began}

@chute.job()
async def begins(self):
    return time.monotonic()
"""
KINDS = (("async def cord", "coroutine"), ("def cord", "plain"))
WORK_SECONDS = 0.01


async def measure(bench: Bench) -> list[Figure]:
    async with bench.agent() as agent, agent.phases() as phases:
        functions = Functions(agent, phases)
        await functions.deploy(CHUTE, await python_image(bench), FUNCTIONS)
        figures = [await _warm(agent, *kind, bench.size(WARM, 20)) for kind in KINDS]
        return [*figures, await _cold(functions, bench.size(COLD, 3))]


async def _warm(agent: Agent, shown: str, function: str, count: int) -> Figure:
    """What a call takes beyond what its function does itself."""
    added = []
    for number in range(count + WARM_UP):
        began = time.monotonic()
        said = await _call(agent, function, WORK_SECONDS)
        if number >= WARM_UP:
            added.append(time.monotonic() - began - said["seconds"])
    print(f"  {shown}, beyond its own time: {describe(added, 'ms', 1e3)}")
    name = f"warm call of an {shown}, over the function's own time, median of {count}"
    return at_most("cords", name, 1e3 * median(added), 1e3 * MOST_WARM_SECONDS, "{:.1f} ms")


async def _cold(functions: Functions, count: int) -> Figure:
    """From the request to the first line of the cord, by turns with a start of a job of the same chute to its first line."""
    cold, started = [], []
    for number in range(count + 1):
        await _stop_hosts(functions)
        await asyncio.sleep(STILL_SECONDS)
        began = time.monotonic()
        cold.append(float((await _call(functions.agent, "coroutine", 0))["began"]) - began)
        await asyncio.sleep(STILL_SECONDS)
        began = time.monotonic()
        started.append(float(await functions.result(await functions.start(CHUTE, "begins"))) - began)
        if not number:
            cold.clear()
            started.clear()
    print(f"  cold call: {describe(cold, 'ms', 1e3)}; start of a job: {describe(started, 'ms', 1e3)}")
    differences = [1e3 * (one - other) for one, other in zip(cold, started, strict=True)]
    name = f"cold call of a cord: request → its first line, over a job's submit → its first line, median of {count}"
    error = f" ± {error_of_median(differences):.0f}"
    return at_most("cords", name, median(differences), 1e3 * MOST_COLD_SECONDS, "{:.0f} ms", error)


async def _call(agent: Agent, function: str, seconds: float) -> dict[str, float]:
    url = f"http://agent/v1/chutes/{CHUTE}/cords/{function}"
    async with agent.api.post(url, json={"seconds": seconds}) as reply:
        if reply.status != 200:
            raise RuntimeError(f"not answered: {reply.status} {await reply.text()}")
        said: dict[str, float] = await reply.json()
        return said


async def _stop_hosts(functions: Functions) -> None:
    listed = await functions.agent.call("GET", "/v1/jobs?kind=cords")
    for job in listed["items"]:
        if job["phase"] != "finished":
            await functions.agent.call("POST", f"/v1/jobs/{job['id']}/cancel")
            await functions.phases.at((job["id"], "finished"))


if __name__ == "__main__":
    run_alone(measure)
