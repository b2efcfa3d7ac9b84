"""Lines of cords in memory: what a launcher would answer on them is a function of the test's, and what the socket would do they do."""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from agent.core.cord_answer import CordFault, CordHead
from agent.interfaces.cord_line import CordLineBrokenError

JSON_HEAD = CordHead(200, "application/json", (), 0)


@dataclass(frozen=True)
class Said:
    """`pieces` of a stream that breaks off end with None."""

    head: CordHead | CordFault
    pieces: Sequence[bytes | None] = ()


Author = Callable[[dict[str, Any]], Awaitable[Said]]


def whole(value: object, status: int = 200) -> Said:
    body = json.dumps(value).encode()
    return Said(CordHead(status, "application/json", (), len(body)), (body,))


def stream(*pieces: bytes | None) -> Said:
    return Said(CordHead(200, "text/plain; charset=utf-8", (), None), pieces)


class FakeCordLine:
    """`given_up`: how many calls were cancelled by its end."""

    def __init__(self, author: Author) -> None:
        self._author = author
        self._is_busy = False
        self._closed = asyncio.Event()
        self._said = Said(JSON_HEAD)
        self.calls: list[dict[str, Any]] = []
        self.given_up = 0
        self.is_welcome = False

    @property
    def is_open(self) -> bool:
        return not self._is_busy and not self._closed.is_set()

    def welcome(self) -> None:
        self.is_welcome = True

    async def call(self, request: bytes) -> CordHead | CordFault:
        if self._closed.is_set():
            raise CordLineBrokenError("closed")
        assert self.is_welcome, "its launcher waits for the answer to `serve`"
        self._is_busy = True
        self.calls.append(json.loads(request))
        loop = asyncio.get_running_loop()
        answering = loop.create_task(self._answer(self.calls[-1]))
        ending = loop.create_task(self._closed.wait())
        try:
            await asyncio.wait({answering, ending}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ending.cancel()
            if not answering.done():
                self.given_up += 1
                answering.cancel()
        if self._closed.is_set():
            raise CordLineBrokenError("closed")
        self._said = answering.result()
        head = self._said.head
        if isinstance(head, CordFault) or head.size == 0:
            self._is_busy = False
        return head

    async def _answer(self, request: dict[str, Any]) -> Said:
        return await self._author(request)

    async def body(self) -> AsyncGenerator[bytes]:
        for piece in self._said.pieces:
            if piece is None:
                self.close()
            if self._closed.is_set() or piece is None:
                raise CordLineBrokenError("closed")
            yield piece
        self._is_busy = False

    def close(self) -> None:
        self._closed.set()

    async def wait_closed(self) -> None:
        await self._closed.wait()
