"""The host's side of a function job's socket, in memory: it answers every call, remembers what took effect, and dies when told.

What it remembers is what the daemon has on disk, and survives `die`: so whoever calls it again finds the same children, the
reports that were counted, and the first `finish`.
"""

import asyncio
import json
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

from tests.fakes.cord_seats import Seats

Message = dict[str, Any]

LONGEST_LINE_BYTES = 2 << 20


class Death(Enum):
    """When the host dies over a call."""

    BEFORE_EFFECT = auto()
    BEFORE_ANSWER = auto()
    AFTER_ANSWER = auto()


@dataclass(frozen=True, slots=True)
class Finished:
    status: str
    result: bytes
    note: str | None
    error: Message | None

    @property
    def value(self) -> Any:  # noqa: ANN401 — any JSON
        return json.loads(self.result)


@dataclass(slots=True)
class Effects:
    """What a daemon would have on disk."""

    children: dict[str, Message] = field(default_factory=dict)
    reports: list[Message] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    finished: Finished | None = None


class JobSocket:
    def __init__(self, path: Path, hello: Message) -> None:
        self.path = path
        self.hello = hello
        self.effects = Effects()
        self.calls: list[Message] = []
        self.statuses: dict[str, Message] = {}
        # What the next calls of a name are refused with, used up from the left.
        self.refusals: dict[str, deque[Message]] = {}
        self.refused: list[Message] = []
        # By the number of the call, counted from 1, repeats and hellos included.
        self.deaths: dict[int, Death] = {}
        self.connections = 0
        # Calls that take effect, and are not answered.
        self.mute: set[str] = set()
        self.seats = Seats()
        self._arrived = asyncio.Condition()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        self.path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, str(self.path), limit=LONGEST_LINE_BYTES)

    async def die(self) -> None:
        """As by SIGKILL: connections break, and the socket's file stays, with nobody behind it."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.seats.leave()
        for writer in list(self._writers):
            writer.transport.abort()

    async def restart(self) -> None:
        await self.die()
        await self.start()

    def refuse(self, name: str, code: str, message: str = "no") -> None:
        self.refusals.setdefault(name, deque()).append({"code": code, "message": message})

    async def until(self, name: str, count: int = 1) -> Message:
        """The count-th call of this name, once it is there."""
        async with asyncio.timeout(20), self._arrived:
            await self._arrived.wait_for(lambda: len(self.named(name)) >= count)
        return self.named(name)[count - 1]

    def named(self, name: str) -> list[Message]:
        return [call for call in self.calls if call["call"] == name]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                while line := await reader.readline():
                    call = json.loads(line)
                    await self._take(call, reader, writer)
                    if call["call"] == "serve" and not any(call is each for each in self.refused):
                        return await self.seats.sit(reader, writer)
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _take(self, call: Message, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raw = await reader.readexactly(call.get("bytes", 0)) if call["call"] == "finish" else b""
        self.calls.append(call)
        death = self.deaths.pop(len(self.calls), None)
        async with self._arrived:
            self._arrived.notify_all()
        if death is Death.BEFORE_EFFECT:
            return await self.restart()
        answer = {"id": call["id"], **self._answer(call, raw)}
        if death is Death.BEFORE_ANSWER:
            return await self.restart()
        if call["call"] not in self.mute:
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
        if death is Death.AFTER_ANSWER:
            await self.restart()
        return None

    def _answer(self, call: Message, raw: bytes) -> Message:
        refusals = self.refusals.get(call["call"])
        if refusals:
            self.refused.append(call)
            return {"error": refusals.popleft()}
        match call["call"]:
            case "hello":
                return {"ok": self.hello}
            case "serve":
                return {"ok": None}
            case "start_job":
                return {"ok": {"job_id": self._start(call)}}
            case "get_job_status":
                return {"ok": self.statuses.get(call["job_id"])}
            case "cancel_job":
                self.effects.cancelled.append(call["job_id"])
                return {"ok": call["job_id"] in self.effects.children}
            case "report":
                self._report(call)
                return {"ok": None}
            case "finish":
                if self.effects.finished is None:
                    self.effects.finished = Finished(call["status"], raw, call["note"], call["error"])
                return {"ok": None}
        return {"error": {"code": "bad_call", "message": f"there is no call {call['call']!r}"}}

    def _start(self, call: Message) -> str:
        child = child_id(call.get("cord") or self.hello["job"]["id"], call)
        self.effects.children.setdefault(child, {"name": call["name"], "payload": call["payload"]})
        return child

    def _report(self, call: Message) -> None:
        if not self.effects.reports or call["seq"] > self.effects.reports[-1]["seq"]:
            self.effects.reports.append(call)

    @property
    def metrics(self) -> list[list[Any]]:
        """Each point that was counted, without its time."""
        return [point[:2] for report in self.effects.reports for point in report["metrics"]]

    @property
    def progress(self) -> Message | None:
        told = [report["progress"] for report in self.effects.reports if report["progress"] is not None]
        return told[-1] if told else None

    @property
    def job_statuses(self) -> Mapping[str, str]:
        told: dict[str, str] = {}
        for report in self.effects.reports:
            told |= report["statuses"]
        return told


def child_id(parent: str, call: Message) -> str:
    if call["key"] is not None:
        return str(uuid5(UUID(parent), canonical([call["name"], "key", call["key"]])))
    digest = sha256(canonical(call["payload"]).encode()).hexdigest()
    return str(uuid5(UUID(parent), canonical([call["name"], digest, call["k"]])))


def canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
