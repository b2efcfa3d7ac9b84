"""A stream that comes faster than it is read is held back at its source, and not kept in memory."""

import asyncio
import contextlib
import socket
import threading
from pathlib import Path

from agent.adapters.docker.streams import BUFFER_BYTES, Streams

PIECE = b"x" * 65_536
READ_BYTES = 100_000_000
# The session's buffer twice, what one read takes beyond it, and what the socket holds.
MOST_WAITING_BYTES = 4 * BUFFER_BYTES


class Flood:
    """An engine of one stream without end, at full speed, in a thread of its own."""

    def __init__(self, path: Path) -> None:
        self.written = 0
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(path))
        self._socket.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        connection, _ = self._socket.accept()
        with connection, contextlib.suppress(ConnectionError):
            connection.recv(65_536)
            connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n")
            while True:
                connection.sendall(PIECE)
                self.written += len(PIECE)

    def close(self) -> None:
        self._socket.close()
        self._thread.join()


async def test_a_reader_that_is_a_little_slow_holds_the_source_back(tmp_path: Path) -> None:
    flood = Flood(tmp_path / "socket")
    streams, read, most = Streams(str(tmp_path / "socket"), 5.0), 0, 0
    async with streams.get("/logs", {}) as chunks:
        async for chunk in chunks:
            read += len(chunk)
            await asyncio.sleep(0.003)  # little enough for the stream to count as busy
            most = max(most, flood.written - read)
            if read > READ_BYTES:
                break
    await streams.close()
    flood.close()
    assert most <= MOST_WAITING_BYTES
