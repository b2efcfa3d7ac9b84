"""bench/gpu_lease — what a lease of GPUs adds from the submit to "running", and what its clean gate does. GPUs are the tests' stand-in.

The waits for the engine's create and start are taken off each sample: they are longer than what is measured, and vary by more.
"""

import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median

from bench.figures import Figure, at_most, describe, error_of_median
from bench.host import Agent, Bench, run_alone
from bench.sightings import Sightings
from bench.submit import our_seconds
from bench.switched_agent import GATE_OFF_FILE, WAITS_FILE
from tests.e2e.gpu_host import gpu_host
from tests.nvml_standin.profiles import hgx_h100

MOST_LEASE_MS = 5.0
MOST_GATE_MS = 150.0
SAMPLES = 50
WARM_UP = 3
ALL = 8
# With the gate or without, and on how many GPUs.
KINDS = [(False, 0), (False, 1), (False, ALL), (True, 1), (True, ALL)]

Round = dict[tuple[bool, int], float]


async def measure(bench: Bench) -> list[Figure]:
    folder = Path(tempfile.mkdtemp(dir=bench.folder))
    off, waits = folder / "gate-is-off", folder / "waits"
    with gpu_host(bench.engine, folder, hgx_h100()) as standin:
        environment = {**standin.environ, GATE_OFF_FILE: str(off), WAITS_FILE: str(waits)}
        started = bench.agent(environment=environment, program="bench.switched_agent")
        async with started as agent, agent.phases() as phases:
            rounds = await _rounds(bench, agent, phases, off, lambda: _taken_from(waits))
    return _figures(rounds)


async def _rounds(
    bench: Bench, agent: Agent, phases: Sightings, off: Path, take_waits: Callable[[], float]
) -> list[Round]:
    """Milliseconds of each kind, in another order each time: whoever comes after a certain other pays for it."""

    async def take(has_gate: bool, gpus: int) -> float:  # noqa: FBT001 - of KINDS
        _turn_gate(off, is_off=not has_gate)
        whole = await our_seconds(agent, phases, agent.spec("sleep", "600", gpus=gpus))
        return 1e3 * (whole - take_waits())

    rounds, order = [], random.Random(SAMPLES)
    for number in range(bench.size(SAMPLES, 10) + WARM_UP):
        taken = {kind: await take(*kind) for kind in order.sample(KINDS, len(KINDS))}
        if number >= WARM_UP:
            rounds.append(taken)
    return rounds


def _turn_gate(off: Path, *, is_off: bool) -> None:
    """Seen by the daemon at its next gate."""
    if is_off:
        off.touch()
    else:
        off.unlink(missing_ok=True)


def _taken_from(waits: Path) -> float:
    """Of one job: its create and its start."""
    lines = waits.read_text().splitlines()
    waits.unlink()
    assert len(lines) == 2, "another job had to do with the engine"
    return sum(map(float, lines))


def _figures(rounds: list[Round]) -> list[Figure]:
    for has_gate, gpus in KINDS:
        sample = [taken[has_gate, gpus] for taken in rounds]
        print(
            f"  {gpus} GPUs, gate {'on' if has_gate else 'off'}: {describe(sample, 'ms', 1)}, without the engine"
        )
    figures = []
    for gpus in (1, ALL):
        name = f"submit → running on {gpus} GPU(s): what the lease adds, gate off, median of {len(rounds)}"
        figures.append(_figure(name, _differences(rounds, (False, gpus), (False, 0)), MOST_LEASE_MS))
    for gpus in (1, ALL):
        name = f"submit → running on {gpus} GPU(s): what a clean gate adds, median of {len(rounds)}"
        figures.append(_figure(name, _differences(rounds, (True, gpus), (False, gpus)), MOST_GATE_MS))
    return figures


def _differences(rounds: list[Round], one: tuple[bool, int], other: tuple[bool, int]) -> list[float]:
    return [taken[one] - taken[other] for taken in rounds]


def _figure(name: str, differences: list[float], most: float) -> Figure:
    error = f" ± {error_of_median(differences):.1f}"
    return at_most("gpu_lease", name, median(differences), most, "{:.1f} ms", error)


if __name__ == "__main__":
    run_alone(measure)
