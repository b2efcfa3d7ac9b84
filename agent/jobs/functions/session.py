"""jobs/functions/session — one attempt's side of the socket: hello, reports, the end; what concerns other jobs is asked elsewhere."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from agent.core.finish import Finish, dump_header
from agent.core.function import FunctionCall
from agent.core.job import Job
from agent.core.json_line import dump_line, dump_with, on_one_line
from agent.core.told import BadReportError, read_news, read_points
from agent.interfaces import (
    Folders,
    JobFolderMissingError,
    StateFullError,
    StateReadOnlyError,
    Store,
    StoreUnavailableError,
)
from agent.interfaces.cord_line import CordLine
from agent.interfaces.job_socket import Call, CallFault, CallRefusedError
from agent.jobs.functions.cord_hosts import CordHosts
from agent.jobs.functions.keeper import Keeper
from agent.jobs.functions.neighbours import Neighbours

# Of a job that sends its result and stops in its middle; another connection of it may be waiting to send it whole.
RESULT_SECONDS = 60.0


@dataclass(slots=True)
class Tools:
    """`tell` is called when there is something to write. `neighbours`, `cord_hosts` None: the daemon is not that far yet."""

    store: Store
    folders: Folders
    tell: Callable[[], None]
    neighbours: Neighbours | None = None
    cord_hosts: CordHosts | None = None

    def ask(self) -> Neighbours:
        if self.neighbours is None:
            raise CallRefusedError(CallFault.UNAVAILABLE, "the agent has just started")
        return self.neighbours

    def host_cords(self) -> CordHosts:
        if self.cord_hosts is None:
            raise CallRefusedError(CallFault.UNAVAILABLE, "the agent has just started")
        return self.cord_hosts


class Session:
    """Implements `interfaces.JobCalls`. `call`: what the job calls; `lines`: how many connections of it may serve cords."""

    def __init__(self, job: Job, call: FunctionCall, lines: int, keeper: Keeper, tools: Tools) -> None:
        self.attempt = job.attempt
        self.lines = lines
        self._open_lines = 0
        self.keeper = keeper
        self._job_id = job.id
        self._call = call
        self._tools = tools
        self._finishing = asyncio.Lock()

    async def answer(self, call: Call) -> bytes:
        with _refusing():
            match call.name:
                case "hello":
                    return await self._hello()
                case "start_job":
                    return dump_line({"job_id": await self._tools.ask().start(await self._job(), call)})
                case "get_job_status":
                    wanted = call.fields.get("job_id")
                    status = await self._tools.ask().status(await self._job(), wanted)
                    return b"null" if status is None else on_one_line(status)
                case "cancel_job":
                    wanted = call.fields.get("job_id")
                    return dump_line(await self._tools.ask().cancel(await self._job(), wanted))
                case name:
                    raise CallRefusedError(CallFault.BAD_CALL, f"there is no call {name[:64]!a}")

    async def take_report(self, call: Call) -> int:
        try:
            news = read_news(call.fields)
            points = []
            for piece in call.metrics:
                points += list(read_points(piece))
                await asyncio.sleep(0)
        except BadReportError as bad:
            raise CallRefusedError(CallFault.BAD_CALL, str(bad)) from bad
        await self.keeper.take(news, points)
        self._tools.tell()
        return news.seq

    async def report_kept(self, number: int) -> None:
        await self.keeper.wait_until_kept(number)

    async def finish(self, finish: Finish, result: AsyncIterator[bytes]) -> None:
        """The first of an attempt wins, also of two that come at once."""
        with _refusing():
            async with self._finishing:
                if await self._tools.folders.report(self._job_id, self.attempt) is not None:
                    return
                part = await self._tools.folders.report_part(self._job_id, self.attempt)
                try:
                    await part.write(dump_header(finish) + b"\n")
                    async with asyncio.timeout(RESULT_SECONDS):
                        async for piece in result:
                            await part.write(piece)
                    await part.commit()
                finally:
                    await part.discard()
        # What it told before is the last: the launcher waits for it, and with it all that the job holds.
        self.keeper.hurry()
        self._tools.tell()

    async def serve(self, line: CordLine) -> None:
        if not self.lines:
            raise CallRefusedError(CallFault.REFUSED, "this job answers no cords")
        if self._open_lines >= self.lines:
            raise CallRefusedError(CallFault.UNAVAILABLE, f"{self.lines} connections serve already")
        self._open_lines += 1
        try:
            with _refusing():
                await self._tools.host_cords().serve(await self._job(), line)
        finally:
            self._open_lines -= 1

    async def _job(self) -> Job:
        job = await self._tools.store.read(self._job_id)
        if job is None:
            raise CallRefusedError(CallFault.REFUSED, "the job is no more")
        return job

    async def _hello(self) -> bytes:
        job, call = await self._job(), self._call
        payload = await self._tools.folders.payload(self._job_id)
        said = {
            "kind": job.kind.value,
            "job": {
                "id": job.id,
                "attempt": self.attempt,
                "function": call.function,
                "chute": call.chute,
                "parent": call.parent,
            },
            "entry": {"file": call.file, "chute": call.attribute},
            "output_dir": job.spec.outputs.path,
            "ports": self._tools.ask().ports(job),
            "grace": job.spec.grace,
            "stopping": job.stop_asked,
            **({"concurrency": self.lines} if self.lines else {}),
        }
        return dump_with(said, "payload", payload)


@contextmanager
def _refusing() -> Iterator[None]:
    """What the host can't do just now, in the words of the socket."""
    try:
        yield
    except (StoreUnavailableError, StateFullError, StateReadOnlyError) as error:
        raise CallRefusedError(CallFault.UNAVAILABLE, f"{error}. {error.remedy}") from error
    except JobFolderMissingError as error:
        raise CallRefusedError(CallFault.REFUSED, f"{error}. {error.remedy}") from error
