"""A socket that answers with bytes of the test's choice, or takes a call and says no more. No engine."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

PONG = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def answer(status: int, body: bytes) -> bytes:
    return b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (
        status,
        len(body),
        body,
    )


def stream(body: bytes) -> bytes:
    """Its end is the connection's."""
    return b"HTTP/1.0 200 OK\r\n\r\n" + body


class Wire:
    """`answers`: by method and the path's end. Any other call is taken, noted in `hanging`, and never answered."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.answers: dict[tuple[str, str], bytes] = {("HEAD", "/_ping"): PONG}
        self.hanging = 0
        self._more = asyncio.Condition()

    @classmethod
    @asynccontextmanager
    async def laid(cls, path: Path) -> AsyncIterator["Wire"]:
        wire = cls(path)
        server = await asyncio.start_unix_server(wire._serve, path)
        try:
            yield wire
        finally:
            server.close()
            await wire.until(0)

    async def until(self, hanging: int) -> None:
        async with asyncio.timeout(20), self._more:
            await self._more.wait_for(lambda: self.hanging == hanging)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                while await reader.readline() not in (b"\r\n", b""):
                    pass
                method, target, version = line.decode().split()
                known = self.answers.get((method, target.partition("?")[0].removeprefix("/v1.44")))
                if known is None:
                    await self._count(1)
                    await reader.read()  # until the caller leaves
                    await self._count(-1)
                    return
                writer.write(known)
                if version == "HTTP/1.0":
                    return
        except ConnectionError:
            return
        finally:
            writer.close()

    async def _count(self, more: int) -> None:
        async with self._more:
            self.hanging += more
            self._more.notify_all()
