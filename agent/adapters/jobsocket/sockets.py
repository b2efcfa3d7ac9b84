"""adapters/jobsocket/sockets — the sockets of all running functions: opened, accepted at, closed. Reads no line itself."""

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path

import structlog

from agent.adapters.jobsocket import listening
from agent.adapters.jobsocket.connection import Connection, Heard
from agent.adapters.jobsocket.cord_line import TellingReader
from agent.adapters.jobsocket.pace import CordPace, JobPace
from agent.adapters.jobsocket.reader import LineReader
from agent.aio import Threads, spawn
from agent.interfaces.job_socket import JobCalls

log = structlog.get_logger()

MOST_CONNECTIONS = 4
# A container that has ended holds no connection: what it had sent is read within this, at the job's pace.
LAST_SECONDS = 5.0
_RETRY_SECONDS = 1.0


class _Socket:
    """One job's. `ended` is done once nobody is heard any more."""

    def __init__(self, listening_: socket.socket, folder: Path, heard: Heard) -> None:
        self.listening = listening_
        self.folder = folder
        self._heard = heard
        self._places = asyncio.Semaphore(MOST_CONNECTIONS + heard.calls.lines)
        self._connections: set[asyncio.Task[None]] = set()
        self.accepting: asyncio.Task[None] | None = None

    async def accept(self, group: asyncio.TaskGroup) -> None:
        """Nobody is accepted beyond the most: he waits in the kernel, where he costs nothing."""
        loop = asyncio.get_running_loop()
        while True:
            await self._places.acquire()
            await self._heard.pace.pass_connection()
            try:
                connected, _ = await loop.sock_accept(self.listening)
            except OSError as error:
                log.warning("job_socket.not_accepted", job=self._heard.job_id, error=str(error))
                self._places.release()
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            task = spawn(group, self._serve(connected), f"job socket {self._heard.job_id}")
            self._connections.add(task)
            task.add_done_callback(self._note_end)

    def _note_end(self, task: asyncio.Task[None]) -> None:
        self._connections.discard(task)
        self._places.release()

    async def _serve(self, connected: socket.socket) -> None:
        try:
            reader, loop = TellingReader(), asyncio.get_running_loop()
            protocol = asyncio.StreamReaderProtocol(reader)
            transport, _ = await loop.create_unix_connection(lambda: protocol, sock=connected)
            writer = asyncio.StreamWriter(transport, protocol, reader, loop)
            await Connection(reader, writer, self._heard).serve()
        except Exception:
            # The top of the connection's task: a bug of ours ends this connection, and the SDK makes another.
            log.exception("job_socket.connection_broke", job=self._heard.job_id)

    async def end(self) -> None:
        if self.accepting is not None:
            self.accepting.cancel()
            await asyncio.wait({self.accepting})
        self.listening.close()
        if self._connections:
            await asyncio.wait(self._connections, timeout=LAST_SECONDS)
        left = set(self._connections)
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)


class UnixJobSockets:
    """Implements `interfaces.JobSockets`. `place`: the folder of a job's socket. Call `use` before the first `open`."""

    def __init__(self, place: Callable[[str], Path], threads: Threads) -> None:
        self._place = place
        self._threads = threads
        self._lines = LineReader()
        self._sockets: dict[str, _Socket] = {}
        self._opening = asyncio.Lock()
        self._group: asyncio.TaskGroup | None = None

    def use(self, group: asyncio.TaskGroup) -> None:
        """Where connections are served."""
        self._group = group

    async def open(self, job_id: str, calls: JobCalls) -> None:
        """Raises JobFolderMissingError, StateFullError, StateReadOnlyError."""
        async with self._opening:
            if job_id in self._sockets:
                return
            if self._group is None:
                raise RuntimeError("no socket is opened before there is a group to serve it in")
            folder = self._place(job_id)
            made = await self._threads.run(listening.listen, job_id, folder, calls.lines)
            heard = Heard(job_id, calls, JobPace(calls.lines), CordPace(), self._lines)
            opened = _Socket(made, folder, heard)
            opened.accepting = spawn(self._group, opened.accept(self._group), f"job socket {job_id}")
            self._sockets[job_id] = opened

    async def close(self, job_id: str) -> None:
        opened = self._sockets.get(job_id)
        if opened is None:
            return
        await opened.end()
        if self._sockets.get(job_id) is opened:
            del self._sockets[job_id]
        try:
            await self._threads.run(listening.remove, opened.folder)
        except OSError as error:
            log.debug("job_socket.left", job=job_id, error=str(error))  # it goes with the folder

    async def close_all(self) -> None:
        """The daemon leaves: the jobs go on, and connect to the next one."""
        for opened in self._sockets.values():
            opened.listening.close()
        await self._lines.close()
