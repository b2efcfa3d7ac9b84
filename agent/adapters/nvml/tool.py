"""adapters/nvml/tool — runs one of the driver's programs to its end, or kills it at its deadline and leaves it. Knows not what it runs."""

import asyncio
import os
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from subprocess import DEVNULL, PIPE, STDOUT

_KILL_SECONDS = 2.0
_MOST_BYTES = 4096
_MOST_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class Ended:
    """`words`: the last that it wrote, as one line."""

    code: int
    words: str


class ToolHangsError(Exception):
    """It was killed at its deadline. `is_gone`: and has ended; else it is the kernel's, until the host is rebooted."""

    def __init__(self, seconds: float, *, is_gone: bool) -> None:
        super().__init__(f"no end within {seconds:g} s")
        self.is_gone = is_gone


def kill_group(pid: int) -> None:
    """SIGKILL to the program and what it started."""
    with suppress(ProcessLookupError):  # gone by itself
        os.killpg(pid, signal.SIGKILL)


async def run_tool(
    command: Sequence[str], seconds: float, lock: int, end: Callable[[int], None] = kill_group
) -> Ended:
    """`lock` is a descriptor that the program keeps open as long as it lives. Cancelled, it is killed.

    Raises OSError where it can't be started, ToolHangsError.
    """
    transport, run = await asyncio.get_running_loop().subprocess_exec(
        _Run,
        *command,
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=STDOUT,
        start_new_session=True,
        pass_fds=(lock,),
    )
    is_in_time = False
    try:
        is_in_time = await _is_set_within(seconds, run.over)
    finally:
        if not run.over.is_set():
            end(transport.get_pid())
            await _is_set_within(_KILL_SECONDS, run.over)
        transport.close()
    if not is_in_time:
        raise ToolHangsError(seconds, is_gone=run.over.is_set())
    return Ended(transport.get_returncode() or 0, _one_line(run.tail))


class _Run(asyncio.SubprocessProtocol):
    """All that it writes is read, so that it never waits for us, and the end of it is kept."""

    def __init__(self) -> None:
        self.tail = b""
        self.over = asyncio.Event()

    def pipe_data_received(self, fd: int, data: bytes) -> None:  # noqa: ARG002 - asyncio's; both streams are one
        self.tail = (self.tail + data)[-_MOST_BYTES:]

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        """It has ended, and its pipe was read to the end."""
        self.over.set()


async def _is_set_within(seconds: float, event: asyncio.Event) -> bool:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()


def _one_line(told: bytes) -> str:
    words = " ".join(told.decode(errors="replace").split())
    return "".join(filter(str.isprintable, words))[-_MOST_CHARACTERS:]
