"""One job whose attempts, container and log a test moves by hand, and readers of it, under virtual time."""

import asyncio
import json
from dataclasses import replace
from typing import Any

from agent.core.container import ContainerState
from agent.core.cursor import Cursor, parse_cursor
from agent.core.frames import NANOS
from agent.core.job import Job, Kind, Run, StartIntent
from agent.errors import Phase
from agent.jobs.attempt_log import BURST_BYTES
from agent.jobs.bell import Bell
from agent.jobs.drain import drain
from agent.jobs.logs import LogQuery, Logs, Sources, Stamps
from agent.spec import parse_spec
from tests.fakes.clock import FakeClock
from tests.fakes.folders import FakeFolders
from tests.fakes.logs import FakeLog, FakeLogEngine

JOB = "0190f3d2-0000-7000-8000-000000000001"


class OneRow:
    """The row of the one job. Reading it lets others run, as a real store does."""

    def __init__(self, job: Job, bell: Bell) -> None:
        self.job: Job | None = job
        self._bell = bell

    async def read(self, job_id: str) -> Job | None:
        await asyncio.sleep(0)
        return self.job

    def change(self, **changes: Any) -> None:  # noqa: ANN401 - fields of Job, checked by replace
        assert self.job is not None
        self.job = replace(self.job, **changes)
        self._bell.ring()


class LogWorld:
    def __init__(self, chunk_bytes: int = 1000, burst_bytes: int = BURST_BYTES) -> None:
        self.clock = FakeClock()
        self.bell = Bell()
        self.engine = FakeLogEngine(chunk_bytes)
        self.folders = FakeFolders()
        spec = parse_spec({"image": "busybox"})
        self.row = OneRow(Job(JOB, "ann", Kind.CONTAINER, spec, created_at=0.0), self.bell)
        self.logs = Logs(Sources(self.engine, self.folders, self.row, self.clock, self.bell, burst_bytes))
        self.log = FakeLog()
        self.container = ""

    @property
    def now_ns(self) -> int:
        return int(self.clock.now() * NANOS)

    def start(
        self, container: str = "c1", log: FakeLog | None = None, first_log_ns: int | None = None
    ) -> None:
        self.container = container
        self.log = self.engine.add(container, log or FakeLog())
        run = Run(intent=StartIntent(container, "boot-1"), first_log_ns=first_log_ns)
        self.row.change(phase=Phase.RUNNING, run=run)

    def exit(self) -> None:
        self.engine.set_state(self.container, ContainerState.EXITED)
        self.row.change(phase=Phase.STOPPING)

    async def drain(self, first_ns: int | None = None) -> None:
        assert self.row.job is not None
        await drain(self.engine, self.folders, JOB, self.row.job.attempt, self.container, first_ns)

    async def end_attempt(self) -> None:
        self.exit()
        await self.drain()
        self.engine.remove(self.container)

    def retry(self) -> None:
        assert self.row.job is not None
        self.row.change(phase=Phase.QUEUED, attempt=self.row.job.attempt + 1, run=Run())

    def finish(self) -> None:
        self.row.change(phase=Phase.UPLOADING, run=Run())
        self.row.change(phase=Phase.FINISHED)

    async def text(self, query: LogQuery, stamps: Stamps = Stamps.HIDDEN) -> bytes:
        return b"".join([chunk async for chunk in self.logs.text_chunks(JOB, query, stamps)])

    async def json(self, query: LogQuery) -> list[dict[str, Any]]:
        written = b"".join([chunk async for chunk in self.logs.ndjson_chunks(JOB, query)])
        return [json.loads(line) for line in written.splitlines()]

    async def lines(self, query: LogQuery) -> list[str]:
        return [record["line"] for record in await self.json(query) if record["type"] == "line"]


class Reader:
    """A follower in a task of its own. `got` grows as it reads; `cursor` is the last one it was given."""

    def __init__(self, world: LogWorld, query: LogQuery, pause_seconds: float = 0.0) -> None:
        self.records: list[dict[str, Any]] = []
        self._world = world
        self._query = query
        self._pause = pause_seconds
        self.task = asyncio.get_running_loop().create_task(self._read())

    @property
    def got(self) -> list[str]:
        return [record["line"] for record in self.records if record["type"] == "line"]

    @property
    def cursor(self) -> Cursor:
        return parse_cursor(self.records[-1]["cursor"])

    async def _read(self) -> None:
        async for chunk in self._world.logs.ndjson_chunks(JOB, self._query):
            self.records += [json.loads(line) for line in chunk.splitlines()]
            if self._pause:
                await asyncio.sleep(self._pause)

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
