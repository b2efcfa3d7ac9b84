"""adapters/docker/client — request and answer with the engine, through docker-py in bounded threads. Reads no streams."""

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar, cast

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
THREADS = 16
# A thread's own time-out comes first; this is for calls that still wait for a thread.
QUEUE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds until a silent engine is said to hang: for looks and signals, and for what works on disks and networks."""

    quick_seconds: float = 15.0
    slow_seconds: float = 120.0


class Calls:
    """Cancelling the await leaves the thread at work until its own time-out: the call may still take effect."""

    def __init__(self, path: str, deadlines: Deadlines) -> None:
        self._path = path
        self._deadlines = deadlines
        self._threads = Threads("docker", THREADS)
        self._quick = _client(path, deadlines.quick_seconds)
        self._slow = _client(path, deadlines.slow_seconds)

    async def quick(self, call: Callable[[docker.APIClient], T]) -> T:
        """Raises Refusal, EngineUnavailableError."""
        return await self._run(self._quick, call, self._deadlines.quick_seconds)

    async def slow(self, call: Callable[[docker.APIClient], T]) -> T:
        """Raises Refusal, EngineUnavailableError."""
        return await self._run(self._slow, call, self._deadlines.slow_seconds)

    async def outside_engine(self, read: Callable[[], T]) -> T:
        """A short read of the host's own files, off the loop."""
        return await self._threads.run(read)

    def close(self) -> None:
        """Waits for calls in flight, at most until their time-outs."""
        self._threads.close()
        self._quick.close()
        self._slow.close()

    async def _run(
        self, client: docker.APIClient, call: Callable[[docker.APIClient], T], seconds: float
    ) -> T:
        try:
            async with asyncio.timeout(seconds + QUEUE_SECONDS):
                return await self._threads.run(call, client)
        except docker.errors.APIError as error:
            raise Refusal(error.status_code or 500, str(error.explanation or error)) from error
        except TimeoutError as error:
            raise hangs(seconds) from error
        except requests.RequestException as error:
            # docker-py's own connect comes out as a connection error, timed out or not.
            if isinstance(error, requests.Timeout) or "timed out" in str(error):
                raise hangs(seconds) from error
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
    return EngineUnavailableError(f"no engine answers at {path}: {error}", Trouble.DOWN)


def _client(path: str, seconds: float) -> docker.APIClient:
    client = docker.APIClient(f"unix://{path}", version=API_VERSION, timeout=seconds)  # type: ignore[arg-type] # requests takes fractions, the stubs do not
    # Neither proxies nor .netrc have a say over a Unix socket, and looking for them costs more than the call.
    client.trust_env = False
    client.mount("http+docker://", _OnePool(f"http+unix://{path}", max_pool_size=THREADS))
    return client


class _OnePool(UnixHTTPAdapter):
    """docker-py keeps a pool for each URL, 25 of them: every container's connections would be made anew."""

    def get_connection(
        self,
        url: str | bytes,  # noqa: ARG002 - the signature is the library's
        proxies: object = None,  # noqa: ARG002 - as above
    ) -> UnixHTTPConnectionPool:
        with self.pools.lock:
            pool = self.pools.get("engine")
            if pool is None:
                pool = _Pool("http://localhost", self.socket_path, maxsize=self.max_pool_size)
                self.pools["engine"] = pool
        return cast("UnixHTTPConnectionPool", pool)


class _Pool(UnixHTTPConnectionPool):
    def _new_conn(self) -> UnixHTTPConnection:  # type: ignore[override] # the base wants a protocol that the stubs miss
        return _Connection(self.base_url, self.socket_path)


class _Connection(UnixHTTPConnection):
    """docker-py's leaves its socket open where connecting fails."""

    def connect(self) -> None:
        connection = socket.socket(socket.AF_UNIX)
        # The call's own: requests sets it on the connection before it connects.
        connection.settimeout(self.timeout)
        try:
            connection.connect(self.unix_socket)
        except OSError:
            connection.close()
            raise
        self.sock = connection
