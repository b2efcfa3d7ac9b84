"""bench/function_start — from the submit of a function to its first line, against a plain container of the same image that prints one."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from functools import partial
from statistics import median

from bench.figures import Figure, at_most, describe, error_of_median
from bench.functions import Functions, python_image
from bench.host import ENGINE_API, NONE, Agent, Bench, Json, run_alone
from bench.submit import STILL_SECONDS

MOST_ADDED_SECONDS = 0.25
SAMPLES = 40
WARM_UP = 2
# All clocks are the host's monotonic one, which a container shares: what was printed is told by no log in between.
PRINTS = ("python3", "-c", "import time; print(time.monotonic())")
HEADER_BYTES = 8  # of the one frame that the engine has of the log
FUNCTIONS = """
import time

@chute.job()
def plain(self):
    return time.monotonic()

@chute.job()
async def coroutine(self):
    return time.monotonic()
"""
HOOKS = """
@chute.on_startup()
async def opens(self):
    self.opened = True

@chute.on_startup(priority=90)
def reads(self):
    self.read = self.opened
"""
RAW, JOB = "plain container", "container job that prints"
CHUTES = {"bare": FUNCTIONS, "hooked": FUNCTIONS + HOOKS}
# What is shown, the chute, its function.
KINDS = (
    ("async def function", "bare", "coroutine"),
    ("def function", "bare", "plain"),
    ("async def function behind two on_startup hooks", "hooked", "coroutine"),
)
Start = Callable[[], Awaitable[float]]


async def measure(bench: Bench) -> list[Figure]:
    async with bench.agent() as agent, agent.phases() as phases:
        functions, image = Functions(agent, phases), await python_image(bench)
        for chute, file in CHUTES.items():
            await functions.deploy(chute, image, file)
        plain = agent.spec(*PRINTS, network=NONE) | {"image": image}
        twin = await _twin(bench, agent, image)
        starts: dict[str, Start] = {
            RAW: partial(_raw_seconds, bench, twin),
            JOB: partial(_job_seconds, functions, plain),
            **{shown: partial(_function_seconds, functions, *named) for shown, *named in KINDS},
        }
        seconds = await _by_turns(starts, bench.size(SAMPLES, 5))
    for shown, sample in seconds.items():
        print(f"  {shown}: {describe(sample, 'ms', 1e3)}")
    return [_figure(shown, seconds[shown], seconds[RAW]) for shown, _, _ in KINDS]


async def _by_turns(starts: dict[str, Start], rounds: int) -> dict[str, list[float]]:
    seconds: defaultdict[str, list[float]] = defaultdict(list)
    for number in range(rounds + WARM_UP):
        for shown, start in starts.items():
            await asyncio.sleep(STILL_SECONDS)
            taken = await start()
            if number >= WARM_UP:
                seconds[shown].append(taken)
    return seconds


def _figure(shown: str, ours: list[float], raw: list[float]) -> Figure:
    differences = [1e3 * (one - other) for one, other in zip(ours, raw, strict=True)]
    name = f"{shown}: submit → its first line, over a plain container that prints, median of {len(ours)}"
    error = f" ± {error_of_median(differences):.0f}"
    return at_most("function_start", name, median(differences), MOST_ADDED_SECONDS * 1e3, "{:.0f} ms", error)


async def _twin(bench: Bench, agent: Agent, image: str) -> Json:
    """Of a job that prints; of one that stays, since it has to be there to be looked at."""
    async with agent.phases() as phases:
        model = await agent.submit(agent.spec("sleep", "600", network=NONE) | {"image": image})
        await phases.at((model, "running"))
    # The model stays: what its container mounts is mounted by the twins.
    return await bench.raw.twin(agent, model) | {"Cmd": list(PRINTS)}


async def _raw_seconds(bench: Bench, twin: Json) -> float:
    began = time.monotonic()
    container = await bench.raw.create(twin)
    await bench.raw.start(container)
    await bench.raw.wait(container)
    async with bench.raw.session.get(f"{ENGINE_API}/containers/{container}/logs?stdout=1") as reply:
        printed = await reply.read()
    await bench.raw.remove(container)
    return float(printed[HEADER_BYTES:]) - began


async def _job_seconds(functions: Functions, spec: Json) -> float:
    began = time.monotonic()
    job = await functions.agent.submit(spec)
    await functions.phases.at((job, "finished"))
    async with functions.agent.api.get(f"http://agent/v1/jobs/{job}/logs") as reply:
        return float(await reply.text()) - began


async def _function_seconds(functions: Functions, chute: str, function: str) -> float:
    began = time.monotonic()
    return float(await functions.result(await functions.start(chute, function))) - began


if __name__ == "__main__":
    run_alone(measure)
