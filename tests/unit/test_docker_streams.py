"""What the engine's socket answers: held back where it is too much, refused where it is half, handed on where it is strange."""

import contextlib
import socket
import threading
from asyncio import sleep
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.adapters.docker.client import Deadlines
from agent.adapters.docker.engine import DockerEngine
from agent.adapters.docker.streams import BUFFER_BYTES, Streams
from agent.interfaces import EngineUnavailableError
from agent.interfaces.engine import Trouble

PIECE = b"x" * 65_536
READ_BYTES = 100_000_000
# The session's buffer twice, what one read takes beyond it, and what the socket holds.
MOST_WAITING_BYTES = 4 * BUFFER_BYTES
STRANGE = b"no frames of a log"


@contextmanager
def answering(path: Path, answer: Callable[[socket.socket, bytes], bool], connections: int) -> Iterator[None]:
    """An engine for so many connections, each in a thread of its own; `answer` says whether its connection goes on."""

    def serve(connection: socket.socket) -> None:
        with connection, contextlib.suppress(ConnectionError):
            while (head := connection.recv(65_536)) and answer(connection, head):
                pass

    def accept() -> None:
        threads = []
        for _ in range(connections):
            thread = threading.Thread(target=serve, args=(listener.accept()[0],))
            threads.append(thread)
            thread.start()
        for thread in threads:
            thread.join()

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        acceptor = threading.Thread(target=accept)
        acceptor.start()
        yield
        acceptor.join()


async def test_a_reader_that_is_a_little_slow_holds_the_source_back(tmp_path: Path) -> None:
    written = 0

    def flood(connection: socket.socket, _head: bytes) -> bool:
        nonlocal written
        connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n")
        while True:
            connection.sendall(PIECE)
            written += len(PIECE)

    with answering(tmp_path / "socket", flood, connections=1):
        streams, read, most = Streams(str(tmp_path / "socket"), 5.0), 0, 0
        async with streams.get("/logs", {}) as chunks:
            async for chunk in chunks:
                read += len(chunk)
                await sleep(0.003)  # little enough for the stream to count as busy
                most = max(most, written - read)
                if read > READ_BYTES:
                    break
        await streams.close()
    assert most <= MOST_WAITING_BYTES


async def test_a_short_answer_that_breaks_off_is_not_taken_for_whole(tmp_path: Path) -> None:
    def break_off(connection: socket.socket, _head: bytes) -> bool:
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
        return False

    with answering(tmp_path / "socket", break_off, connections=1):
        streams = Streams(str(tmp_path / "socket"), 5.0)
        with pytest.raises(EngineUnavailableError) as caught:
            await streams.read("/logs", {})
        await streams.close()
    assert caught.value.trouble is Trouble.BROKEN


async def test_a_log_that_is_no_log_is_handed_on_as_it_is(tmp_path: Path) -> None:
    """A drain copies it: a job must finish, whatever its log looks like."""

    def answer(connection: socket.socket, head: bytes) -> bool:
        if head.startswith(b"HEAD"):
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        elif b" HTTP/1.0" in head:
            connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + STRANGE)
        else:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(STRANGE) + STRANGE)
        return b" HTTP/1.0" not in head

    with answering(tmp_path / "socket", answer, connections=3):
        engine = DockerEngine(str(tmp_path / "socket"), "agent-1", Deadlines())
        assert b"".join([chunk async for chunk in engine.read_logs("c" * 64, 0)]) == STRANGE
        await engine.close()
