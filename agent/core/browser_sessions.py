"""core/browser_sessions — when a browser's request may act by its session cookie, and how that cookie is written. Pure; keeps no session.

A cookie alone proves little. Another page can make the browser send it, which `SameSite=Strict`, `Origin` and `Sec-Fetch-Site` tell; and browsers
know no ports: they send it to each port of this host, those of jobs among them. So beside it a request carries the session's *key*, which our
page got when its user signed in and which no other page can read or send. Only what a browser fetches by itself, a download, goes without.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum

# A working day. The end of the token, signing out and a restart of the agent end a session before.
SESSION_SECONDS = 12 * 3600
# Other pages of the same host or domain may plant cookies of our name before it: so many are looked at.
MAX_COOKIES_TRIED = 256
KEY_HEADER = "X-Session-Key"
SAFE_METHODS = frozenset({"GET", "HEAD"})
# Names of ours begin so; `proxy_headers` lets none of them through to a job, nor from one.
_PLAIN, _SECURE = "gpu-agent-session", "__Host-gpu-agent-session"
_OUR_PAGES = frozenset({"same-origin", "none"})


class CookieUse(StrEnum):
    """What an endpoint asks for beside a session's cookie."""

    WITH_KEY = "with its key"
    ALONE = "alone"  # a download, which is asked for by a link: it reads, and its answer is no page


def session_cookies(headers: Sequence[str], *, is_encrypted: bool) -> list[str]:
    """What may be our cookie in the Cookie headers. Where the browser speaks TLS only the name that no other host can set."""
    pairs = [part.partition("=") for header in headers for part in header.split(";")]
    secure = [value.strip() for name, _, value in pairs if name.strip() == _SECURE]
    if secure or is_encrypted:
        return secure[:MAX_COOKIES_TRIED]
    return [value.strip() for name, _, value in pairs if name.strip() == _PLAIN][:MAX_COOKIES_TRIED]


def write_cookie(secret: str, origin: str) -> str:
    """Set-Cookie for a page of this origin. It may come by TLS where we don't see any: something before us speaks it."""
    if origin.lower().startswith("https://"):
        return f"{_SECURE}={secret}; Path=/; Max-Age={SESSION_SECONDS}; HttpOnly; SameSite=Strict; Secure"
    return f"{_PLAIN}={secret}; Path=/; Max-Age={SESSION_SECONDS}; HttpOnly; SameSite=Strict"


def end_cookies() -> tuple[str, str]:
    """Set-Cookie headers that take the cookie away, whichever there is."""
    end = "Path=/; Max-Age=0; HttpOnly; SameSite=Strict"
    return f"{_PLAIN}=; {end}", f"{_SECURE}=; {end}; Secure"


def find_foreign(method: str, headers: Mapping[str, str], *, is_encrypted: bool) -> str | None:
    """Why the request is not taken for one of our own page; None: it is. Names of `headers` are in lower case.

    A browser says where a write comes from, always. Where a reading comes from it says by TLS and on loopback alone.
    """
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None and site not in _OUR_PAGES:
        return "another page sent the request"
    if origin is None:
        return None if method in SAFE_METHODS else "the request does not say which page sent it (Origin)"
    if not is_own_origin(origin, headers.get("host", ""), is_encrypted=is_encrypted):
        return "the page that sent the request was not loaded from this address"
    return None


def is_own_origin(origin: str, host: str, *, is_encrypted: bool) -> bool:
    """Whether a page of this origin came from `host`, as the request names us. Without TLS of ours something before us may speak it."""
    schemes = ("https",) if is_encrypted else ("https", "http")
    return bool(host) and origin.lower() in {f"{scheme}://{host.lower()}" for scheme in schemes}
