"""core/proxy_headers — which headers pass between a client and a job's port, and as what. Pure; frames no body.

Hop-by-hop headers end here (RFC 9110, 7.6.1). So does what is ours: Authorization, our cookies, and all that says where a request
came from, which only we know. What a job answers can touch no other host's cookies, and nothing of the agent's own.
"""

import base64
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from agent.core.browser_sessions import KEY_HEADER
from agent.core.proxy_heads import (
    BadRequestHeadError,
    Chunked,
    Framing,
    Header,
    Sized,
    has_control_characters,
    is_token,
    tokens_of,
    values_of,
)
from agent.core.proxy_visits import is_ours

_HOP_BY_HOP = frozenset(
    {
        "connection",
        "http2-settings",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authentication-info",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
# Written anew for the job, or not for it at all.
_NOT_FOR_THE_JOB = frozenset(
    {
        "authorization",
        "client-ip",
        "content-length",
        "cookie",
        "expect",
        "forwarded",
        "host",
        "true-client-ip",
        "via",
        "x-client-ip",
        "x-cluster-client-ip",
        "x-original-url",
        "x-real-ip",
        "x-rewrite-url",
        KEY_HEADER.lower(),
    }
)
_FORWARDED = "x-forwarded-"
# Authorization never reaches a job, so that a browser would ask for a password in vain. Clear-Site-Data would clear the cookies of
# the whole domain, Alt-Svc lead away from us, Service-Worker-Allowed reach beyond the job's own paths.
_NOT_FROM_THE_JOB = frozenset(
    {
        "alt-svc",
        "authentication-info",
        "clear-site-data",
        "content-length",
        "service-worker-allowed",
        "www-authenticate",
        # To servers that stand before us these are orders: to send a file of theirs, or to ask another server.
        "x-lighttpd-send-file",
        "x-reproxy-url",
        "x-sendfile",
    }
)
_ORDERS = "x-accel-"
# What a browser keeps for the whole host: by path that is the agent's own.
_RULES_OF_A_HOST = frozenset({"accept-ch", "nel", "report-to", "strict-transport-security"})
_EMBEDDING = "cross-origin-resource-policy"
_WEBSOCKET_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3
_WEBSOCKET_KEY = re.compile(r"[A-Za-z0-9+/]{22}==")
SANDBOX = ("Content-Security-Policy", "sandbox")
# Pages of other jobs are of the same site: they must not come nearer by document.domain, nor show or load this one within them.
# Requests tell where they come from (`proxy_origins`) by TLS alone; these hold without it, too.
_APART = (
    ("Origin-Agent-Cluster", "?1"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Content-Security-Policy", "frame-ancestors 'self'"),
)


@dataclass(frozen=True, slots=True)
class Sender:
    """Who asks, as we see it. `address` None: somebody on the Unix socket. `host`: as the request named us."""

    address: str | None
    scheme: str
    host: str


@dataclass(frozen=True, slots=True)
class ByPath:
    """The job's page lies below `prefix` (no slash at its end) of the agent's own host; the job sees `host`, its own."""

    prefix: str
    host: str


@dataclass(frozen=True, slots=True)
class ByHost:
    """The job's page has a host name of its own, which the job sees."""

    host: str


Way = ByPath | ByHost


def websocket_key(method: str, headers: Sequence[Header]) -> str | None:
    """The key of a WebSocket's handshake. None: the request asks for none. Raises BadRequestHeadError for half of a handshake."""
    upgrades = tokens_of(headers, "upgrade")
    if "websocket" not in upgrades:
        return None
    keys, versions = values_of(headers, "sec-websocket-key"), values_of(headers, "sec-websocket-version")
    is_whole = (
        method == "GET"
        and upgrades == ["websocket"]
        and "upgrade" in tokens_of(headers, "connection")
        and versions == ["13"]
        and len(keys) == 1
        and _WEBSOCKET_KEY.fullmatch(keys[0]) is not None
        and not values_of(headers, "transfer-encoding")
        and values_of(headers, "content-length") in ([], ["0"])
    )
    if not is_whole:
        raise BadRequestHeadError("the request is no whole handshake of a WebSocket (RFC 6455, 4.1)")
    return keys[0]


def accepts_websocket(headers: Sequence[Header], key: str) -> bool:
    """Whether an answer of 101 is one to this very handshake (RFC 6455, 4.2.2)."""
    digest = hashlib.sha1(f"{key}{_WEBSOCKET_GUID}".encode(), usedforsecurity=False).digest()
    accepted = values_of(headers, "sec-websocket-accept") == [base64.b64encode(digest).decode()]
    return accepted and tokens_of(headers, "upgrade") == ["websocket"]


def for_the_job(
    headers: Sequence[Header], framing: Framing, sender: Sender, way: Way, key: str | None
) -> list[Header]:
    """The request's headers as the job gets them. `key`: of a WebSocket's handshake."""
    named = set(tokens_of(headers, "connection"))
    kept = [header for header in headers if _is_for_the_job(header, named)]
    cookies = _cookies_for_the_job(values_of(headers, "cookie"))
    return [
        ("Host", way.host),
        *kept,
        *([("Cookie", cookies)] if cookies else []),
        *_told_of(sender, way),
        *_framed(framing),
        *(
            [("Connection", "close")]
            if key is None
            else [("Connection", "Upgrade"), ("Upgrade", "websocket")]
        ),
    ]


def for_the_client(headers: Sequence[Header], way: Way) -> list[Header]:
    """The answer's headers as the client gets them, but for those that frame its body."""
    named = set(tokens_of(headers, "connection"))
    kept: list[Header] = []
    for name, value in headers:
        lowered = name.lower()
        if lowered in _HOP_BY_HOP | _NOT_FROM_THE_JOB or lowered in named or lowered.startswith(_ORDERS):
            continue
        passed = _passed(lowered, value, way)
        if passed is not None:
            kept.append((name, passed))
    return [*kept, *_added(kept, way)]


def may_come_from_a_job(lowered: str) -> bool:
    """Whether an answer at the agent's own host may have the header, of which one may be given in one form alone."""
    never = _HOP_BY_HOP | _NOT_FROM_THE_JOB | _RULES_OF_A_HOST
    return lowered not in never and not lowered.startswith(_ORDERS)


def _passed(lowered: str, value: str, way: Way) -> str | None:
    """The value as the client gets it. None: not at all."""
    if lowered in (_RULES_OF_A_HOST if isinstance(way, ByPath) else {_EMBEDDING}):
        return None
    if lowered == "set-cookie":
        return pass_cookie(value, way)
    if lowered == "location" and isinstance(way, ByPath):
        return rewrite_location(value, way)
    return value


def pass_cookie(value: str, way: Way) -> str | None:
    """A Set-Cookie for this host alone, by path for the job's own paths alone. None: it is refused."""
    pair, *attributes = value.split(";")
    name, sign, _ = pair.partition("=")
    # Without a name, browsers send the value alone, and it may read like a cookie of ours.
    if not sign or not is_token(name.strip()) or is_ours(name):
        return None
    dropped = {"domain"} if isinstance(way, ByHost) else {"domain", "path"}
    kept = [part for part in attributes if part.partition("=")[0].strip().lower() not in dropped]
    own = [f" Path={way.prefix}/"] if isinstance(way, ByPath) else []
    return ";".join([pair, *kept, *own])


def rewrite_location(value: str, way: ByPath) -> str:
    """A redirect within the job's own page, so that it stays there. One that leads elsewhere, or is relative, is left as it is."""
    if value.startswith("/") and not value.startswith(("//", "/\\")):
        return way.prefix + value
    try:
        parts = urlsplit(value)
    except ValueError:
        return value
    if parts.scheme not in {"http", "https"} or parts.netloc.lower() != way.host:
        return value
    behind = value.split("://", 1)[1][len(parts.netloc) :]
    return f"{way.prefix}{behind if behind.startswith('/') else f'/{behind}'}"


def _is_for_the_job(header: Header, named: set[str]) -> bool:
    name, value = header
    # WSGI and CGI take X_Forwarded_For for X-Forwarded-For.
    lowered = name.lower().replace("_", "-")
    return (
        lowered not in _HOP_BY_HOP
        and lowered not in _NOT_FOR_THE_JOB
        and not lowered.startswith(_FORWARDED)
        and name.lower() not in named
        and is_token(name)
        and not has_control_characters(value)
    )


def _cookies_for_the_job(values: Iterable[str]) -> str:
    pairs = [pair.strip() for value in values for pair in value.split(";")]
    kept = (pair for pair in pairs if pair and not is_ours(pair.partition("=")[0]))
    cookies = "; ".join(kept)
    return "" if has_control_characters(cookies) else cookies


def _told_of(sender: Sender, way: Way) -> list[Header]:
    told = [("X-Forwarded-Host", sender.host), ("X-Forwarded-Proto", sender.scheme)]
    if sender.address is not None:
        told.append(("X-Forwarded-For", sender.address))
    if isinstance(way, ByPath):
        told.append(("X-Forwarded-Prefix", way.prefix))
    return told


def _framed(framing: Framing) -> list[Header]:
    if isinstance(framing, Chunked):
        return [("Transfer-Encoding", "chunked")]
    if isinstance(framing, Sized) and framing.length:
        return [("Content-Length", str(framing.length))]
    return []


def _added(kept: Sequence[Header], way: Way) -> list[Header]:
    if isinstance(way, ByPath):
        return [SANDBOX]
    # No cache that is shared may keep what one visitor saw.
    private = [] if values_of(kept, "cache-control") else [("Cache-Control", "private, no-cache")]
    return [*_APART, *private]
