"""adapters/outgoing/client — one guarded HTTP request, and its answer or why there is none, as a value. Tries nothing again."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from enum import Enum

import aiohttp
from yarl import URL

from agent.adapters.outgoing.own import own_addresses
from agent.adapters.outgoing.pieces import Pieces, Whole
from agent.adapters.outgoing.resolver import AddressRefusedError, CheckedResolver, LookUp, SystemNames
from agent.core.outgoing import (
    OutgoingRules,
    Reply,
    SendTrouble,
    Unsent,
    find_url_trouble,
    is_address,
    may_set,
)
from agent.interfaces import OutgoingRequest
from agent.spec import WebUrl

READ_BYTES = 65_536


class Connection(Enum):
    """Whether a connection serves one request, or many of one session."""

    USED_ONCE = "used once"
    KEPT = "kept"


class ConnectionBrokenError(aiohttp.ClientError):
    """A connection broke between the request and its answer. Never seen by a user: a value is made of it."""


class OutgoingClient:
    """Implements `interfaces.Outgoing`. Make it in the event loop that it is used in, and close it.

    `rules` are read anew for each request. `look_up`: None is the system's way; `tls`: whom to trust, None the system's authorities.
    """

    def __init__(
        self,
        rules: Callable[[], OutgoingRules],
        agent: str,
        look_up: LookUp | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._rules = rules
        self._agent = agent
        self._look_up = look_up or SystemNames().look_up
        # True: the context that aiohttp makes when it is imported. One more of all the system's authorities is 1 MB.
        self._tls: ssl.SSLContext | bool = tls or True
        self._http = self._open(Connection.USED_ONCE)

    async def close(self) -> None:
        await self._http.close()

    async def send(self, request: OutgoingRequest) -> Reply | Unsent:
        """See `interfaces.Sender`."""
        return await _send(self._http, self._rules, request)

    @asynccontextmanager
    async def session(self) -> AsyncIterator["OutgoingSession"]:
        """See `interfaces.Outgoing`."""
        async with self._open(Connection.KEPT) as http:
            yield OutgoingSession(http, self._rules)

    def _open(self, connection: Connection) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            resolver=CheckedResolver(self._rules, self._look_up),
            use_dns_cache=False,  # a cached answer was checked by the rules of another moment
            # A connection that is used again is not checked again: fit for the requests of one job, one after the other.
            force_close=connection is Connection.USED_ONCE,
            limit=0,  # who sends bounds how much he sends at once
            ssl=self._tls,
        )
        return aiohttp.ClientSession(
            connector=connector,
            headers={"User-Agent": self._agent},
            skip_auto_headers=("Content-Type",),  # a signed URL may be signed for none
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None),
            auto_decompress=False,
            trust_env=False,
            middlewares=(_no_second_try,),
        )


class OutgoingSession:
    """Implements `interfaces.Sender` on connections that are kept."""

    def __init__(self, http: aiohttp.ClientSession, rules: Callable[[], OutgoingRules]) -> None:
        self._http = http
        self._rules = rules

    async def send(self, request: OutgoingRequest) -> Reply | Unsent:
        """See `interfaces.Sender`."""
        return await _send(self._http, self._rules, request)


async def _send(
    http: aiohttp.ClientSession, rules: Callable[[], OutgoingRules], request: OutgoingRequest
) -> Reply | Unsent:
    if refused := [name for name in request.headers if not may_set(name)]:
        raise ValueError(f"the headers {refused} are not a user's to set")
    # aiohttp looks up no address that is written out, so such a one is checked here, and here alone.
    rules_now = rules()
    trouble = find_url_trouble(request.url, rules_now, _own(request.url, rules_now))
    if trouble is not None:
        return Unsent(trouble, request.url.origin)
    pieces: Pieces | None = None
    try:
        async with asyncio.timeout(request.seconds) as limit:
            pieces = _pieces(request, limit)
            return await _exchange(http, request, pieces)
    except (aiohttp.ClientError, OSError) as error:
        if pieces is not None and pieces.error is not None:
            raise pieces.error from None
        if isinstance(error, TimeoutError):
            return Unsent(SendTrouble.TOO_SLOW, f"nothing moved for {request.seconds:g} s")
        return Unsent(_trouble_of(error), _detail_of(error))
    except AddressRefusedError as error:
        return Unsent(SendTrouble.ADDRESS_REFUSED, str(error))


def _pieces(request: OutgoingRequest, limit: asyncio.Timeout) -> Pieces | None:
    if isinstance(request.body, bytes):
        return Pieces(Whole(request.body), request.seconds, None) if request.body else None
    return Pieces(request.body, request.seconds, limit)


async def _exchange(
    http: aiohttp.ClientSession, request: OutgoingRequest, pieces: Pieces | None
) -> Reply | Unsent:
    url = URL(request.url.text, encoded=True)
    is_through = False
    try:
        async with http.request(
            request.method, url, headers=request.headers, data=pieces, allow_redirects=False
        ) as answer:
            if pieces is not None:
                is_through = await pieces.answered()
            body = await _read(answer.content, request.most_body_bytes)
    except BaseException:
        is_through = False
        raise
    finally:
        if pieces is not None and not is_through:
            pieces.cut()
    if pieces is not None and not is_through:
        if pieces.error is not None:
            raise pieces.error
        if answer.status < 300:
            return Unsent(SendTrouble.REPLY_BROKEN, f"HTTP {answer.status} before it had all")
    named = {name.lower(): value for name, value in answer.headers.items()}
    return Reply(answer.status, answer.headers.get("Retry-After"), body, named)


async def _no_second_try(
    request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """By itself the library sends some requests again, in silence, whose connection broke."""
    try:
        return await send(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise ConnectionBrokenError(type(error).__name__) from error


def _own(url: WebUrl, rules: OutgoingRules) -> frozenset[str]:
    """The address that is written out in the URL, if it is one, and this host's. Of one that the operator lists it does not matter,
    and it takes five system calls: a tenth of what a small file costs.
    """
    if url.host in rules.hosts or not is_address(url.host):
        return frozenset()
    return own_addresses([url.host])


async def _read(stream: aiohttp.StreamReader, most: int) -> bytes:
    body = bytearray()
    while len(body) < most and (part := await stream.read(min(READ_BYTES, most - len(body)))):
        body += part
    return bytes(body)


def _trouble_of(error: Exception) -> SendTrouble:
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return SendTrouble.NAME_UNKNOWN
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
        return SendTrouble.TLS_FAILED
    if isinstance(error, aiohttp.ClientConnectorError):
        return SendTrouble.CONNECT_FAILED
    return SendTrouble.REPLY_BROKEN


def _detail_of(error: Exception) -> str:
    # Not the text of an error that may hold the URL, or what the endpoint said.
    cause = getattr(error, "os_error", None) or getattr(error, "certificate_error", None)
    if cause is None and isinstance(error, OSError):
        cause = error
    return f"{type(error).__name__}: {cause}" if cause is not None else type(error).__name__
