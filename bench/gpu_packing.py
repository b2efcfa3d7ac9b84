"""bench/gpu_packing — what choosing by links costs or saves a stream of jobs, against taking the first that fit. Needs no engine.

A trace of jobs runs on a host twice, in the queue's order and with its backfill; only the choice of GPUs differs.
"""

import heapq
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean, median

from agent.core.gpus import GpusNeverFitError, Inventory, choose_gpus, fitting, gpus_to_keep, refuse_if_never
from agent.core.topology import LinkClass
from agent.spec import Gpus, Interconnect
from bench.figures import Figure, at_most
from bench.host import Bench, run_alone
from tests.unit.gpu_hosts import MIXED, MIXED_LINKS, PCIE, PCIE_LINKS

HOSTS = {"PCIe": Inventory(PCIE, PCIE_LINKS), "mixed": Inventory(MIXED, MIXED_LINKS)}
JOBS = 2000
SEEDS = 50
SIZES = (1, 2, 4, 8)
# Of all jobs so many ask for NVLink, or for memory that not all GPUs have.
CHOOSY = 0.3
# Jobs come about as fast as the host can take them.
LOAD = 0.95
MOST_MEDIAN, MOST_WORST = 1.0, 1.05
RATIO = "{:.3f} \N{MULTIPLICATION SIGN} first fit"

Chooser = Callable[[Inventory, Gpus, set[str]], tuple[str, ...] | None]


@dataclass(frozen=True, slots=True)
class TracedJob:
    comes_at: float
    seconds: float
    wanted: Gpus


@dataclass(frozen=True, slots=True)
class Run:
    makespan: float
    mean_wait: float
    mean_link: float


async def measure(bench: Bench) -> list[Figure]:
    figures: list[Figure] = []
    for name, host in HOSTS.items():
        figures += _compare(name, host, bench.size(SEEDS, 5), bench.size(JOBS, 200))
    return figures


def _compare(name: str, host: Inventory, seeds: int, jobs: int) -> list[Figure]:
    pairs = []
    for seed in range(seeds):
        trace = _trace(host, jobs, random.Random(seed))
        pairs.append((_simulate(host, trace, _linked), _simulate(host, trace, _first_fit)))
    links = fmean(ours.mean_link for ours, _ in pairs), fmean(first.mean_link for _, first in pairs)
    print(
        f"  {name}: mean link class of sets of more than one: ours {links[0]:.2f}, first fit {links[1]:.2f}"
    )
    figures = []
    for what, value in (("makespan", _makespan), ("mean wait", _mean_wait)):
        ratios = [value(ours) / value(first) for ours, first in pairs]
        title = f"{what} of {jobs} jobs, {name} host, {seeds} traces"
        figures += [
            at_most("gpu_packing", f"{title}: median", median(ratios), MOST_MEDIAN, RATIO),
            at_most("gpu_packing", f"{title}: worst", max(ratios), MOST_WORST, RATIO),
        ]
    return figures


def _makespan(run: Run) -> float:
    return run.makespan


def _mean_wait(run: Run) -> float:
    return run.mean_wait


def _trace(host: Inventory, jobs: int, dice: random.Random) -> list[TracedJob]:
    memories = sorted({gpu.memory_bytes for gpu in host.gpus})
    kinds = [
        Gpus(count=count, min_memory=memory, interconnect=interconnect)
        for count in SIZES
        for memory, interconnect in (
            (None, Interconnect.BEST),
            (None, Interconnect.NVLINK),
            (memories[-1], Interconnect.BEST),
        )
    ]
    kinds = [kind for kind in kinds if _fits(host, kind)]
    plain = [kind for kind in kinds if kind.min_memory is None and kind.interconnect is Interconnect.BEST]
    choosy = [kind for kind in kinds if kind not in plain]
    wanted = [dice.choice(choosy if dice.random() < CHOOSY else plain) for _ in range(jobs)]
    seconds = [dice.expovariate(1 / 600) for _ in range(jobs)]
    work = sum(kind.count * lasts for kind, lasts in zip(wanted, seconds, strict=True))
    pause = work / len(host.gpus) / LOAD / jobs
    comes_at, trace = 0.0, []
    for kind, lasts in zip(wanted, seconds, strict=True):
        comes_at += dice.expovariate(1 / pause)
        trace.append(TracedJob(comes_at, lasts, kind))
    return trace


def _fits(host: Inventory, wanted: Gpus) -> bool:
    try:
        refuse_if_never(host, wanted)
    except GpusNeverFitError:
        return False
    return True


def _simulate(host: Inventory, trace: Sequence[TracedJob], choose: Chooser) -> Run:
    ends: list[tuple[float, tuple[str, ...]]] = []
    waiting: list[TracedJob] = []
    taken: set[str] = set()
    waits: list[float] = []
    links: list[float] = []
    now, coming = 0.0, 0
    while coming < len(trace) or waiting:
        # Whatever comes first: a job's end or the next job.
        if coming < len(trace) and (not ends or trace[coming].comes_at <= ends[0][0]):
            now = trace[coming].comes_at
            waiting.append(trace[coming])
            coming += 1
        else:
            now, freed = heapq.heappop(ends)
            taken -= set(freed)
        for job, gpus in _grant(host, waiting, taken, choose):
            taken |= set(gpus)
            waiting.remove(job)
            waits.append(now - job.comes_at)
            heapq.heappush(ends, (now + job.seconds, gpus))
            links += [fmean(_link(host, pair) for pair in combinations(gpus, 2))] if len(gpus) > 1 else []
    return Run(max(end for end, _ in ends), fmean(waits), fmean(links))


def _grant(
    host: Inventory, waiting: Sequence[TracedJob], taken: set[str], choose: Chooser
) -> list[tuple[TracedJob, tuple[str, ...]]]:
    """As core/queue does it: who can't start yet keeps what it will take."""
    granted: list[tuple[TracedJob, tuple[str, ...]]] = []
    held, kept = set(taken), set[str]()
    for job in waiting:
        if len(held | kept) == len(host.gpus):
            break
        gpus = choose(host, job.wanted, held | kept)
        if gpus is None:
            kept |= gpus_to_keep(host, job.wanted, held, frozenset())
        else:
            held |= set(gpus)
            granted.append((job, gpus))
    return granted


def _linked(host: Inventory, wanted: Gpus, gone: set[str]) -> tuple[str, ...] | None:
    chosen = choose_gpus(host, wanted, gone)
    return None if chosen is None else chosen.uuids


def _first_fit(host: Inventory, wanted: Gpus, gone: set[str]) -> tuple[str, ...] | None:
    free = [gpu.uuid for gpu in fitting(host, wanted) if gpu.uuid not in gone]
    for gpus in combinations(free, wanted.count):
        if wanted.interconnect is not Interconnect.NVLINK or all(
            _link(host, pair) == LinkClass.NVLINK for pair in combinations(gpus, 2)
        ):
            return gpus
    return None


def _link(host: Inventory, pair: tuple[str, str]) -> int:
    return host.links.pairs.get(frozenset(pair), LinkClass.OTHER)


if __name__ == "__main__":
    run_alone(measure)
