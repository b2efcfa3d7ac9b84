"""A job's side of its socket, and somebody who answers: enough of both to try the socket between them."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from agent.core.finish import Finish
from agent.interfaces.cord_line import CordLine
from agent.interfaces.job_socket import Call, CallFault, CallRefusedError

HELLO = {"id": 0, "call": "hello", "sdk": "1", "pid": 1}


class Answering:
    """Answers each call with its own name. `refuse`: calls that are refused; reports are durable once `write` is called."""

    def __init__(self) -> None:
        self.heard: list[Call] = []
        self.finished: list[tuple[Finish, bytes]] = []
        self.refuse: set[str] = set()
        self.padding = b""
        self.held = asyncio.Event()
        self.held.set()
        self._kept = asyncio.Event()
        self.lines = 0
        self.served: asyncio.Queue[CordLine] = asyncio.Queue()

    async def serve(self, line: CordLine) -> None:
        self._look("serve")
        line.welcome()
        self.served.put_nowait(line)
        await line.wait_closed()

    async def answer(self, call: Call) -> bytes:
        self.heard.append(call)
        await self.held.wait()
        self._look(call.name)
        return json.dumps(call.name + self.padding.decode()).encode()

    async def take_report(self, call: Call) -> int:
        self._look(call.name)
        self.heard.append(call)
        return len(self.heard)

    async def report_kept(self, number: int) -> None:
        await self._kept.wait()

    async def finish(self, finish: Finish, result: AsyncIterator[bytes]) -> None:
        self._look("finish")
        self.finished.append((finish, b"".join([piece async for piece in result])))

    def write(self) -> None:
        self._kept.set()

    @property
    def names(self) -> list[str]:
        return [call.name for call in self.heard]

    def _look(self, name: str) -> None:
        if name in self.refuse:
            raise CallRefusedError(CallFault.UNAVAILABLE, "not now")


class Caller:
    """One connection of a job."""

    def __init__(self, folder: Path) -> None:
        self._path = str(folder / "agent.sock")

    async def __aenter__(self) -> Self:
        self.reader, self.writer = await asyncio.open_unix_connection(self._path, limit=4 << 20)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.writer.close()
        with suppress(ConnectionError):
            await self.writer.wait_closed()

    async def send(self, *messages: object) -> None:
        """Texts and bytes as they are, anything else as a line of JSON."""
        for message in messages:
            self.writer.write(message if isinstance(message, bytes) else json.dumps(message).encode() + b"\n")
        await self.writer.drain()

    async def next(self) -> Any:  # noqa: ANN401 - decoded JSON
        """None: the connection is closed."""
        async with asyncio.timeout(20):
            with suppress(ConnectionError):
                line = await self.reader.readline()
                return json.loads(line) if line else None
        return None

    async def ask(self, message: object, *more: object) -> Any:  # noqa: ANN401 - decoded JSON
        await self.send(message, *more)
        return await self.next()

    async def rest(self) -> list[Any]:
        """What comes until it is closed."""
        answers = []
        while (answer := await self.next()) is not None:
            answers.append(answer)
        return answers
