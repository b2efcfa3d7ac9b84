"""bench/recover — SIGKILL under many running jobs, and how soon after its start the next daemon has looked at all of them."""

import asyncio
import json
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from http.client import HTTPException
from pathlib import Path
from statistics import median

from bench.figures import Figure, at_most
from bench.host import NONE, Agent, Bench, run_alone, until
from bench.processes import cpu_seconds
from tests.private_engine import PrivateEngine
from tests.private_engine_host import send_signal

MOST_SECONDS = 1.5
JOBS = 200
ROUNDS = 5
WITHIN_SECONDS = 60.0
# What the engine's log says of each call, to the nanosecond, where it is told to debug.
CALL = re.compile(r'^time="([^"]+)".*msg="Calling GET /v[\d.]+/(?:containers/(\w+)/json|(events))')


async def measure(bench: Bench) -> list[Figure]:
    jobs = bench.size(JOBS, 20)
    async with bench.agent({"queues.default": {"concurrency": jobs}}) as agent:
        async with agent.phases() as phases:
            ids = [await agent.submit(agent.spec("sleep", "3600", network=NONE)) for _ in range(jobs)]
            await asyncio.gather(*(phases.at((job, "running")) for job in ids))
        containers = {str(found["Id"]) for found in agent.daemon.containers()}
        with debugging(bench.engine):
            rounds = range(bench.size(ROUNDS, 2))
            taken = [await _restart(bench.engine, agent, containers) for _ in rounds]
        await _prove_watched(bench, agent, ids[-1])
    name = f"SIGKILL with {jobs} running: from exec to all adopted and watched, median of {len(taken)}"
    return [at_most("recover", name, median(taken), MOST_SECONDS, "{:.2f} s")]


async def _restart(engine: PrivateEngine, agent: Agent, containers: set[str]) -> float:
    """Seconds from the exec until the API is ready, the event stream is open, and each container was inspected."""
    agent.daemon.kill()
    unread = engine.log.stat().st_size
    began = time.time()
    agent.daemon.launch()
    await until(lambda: _is_ready(agent), WITHIN_SECONDS)
    ready = time.time()
    wanted = containers | {"events"}
    await until(lambda: wanted <= _first_calls(engine.log, unread).keys(), WITHIN_SECONDS)
    calls = _first_calls(engine.log, unread)
    looked = max(calls[container] for container in containers)
    print(
        f"  ready {ready - began:.2f} s, stream {calls['events'] - began:.2f} s, all looked at {looked - began:.2f} s, "
        f"for {cpu_seconds(agent.pid):.2f} CPU s"
    )
    return max(ready, looked, calls["events"]) - began


def _is_ready(agent: Agent) -> bool:
    try:
        return agent.daemon.local.call("GET", "/readyz").status == 200
    except (OSError, HTTPException):
        return False


@contextmanager
def debugging(engine: PrivateEngine) -> Iterator[None]:
    """The engine tells of each call in its log while the block runs."""
    file = engine.root / "daemon.json"
    usual = file.read_text()
    try:
        _reload(engine, file, json.dumps({**json.loads(usual), "debug": True}))
        yield
    finally:
        _reload(engine, file, usual)


def _reload(engine: PrivateEngine, file: Path, settings: str) -> None:
    file.write_text(settings)
    send_signal(engine.pid, signal.SIGHUP)
    # In order behind the signal's handler, more or less; the first restart takes longer than that anyway.
    engine.request("GET", "/_ping")


def _first_calls(log: Path, unread: int) -> dict[str, float]:
    """When each container was first inspected, and "events" first asked for."""
    with log.open("rb") as file:
        file.seek(unread)
        lines = file.read().decode(errors="replace").splitlines()
    found: dict[str, float] = {}
    for called in filter(None, map(CALL.match, lines)):
        at = datetime.fromisoformat(called[1]).timestamp()
        found.setdefault(called[2] or called[3], at)
    return found


async def _prove_watched(bench: Bench, agent: Agent, job: str) -> None:
    """A death after all that is seen: it was no empty word."""
    (container,) = (found["Id"] for found in agent.daemon.containers(job))
    async with agent.phases() as phases:
        await bench.raw.call("POST", f"/containers/{container}/kill")
        await phases.at((job, "stopping"))


if __name__ == "__main__":
    run_alone(measure)
