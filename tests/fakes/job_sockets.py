"""Sockets of jobs in memory: a test speaks for the job, by the very calls that a connection would make."""

import asyncio
from collections.abc import AsyncIterator

from agent.core.finish import Fault, Finish
from agent.core.function import FaultKind, ReportStatus
from agent.interfaces import JobFolderMissingError, StateFullError
from agent.interfaces.job_socket import Call, JobCalls


class FakeJobSockets:
    """`calls`: who answers each job whose socket is open. They are the daemon's, and go with it. `missing`: jobs without a folder."""

    def __init__(self) -> None:
        self.calls: dict[str, JobCalls] = {}
        self.opened: list[str] = []
        self.closed: list[str] = []
        self.missing: set[str] = set()
        self.trouble: StateFullError | None = None

    def use(self, group: asyncio.TaskGroup) -> None:
        """A call is carried out where it is made."""

    async def open(self, job_id: str, calls: JobCalls) -> None:
        if self.trouble is not None:
            raise self.trouble
        if job_id in self.missing:
            raise JobFolderMissingError(job_id, "folder of the socket")
        if job_id not in self.calls:
            self.opened.append(job_id)
        self.calls.setdefault(job_id, calls)

    async def close(self, job_id: str) -> None:
        if self.calls.pop(job_id, None) is not None:
            self.closed.append(job_id)

    # ── what a job does ──

    async def call(
        self, job_id: str, call: str, /, *, payload: bytes | None = None, **fields: object
    ) -> bytes:
        return await self.calls[job_id].answer(Call(call, fields, payload))

    async def report(self, job_id: str, seq: int, *metrics: list[object], **fields: object) -> None:
        """Returns once it is durable."""
        calls = self.calls[job_id]
        await calls.report_kept(
            await calls.take_report(Call("report", {"seq": seq, **fields}, None, [metrics]))
        )

    async def succeed(self, job_id: str, result: bytes = b"null") -> None:
        await self.calls[job_id].finish(Finish(ReportStatus.SUCCEEDED), _pieces(result))

    async def fail(self, job_id: str, kind: FaultKind = FaultKind.RAISED, message: str = "no") -> None:
        fault = Fault(kind, "ValueError", message, "Traceback …")
        await self.calls[job_id].finish(Finish(ReportStatus.FAILED, None, fault), _pieces(b""))


async def _pieces(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 1000):
        yield data[start : start + 1000]
