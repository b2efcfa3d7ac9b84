"""Commands in the fake engine's containers: each is a coroutine of the test's, between two pipes that hold little."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from agent.aio import beside
from agent.core.exec import ExecOutput, ExecPlan, WindowSize
from agent.core.frames import Stream
from agent.interfaces import ContainerGoneError, EngineUnavailableError
from agent.interfaces.engine import Trouble

PIPE_BYTES = 65_536
KILLED, HUNG_UP, NOT_FOUND = 137, 129, 127


class Pipe:
    """Bounded: a writer waits for the reader. Pieces keep their borders and streams."""

    def __init__(self) -> None:
        self._pieces: deque[ExecOutput] = deque()
        self._held = 0
        self._changed = asyncio.Condition()
        self._is_ended = False

    async def put(self, stream: Stream, data: bytes) -> None:
        for at in range(0, len(data), PIPE_BYTES):
            piece = data[at : at + PIPE_BYTES]
            async with self._changed:
                await self._changed.wait_for(lambda: self._held < PIPE_BYTES or self._is_ended)
                if self._is_ended:
                    return
                self._pieces.append(ExecOutput(stream, piece))
                self._held += len(piece)
                self._changed.notify_all()

    async def take(self) -> ExecOutput | None:
        async with self._changed:
            await self._changed.wait_for(lambda: self._pieces or self._is_ended)
            if not self._pieces:
                return None
            piece = self._pieces.popleft()
            self._held -= len(piece.data)
            self._changed.notify_all()
            return piece

    async def end(self) -> None:
        async with self._changed:
            self._is_ended = True
            self._changed.notify_all()


@dataclass(slots=True)
class Inside:
    """What the program sees. A terminal gives what is typed line by line, and ^D at the start of one as the end."""

    plan: ExecPlan
    size: WindowSize | None
    stdin: Pipe = field(default_factory=Pipe)
    stdout: Pipe = field(default_factory=Pipe)
    is_resized: asyncio.Event = field(default_factory=asyncio.Event)

    async def read(self) -> bytes:
        """Empty: its input has ended."""
        piece = await self.stdin.take()
        if piece is None or (self.size is not None and piece.data == b"\x04"):
            return b""
        return piece.data

    async def write(self, data: bytes) -> None:
        await self.stdout.put(Stream.STDOUT, data)

    async def complain(self, data: bytes) -> None:
        """To stderr, which a terminal has not."""
        await self.stdout.put(Stream.STDOUT if self.size is not None else Stream.STDERR, data)


Command = Callable[[Inside], Awaitable[int]]


class FakeExec:
    """One that runs, until it ends, is hung up, or its container dies; a real one would also run on after its session."""

    def __init__(self, container: str, inside: Inside) -> None:
        self.container = container
        self.inside = inside
        self.code: int | None = None
        self.is_forgotten = False
        self.is_removed = False
        self._ended = asyncio.Event()
        self._task: asyncio.Task[object] | None = None

    async def run(self, command: Command) -> None:
        code = KILLED
        self._task = asyncio.current_task()
        try:
            if self.code is None:
                code = await command(self.inside)
        finally:
            if self.code is None:
                self.code = code
            self._ended.set()
            await self.inside.stdout.end()
            await self.inside.stdin.end()

    def end(self, code: int) -> None:
        if self.code is None:
            self.code = code
            if self._task is not None:
                self._task.cancel()

    def forget(self) -> None:
        """The engine has ended, and with it all that it knew."""
        self.is_forgotten = True
        self.end(KILLED)

    # ── the ExecSession protocol ──

    async def read(self) -> ExecOutput | None:
        return await self.inside.stdout.take()

    async def write(self, data: bytes) -> None:
        await self.inside.stdin.put(Stream.STDOUT, data)

    async def end_input(self) -> None:
        if self.inside.size is not None:
            await self.write(b"\x04")
        else:
            await self.inside.stdin.end()

    async def resize(self, size: WindowSize) -> None:
        self._refuse_forgotten()
        if self.inside.size is not None and self.code is None:
            self.inside.size = size
            self.inside.is_resized.set()

    async def exit_code(self) -> int:
        await self._ended.wait()
        self._refuse_forgotten()
        if self.is_removed:
            raise ContainerGoneError(f"no container {self.container}")
        assert self.code is not None
        return self.code

    async def hang_up(self) -> None:
        self._refuse_forgotten()
        self.end(HUNG_UP)

    def _refuse_forgotten(self) -> None:
        if self.is_forgotten:
            raise EngineUnavailableError("the engine ended meanwhile", Trouble.BROKEN)


class FakeExecs:
    """`commands`: by the words of the command; any other is not found in the image."""

    def __init__(self) -> None:
        self.commands: dict[tuple[str, ...], Command] = {}
        self.plans: list[ExecPlan] = []  # of all that were started
        self.all: list[FakeExec] = []

    @asynccontextmanager
    async def open(self, container: str, plan: ExecPlan) -> AsyncIterator[FakeExec]:
        running = FakeExec(container, Inside(plan, plan.terminal))
        self.plans.append(plan)
        self.all.append(running)
        command = self.commands.get(plan.command, not_found)
        async with beside(running.run(command), f"exec {plan.command}"):
            yield running

    def running(self) -> list[FakeExec]:
        return [one for one in self.all if one.code is None]

    def die_with(self, container: str) -> None:
        for one in self.running():
            if one.container == container:
                one.end(KILLED)

    def remove(self, container: str) -> None:
        for one in self.all:
            if one.container == container:
                one.is_removed = True

    def forget(self) -> None:
        for one in self.all:
            one.forget()


async def not_found(inside: Inside) -> int:
    await inside.write(f"exec: {inside.plan.command[0]!r}: executable file not found in $PATH\r\n".encode())
    return NOT_FOUND
