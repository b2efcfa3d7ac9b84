"""bench/scrapes — /metrics with ten thousand jobs queued and as many finished: how long a scrape takes, how late it makes the loop, what the first one costs."""

import asyncio
import functools
import itertools
import sqlite3
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path

from agent.adapters.sqlite import jobs
from agent.adapters.sqlite.database import Database
from agent.adapters.sqlite.rows import Rows
from agent.core.job import Kind
from agent.interfaces import NewJob
from agent.spec import parse_spec
from bench.figures import Figure, at_most, describe, percentile
from bench.host import Agent, Bench, run_alone
from bench.lagging_agent import LATE_FILE
from bench.listing import fill
from bench.processes import resident_megabytes

BENCH = "scrapes"
JOBS, SCRAPES = 10_000, 100
A_TRANSACTION = 5_000
MOST_SECONDS, MOST_ADDED_SECONDS, MOST_MEGABYTES = 0.5, 0.010, 4.0
PAUSE_SECONDS = 0.2
# Until what a start does with so many rows is over, and until the agent has told how late it was.
SETTLE_SECONDS, TELL_SECONDS = 10, 2
FAR = "2100-01-01T00:00:00Z"


async def measure(bench: Bench) -> list[Figure]:
    count, scrapes = bench.size(JOBS, 1_000), bench.size(SCRAPES, 20)
    late = Path(tempfile.mkdtemp(dir=bench.folder)) / "late"
    async with bench.agent(environment={LATE_FILE: str(late)}, program="bench.lagging_agent") as agent:
        agent.daemon.stop()
        await asyncio.to_thread(fill, agent, bench.image, count)
        await asyncio.to_thread(_queue, agent, bench.image, count)
        await asyncio.to_thread(agent.daemon.start)
        await asyncio.sleep(SETTLE_SECONDS)
        before = resident_megabytes(agent.pid)
        first = await _scrape(agent, count)
        grown = resident_megabytes(agent.pid) - before
        idle = await _late(late, functools.partial(asyncio.sleep, scrapes * PAUSE_SECONDS))
        taken: list[float] = []
        ticks = await _late(late, functools.partial(_scrape_often, agent, count, scrapes, taken))
    print(f"  first scrape {first * 1e3:.0f} ms, then {describe(taken, 'ms', 1e3)}")
    print(
        f"  the loop is late by {describe(ticks, 'ms', 1e3)}, at worst {max(ticks) * 1e3:.0f} ms; without scrapes {describe(idle, 'ms', 1e3)}, {max(idle) * 1e3:.0f} ms"
    )
    added = percentile(ticks, 99) - percentile(idle, 99)
    name = f"/metrics over {count} queued and {count} finished jobs"
    return [
        at_most(BENCH, f"{name}: p99 of {scrapes}", percentile(taken, 99), MOST_SECONDS, "{:.3f} s"),
        at_most(BENCH, f"{name}: added to how late the event loop is, p99", added * 1e3, MOST_ADDED_SECONDS * 1e3, "{:.1f} ms"),
        at_most(BENCH, f"{name}: memory that the first one takes", grown, MOST_MEGABYTES, "{:.1f} MB"),
    ]  # fmt: skip


async def _scrape_often(agent: Agent, count: int, times: int, taken: list[float]) -> None:
    for _ in range(times):
        taken.append(await _scrape(agent, count))
        await asyncio.sleep(PAUSE_SECONDS)


async def _scrape(agent: Agent, count: int) -> float:
    began = time.perf_counter()
    async with agent.api.get("http://agent/metrics") as reply:
        text = await reply.text()
        assert reply.status == 200, text
    taken = time.perf_counter() - began
    assert f"gpu_agent_jobs_kept {count:.1f}\n" in text
    assert f'gpu_agent_jobs_waiting{{waiting_for="not_before"}} {count:.1f}\n' in text
    return taken


async def _late(file: Path, act: Callable[[], Awaitable[None]]) -> list[float]:
    """How late the agent's loop was, in seconds at each tick, while something was done."""
    await asyncio.sleep(TELL_SECONDS)
    await asyncio.to_thread(file.write_text, "")
    await act()
    await asyncio.sleep(TELL_SECONDS)
    return [float(line) for line in (await asyncio.to_thread(file.read_text)).splitlines()]


def _queue(agent: Agent, image: str, count: int) -> None:
    """Jobs that wait for a day to come: they hold nothing and do nothing."""
    database = Database(agent.daemon.database)
    rows = Rows(agent.daemon.database)
    database.open()
    try:
        numbers = iter(range(count))
        while batch := list(itertools.islice(numbers, A_TRANSACTION)):
            database.write(functools.partial(_accept_all, rows=rows, image=image, numbers=batch))
    finally:
        database.close()


def _accept_all(connection: sqlite3.Connection, rows: Rows, image: str, numbers: list[int]) -> None:
    for number in numbers:
        spec = parse_spec({"image": image, "queue": f"queue-{number}", "not_before": FAR})
        new = NewJob(str(uuid.uuid4()), "alice", Kind.CONTAINER, spec, time.time(), None, str(number))
        jobs.accept(connection, rows, new, most_queued=1_000_000)


if __name__ == "__main__":
    run_alone(measure)
