"""A container that prints numbered lines, as one job whose row the test moves, and readers that check each number."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.adapters.docker.engine import DockerEngine
from agent.adapters.folders import DiskFolders, open_folders
from agent.aio import Threads
from agent.core.cursor import Cursor, parse_cursor
from agent.core.job import Job, Kind, Run, StartIntent
from agent.errors import Phase
from agent.interfaces import SecretFiles
from agent.jobs.attempt_log import BURST_BYTES
from agent.jobs.bell import Bell
from agent.jobs.drain import drain
from agent.jobs.logs import Follow, LogQuery, Logs, Sources, Stamps
from agent.spec import parse_spec
from tests.private_engine import PrivateEngine, busybox_image
from tests.shell.log_world import OneRow

JOB = "0190f3d2-0000-7000-8000-000000000001"
STDERR_EVERY = 1000
FOLLOW = LogQuery(follow=Follow.YES)
# 100 bytes a line with its number; each thousandth is told on stderr as well.
PRINT = """BEGIN { p = sprintf("%%080d", 0); for (i = 0; i < %d; i++) {
    printf "o %%08d %%s\\n", i, p; if (i %% %d == 0) { fflush(); print "e " i > "/dev/stderr"; fflush("/dev/stderr") } } }"""


class WallClock:
    boot_id = "boot-1"

    def now(self) -> float:
        return time.time()

    def boot_seconds(self) -> float:
        return time.monotonic()


@dataclass
class LogJob:
    private: PrivateEngine
    engine: DockerEngine
    folders: DiskFolders
    row: OneRow
    logs: Logs
    container: str

    async def has_exited(self) -> None:
        while (await self.request("GET", f"/containers/{self.container}/json"))["State"]["Running"]:
            await asyncio.sleep(0.1)

    async def request(self, method: str, path: str) -> Any:  # noqa: ANN401 - JSON
        status, answer = await asyncio.to_thread(self.private.request, method, path)
        assert status < 300, answer
        return json.loads(answer or b"null")

    async def drain_and_remove(self, first_ns: int | None = None) -> None:
        self.row.change(phase=Phase.STOPPING)
        await drain(self.engine, self.folders, JOB, 1, self.container, first_ns)
        await self.engine.remove(self.container)

    def finish(self) -> None:
        self.row.change(phase=Phase.FINISHED, run=Run())


@asynccontextmanager
async def printing(
    private: PrivateEngine, tmp_path: Path, lines: int, log_size: str, burst_bytes: int = BURST_BYTES
) -> AsyncIterator[LogJob]:
    """A container that prints `lines` lines at full speed, into four log files of `log_size`."""
    engine = await DockerEngine.open(private.socket, "agent-1")
    threads = Threads("folders", 4)
    folders = await open_folders(tmp_path / "state", tmp_path / "run", threads)
    try:
        await folders.claim(JOB, "{}", SecretFiles({}))
        container = await asyncio.to_thread(_run, private, PRINT % (lines, STDERR_EVERY), log_size)
        bell = Bell()
        run = Run(intent=StartIntent(container, "boot-1"))
        spec = parse_spec({"image": "busybox"})
        row = OneRow(Job(JOB, "ann", Kind.CONTAINER, spec, 0.0, phase=Phase.RUNNING, run=run), bell)
        sources = Sources(engine, folders, row, WallClock(), bell, burst_bytes)
        try:
            yield LogJob(private, engine, folders, row, Logs(sources), container)
        finally:
            await asyncio.to_thread(private.request, "DELETE", f"/containers/{container}?force=1")
    finally:
        threads.close()
        folders.close()
        await engine.close()


def _run(private: PrivateEngine, script: str, log_size: str) -> str:
    body = {
        "Image": busybox_image(private),
        "Cmd": ["awk", script],
        "HostConfig": {
            "NetworkMode": "none",
            "LogConfig": {
                "Type": "local",
                "Config": {"max-size": log_size, "max-file": "4", "compress": "false"},
            },
        },
    }
    status, answer = private.request("POST", "/containers/create", body)
    assert status == 201, answer
    container = str(json.loads(answer)["Id"])
    status, answer = private.request("POST", f"/containers/{container}/start")
    assert status == 204, answer
    return container


@dataclass
class Numbers:
    """What a reader got: its numbers, in order, and what else was told, with how many numbers stood before it."""

    stdout: list[int] = field(default_factory=list)
    stderr: list[int] = field(default_factory=list)
    marks: list[tuple[int, bytes]] = field(default_factory=list)
    _rest: bytes = b""

    def holes(self) -> list[int]:
        """Before which of stdout's numbers some are missing, by their places."""
        pairs = enumerate(zip([-1, *self.stdout], self.stdout, strict=False))
        return [at for at, (before, number) in pairs if number != before + 1]

    def feed(self, chunk: bytes) -> None:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            if line.startswith(b"o "):
                self.stdout.append(int(line[2:10]))
            elif line.startswith(b"e "):
                self.stderr.append(int(line[2:]))
            else:
                self.marks.append((len(self.stdout), line))


async def read_text(
    job: LogJob, into: Numbers, pause_seconds: float = 0.0, query: LogQuery = FOLLOW
) -> Numbers:
    async for chunk in job.logs.text_chunks(JOB, query, Stamps.HIDDEN):
        into.feed(chunk)
        if pause_seconds:
            await asyncio.sleep(pause_seconds)
    return into


async def read_resuming(job: LogJob, into: Numbers, lines_each: int) -> list[Cursor]:
    """Follow by NDJSON, leave after each `lines_each` lines or so, come back with the last cursor. Returns all cursors."""
    cursors: list[Cursor] = []
    while True:
        query = LogQuery(cursor=cursors[-1] if cursors else None, follow=Follow.YES)
        last = await _read_some(job.logs.ndjson_chunks(JOB, query), into, lines_each)
        if last is None:
            return cursors
        cursors.append(last)


async def _read_some(chunks: AsyncGenerator[bytes], into: Numbers, lines: int) -> Cursor | None:
    """None: the log ended before so many lines came."""
    taken = 0
    async with aclosing(chunks) as flow:
        async for chunk in flow:
            for line in chunk.splitlines():
                record = json.loads(line)
                into.feed(record.get("line", record["type"]).encode() + b"\n")
                taken += 1
                if taken == lines:
                    return parse_cursor(record["cursor"])
    return None
