"""adapters/job_ports — TCP connections to jobs' published ports, on the one address where this host publishes them. Speaks no protocol.

Users' URLs go through the guard of `adapters/outgoing`. Here there is no URL and no name: the address is the config's, the number a
lease's, and neither can be anybody else's to choose.
"""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address

from agent.interfaces.job_ports import PortUnreachableError


class LocalPorts:
    """Implements `interfaces.JobPorts`. `address`: an IP address of this host."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._family = socket.AF_INET if ip_address(address).version == 4 else socket.AF_INET6

    @asynccontextmanager
    async def connect(self, host_port: int, seconds: float) -> AsyncIterator["SocketConnection"]:
        loop = asyncio.get_running_loop()
        with socket.socket(self._family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            try:
                async with asyncio.timeout(seconds):
                    await loop.sock_connect(sock, (self._address, host_port))
            except (OSError, TimeoutError) as error:
                raise PortUnreachableError(f"nobody answers at the job's port: {_said(error)}") from error
            yield SocketConnection(sock, loop)


class SocketConnection:
    """Implements `interfaces.JobConnection`, without a buffer of its own: what nobody reads stays in the kernel."""

    def __init__(self, sock: socket.socket, loop: asyncio.AbstractEventLoop) -> None:
        self._sock = sock
        self._loop = loop

    async def read(self, most: int) -> bytes:
        try:
            return await self._loop.sock_recv(self._sock, most)
        except OSError as error:
            raise PortUnreachableError(f"the job's port hung up: {_said(error)}") from error

    async def write(self, data: bytes) -> None:
        try:
            await self._loop.sock_sendall(self._sock, data)
        except OSError as error:
            raise PortUnreachableError(f"the job's port hung up: {_said(error)}") from error


def _said(error: OSError) -> str:
    # By the number: asyncio puts the address into the text, and which port of the host it is, is nobody's business.
    return os.strerror(error.errno) if error.errno else type(error).__name__
