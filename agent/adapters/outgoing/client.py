"""adapters/outgoing/client — one guarded HTTP request, and its answer or why there is none, as a value. Tries nothing again."""

import asyncio
import ssl
from collections.abc import Callable

import aiohttp
from yarl import URL

from agent.adapters.outgoing.own import own_addresses
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
        connector = aiohttp.TCPConnector(
            resolver=CheckedResolver(rules, look_up or SystemNames().look_up),
            use_dns_cache=False,  # a cached answer was checked by the rules of another moment
            force_close=True,  # a connection that is used again is not checked again
            limit=0,  # who sends bounds how much he sends at once
            ssl=tls or ssl.create_default_context(),
        )
        self._http = aiohttp.ClientSession(
            connector=connector,
            headers={"User-Agent": agent},
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None),
            auto_decompress=False,
            trust_env=False,
        )

    async def close(self) -> None:
        await self._http.close()

    async def send(self, request: OutgoingRequest) -> Reply | Unsent:
        """See `interfaces.Outgoing`."""
        if refused := [name for name in request.headers if not may_set(name)]:
            raise ValueError(f"the headers {refused} are not a user's to set")
        # aiohttp looks up no address that is written out, so such a one is checked here, and here alone.
        trouble = find_url_trouble(request.url, self._rules(), _own(request.url))
        if trouble is not None:
            return Unsent(trouble, request.url.origin)
        try:
            async with asyncio.timeout(request.seconds):
                return await self._exchange(request)
        except TimeoutError:
            return Unsent(SendTrouble.TOO_SLOW, f"no answer within {request.seconds:g} s")
        except AddressRefusedError as error:
            return Unsent(SendTrouble.ADDRESS_REFUSED, str(error))
        except (aiohttp.ClientError, OSError) as error:
            return Unsent(_trouble_of(error), _detail_of(error))

    async def _exchange(self, request: OutgoingRequest) -> Reply:
        url = URL(request.url.text, encoded=True)
        async with self._http.request(
            request.method, url, headers=request.headers, data=request.body, allow_redirects=False
        ) as answer:
            body = await _read(answer.content, request.most_body_bytes)
            return Reply(answer.status, answer.headers.get("Retry-After"), body)


def _own(url: WebUrl) -> frozenset[str]:
    """The address that is written out in the URL, if it is one, and this host's."""
    return own_addresses([url.host]) if is_address(url.host) else frozenset()


async def _read(stream: aiohttp.StreamReader, most: int) -> bytes:
    body = b""
    while len(body) < most and (part := await stream.read(min(READ_BYTES, most - len(body)))):
        body += part
    return body


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
