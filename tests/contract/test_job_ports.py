"""Connections to jobs' ports: what the interface promises, on real sockets. There is no fake: real ones cost nothing here."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from agent.adapters.job_ports import LocalPorts
from agent.interfaces.job_ports import JobPorts, PortUnreachableError

MIB = 1 << 20


@asynccontextmanager
async def listener(host: str = "127.0.0.1") -> AsyncIterator[socket.socket]:
    """Accepts what the kernel accepts, and no more by itself."""
    with socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as server:
        server.setblocking(False)  # noqa: FBT003 - the standard library's signature
        yield server


async def accept(server: socket.socket) -> socket.socket:
    sock, _ = await asyncio.get_running_loop().sock_accept(server)
    return sock


def port_of(server: socket.socket) -> int:
    return int(server.getsockname()[1])


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_bytes_go_both_ways_and_an_end_is_an_end(host: str) -> None:
    ports: JobPorts = LocalPorts(host)
    async with listener(host) as server, ports.connect(port_of(server), 5) as connection:
        with await accept(server) as job:
            await connection.write(b"to the job")
            assert await asyncio.get_running_loop().sock_recv(job, 100) == b"to the job"
            await asyncio.get_running_loop().sock_sendall(job, b"back")
            assert await connection.read(2) == b"ba"
            assert await connection.read(100) == b"ck"
            job.shutdown(socket.SHUT_WR)
            assert await connection.read(100) == b""


async def test_the_connection_ends_with_the_block_however_it_is_left() -> None:
    async with listener() as server:
        with suppress(ZeroDivisionError):
            async with LocalPorts("127.0.0.1").connect(port_of(server), 5):
                job = await accept(server)
                raise ZeroDivisionError
        with job:
            assert await asyncio.get_running_loop().sock_recv(job, 1) == b""


async def test_nobody_there_is_told_so() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(PortUnreachableError, match="Connection refused"):
            async with LocalPorts("127.0.0.1").connect(port_of(bound), 5):
                pass


async def test_who_does_not_take_the_connection_is_waited_for_only_so_long() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        held = [socket.socket() for _ in range(3)]
        for sock in held:  # the queue of those who wait is full
            sock.setblocking(False)  # noqa: FBT003 - the standard library's signature
            sock.connect_ex(server.getsockname())
        began = asyncio.get_running_loop().time()
        with pytest.raises(PortUnreachableError):
            async with LocalPorts("127.0.0.1").connect(port_of(server), 0.2):
                pass
        assert asyncio.get_running_loop().time() - began < 5
        for sock in held:
            sock.close()


async def test_a_reset_is_no_end() -> None:
    async with listener() as server, LocalPorts("127.0.0.1").connect(port_of(server), 5) as connection:
        job = await accept(server)
        job.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        job.close()
        with pytest.raises(PortUnreachableError, match="hung up"):
            await connection.read(1)
        with pytest.raises(PortUnreachableError, match="hung up"):
            await connection.write(bytes(64 * MIB))


async def test_a_write_waits_for_a_slow_job_and_can_be_given_up() -> None:
    async with listener() as server, LocalPorts("127.0.0.1").connect(port_of(server), 5) as connection:
        with await accept(server), pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await connection.write(bytes(256 * MIB))


async def test_reading_and_writing_go_on_at_once() -> None:
    async with listener() as server, LocalPorts("127.0.0.1").connect(port_of(server), 5) as connection:
        with await accept(server) as job:
            loop = asyncio.get_running_loop()
            reading = asyncio.ensure_future(connection.read(10))
            await connection.write(b"x")
            assert await loop.sock_recv(job, 1) == b"x"
            await loop.sock_sendall(job, b"y")
            assert await reading == b"y"
