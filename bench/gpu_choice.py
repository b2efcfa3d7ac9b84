"""bench/gpu_choice — how long it takes to choose GPUs: on hosts of 8, and for the worst of 16. Needs no engine."""

import random
import time
from collections.abc import Iterator

from agent.core import choice
from agent.core.topology import Matrix, tables
from agent.spec import Interconnect
from bench.figures import Figure, at_most
from bench.host import Bench, run_alone

MOST_MS = {8: 1.0, 16: 50.0}
HOSTS_AT_RANDOM = 5
TRIES = 3


async def measure(bench: Bench) -> list[Figure]:
    return [_worst(gpus, bench.size(HOSTS_AT_RANDOM, 1)) for gpus in MOST_MS]


def _worst(gpus: int, at_random: int) -> Figure:
    worst = 0.0
    for name, matrix in _hosts(gpus, at_random):
        slowest = max(
            (_time(matrix, count, interconnect), interconnect.value, count)
            for interconnect in Interconnect
            for count in range(1, gpus + 1)
        )
        print(f"  {gpus} GPUs, {name}: at most {slowest[0]:.2f} ms, for {slowest[2]} of them, {slowest[1]}")
        worst = max(worst, slowest[0])
    name = f"choosing of {gpus} GPUs, all free: the slowest of any count, interconnect and topology"
    return at_most("gpu_choice", name, worst, MOST_MS[gpus], "{:.2f} ms")


def _time(matrix: Matrix, count: int, interconnect: Interconnect) -> float:
    """Milliseconds with nothing remembered but the tables of the host, which are made once. The least of a few: the rest is the host's."""
    everything = (1 << len(matrix)) - 1
    tables(matrix)
    for size in choice.LEFT_SIZES:
        choice.ranked(matrix, size)
    taken = []
    for _ in range(TRIES):
        choice.best_set.cache_clear()
        began = time.perf_counter()
        choice.best_set(matrix, everything, everything, count, interconnect)
        taken.append(time.perf_counter() - began)
    return min(taken) * 1e3


def _hosts(gpus: int, at_random: int) -> Iterator[tuple[str, Matrix]]:
    """What is sold, and links at random, where no two GPUs are alike and so no set stands for another."""
    yield "one NVSwitch", _grouped(gpus, gpus, 4, 4)
    yield "switches of four", _grouped(gpus, 4, 3, 1)
    yield "pairs with a bridge", _grouped(gpus, 2, 4, 1)
    for seed in range(at_random):
        dice = random.Random(seed)
        links = {(low, high): dice.randint(0, 4) for high in range(gpus) for low in range(high)}
        yield (
            f"at random {seed}",
            tuple(tuple(links.get((min(a, b), max(a, b)), 0) for b in range(gpus)) for a in range(gpus)),
        )


def _grouped(gpus: int, size: int, inside: int, outside: int) -> Matrix:
    return tuple(
        tuple(inside if a // size == b // size else outside for b in range(gpus)) for a in range(gpus)
    )


if __name__ == "__main__":
    run_alone(measure)
