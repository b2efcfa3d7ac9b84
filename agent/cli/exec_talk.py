"""cli/exec_talk — one command in a job, between this program's descriptors and the API's WebSocket. Knows no options."""

import asyncio
import json
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

import aiohttp

from agent.aio import first_of
from agent.cli.escape import Escape
from agent.cli.exec_input import Input
from agent.cli.flow import Sink, chunks
from agent.cli.refusals import ApiRefusedError, ConnectionLostError, Json
from agent.cli.request import job_path
from agent.cli.terminal import Ends, raw, window_size

if TYPE_CHECKING:
    from agent.cli.session import Call

# What may be under way: enough for a fast network, and all that is held here while nobody reads.
WINDOW_BYTES = 4 << 20
STDERR = 2
LEFT = 130
GOING_AWAY = 1001


@dataclass(frozen=True, slots=True)
class Wanted:
    """`start`: the fields of the first message, less what this side knows by itself."""

    start: Json
    input: Input


async def run_in_job(call: "Call", job_id: str, wanted: Wanted, ends: Ends) -> int:
    """Run it to its exit code. Raises ApiRefusedError, ConnectionLostError and what the API's session may; BrokenPipeError."""
    start = {**wanted.start, "type": "start", "window": WINDOW_BYTES}
    if wanted.input is Input.TERMINAL:
        columns, rows = window_size(ends.stdin)
        start |= {"tty": True, "columns": columns, "rows": rows}
    async with call.api.talk(job_path(job_id, "/exec")) as socket:
        talk = ExecTalk(socket, ends)
        await talk.begin(start)
        if wanted.input is Input.TERMINAL:
            with raw(ends.stdin) as make_raw, talk.heeding_signals(make_raw):
                code = await first_of(talk.receive(), talk.show(), talk.type(), talk.resize(), talk.stopped())
        else:
            code = await first_of(talk.receive(), talk.show(), talk.feed(wanted.input))
    if talk.is_left:
        call.screen.note("left; the command was hung up")
    return code


class ExecTalk:
    def __init__(self, socket: aiohttp.ClientWebSocketResponse, ends: Ends) -> None:
        self.is_left = False
        self._socket = socket
        self._ends = ends
        self._out, self._err = Sink(ends.stdout), Sink(ends.stderr)
        self._told: asyncio.Queue[aiohttp.WSMessage] = asyncio.Queue()
        self._is_resized = asyncio.Event()
        self._signal: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def begin(self, start: Json) -> None:
        """Returns once it runs."""
        await self._socket.send_json(start)
        message = await self._socket.receive()
        if message.type is not aiohttp.WSMsgType.TEXT:
            self._tell_lost()
        if (told := json.loads(message.data))["type"] != "started":
            refuse(told)

    async def receive(self) -> int:
        """Never waits for who reads our output: the other side looks whether we are still there. It sends only so much."""
        while True:
            message = await self._socket.receive()
            await self._told.put(message)
            if message.type not in {aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY}:
                return await never()

    async def show(self) -> int:
        """Its output, then its exit code."""
        taken = 0
        while True:
            message = await self._told.get()
            if message.type is aiohttp.WSMsgType.BINARY:
                sink = self._err if message.data[0] == STDERR else self._out
                await sink.write(message.data[1:])
                taken += len(message.data) - 1
                # Told seldom, and long before the other side would have to wait for it.
                if taken > WINDOW_BYTES // 4:
                    await self._say({"type": "taken", "bytes": taken})
                    taken = 0
            elif message.type is aiohttp.WSMsgType.TEXT:
                told = json.loads(message.data)
                if told["type"] == "exit":
                    return int(told["code"])
                refuse(told)
            else:
                self._tell_lost()

    async def feed(self, wanted: Input) -> int:
        if wanted is Input.STREAM:
            async for chunk in chunks(self._ends.stdin):
                await self._send(self._socket.send_bytes(chunk))
        await self._say({"type": "end_input"})
        return await never()

    async def type(self) -> int:
        """What is typed, until the user leaves."""
        escape = Escape()
        async for chunk in chunks(self._ends.stdin):
            if sent := escape.feed(chunk):
                await self._send(self._socket.send_bytes(sent))
            if escape.is_left:
                break
        self.is_left = True
        return LEFT

    async def resize(self) -> int:
        while True:
            await self._is_resized.wait()
            self._is_resized.clear()
            columns, rows = window_size(self._ends.stdin)
            await self._say({"type": "resize", "columns": columns, "rows": rows})

    async def stopped(self) -> int:
        """A signal that would have ended this program, and left the terminal as it is."""
        return 128 + await self._signal

    @contextmanager
    def heeding_signals(self, make_raw: Callable[[], None]) -> Iterator[None]:
        loop = asyncio.get_running_loop()

        def go_on() -> None:
            # A shell gives the terminal back as it had it itself.
            make_raw()
            self._is_resized.set()

        def stop(number: int) -> None:
            if not self._signal.done():
                self._signal.set_result(number)

        loop.add_signal_handler(signal.SIGWINCH, self._is_resized.set)
        loop.add_signal_handler(signal.SIGCONT, go_on)
        for number in (signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, stop, number)
        try:
            yield
        finally:
            for number in (signal.SIGWINCH, signal.SIGCONT, signal.SIGTERM, signal.SIGHUP):
                loop.remove_signal_handler(number)

    async def _say(self, message: Json) -> None:
        await self._send(self._socket.send_json(message))

    async def _send(self, sending: Awaitable[None]) -> None:
        # The end, and why it is one, is told by what was received: it may be the command's own, which still waits to be shown.
        with suppress(ConnectionError):
            await sending

    def _tell_lost(self) -> NoReturn:
        why = "the agent is leaving" if self._socket.close_code == GOING_AWAY else "the connection broke off"
        raise ConnectionLostError(f"{why}, and with it the command was hung up")


async def never() -> int:
    await asyncio.Event().wait()
    raise AssertionError("nobody sets it")


def refuse(told: Json) -> NoReturn:
    raise ApiRefusedError(int(told.get("status", 500)), told)
