"""adapters/docker/logs — a container's log as the engine has it: what is there, or all until its exit. Takes no frame apart."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from enum import Enum

from agent.adapters.docker import failures
from agent.adapters.docker.failures import Refusal
from agent.adapters.docker.streams import Proof, Streams
from agent.core.frames import BrokenFramesError, FrameParser
from agent.interfaces import ContainerGoneError

# Read in one go, where it need not be streamed; a frame has at most 16 KiB of text.
SHORT_LOG_FRAMES = 100


class _Follow(Enum):
    TO_END = "0"
    TO_EXIT = "1"


class Logs:
    """`socket`: the engine's path, which is asked over a connection of its own whether it still answers."""

    def __init__(self, socket: str, streams: Streams, quick_seconds: float) -> None:
        self._socket = socket
        self._streams = streams
        self._quick_seconds = quick_seconds

    async def read(self, container: str, since_ns: int) -> AsyncGenerator[bytes]:
        short = await self._short(container) if since_ns == 0 else None
        if short is not None:
            yield short
            return
        async with aclosing(self._stream(container, since_ns, _Follow.TO_END)) as chunks:
            async for chunk in chunks:
                yield chunk

    def follow(self, container: str, since_ns: int) -> AsyncGenerator[bytes]:
        return self._stream(container, since_ns, _Follow.TO_EXIT)

    async def _short(self, container: str) -> bytes | None:
        """A log that is short, as most are: one answer is then the whole of it. None: it may have more lines."""
        query = {"stdout": "1", "stderr": "1", "timestamps": "1", "tail": str(SHORT_LOG_FRAMES)}
        try:
            log = await self._streams.read(f"/containers/{container}/logs", query)
        except Refusal as refusal:
            raise _refused_log(refusal) from refusal
        try:
            slab = FrameParser().feed(log)
        except BrokenFramesError:
            return None  # whoever reads it says so; a drain copies it as it is
        return log if len(slab) < SHORT_LOG_FRAMES and slab.failure is None else None

    async def _stream(self, container: str, since_ns: int, follow: _Follow) -> AsyncGenerator[bytes]:
        query = {"stdout": "1", "stderr": "1", "timestamps": "1", "follow": follow.value}
        if since_ns:
            query["since"] = f"{since_ns // 10**9}.{since_ns % 10**9:09d}"
        try:
            async with (
                Proof.taken(self._socket, self._quick_seconds) as proof,
                self._streams.get(f"/containers/{container}/logs", query) as chunks,
            ):
                async for chunk in chunks:
                    yield chunk
                await proof.ask()
        except Refusal as refusal:
            raise _refused_log(refusal) from refusal


def _refused_log(refusal: Refusal) -> Exception:
    if failures.is_container_gone(refusal):
        return ContainerGoneError(refusal.text)
    return failures.refused(refusal)
