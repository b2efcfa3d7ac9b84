"""bench/gpu_lease — what a lease of GPUs adds from the submit to "running", and what its clean gate does. GPUs are the tests' stand-in."""

import tempfile
from pathlib import Path
from statistics import median

from bench.figures import Figure, at_most, describe
from bench.gateless import OFF_FILE
from bench.host import Agent, Bench, Json, run_alone
from bench.sightings import Sightings
from bench.submit import our_seconds, raw_seconds
from tests.e2e.gpu_host import gpu_host
from tests.nvml_standin.profiles import hgx_h100

MOST_LEASE_MS = 5.0
MOST_GATE_MS = 150.0
SAMPLES = 50
WARM_UP = 3
ALL = 8


async def measure(bench: Bench) -> list[Figure]:
    folder = Path(tempfile.mkdtemp(dir=bench.folder))
    off = folder / "gate-is-off"
    with gpu_host(bench.engine, folder, hgx_h100()) as standin:
        environment = {**standin.environ, OFF_FILE: str(off)}
        started = bench.agent(environment=environment, program="bench.gateless")
        async with started as agent, agent.phases() as phases:
            rounds = await _rounds(bench, agent, phases, off)
    return _figures(rounds)


async def _rounds(bench: Bench, agent: Agent, phases: Sightings, off: Path) -> list[dict[str, float]]:
    """Seconds of each kind, taken in turns, so that whatever else the host does hits all of them."""
    specs = {count: agent.spec("sleep", "600", gpus=count) for count in (0, 1, ALL)}
    twins = {count: await _twin(bench, agent, phases, specs[count]) for count in (0, 1)}
    rounds = []
    for number in range(bench.size(SAMPLES, 10) + WARM_UP):
        _turn_gate(off, is_off=True)
        taken = {f"raw {count}": await raw_seconds(bench, twin) for count, twin in twins.items()}
        for count, spec in specs.items():
            taken[f"no gate {count}"] = await our_seconds(agent, phases, spec)
        _turn_gate(off, is_off=False)
        for count in (1, ALL):
            taken[f"gate {count}"] = await our_seconds(agent, phases, specs[count])
        if number >= WARM_UP:
            rounds.append(taken)
    return rounds


def _turn_gate(off: Path, *, is_off: bool) -> None:
    """Seen by the daemon at its next gate (bench/gateless)."""
    if is_off:
        off.touch()
    else:
        off.unlink()


async def _twin(bench: Bench, agent: Agent, phases: Sightings, spec: Json) -> Json:
    """What it mounts stays after the job's end."""
    job = await agent.submit(spec)
    await phases.at((job, "running"))
    twin = await bench.raw.twin(agent, job)
    await agent.cancel(job)
    await phases.at((job, "finished"))
    return twin


def _figures(rounds: list[dict[str, float]]) -> list[Figure]:
    for kind in rounds[0]:
        print(f"  {kind}: {describe([taken[kind] for taken in rounds], 'ms', 1e3)}")
    ours = [taken["no gate 1"] - taken["no gate 0"] for taken in rounds]
    engines = [taken["raw 1"] - taken["raw 0"] for taken in rounds]
    print(f"  of a GPU, the engine's own: {1e3 * median(engines):.1f} ms, all: {1e3 * median(ours):.1f} ms")
    added = [1e3 * (one - other) for one, other in zip(ours, engines, strict=True)]
    name = f"submit → running on a GPU: what the lease adds, gate off, median of {len(rounds)}"
    figures = [at_most("gpu_lease", name, median(added), MOST_LEASE_MS, "{:.1f} ms")]
    for count in (1, ALL):
        gate = [1e3 * (taken[f"gate {count}"] - taken[f"no gate {count}"]) for taken in rounds]
        name = f"submit → running on {count} GPU(s): what a clean gate adds, median of {len(rounds)}"
        figures.append(at_most("gpu_lease", name, median(gate), MOST_GATE_MS, "{:.1f} ms"))
    return figures


if __name__ == "__main__":
    run_alone(measure)
