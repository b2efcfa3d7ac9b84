"""interfaces/job_socket — the way from a job's container to the agent: who listens, and who answers. No implementation."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from agent.core.finish import Finish
from agent.interfaces.cord_line import CordLine


class CallFault(StrEnum):
    """Why a call is refused. The words are the job socket's."""

    BAD_CALL = "bad_call"
    UNKNOWN_FUNCTION = "unknown_function"
    PAYLOAD_INVALID = "payload_invalid"
    TOO_MANY_CHILDREN = "too_many_children"
    TOO_DEEP = "too_deep"
    REFUSED = "refused"
    UNAVAILABLE = "unavailable"  # the same call may be taken later; the SDK tries it again


class CallRefusedError(Exception):
    """The answer to a call that is not carried out. It is the author's to read, in the job."""

    def __init__(self, fault: CallFault, message: str) -> None:
        super().__init__(message)
        self.fault = fault


@dataclass(frozen=True, slots=True)
class Call:
    """One request of a job, maybe hostile: `fields` is decoded JSON without what stands beside it.

    `payload`: its canonical JSON, None where there is no such field. `metrics`: in pieces, each of a size that can be gone
    through at once.
    """

    name: str
    fields: Mapping[str, object]
    payload: bytes | None = field(default=None, repr=False)
    metrics: Sequence[Sequence[object]] = ()


class JobCalls(Protocol):
    """Who answers one job. Each call may come again, where its answer was lost. All raise CallRefusedError."""

    @property
    def lines(self) -> int:
        """On how many connections beside its own calls the job may serve ours; the same for as long as the socket is open."""
        ...

    async def answer(self, call: Call) -> bytes:
        """The answer as JSON, on one line. Of `hello`, and of what is not below."""
        ...

    async def take_report(self, call: Call) -> int:
        """Taken when it returns; its number."""
        ...

    async def report_kept(self, number: int) -> None:
        """Return once that report is durable."""
        ...

    async def finish(self, finish: Finish, result: AsyncIterator[bytes]) -> None:
        """Durable when it returns; the first one counts. An error of `result` is passed on, and leaves nothing."""
        ...

    async def serve(self, line: CordLine) -> None:
        """Welcome it, if another one may serve, and make calls on it; return when it is closed, or is to be."""
        ...


class JobSockets(Protocol):
    """The sockets of running jobs, one each, in the folder that its container sees."""

    def use(self, group: asyncio.TaskGroup) -> None:
        """Where connections are served; before the first `open`."""
        ...

    async def open(self, job_id: str, calls: JobCalls) -> None:
        """Listen, in the place of whatever socket is there. Open already is fine. Raises JobFolderMissingError, StateFullError, StateReadOnlyError."""
        ...

    async def close(self, job_id: str) -> None:
        """Take what the job has sent until its end, for a short while, then hear it no more. Gone is fine."""
        ...
