"""The host's side of a launcher's places for calls of cords: connections that it keeps, and calls one at a time on each."""

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

Message = dict[str, Any]

CALL = "5f1c5d0e-3c43-4a53-9c0e-1f6a2f3b9a10"


@dataclass(frozen=True, slots=True)
class Answer:
    """`is_whole` False: the connection broke off before its end."""

    head: Message
    body: bytes
    frames: tuple[int, ...] = ()
    is_whole: bool = True

    @property
    def status(self) -> int | None:
        return self.head.get("status")

    @property
    def error(self) -> Message:
        error: Message = self.head["error"]
        return error

    @property
    def value(self) -> Any:  # noqa: ANN401 — any JSON
        return json.loads(self.body)


@dataclass(slots=True)
class Seat:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    # Once nobody reads from it any more.
    over: asyncio.Event = field(default_factory=asyncio.Event)

    def close(self) -> None:
        self.writer.transport.abort()
        self.over.set()


class Calling:
    """One call under way."""

    def __init__(self, seat: Seat) -> None:
        self.seat = seat

    def give_up(self) -> None:
        self.seat.close()

    async def head(self) -> Message:
        """Raises ConnectionError where the launcher closes the connection instead."""
        line = await self.seat.reader.readline()
        if not line.endswith(b"\n"):
            raise ConnectionResetError
        assert len(line) <= 1 << 16
        head: Message = json.loads(line)
        return head

    async def frame(self) -> bytes:
        """Empty is the end. Raises IncompleteReadError where the launcher broke off."""
        size = int.from_bytes(await self.seat.reader.readexactly(4), "big")
        assert size <= 1 << 16
        return await self.seat.reader.readexactly(size)

    async def frame_after_head(self) -> bytes:
        assert (await self.head())["stream"]
        return await self.frame()

    async def answer(self) -> Answer:
        head = await self.head()
        if "error" in head:
            return Answer(head, b"")
        if not head["stream"]:
            return Answer(head, await self.seat.reader.readexactly(head["bytes"]))
        body, frames = bytearray(), []
        try:
            while frame := await self.frame():
                body += frame
                frames.append(len(frame))
        except (asyncio.IncompleteReadError, ConnectionError):
            return Answer(head, bytes(body), tuple(frames), is_whole=False)
        return Answer(head, bytes(body), tuple(frames))


class Seats:
    def __init__(self) -> None:
        self._idle: asyncio.Queue[Seat] = asyncio.Queue()
        self._all: list[Seat] = []

    @property
    def opened(self) -> int:
        """Since the beginning."""
        return len(self._all)

    @property
    def idle(self) -> int:
        return self._idle.qsize()

    async def sit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """From the answer to `serve` on, until nobody needs the connection any more."""
        seat = Seat(reader, writer)
        self._all.append(seat)
        self._idle.put_nowait(seat)
        await seat.over.wait()

    def leave(self) -> None:
        while not self._idle.empty():
            self._idle.get_nowait()
        for seat in self._all:
            seat.close()

    async def take(self) -> Seat:
        """The connection that has been idle for longest, as soon as there is one."""
        async with asyncio.timeout(20):
            return await self._idle.get()

    async def begin(self, position: int, function: str, *, call: str = CALL, **request: object) -> Calling:
        """`request`: params, query, body."""
        seat = await self.take()
        said = {"cord": position, "function": function, "call": call, "params": {}, "query": {}}
        said |= {"has_body": "body" in request, "body": None} | request
        seat.writer.write(json.dumps(said).encode() + b"\n")
        return Calling(seat)

    async def call(self, position: int, function: str, *, call: str = CALL, **request: object) -> Answer:
        """And the connection is idle again."""
        calling = await self.begin(position, function, call=call, **request)
        async with asyncio.timeout(30):
            answer = await calling.answer()
        if answer.is_whole:
            self._idle.put_nowait(calling.seat)
        return answer

    def give_back(self, calling: Calling) -> None:
        self._idle.put_nowait(calling.seat)
