"""A small working log engine: logs that grow, rotate and lose their oldest file; a follow stream that skips rotated files.

It behaves as Docker's `local` driver was seen to: a plain read gives all that is left at its start, a follow stream that has
fallen behind by more than one file jumps to the newest, and both filter by `since`, inclusive.
"""

import asyncio
import struct
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from agent.core.container import Container, ContainerState
from agent.core.frames import Stream, stamp_text
from agent.interfaces import ContainerGoneError, EngineUnavailableError
from agent.jobs.bell import Bell

PART_BYTES = 16_384


def frame(stream: Stream, ns: int, text: bytes) -> bytes:
    payload = f"{stamp_text(ns)} ".encode() + text
    return struct.pack(">BxxxL", stream, len(payload)) + payload


def line_frames(stream: Stream, ns: int, line: bytes) -> list[bytes]:
    """One line as the engine writes it: parts of a long one share its stamp, and only the last ends in a newline."""
    parts = [line[at : at + PART_BYTES] for at in range(0, max(len(line), 1), PART_BYTES)]
    return [frame(stream, ns, part) for part in parts[:-1]] + [frame(stream, ns, parts[-1] + b"\n")]


@dataclass(slots=True)
class _File:
    rotation: int
    frames: list[tuple[int, bytes]] = field(default_factory=list)
    size: int = 0


class FakeLog:
    """One container's log: at most `files` files, of `file_bytes` each (0: one that never ends)."""

    def __init__(self, file_bytes: int = 0, files: int = 1) -> None:
        self.bell = Bell()
        self.files = [_File(0)]
        self._file_bytes = file_bytes
        self._most_files = files

    def write(self, ns: int, line: bytes, stream: Stream = Stream.STDOUT) -> None:
        for raw in line_frames(stream, ns, line):
            self.write_raw(ns, raw)

    def write_raw(self, ns: int, raw: bytes) -> None:
        current = self.files[-1]
        if self._file_bytes and current.size + len(raw) > self._file_bytes:
            current = _File(current.rotation + 1)
            self.files = [*self.files, current][-self._most_files :]
        current.frames.append((ns, raw))
        current.size += len(raw)
        self.bell.ring()


@dataclass(slots=True)
class _Box:
    seen: Container
    log: FakeLog


class FakeLogEngine:
    """`chunk_bytes`: where chunks are cut, in the middle of a frame as a rule. `between`: called between two chunks."""

    def __init__(self, chunk_bytes: int = 1000) -> None:
        self.is_up = True
        self.boxes: dict[str, _Box] = {}
        self.reads = 0
        self.follows = 0
        self.between: Callable[[], None] = lambda: None
        self._chunk_bytes = chunk_bytes
        self._crashes = 0
        self.open_streams = 0

    def add(self, container: str, log: FakeLog, state: ContainerState = ContainerState.RUNNING) -> FakeLog:
        self.boxes[container] = _Box(Container(container, container, state), log)
        return log

    def set_state(self, container: str, state: ContainerState) -> None:
        box = self.boxes[container]
        box.seen = replace(box.seen, state=state)
        box.log.bell.ring()

    def remove(self, container: str) -> None:
        self.boxes.pop(container).log.bell.ring()

    def crash(self) -> None:
        """Every stream breaks, and nothing answers until `come_up`."""
        self.is_up = False
        self._crashes += 1
        for box in self.boxes.values():
            box.log.bell.ring()

    def come_up(self) -> None:
        self.is_up = True

    async def inspect(self, container: str) -> Container | None:
        self._answer()
        box = self.boxes.get(container)
        return None if box is None else box.seen

    async def read_logs(self, container: str, since_ns: int) -> AsyncGenerator[bytes]:
        self.reads += 1
        async with self._stream(container) as stream:
            frames = [pair for file in stream.log.files for pair in file.frames]
            async for chunk in self._send(stream, frames, since_ns):
                yield chunk
                self.between()

    async def follow_logs(self, container: str, since_ns: int) -> AsyncGenerator[bytes]:
        """The engine writes ahead of the reader until what lies between them is full, as a socket's buffer would be."""
        self.follows += 1
        async with self._stream(container) as stream:
            between: asyncio.Queue[bytes | None] = asyncio.Queue(maxsize=2)
            pump = asyncio.get_running_loop().create_task(self._pump(container, stream, since_ns, between))
            try:
                while (chunk := await between.get()) is not None:
                    yield chunk
                    self.between()
                await pump
            finally:
                pump.cancel()
                await asyncio.gather(pump, return_exceptions=True)

    async def _pump(
        self, container: str, stream: "_Stream", since_ns: int, between: "asyncio.Queue[bytes | None]"
    ) -> None:
        broke: EngineUnavailableError | None = None
        try:
            async for chunk in self._live(container, stream, since_ns):
                await between.put(chunk)
        except EngineUnavailableError as error:
            broke = error
        await between.put(None)
        if broke is not None:
            raise broke

    async def _live(self, container: str, stream: "_Stream", since_ns: int) -> AsyncGenerator[bytes]:
        frames = [pair for file in stream.log.files for pair in file.frames]
        file = stream.log.files[-1]
        at = len(file.frames)
        while True:
            ring = stream.log.bell.listen()
            async for chunk in self._send(stream, frames, since_ns):
                yield chunk
            frames = file.frames[at:]
            if not frames and file is not stream.log.files[-1]:
                # Whatever files lie between are skipped.
                file, at = stream.log.files[-1], 0
            elif not frames:
                if self._has_ended(container, stream):
                    return
                await ring.wait()
                self._check(stream)
            at += len(frames)

    @asynccontextmanager
    async def _stream(self, container: str) -> AsyncIterator["_Stream"]:
        self._answer()
        if container not in self.boxes:
            raise ContainerGoneError(container)
        self.open_streams += 1
        try:
            yield _Stream(self.boxes[container].log, self._crashes)
        finally:
            self.open_streams -= 1

    async def _send(
        self, stream: "_Stream", frames: list[tuple[int, bytes]], since_ns: int
    ) -> AsyncGenerator[bytes]:
        raw = b"".join(raw for ns, raw in frames if ns >= since_ns)
        for at in range(0, len(raw), self._chunk_bytes):
            await asyncio.sleep(0)
            self._check(stream)
            yield raw[at : at + self._chunk_bytes]

    def _has_ended(self, container: str, stream: "_Stream") -> bool:
        box = self.boxes.get(container)
        return box is None or box.log is not stream.log or box.seen.state is not ContainerState.RUNNING

    def _check(self, stream: "_Stream") -> None:
        if self._crashes != stream.crashes:
            raise EngineUnavailableError("the engine broke off")

    def _answer(self) -> None:
        if not self.is_up:
            raise EngineUnavailableError("the engine is down")


@dataclass(frozen=True, slots=True)
class _Stream:
    log: FakeLog
    crashes: int
