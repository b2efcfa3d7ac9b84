"""bench/logs — a long log followed over the agent's API and with `docker logs -f`: the same container, the same bytes, in turn."""

import asyncio
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from bench.figures import TIMES, Figure, at_least, at_most
from bench.host import Agent, Bench, run_alone, until
from bench.processes import cpu_seconds
from tests.e2e.daemon import REPOSITORY

LEAST_SPEED = 1.5
MOST_CPU = 0.6
TIMES_DOCKER = TIMES + "docker logs -f"
LINE_BYTES = 100
LINES = 3_000_000
ROUNDS = 3
PIECE_BYTES = 1 << 18
STILL_SECONDS = 1.0
WRITTEN_WITHIN_SECONDS = 300.0
# It writes at full speed, then lives on: a follower that has read all of it waits for more.
WRITE = "yes $(printf %099d 0) | head -n {lines}; touch /outputs/written; exec sleep 3600"


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one reading. `cpu`: what the readers' side used, `engine_cpu`: the engine's own, for the same bytes."""

    seconds: float
    cpu: float
    engine_cpu: float


async def measure(bench: Bench) -> list[Figure]:
    lines = bench.size(LINES, 100_000)
    async with bench.agent() as agent:
        job = await agent.submit(agent.spec("sh", "-c", WRITE.format(lines=lines)))
        await _until_written(bench, agent, job)
        (container,) = (found["Id"] for found in agent.daemon.containers(job))
        theirs, ours = [], []
        for _ in range(bench.size(ROUNDS, 1)):
            theirs.append(await asyncio.to_thread(_docker_logs, bench, container, lines * LINE_BYTES))
            ours.append(await asyncio.to_thread(_our_logs, bench, agent, job, lines * LINE_BYTES))
            print(f"  docker logs -f {_told(theirs[-1])}; ours {_told(ours[-1])}")
    speed = median(cost.seconds for cost in theirs) / median(cost.seconds for cost in ours)
    cpu = median(cost.cpu for cost in ours) / median(cost.cpu for cost in theirs)
    name = f"log follow of {lines * LINE_BYTES / 1e6:.0f} MB of {LINE_BYTES}-byte lines"
    return [
        at_least("logs", f"{name}: speed", speed, LEAST_SPEED, TIMES_DOCKER),
        at_most("logs", f"{name}: CPU, daemon and reader", cpu, MOST_CPU, TIMES_DOCKER),
    ]


async def _until_written(bench: Bench, agent: Agent, job: str) -> None:
    """Until the job has written, and the engine has compressed what it rotated."""
    written = agent.daemon.state / "jobs" / job / "outputs" / "written"
    await until(written.exists, WRITTEN_WITHIN_SECONDS)
    busy = STILL_SECONDS
    while busy > STILL_SECONDS / 20:
        before = cpu_seconds(bench.engine.pid)
        await asyncio.sleep(STILL_SECONDS)
        busy = cpu_seconds(bench.engine.pid) - before


def _docker_logs(bench: Bench, container: str, wanted_bytes: int) -> Cost:
    """The CPU is the docker command's; what takes its bytes out of the pipe is not counted."""
    command = [str(shutil.which("docker")), "logs", "-f", container]
    environment = {**os.environ, "DOCKER_HOST": f"unix://{bench.engine.socket}"}

    def read() -> float:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
        assert process.stdout is not None
        left = wanted_bytes
        while left > 0:
            piece = os.read(process.stdout.fileno(), PIECE_BYTES)
            assert piece, f"docker logs ended {left} bytes too early"
            left -= len(piece)
        process.terminate()
        return _cpu_at_exit(process)

    return _cost(bench, read)


def _our_logs(bench: Bench, agent: Agent, job: str, wanted_bytes: int) -> Cost:
    """The CPU is the daemon's and the reader's, its interpreter's start included."""
    target = f"/v1/jobs/{job}/logs?follow=true"
    command = [sys.executable, "-m", "bench.reader", str(agent.daemon.socket), target, str(wanted_bytes)]

    def read() -> float:
        before = cpu_seconds(agent.pid)
        reader_cpu = _cpu_at_exit(subprocess.Popen(command, cwd=REPOSITORY))
        return cpu_seconds(agent.pid) - before + reader_cpu

    return _cost(bench, read)


def _cost(bench: Bench, read: Callable[[], float]) -> Cost:
    began, engine_before = time.perf_counter(), cpu_seconds(bench.engine.pid)
    cpu = read()
    return Cost(time.perf_counter() - began, cpu, cpu_seconds(bench.engine.pid) - engine_before)


def _cpu_at_exit(process: "subprocess.Popen[bytes]") -> float:
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.stdout is not None:
        process.stdout.close()
    return usage.ru_utime + usage.ru_stime


def _told(cost: Cost) -> str:
    return f"{cost.seconds:.1f} s, {cost.cpu:.1f} CPU s (the engine {cost.engine_cpu:.1f})"


if __name__ == "__main__":
    run_alone(measure)
