"""bench/listing — pages of a hundred thousand finished jobs over the API: for an owner, for all, at the head and deep down."""

import asyncio
import base64
import functools
import itertools
import random
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace

from agent.adapters.sqlite import jobs
from agent.adapters.sqlite.database import Database
from agent.adapters.sqlite.rows import Rows
from agent.core.job import ClosedAttempt, ExitFacts, Job, Kind, Outcome, Verdict
from agent.core.state import phase_event
from agent.errors import Phase
from agent.interfaces import NewJob
from agent.spec import parse_spec
from bench.figures import Figure, at_most, describe, percentile
from bench.host import Agent, Bench, run_alone
from tests.e2e.daemon import ALL_SCOPES, OWN_JOBS
from tests.e2e.network import TcpConnection

MOST_MILLISECONDS = 20.0
JOBS = 100_000
PAGES = 300
A_TRANSACTION = 5_000
OWNERS = ("alice", "bob", "carol", "dave")
PATH = (Phase.STARTING, Phase.RUNNING, Phase.STOPPING, Phase.UPLOADING, Phase.FINISHED)


async def measure(bench: Bench) -> list[Figure]:
    count = bench.size(JOBS, 5_000)
    pages = bench.size(PAGES, 100)
    async with bench.agent() as agent:
        agent.daemon.stop()
        began = time.perf_counter()
        await asyncio.to_thread(fill, agent, bench.image, count)
        print(f"  {count} jobs inserted in {time.perf_counter() - began:.0f} s")
        own, everything = agent.daemon.token("alice", OWN_JOBS), agent.daemon.token("root", ALL_SCOPES)
        await asyncio.to_thread(agent.daemon.start)
        readers = {"as owner": own, "as jobs:all": everything}
        taken: list[float] = []
        for (who, token), (what, query) in itertools.product(readers.items(), _queries(count).items()):
            times = await asyncio.to_thread(_read_pages, agent, token, query, pages)
            print(f"  {who}, {what}: {describe(times, 'ms', 1e3)}")
            taken += times
    name = f"{count} finished jobs listed by page of 50, p99 of {len(taken)}"
    return [at_most("listing", name, percentile(taken, 99) * 1e3, MOST_MILLISECONDS, "{:.1f} ms")]


def _queries(count: int) -> dict[str, Callable[[], str]]:
    """Each makes the query of one more page."""
    chance = random.Random(2)

    def deep() -> str:
        cursor = f"before:{chance.randrange(count // 10, count)}"
        return f"cursor={base64.urlsafe_b64encode(cursor.encode()).decode()}"

    return {
        "first page": lambda: "",
        "anywhere": deep,
        "finished, anywhere": lambda: f"phase=finished&{deep()}",
        "a queue, anywhere": lambda: f"queue=nightly&{deep()}",
        "a label, anywhere": lambda: f"label=team=red&{deep()}",
        "unfinished": lambda: "phase=queued,running",
    }


def _read_pages(agent: Agent, token: str, query: Callable[[], str], pages: int) -> list[float]:
    """Seconds of each page, over one TCP connection as a client keeps it."""
    connection = TcpConnection(agent.daemon.net, agent.daemon.config.api.listen.port)
    headers = {"Authorization": f"Bearer {token}"}
    taken = []
    try:
        for _ in range(pages):
            began = time.perf_counter()
            connection.request("GET", f"/v1/jobs?{query()}", headers=headers)
            reply = connection.getresponse()
            body = reply.read()
            taken.append(time.perf_counter() - began)
            assert reply.status == 200, body
    finally:
        connection.close()
    return taken


def fill(agent: Agent, image: str, count: int) -> None:
    """Through the store's own writes, many in a transaction: one each would take an hour of fsyncs."""
    database = Database(agent.daemon.database)
    rows = Rows(agent.daemon.database)
    chance = random.Random(1)
    database.open()
    try:
        numbers = iter(range(count))
        while batch := list(itertools.islice(numbers, A_TRANSACTION)):
            made = list(_finished_jobs(image, batch, chance))
            database.write(functools.partial(_insert_all, rows=rows, made=made))
    finally:
        database.close()


def _finished_jobs(image: str, numbers: list[int], chance: random.Random) -> Iterator[tuple[NewJob, Job]]:
    """A new job and the row that it becomes: a day's worth of jobs of four owners, some in another queue, some labelled."""
    now = time.time()
    for number in numbers:
        body = {
            "image": image,
            "command": ["python", "train.py", f"--seed={number}"],
            "queue": "nightly" if number % 10 == 0 else "default",
            "labels": {"team": "red" if number % 3 == 0 else "blue", "run": str(number)},
        }
        created = now - 86_400 + number * 86_400 / JOBS / 2
        new = NewJob(
            id=str(uuid.UUID(int=chance.getrandbits(128), version=4)),
            owner=OWNERS[number % len(OWNERS)],
            kind=Kind.CONTAINER,
            spec=parse_spec(body),
            created_at=created,
            idempotency_key=None,
            body_digest=str(number),
        )
        ended = Job(new.id, new.owner, new.kind, new.spec, created, phase=Phase.FINISHED)
        yield new, replace(ended, outcome=Outcome.SUCCEEDED, started_at=created, finished_at=created + 60)


def _insert_all(connection: sqlite3.Connection, rows: Rows, made: list[tuple[NewJob, Job]]) -> None:
    for new, ended in made:
        _insert(connection, rows, new, ended)


def _insert(connection: sqlite3.Connection, rows: Rows, new: NewJob, ended: Job) -> None:
    accepted = jobs.accept(connection, rows, new, most_queued=1_000_000).job
    path = [phase_event(replace(accepted, phase=phase), came_from=None) for phase in PATH]
    facts = ExitFacts(Verdict.OWN, 0, started_at=ended.started_at, finished_at=ended.finished_at)
    closed = ClosedAttempt(1, Outcome.SUCCEEDED, None, facts, None, "0" * 64, float(ended.finished_at or 0))
    finished = replace(ended, seq=accepted.seq, version=accepted.version)
    jobs.save(connection, rows, (finished, path), closed.closed_at, closed)


if __name__ == "__main__":
    run_alone(measure)
