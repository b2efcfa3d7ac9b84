"""adapters/nvml/wire — one child and its pipes: requests out, answers and events in. Knows no deadlines and starts nothing anew."""

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

from agent.adapters.nvml.errors import NvmlBrokenError, NvmlRefusedError

# Far above the answer of 16 GPUs with 7 instances and 100 processes each.
_LONGEST_LINE_BYTES = 1 << 20

Message = dict[str, Any]


class Wire(asyncio.SubprocessProtocol):
    """`is_over`: no more answers will come. `is_gone`: the process has ended, which may be never after that."""

    def __init__(self, tell: Callable[[Message], None]) -> None:
        self._tell = tell
        self._transport: asyncio.SubprocessTransport | None = None
        self._unread = bytearray()
        self._last_id = 0
        self._answered_id = 0
        self._answer: asyncio.Future[Any] | None = None
        self.was_greeted = False
        self._progress: Callable[[], None] = _ignore
        self.at: int | None = None
        self.is_over = False
        self.is_gone = False
        self.gone = asyncio.Event()

    async def ask(self, method: str, params: Message, progress: Callable[[], None]) -> object:
        """One at a time. `progress` is called whenever the child goes on to a GPU, which is then `at`.

        An earlier request whose asker has left may still be under way: the child is where that one left it.

        Raises NvmlRefusedError, and NvmlBrokenError once the child is over.
        """
        if self._answered_id == self._last_id:
            self.at = None
        self._last_id += 1
        self._progress = progress
        answer = self._answer = asyncio.get_running_loop().create_future()
        request = {"id": self._last_id, "method": method, "params": params}
        if self.is_over:
            raise NvmlBrokenError("it ended")
        self._pipe(0).write(json.dumps(request).encode() + b"\n")
        try:
            return await answer
        finally:
            self._answer, self._progress = None, _ignore

    def cut(self, cause: str) -> None:
        """Expect nothing more of it. Its death is not waited for."""
        if self.is_over:
            return
        self.is_over = True
        self._unread.clear()
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(NvmlBrokenError(cause))
        for descriptor in (0, 1):
            self._pipe(descriptor).close()

    @property
    def transport(self) -> asyncio.SubprocessTransport:
        assert self._transport is not None  # noqa: S101 - asyncio gives it before anything else
        return self._transport

    def _pipe(self, descriptor: int) -> asyncio.WriteTransport:
        return cast("asyncio.WriteTransport", self.transport.get_pipe_transport(descriptor))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.SubprocessTransport", transport)

    def pipe_data_received(self, fd: int, data: bytes) -> None:  # noqa: ARG002 - asyncio's; only stdout is read
        if self.is_over:
            return
        *lines, rest = (bytes(self._unread) + data).split(b"\n")
        self._unread = bytearray(rest)
        try:
            for line in lines:
                self._take(json.loads(line))
        except (ValueError, KeyError, TypeError) as error:
            self.cut(f"it wrote what is no answer ({type(error).__name__})")
        if len(self._unread) > _LONGEST_LINE_BYTES:
            self.cut("it wrote a line without end")

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        self.cut("its pipe was closed")

    def process_exited(self) -> None:
        self.is_gone = True
        self.cut(f"it ended with {self.transport.get_returncode()}")
        self.transport.close()
        self.gone.set()

    def _take(self, message: Message) -> None:
        if "event" in message:
            self._tell(message)
        elif not 0 < message["id"] <= self._last_id:
            raise ValueError("an answer to nothing")
        elif "at" in message:
            self.at = int(message["at"])
            self._progress()
        else:
            self._take_answer(message)

    def _take_answer(self, message: Message) -> None:
        self.at, self._answered_id = None, message["id"]
        result, error = message.get("result"), message.get("error")
        is_late = message["id"] != self._last_id  # its asker has left
        if is_late or self._answer is None or self._answer.done():
            return
        if error is None:
            self._answer.set_result(result)
        else:
            self._answer.set_exception(NvmlRefusedError(error["code"], error["message"]))


def kill(wire: Wire) -> None:
    """SIGKILL. A process in the driver's hands survives it, so nobody waits for the end here."""
    with suppress(ProcessLookupError):  # gone by itself
        wire.transport.kill()


def _ignore() -> None:
    pass
