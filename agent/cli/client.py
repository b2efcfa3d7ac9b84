"""cli/client — the HTTP API as this program calls it: one session, failures told apart. Prints nothing and repeats nothing."""

import asyncio
import errno
import json
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import aiohttp
from yarl import URL

from agent.cli.refusals import (
    ApiRefusedError,
    CertificateNotTrustedError,
    ConnectionLostError,
    NotAnAgentError,
    NotReachableError,
    SocketForbiddenError,
)
from agent.cli.request import Pace, Raw, Request, Speaker
from agent.cli.target import Target

CONNECT_SECONDS = 10.0
# Of the other side's answer to our close of a WebSocket: it may be busy with what we sent before.
CLOSE_SECONDS = 1.0
# A piece of a command's output, and much more.
MOST_MESSAGE_BYTES = 4 << 20
ANSWER_SECONDS = 60.0
# A log line may have 1 MiB; larger reads are also fewer.
READ_BYTES = 1 << 20
PROBLEM = "application/problem+json"  # nobody's but the agent's
SEND_BYTES = 1 << 17


class Api:
    """An open session. All methods raise ApiRefusedError, NotReachableError, SocketForbiddenError, ConnectionLostError,
    NotAnAgentError.
    """

    def __init__(self, http: aiohttp.ClientSession, target: Target) -> None:
        self._http = http
        self._target = target

    @property
    def host(self) -> str | None:
        """Where the agent is on the network; None where it is on this machine, by its socket."""
        return None if self._target.socket is not None else URL(self._target.base).host

    async def ask(self, request: Request) -> Any:  # noqa: ANN401 - decoded JSON
        """Send a request and read its whole answer as JSON; None where it has no content."""
        async with self.open(request) as answer:
            return await _read_json(answer, self._target)

    @asynccontextmanager
    async def open(self, request: Request) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a request; its answer is there to be read while the block runs.

        An answer that ends too early raises ConnectionLostError in the block.
        """
        url = URL(self._target.base + request.path, encoded=True)
        silence = ANSWER_SECONDS if request.pace is Pace.PROMPT else None
        with translated(self._target):
            async with self._http.request(
                request.method,
                url.with_query(dict(request.query)) if request.query else url,
                data=_body_of(request),
                headers=_headers_of(request),
                timeout=aiohttp.ClientTimeout(sock_connect=CONNECT_SECONDS, sock_read=silence),
                # A redirect would take the token elsewhere.
                allow_redirects=False,
            ) as answer:
                if _is_refusal(request, answer):
                    raise await _refusal(answer, self._target)
                yield answer

    @asynccontextmanager
    async def talk(self, path: str) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """Open a WebSocket for this block. One whose other side is silent for longer than its pings, ends."""
        with translated(self._target):
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    socket = await self._http.ws_connect(
                        URL(self._target.base + path, encoded=True),
                        timeout=aiohttp.ClientWSTimeout(ws_receive=ANSWER_SECONDS, ws_close=CLOSE_SECONDS),
                        max_msg_size=MOST_MESSAGE_BYTES,
                    )
            except TimeoutError as error:
                raise ConnectionLostError(f"{self._target} gave no answer in {ANSWER_SECONDS:g} s") from error
            except aiohttp.WSServerHandshakeError as error:
                # The library lets go of what was said with the refusal. Asked plainly, the same is said once more.
                await self.ask(Request("GET", path))
                raise NotAnAgentError(f"{self._target} opens no WebSocket: {error.message}") from error
            try:
                yield socket
            except TimeoutError as error:
                raise ConnectionLostError(f"{self._target} has fallen silent") from error
            finally:
                await socket.close()


def _is_refusal(request: Request, answer: aiohttp.ClientResponse) -> bool:
    if request.speaker is Speaker.AUTHOR and answer.content_type != PROBLEM:
        return False
    # An unsatisfiable range is an answer: whoever resumes has everything already.
    return answer.status >= 300 and answer.status != 416


def _body_of(request: Request) -> bytes | AsyncIterator[bytes] | None:
    if isinstance(request.body, Raw):
        return _pieces(request.body)
    return None if request.body is None else json.dumps(request.body).encode()


def _headers_of(request: Request) -> dict[str, str]:
    if not isinstance(request.body, Raw):
        return dict(request.headers)
    own = {"Content-Type": request.body.media, "Content-Length": str(len(request.body.content))}
    return {**request.headers, **own}


async def _pieces(raw: Raw) -> AsyncIterator[bytes]:
    for start in range(0, len(raw.content), SEND_BYTES):
        piece = raw.content[start : start + SEND_BYTES]
        yield piece
        raw.sent(len(piece))


@asynccontextmanager
async def connect(target: Target) -> AsyncIterator[Api]:
    """A session to use in this block. Nothing is connected before the first request."""
    # Ranges and cursors are of what is sent, so it is to be sent as it is.
    headers = {"Content-Type": "application/json", "Accept-Encoding": "identity", "User-Agent": "gpu-agent"}
    if target.token is not None:
        headers["Authorization"] = f"Bearer {target.token}"
    async with aiohttp.ClientSession(
        connector=_connector(target), headers=headers, read_bufsize=READ_BYTES
    ) as http:
        yield Api(http, target)


def _connector(target: Target) -> aiohttp.BaseConnector:
    if target.socket is not None:
        return aiohttp.UnixConnector(target.socket)
    return aiohttp.TCPConnector(socket_factory=_alive_socket)


def _alive_socket(address: tuple[Any, ...]) -> socket.socket:
    """Followed logs may be silent for hours: only the kernel can tell then that the other side is gone."""
    family, kind, proto = address[:3]
    made = socket.socket(family, kind, proto)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in ((socket.TCP_KEEPIDLE, 30), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3)):
        made.setsockopt(socket.IPPROTO_TCP, option, value)
    return made


@contextmanager
def translated(target: Target) -> Iterator[None]:
    """The errors of aiohttp as ours. Not OSError: that may be the caller's own, of a file or a pipe that he writes to."""
    try:
        yield
    except aiohttp.ClientConnectorCertificateError as error:
        why = getattr(error.certificate_error, "verify_message", "") or error.certificate_error
        raise CertificateNotTrustedError(f"the certificate of {target} is not trusted: {why}") from error
    except aiohttp.ClientConnectorError as error:
        number = getattr(error.os_error, "errno", None)
        if target.socket is not None and number in {errno.EACCES, errno.EPERM}:
            raise SocketForbiddenError(f"{target} can't be opened: permission denied") from error
        told = f"{target} does not answer: {error.os_error.strerror or error.os_error}"
        raise NotReachableError(told) from error
    except aiohttp.InvalidURL as error:
        raise NotReachableError(f"{target} is no address") from error
    except aiohttp.ClientError as error:
        raise ConnectionLostError(
            f"the connection to {target} broke off: {error or type(error).__name__}"
        ) from error


async def _read_json(answer: aiohttp.ClientResponse, target: Target) -> Any:  # noqa: ANN401 - decoded JSON
    raw = await answer.read()
    if not raw:
        return None
    try:
        return json.loads(raw)
    except ValueError as error:
        raise NotAnAgentError(f"what answers at {target} sends no JSON") from error


async def _refusal(answer: aiohttp.ClientResponse, target: Target) -> Exception:
    raw = await answer.read()
    try:
        document = json.loads(raw)
    except ValueError:
        document = None
    if isinstance(document, dict) and "code" in document:
        return ApiRefusedError(answer.status, document)
    return NotAnAgentError(f"what answers at {target} says {answer.status} and is no gpu-agent")
