"""api/sites — where the API listens: TCP, with TLS or without, and a Unix socket. Answers nothing itself."""

import asyncio
import errno
import grp
import os
import socket
import ssl
import stat
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import structlog
from aiohttp import web

from agent.aio import Threads
from agent.api.app import PAGES
from agent.api.connection import ApiConnection
from agent.api.limits import LIMITS
from agent.errors import AgentError, Blame

log = structlog.get_logger(__name__)

SOCKET_MODE = 0o660
BACKLOG = 128
HANDSHAKE_SECONDS = 10.0
# Streams are ended at once; this is for requests that are being answered.
CLOSE_SECONDS = 3.0


class ListenFailedError(AgentError):
    code, blame = "listen_failed", Blame.HOST
    remedy = "Free the address, or change [api] listen or [api] socket; is another agent running?"


@dataclass(frozen=True, slots=True)
class Listen:
    """Where to listen. Port 0: the kernel chooses. `socket_group`: who else may connect, where the host has such a group."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    socket_path: Path | None = None
    socket_group: str = "gpu-agent"


class Sites:
    """The listening API. Made by `open_sites`; `close` ends it within seconds, open streams or not."""

    def __init__(
        self,
        runner: web.AppRunner,
        servers: list[asyncio.Server],
        bound: "BoundSocket | None",
        threads: Threads,
    ) -> None:
        self._runner = runner
        self._servers = servers
        self._bound = bound
        self._threads = threads

    @property
    def port(self) -> int:
        """The TCP port, also where the kernel chose it."""
        return int(self._servers[0].sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stop listening, end the streams, let requests finish for CLOSE_SECONDS, then cut them. Closed is fine."""
        for server in self._servers:
            server.close()
        bound, self._bound = self._bound, None
        if bound is not None:
            await self._threads.run(bound.unlink)
        self._threads.close()
        await self._runner.cleanup()


async def open_sites(app: web.Application, listen: Listen) -> Sites:
    """Listen, on all or on nothing. Raises ListenFailedError."""
    threads = Threads("sites", 1)  # for the socket's file
    runner = web.AppRunner(app, shutdown_timeout=CLOSE_SECONDS, access_log=None)
    await runner.setup()
    put_pages_first(runner)
    servers: list[asyncio.Server] = []
    try:
        servers.append(await open_tcp(runner, listen))
        bound = None
        if listen.socket_path is not None:
            bound = await threads.run(bind_socket, listen.socket_path, listen.socket_group)
        if bound is not None:
            loop = asyncio.get_running_loop()
            servers.append(
                await loop.create_unix_server(connections(runner), sock=bound.sock, backlog=BACKLOG)
            )
    except AgentError:
        for server in servers:
            server.close()
        await runner.cleanup()
        threads.close()
        raise
    sites = Sites(runner, servers, bound, threads)
    log.info("api.listening", host=listen.host, port=sites.port, socket=str(listen.socket_path), tls=listen.tls is not None)  # fmt: skip
    return sites


def put_pages_first(runner: web.AppRunner) -> None:
    """Before the router, which looks at paths alone: at a page's host name, no path is the API's."""
    if runner.server is None:
        raise RuntimeError("the runner was not set up")
    runner.server.request_handler = runner.app[PAGES].before(runner.server.request_handler)


def connections(runner: web.AppRunner) -> partial[ApiConnection]:
    if runner.server is None:
        raise RuntimeError("the runner was not set up")
    return partial(ApiConnection, runner.server, asyncio.get_running_loop(), runner.app[LIMITS])


async def open_tcp(runner: web.AppRunner, listen: Listen) -> asyncio.Server:
    handshake = None if listen.tls is None else HANDSHAKE_SECONDS
    try:
        return await asyncio.get_running_loop().create_server(
            connections(runner),
            listen.host,
            listen.port,
            ssl=listen.tls,
            ssl_handshake_timeout=handshake,
            backlog=BACKLOG,
        )
    except OSError as error:
        raise ListenFailedError(f"can't listen on {listen.host}:{listen.port}: {error.strerror}") from error


class BoundSocket:
    """Our Unix socket's file. It is removed at the end only where it is still ours."""

    def __init__(self, sock: socket.socket, path: Path) -> None:
        self.sock = sock
        self._path = path
        self._identity = identity(path)

    def unlink(self) -> None:
        if identity(self._path) == self._identity:
            self._path.unlink(missing_ok=True)


def identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def bind_socket(path: Path, group: str) -> BoundSocket:
    """Bind the socket, of mode 0660 before anyone can connect. Raises ListenFailedError."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        remove_stale(path)
        sock.bind(str(path))
        # Between bind and listen nobody can connect, so no umask (which is the whole process's) has to be changed.
        path.chmod(SOCKET_MODE)
        give_to_group(path, group)
    except OSError as error:
        sock.close()
        raise ListenFailedError(f"can't listen on {path}: {error.strerror or error}") from error
    except ListenFailedError:
        sock.close()
        raise
    return BoundSocket(sock, path)


def remove_stale(path: Path) -> None:
    """Take away the socket that a killed daemon left. Anything else there, a live socket above all, is refused."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ListenFailedError(f"can't listen on {path}: a file that is no socket is there")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        refusal = probe.connect_ex(str(path))
    if refusal in {errno.ECONNREFUSED, errno.ENOENT}:
        path.unlink(missing_ok=True)
        return
    raise ListenFailedError(f"can't listen on {path}: somebody answers there")


def give_to_group(path: Path, group: str) -> None:
    try:
        number = grp.getgrnam(group).gr_gid
    except KeyError:
        return  # no such group: the socket is root's and its group's alone
    os.chown(path, -1, number)
