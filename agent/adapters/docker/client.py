"""adapters/docker/client — request and answer with the engine, through docker-py in bounded threads. Reads no streams."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import docker
import docker.errors
import requests
from docker.transport.unixconn import UnixHTTPAdapter, UnixHTTPConnectionPool

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

    def __init__(self, socket: str, deadlines: Deadlines) -> None:
        self._socket = socket
        self._deadlines = deadlines
        self._threads = Threads("docker", THREADS)
        self._quick = _client(socket, deadlines.quick_seconds)
        self._slow = _client(socket, deadlines.slow_seconds)

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
            raise down(self._socket, error) from error


def hangs(seconds: float) -> EngineUnavailableError:
    return EngineUnavailableError(
        f"the engine took the call and gave no answer in {seconds:g} s", Trouble.HANGS
    )


def down(socket: str, error: Exception) -> EngineUnavailableError:
    return EngineUnavailableError(f"no engine answers at {socket}: {error}", Trouble.DOWN)


def _client(socket: str, seconds: float) -> docker.APIClient:
    client = docker.APIClient(f"unix://{socket}", version=API_VERSION, timeout=seconds)  # type: ignore[arg-type] # requests takes fractions, the stubs do not
    # Neither proxies nor .netrc have a say over a Unix socket, and looking for them costs more than the call.
    client.trust_env = False
    pool = _OnePool(f"http+unix://{socket}", seconds, max_pool_size=THREADS)  # type: ignore[arg-type] # as above
    client.mount("http+docker://", pool)
    return client


class _OnePool(UnixHTTPAdapter):
    """docker-py keeps a pool for each URL, 25 of them: every container's connections would be made anew."""

    def get_connection(
        self,
        url: str | bytes,  # noqa: ARG002 - the signature is the library's
        proxies: object = None,  # noqa: ARG002 - as above
    ) -> UnixHTTPConnectionPool:
        return super().get_connection("http+docker://localhost", None)
