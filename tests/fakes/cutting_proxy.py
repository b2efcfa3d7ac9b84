"""A Unix socket before the API's that breaks connections when told: in the middle of an answer, before one, or all at once."""

import asyncio
from collections import deque
from contextlib import suppress
from pathlib import Path


class CuttingProxy:
    """`cuts`: for each coming connection, after how many bytes of answers it is cut (None: never); used up from the left."""

    def __init__(self, path: Path, upstream: Path) -> None:
        self.path = path
        self._upstream = upstream
        self.cuts: deque[int | None] = deque()
        self.connections = 0
        self.requests: list[bytes] = []
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def open(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, str(self.path))

    async def close(self) -> None:
        """Nobody is there any more: as when the daemon was killed, its socket's file stays."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._writers):
            writer.transport.abort()

    async def reopen(self) -> None:
        self.path.unlink(missing_ok=True)
        await self.open()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        limit = self.cuts.popleft() if self.cuts else None
        up_reader, up_writer = await asyncio.open_unix_connection(str(self._upstream))
        self._writers |= {writer, up_writer}
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._forward(reader, up_writer))
                group.create_task(self._answer(up_reader, writer, limit))
        except* (ConnectionError, _CutError):
            pass
        finally:
            for end in (writer, up_writer):
                end.transport.abort()
                self._writers.discard(end)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            self.requests.append(data)
            writer.write(data)
            await writer.drain()
        raise _CutError

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limit: int | None
    ) -> None:
        sent = 0
        while data := await reader.read(65536):
            if limit is not None and sent + len(data) > limit:
                writer.write(data[: limit - sent])
                with suppress(ConnectionError):
                    await writer.drain()
                # Closed and not aborted: what was written before the cut arrives.
                writer.close()
                raise _CutError
            sent += len(data)
            writer.write(data)
            await writer.drain()
        raise _CutError


class _CutError(Exception):
    pass
