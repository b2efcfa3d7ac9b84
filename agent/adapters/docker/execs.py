"""adapters/docker/execs — commands beside a container's own, each over a connection of its own that can be cancelled.

Decides nothing about jobs. The engine ends no command with its connection; see `hang_up`.
"""

import asyncio
import json
import os
import signal
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from agent.adapters.docker import failures
from agent.adapters.docker.client import API_VERSION, Calls, down, hangs
from agent.adapters.docker.exec_frames import BrokenExecFramesError, ExecFrames
from agent.adapters.docker.failures import Refusal
from agent.adapters.docker.streams import Streams, message_of
from agent.core.exec import ExecOutput, ExecPlan, WindowSize
from agent.core.frames import Stream
from agent.interfaces import (
    ContainerGoneError,
    ContainerNotRunningError,
    EngineRefusedError,
    EngineUnavailableError,
)
from agent.interfaces.engine import Trouble

# Twice this may wait for a reader before the engine is held up, and so the command.
BUFFER_BYTES = 1 << 17
PIECE_BYTES = 1 << 16
# The engine's end of the output comes a moment before it knows the exit code.
FIRST_WAIT_SECONDS, MOST_WAIT_SECONDS = 0.005, 0.5
END_OF_TRANSMISSION = b"\x04"
# Keys that make the engine leave a terminal: it has some where none are given (^P^Q), and holds what they begin with back
# until the next key, which is the history of every shell. It knows no way to have none: so, many that nobody types in a row.
NEVER_TYPED = ",".join(["ctrl-\\", *["ctrl-@"] * 31])
# What an answer that is no "go on" may say.
MOST_REFUSAL_BYTES = 1 << 16


class Execs:
    def __init__(self, socket: str, streams: Streams, calls: Calls, answer_seconds: float) -> None:
        self._socket = socket
        self._streams = streams
        self._calls = calls
        self._answer_seconds = answer_seconds

    @asynccontextmanager
    async def open(self, container: str, plan: ExecPlan) -> AsyncIterator["DockerExec"]:
        try:
            exec_id = await self._create(container, plan)
            reader, writer = await self._start(exec_id, plan)
        except Refusal as refusal:
            raise refused(refusal) from refusal
        try:
            yield DockerExec(self._streams, self._calls, (container, exec_id), (reader, writer), plan)
        finally:
            # Aborted, not closed: what lies in the buffer would wait for a command that does not read.
            writer.transport.abort()

    async def _create(self, container: str, plan: ExecPlan) -> str:
        """Raises Refusal, EngineUnavailableError."""
        made = await self._streams.send(f"/containers/{container}/exec", {}, create_body(plan))
        try:
            return str(json.loads(made)["Id"])
        except (ValueError, KeyError, TypeError) as error:
            raise broke_off() from error

    async def _start(self, exec_id: str, plan: ExecPlan) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Raises Refusal, EngineUnavailableError."""
        async with answered_within(self._answer_seconds):
            try:
                reader, writer = await asyncio.open_unix_connection(self._socket, limit=BUFFER_BYTES)
            except OSError as error:
                raise down(self._socket, error) from error
            try:
                writer.write(start_request(exec_id, plan))
                await go_on(reader)
            except (OSError, EOFError, asyncio.LimitOverrunError, ValueError) as error:
                writer.transport.abort()
                raise broke_off() from error
            except BaseException:  # refused, too late, or cancelled
                writer.transport.abort()
                raise
        return reader, writer


@asynccontextmanager
async def answered_within(seconds: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise hangs(seconds) from error


class DockerExec:
    """A command that was started. See `interfaces/exec` for what it promises."""

    def __init__(
        self,
        streams: Streams,
        calls: Calls,
        ids: tuple[str, str],
        connection: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        plan: ExecPlan,
    ) -> None:
        self._streams = streams
        self._calls = calls
        self._container, self._id = ids
        self._reader, self._writer = connection
        self._frames = None if plan.terminal is not None else ExecFrames()
        self._parsed: deque[ExecOutput] = deque()
        self._is_input_ended = False

    async def read(self) -> ExecOutput | None:
        while not self._parsed:
            try:
                chunk = await self._reader.read(PIECE_BYTES)
                if not chunk and self._is_whole():
                    return None
                self._take(chunk)
            except (OSError, BrokenExecFramesError) as error:
                raise broke_off() from error
        return self._parsed.popleft()

    def _is_whole(self) -> bool:
        if self._frames is None or self._frames.is_whole:
            return True
        raise broke_off()

    def _take(self, chunk: bytes) -> None:
        if self._frames is None:
            self._parsed.append(ExecOutput(Stream.STDOUT, chunk))
        else:
            self._parsed.extend(self._frames.feed(chunk))

    async def write(self, data: bytes) -> None:
        # The end of the command is told by `read` and `exit_code`; what was typed too late is nobody's fault.
        if self._is_input_ended:
            return
        with suppress(OSError):
            self._writer.write(data)
            await self._writer.drain()

    async def end_input(self) -> None:
        if self._frames is None:
            # The engine takes the end of a terminal's input for the end of its output, too.
            await self.write(END_OF_TRANSMISSION)
            return
        self._is_input_ended = True
        with suppress(OSError):
            self._writer.write_eof()

    async def resize(self, size: WindowSize) -> None:
        if self._frames is not None:
            return
        query = {"h": str(size.rows), "w": str(size.columns)}
        try:
            await self._streams.send(f"/exec/{self._id}/resize", query, {})
        except Refusal as refusal:
            if failures.is_engine_away(refusal):
                raise failures.unavailable(refusal) from refusal
            # It is not there yet, or no more: what its size is then is nobody's concern.

    async def exit_code(self) -> int:
        seconds = FIRST_WAIT_SECONDS
        while (seen := await self._look())["Running"] or seen["ExitCode"] is None:
            await asyncio.sleep(seconds)
            seconds = min(2 * seconds, MOST_WAIT_SECONDS)
        return int(seen["ExitCode"])

    async def hang_up(self) -> None:
        # A descriptor of the process, taken before it is looked at once more: a number may be another's by then.
        with suppress(ContainerGoneError):
            seen = await self._look()
            if seen["Running"] and seen["Pid"]:
                await self._calls.outside_engine(signaller(seen["Pid"], self._container))

    async def _look(self) -> Mapping[str, Any]:
        try:
            seen: dict[str, Any] = json.loads(await self._streams.read(f"/exec/{self._id}/json", {}))
        except Refusal as refusal:
            if refusal.status != 404:
                raise failures.refused(refusal) from refusal
            await self._tell_who_is_gone(refusal)
        return seen

    async def _tell_who_is_gone(self, refusal: Refusal) -> None:
        """The container, or the engine's memory: it knows no command of before its own start. Raises."""
        try:
            await self._streams.read(f"/containers/{self._container}/json", {})
        except Refusal as other:
            raise refused(other) from refusal
        raise broke_off() from refusal


def create_body(plan: ExecPlan) -> dict[str, object]:
    body: dict[str, object] = {
        "AttachStdin": True,
        "AttachStdout": True,
        "AttachStderr": True,
        "Tty": plan.terminal is not None,
        "Cmd": list(plan.command),
        "Env": [f"{name}={value}" for name, value in plan.environment],
        "DetachKeys": NEVER_TYPED,
    }
    if plan.user is not None:
        body["User"] = plan.user
    if plan.workdir is not None:
        body["WorkingDir"] = plan.workdir
    if plan.terminal is not None:
        body["ConsoleSize"] = [plan.terminal.rows, plan.terminal.columns]
    return body


def start_request(exec_id: str, plan: ExecPlan) -> bytes:
    wanted: dict[str, object] = {"Detach": False, "Tty": plan.terminal is not None}
    if plan.terminal is not None:
        wanted["ConsoleSize"] = [plan.terminal.rows, plan.terminal.columns]
    body = json.dumps(wanted).encode()
    return (
        b"POST /v%s/exec/%s/start HTTP/1.1\r\nHost: docker\r\nContent-Type: application/json\r\n"
        b"Connection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: %d\r\n\r\n%s"
        % (API_VERSION.encode(), exec_id.encode(), len(body), body)
    )


async def go_on(reader: asyncio.StreamReader) -> None:
    """Read the answer's head: from then on the connection is the command's. Raises Refusal, EOFError, ValueError, OSError."""
    head = await reader.readuntil(b"\r\n\r\n")
    status = int(head.split(b" ", 2)[1])
    if status in {101, 200}:
        return
    length = next(
        (int(line.partition(b":")[2]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")),
        0,
    )  # fmt: skip
    body = await reader.readexactly(min(length, MOST_REFUSAL_BYTES))
    raise Refusal(status, message_of(body.decode(errors="replace")))


def signaller(pid: int, container: str) -> Callable[[], None]:
    def send() -> None:
        try:
            process = os.pidfd_open(pid)
        except OSError:
            return  # it has ended, or the engine counts its processes in another namespace
        try:
            # Looked at after the descriptor was taken: what is signalled is what was looked at.
            if container in (Path("/proc") / str(pid) / "cgroup").read_text():
                signal.pidfd_send_signal(process, signal.SIGHUP)
        except OSError:
            return  # it has ended meanwhile
        finally:
            os.close(process)

    return send


def refused(refusal: Refusal) -> Exception:
    if failures.is_container_gone(refusal):
        return ContainerGoneError(refusal.text)
    if refusal.status == 409 and ("is not running" in refusal.text or "is paused" in refusal.text):
        return ContainerNotRunningError(refusal.text)
    if refusal.status == 404:
        return EngineUnavailableError(f"the engine forgot the command: {refusal.text}", Trouble.BROKEN)
    error = failures.refused(refusal)
    return error if isinstance(error, EngineUnavailableError) else EngineRefusedError(str(error))


def broke_off() -> EngineUnavailableError:
    return EngineUnavailableError("the engine broke off under a command that it ran", Trouble.BROKEN)
