"""adapters/jobsocket/reader — reads lines: small ones here, all others by children, one at a time each. Understands none itself."""

import asyncio
import json
import sys
from contextlib import suppress

import structlog

from agent.adapters.jobsocket.reading import LENGTH, NoRequest, Request, read_request
from agent.interfaces.job_socket import Call

log = structlog.get_logger()

# The worst lines of this size, all that are read of a job in a second, hold the loop for 75 ms; of 64 KiB it would be most of that second.
SMALL_BYTES = 2 << 10
MIDDLING_BYTES = 64 << 10
# The worst line of 2 MiB takes a child a third of a second.
_LINE_SECONDS = 10.0
# -P: nothing is imported from where the daemon happens to have been started.
CHILD = (sys.executable, "-P", "-m", "agent.adapters.jobsocket.child")
_FAILED = NoRequest("the line could not be read", is_json=False)


class LineReader:
    """One for all jobs. Who sends lines of some kilobytes does not wait for those of megabytes: they have a child of their own."""

    def __init__(self, command: tuple[str, ...] = CHILD) -> None:
        self._middling, self.large = LineChild(command), LineChild(command)

    async def read(self, line: bytes) -> Request | NoRequest:
        if len(line) <= SMALL_BYTES:
            return read_request(line)
        if len(line) > MIDDLING_BYTES:
            return await self.large.read(line) or _FAILED
        # Without a child the loop reads these itself: it is held for a moment, and no job waits for ever.
        return await self._middling.read(line) or read_request(line)

    async def close(self) -> None:
        await self._middling.close()
        await self.large.close()


class LineChild:
    """Started with the first line, and anew where it has ended."""

    def __init__(self, command: tuple[str, ...]) -> None:
        self._command = command
        self._turn = asyncio.Lock()
        self.child: asyncio.subprocess.Process | None = None

    async def read(self, line: bytes) -> Request | NoRequest | None:
        """None: it could not be read."""
        async with self._turn:
            try:
                async with asyncio.timeout(_LINE_SECONDS):
                    return await self._ask(line)
            except (OSError, TimeoutError, asyncio.IncompleteReadError, ValueError) as error:
                log.warning("job_socket.line_not_read", error=repr(error))
                await self._end()
                return None
            except asyncio.CancelledError:
                await self._end()  # it may be in the middle of an answer that nobody waits for
                raise

    async def close(self) -> None:
        await self._end()

    async def _ask(self, line: bytes) -> Request | NoRequest:
        child = self.child or await self._start()
        assert child.stdin is not None  # noqa: S101 - it was started with pipes
        child.stdin.write(LENGTH.pack(len(line)) + line)
        await child.stdin.drain()
        head = json.loads(await self._frame(child))
        if "message" in head:
            return NoRequest(**head)
        payload = await self._frame(child) if head["has_payload"] else None
        pieces = [json.loads(await self._frame(child)) for _ in range(head["pieces"])]
        return Request(head["id"], Call(head["name"], head["fields"], payload, tuple(pieces)))

    async def _frame(self, child: asyncio.subprocess.Process) -> bytes:
        assert child.stdout is not None  # noqa: S101 - it was started with pipes
        (size,) = LENGTH.unpack(await child.stdout.readexactly(LENGTH.size))
        # What is there already is handed over at once: others have their turn between two frames.
        await asyncio.sleep(0)
        return await child.stdout.readexactly(size)

    async def _start(self) -> asyncio.subprocess.Process:
        pipe = asyncio.subprocess.PIPE
        self.child = await asyncio.create_subprocess_exec(*self._command, stdin=pipe, stdout=pipe)
        return self.child

    async def _end(self) -> None:
        child, self.child = self.child, None
        if child is not None:
            with suppress(ProcessLookupError):  # gone by itself
                child.kill()
            await child.wait()
