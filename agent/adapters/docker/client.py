"""adapters/docker/client — request and answer with the engine, through docker-py in bounded threads. Reads no streams."""

import contextlib
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar, cast
from weakref import WeakSet

import docker
import docker.errors
import requests
from docker.transport.unixconn import UnixHTTPAdapter, UnixHTTPConnection, UnixHTTPConnectionPool

from agent.adapters.docker.failures import Refusal
from agent.aio import Threads
from agent.interfaces import EngineUnavailableError
from agent.interfaces.engine import Trouble

T = TypeVar("T")

# The oldest API that we speak: Docker 25 and later, CDI included. Pinned, so that opening asks the engine nothing.
API_VERSION = "1.44"
# Apart, so that removals that hang hold up no look and no signal.
QUICK_THREADS = 16
SLOW_THREADS = 12
# A thread's own time-out comes first: it knows what happened. This one is for an answer that trickles.
LATE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds until a silent engine is said to hang: for looks and signals, and for what works on disks and networks.

    A call that waits for a thread of ours isn't with the engine yet, and that time doesn't count.
    """

    # An engine says after 12 s (moby, daemon/kill.go: 10 and 2) that a KILL has ended nothing: that must get through.
    quick_seconds: float = 15.0
    slow_seconds: float = 120.0


class _Lane:
    """Calls with one deadline: a client, and as many threads as it has connections."""

    def __init__(self, name: str, size: int, path: str, seconds: float) -> None:
        self.seconds = seconds
        self.sockets = _Sockets(path)
        self.threads = Threads(name, size)
        self.client = _client(path, seconds, size, self.sockets)

    def close(self) -> None:
        self.threads.abandon()
        self.sockets.shut()
        self.client.close()


class Calls:
    """Cancelling the await leaves the thread at work until its own time-out: the call may still take effect."""

    def __init__(self, path: str, deadlines: Deadlines) -> None:
        self._path = path
        self._quick = _Lane("docker-quick", QUICK_THREADS, path, deadlines.quick_seconds)
        self._slow = _Lane("docker-slow", SLOW_THREADS, path, deadlines.slow_seconds)

    async def quick(self, call: Callable[[docker.APIClient], T]) -> T:
        """Raises Refusal, EngineUnavailableError."""
        return await self._run(self._quick, call)

    async def slow(self, call: Callable[[docker.APIClient], T]) -> T:
        """Raises Refusal, EngineUnavailableError."""
        return await self._run(self._slow, call)

    async def outside_engine(self, read: Callable[[], T]) -> T:
        """A short read of the host's own files, off the loop."""
        return await self._quick.threads.run(read)

    def close(self) -> None:
        """Breaks off calls in flight, as an end of the process would: a hung engine keeps nobody from leaving."""
        self._quick.close()
        self._slow.close()

    async def _run(self, lane: _Lane, call: Callable[[docker.APIClient], T]) -> T:
        try:
            return await lane.threads.run_within(lane.seconds + LATE_SECONDS, call, lane.client)
        except docker.errors.APIError as error:
            raise Refusal(error.status_code or 500, str(error.explanation or error)) from error
        except TimeoutError as error:
            raise hangs(lane.seconds) from error
        except requests.RequestException as error:
            # docker-py's own connect comes out as a connection error, timed out or not.
            if isinstance(error, requests.Timeout) or "timed out" in str(error):
                raise hangs(lane.seconds) from error
            if not was_never_sent(error):
                raise EngineUnavailableError(f"the engine broke off: {error}", Trouble.BROKEN) from error
            raise down(self._path, error) from error


def was_never_sent(error: BaseException | None) -> bool:
    """Whether the connect itself failed: requests wraps the socket's own error, some layers deep, in arguments."""
    if isinstance(error, ConnectionRefusedError | FileNotFoundError | PermissionError):
        return True
    inside = error.args if error is not None else ()
    return any(was_never_sent(part) for part in inside if isinstance(part, BaseException))


def hangs(seconds: float) -> EngineUnavailableError:
    return EngineUnavailableError(
        f"the engine took the call and gave no answer in {seconds:g} s", Trouble.HANGS
    )


def down(path: str, error: Exception) -> EngineUnavailableError:
    return EngineUnavailableError(f"no engine answers at {path}: {words_of(error) or error}", Trouble.DOWN)


def words_of(error: BaseException) -> str | None:
    """The kernel's own for it, from below what docker-py and requests made of it."""
    if isinstance(error, OSError) and error.strerror:
        return str(error.strerror)
    inside = (words_of(part) for part in error.args if isinstance(part, BaseException))
    return next((words for words in inside if words), None)


def _client(path: str, seconds: float, size: int, sockets: "_Sockets") -> docker.APIClient:
    client = docker.APIClient(f"unix://{path}", version=API_VERSION, timeout=seconds)  # type: ignore[arg-type] # requests takes fractions, the stubs do not
    # Neither proxies nor .netrc have a say over a Unix socket, and looking for them costs more than the call.
    client.trust_env = False
    client.mount("http+docker://", _OnePool(sockets, size))
    return client


class _Sockets:
    """A client's open sockets, so that all can be shut from outside: what waits on one then ends at once."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._open: WeakSet[socket.socket] = WeakSet()
        self._is_shut = False
        self._lock = threading.Lock()

    def connect(self, seconds: float | None) -> socket.socket:
        """Raises OSError."""
        made = socket.socket(socket.AF_UNIX)
        made.settimeout(seconds)
        try:
            made.connect(self.path)
            self._keep(made)
        except OSError:
            made.close()
            raise
        return made

    def _keep(self, made: socket.socket) -> None:
        with self._lock:
            if self._is_shut:
                raise ConnectionAbortedError("the client is closed")
            self._open.add(made)

    def shut(self) -> None:
        with self._lock:
            self._is_shut = True
            for one in self._open:
                # Its thread may have closed it, or the engine.
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)


class _OnePool(UnixHTTPAdapter):
    """docker-py keeps a pool for each URL, 25 of them: every container's connections would be made anew."""

    def __init__(self, sockets: _Sockets, size: int) -> None:
        self._sockets = sockets
        super().__init__(f"http+unix://{sockets.path}", max_pool_size=size)

    def get_connection(
        self,
        url: str | bytes,  # noqa: ARG002 - the signature is the library's
        proxies: object = None,  # noqa: ARG002 - as above
    ) -> UnixHTTPConnectionPool:
        with self.pools.lock:
            pool = self.pools.get("engine")
            if pool is None:
                pool = _Pool(self._sockets, self.max_pool_size)
                self.pools["engine"] = pool
        return cast("UnixHTTPConnectionPool", pool)


class _Pool(UnixHTTPConnectionPool):
    def __init__(self, sockets: _Sockets, size: int) -> None:
        self._sockets = sockets
        super().__init__("http://localhost", sockets.path, maxsize=size)

    def _new_conn(self) -> UnixHTTPConnection:  # type: ignore[override] # the base wants a protocol that the stubs miss
        return _Connection(self._sockets)


class _Connection(UnixHTTPConnection):
    """docker-py's leaves its socket open where connecting fails."""

    def __init__(self, sockets: _Sockets) -> None:
        self._sockets = sockets
        super().__init__("http://localhost", sockets.path)

    def connect(self) -> None:
        # The call's own time-out: requests sets it on the connection before it connects.
        self.sock = self._sockets.connect(self.timeout)
