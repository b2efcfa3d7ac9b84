"""What runs in a describe job's container, stood in for: it says by the job's socket how the import of a chute's file ended, and exits."""

import asyncio
import json
from dataclasses import dataclass

from agent.core.function import FaultKind
from agent.core.job import Kind
from tests.shell.api_world import ApiWorld


@dataclass(frozen=True)
class Report:
    """`result` None: none is left. `kind`: it failed. `code`: what the container exits with."""

    result: bytes | None = None
    kind: FaultKind | None = None
    message: str = ""
    code: int = 0

    @classmethod
    def of(cls, manifest: object) -> "Report":
        return cls(json.dumps(manifest).encode())

    @classmethod
    def nothing(cls) -> "Report":
        return cls()

    @classmethod
    def exits(cls, code: int) -> "Report":
        return cls(code=code)

    @classmethod
    def failed(cls, kind: FaultKind, message: str) -> "Report":
        return cls(None, kind, message, 1)


def answer_describes(world: ApiWorld, report: Report) -> asyncio.Event:
    """From now on each describe job ends like this, as soon as the event that is returned is set; it is set already."""
    return _answer(world, Kind.DESCRIBE, report)


def answer_calls(world: ApiWorld, report: Report) -> asyncio.Event:
    """As `answer_describes`, of the jobs of functions."""
    return _answer(world, Kind.FUNCTION, report)


def _answer(world: ApiWorld, kind: Kind, report: Report) -> asyncio.Event:
    go_on = asyncio.Event()
    go_on.set()
    answering: set[asyncio.Future[None]] = set()

    async def answer(container: str, job_id: str) -> None:
        await go_on.wait()
        if report.kind is not None:
            await world.sockets.fail(job_id, report.kind, report.message)
        elif report.result is not None:
            await world.sockets.succeed(job_id, report.result)
        world.engine.exit_now(container, report.code)

    def after(call: str, target: str) -> None:
        box = world.engine.boxes.get(target)
        job = None if box is None or box.seen.job is None else world.store.peek(box.seen.job)
        if call == "start" and job is not None and job.kind is kind:
            answering.add(asyncio.ensure_future(answer(target, job.id)))

    world.engine.after = after
    return go_on
