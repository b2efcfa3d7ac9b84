"""core/proxy_visits — who may see a job's page in a browser: one-time tickets and the cookie that one is exchanged for.

Pure: randomness, keys and times come from outside. Keeps nothing.
"""

import hashlib
import hmac
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

# Long enough to click on it, too short to be of use to who finds it in a log.
TICKET_SECONDS = 60.0
# A working day and the night after it. The job's end, and that of the token, end it before.
COOKIE_SECONDS = 86400
# Each page of a job may set cookies of its own; so many of ours are looked at, that nobody makes us compute for long.
MAX_COOKIES_TRIED = 8
# Where names of ours begin. A job's answer sets none, and a job sees none.
_OUR_COOKIES = ("gpu-agent", "__host-gpu-agent", "__secure-gpu-agent")
_COOKIE = re.compile(r"1\.([0-9]{1,15})\.([0-9]{1,15})\.([A-Za-z0-9_-]{1,64})\.([0-9a-f]{64})")
_PATH = re.compile(r"/(?![/\\])[\x21-\x7e]{0,2000}")


@dataclass(frozen=True, slots=True)
class Page:
    """One port of one job. `seq` tells two jobs apart of which the second was given the id of the first, once that was forgotten."""

    job: str
    seq: int
    port: str


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a one-time URL stands for. `visitor`: the id of the token that asked for it, or who asked without one."""

    page: Page
    visitor: str
    path: str
    expires_at: float


@dataclass(frozen=True, slots=True)
class Visit:
    """What a cookie says. `expires_at`: UTC seconds."""

    seq: int
    visitor: str
    expires_at: int


def is_ours(cookie_name: str) -> bool:
    """Whether a cookie of this name is ours alone to set and to read. Browsers compare the prefixes without regard to case."""
    return cookie_name.strip().lower().startswith(_OUR_COOKIES)


def cookie_name(scheme: str) -> str:
    """`__Host-`: no other host can set it, which browsers grant where the page comes by TLS."""
    return "__Host-gpu-agent-page" if scheme == "https" else "gpu-agent-page"


def is_path(path: str) -> bool:
    """Whether a page may be opened there: an absolute path of this very host, and nothing that is read as another one's."""
    return _PATH.fullmatch(path) is not None


def digest_of(ticket: str) -> str:
    """What is kept of a ticket: looking one up by it tells nobody, by the time that it takes, how near he came."""
    return hashlib.sha256(ticket.encode("utf-8", "surrogateescape")).hexdigest()


def write_cookie(visit: Visit, page: Page, key: bytes) -> str:
    """The value of the cookie. Job and port stand only in its seal: they are what it was sent to."""
    return f"1.{visit.seq}.{visit.expires_at}.{visit.visitor}.{_seal(visit, page, key)}"


def read_cookie(values: Iterable[str], job: str, port: str, key: bytes, now: float) -> Visit | None:
    """The first that was made with this key for this port of this job and has not run out."""
    for value in list(values)[:MAX_COOKIES_TRIED]:
        found = _COOKIE.fullmatch(value)
        if found is None:
            continue
        visit = Visit(int(found[1]), found[3], int(found[2]))
        sealed = _seal(visit, Page(job, visit.seq, port), key)
        if hmac.compare_digest(sealed, found[4]) and now < visit.expires_at:
            return visit
    return None


def cookies_named(headers: Sequence[str], name: str) -> list[str]:
    """The values of all cookies of this name. There may be several: a page of another host can set one for the whole domain."""
    pairs = (part.partition("=") for header in headers for part in header.split(";"))
    return [value.strip() for given, _, value in pairs if given.strip() == name]


def _seal(visit: Visit, page: Page, key: bytes) -> str:
    told = "\n".join((page.job, str(page.seq), page.port, visit.visitor, str(visit.expires_at)))
    return hmac.new(key, told.encode(), hashlib.sha256).hexdigest()
