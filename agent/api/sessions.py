"""api/sessions — the sessions of browsers: in memory, each under a digest of its secrets. Knows no request and no token but by its id.

A restart of the agent ends all of them, and people sign in again: so nothing on disk opens one.
"""

import hashlib
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from agent.core.browser_sessions import SESSION_SECONDS
from agent.interfaces import Clock

# A token that is signed in more often loses its oldest session.
MAX_SESSIONS_PER_TOKEN = 32


@dataclass(frozen=True, slots=True)
class Session:
    """`id` is a digest of the cookie; `expires_at` is by the boot clock: a step of the wall clock lengthens none."""

    id: str
    key_digest: str
    token_id: str
    expires_at: float

    def has_key(self, given: str) -> bool:
        return hmac.compare_digest(digest_of(given), self.key_digest)


@dataclass(frozen=True, slots=True)
class Opened:
    """What the browser gets, once: `secret` is the cookie, `key` goes beside it. `expires_at`: UTC seconds."""

    secret: str = field(repr=False)
    key: str = field(repr=False)
    expires_at: float


class Sessions:
    """`draw` makes a secret text of 256 bits at least."""

    def __init__(self, clock: Clock, draw: Callable[[], str]) -> None:
        self._clock = clock
        self._draw = draw
        self._sessions: dict[str, Session] = {}

    def open(self, token_id: str) -> Opened:
        self._drop_old(token_id)
        secret, key = self._draw(), self._draw()
        until = self._clock.boot_seconds() + SESSION_SECONDS
        session = Session(digest_of(secret), digest_of(key), token_id, until)
        self._sessions[session.id] = session
        return Opened(secret, key, self._clock.now() + SESSION_SECONDS)

    def find(self, cookies: Sequence[str], key: str | None) -> Session | None:
        """The first of these whose session has the key, or any where no key is asked for. None: none has, or not any more.

        Not simply the first: without TLS another page of this host may plant a cookie of a session of its own before ours.
        """
        for cookie in cookies:
            found = self._live(digest_of(cookie))
            if found is not None and (key is None or found.has_key(key)):
                return found
        return None

    def is_live(self, session_id: str) -> bool:
        return self._live(session_id) is not None

    def ends_at(self, session_id: str) -> float | None:
        """UTC seconds. None: it has ended."""
        found = self._live(session_id)
        return None if found is None else self._clock.now() + found.expires_at - self._clock.boot_seconds()

    def end(self, session_id: str) -> None:
        """Ended is fine."""
        self._sessions.pop(session_id, None)

    def _live(self, session_id: str) -> Session | None:
        found = self._sessions.get(session_id)
        return None if found is None or found.expires_at <= self._clock.boot_seconds() else found

    def _drop_old(self, token_id: str) -> None:
        now = self._clock.boot_seconds()
        self._sessions = {name: kept for name, kept in self._sessions.items() if kept.expires_at > now}
        own = [name for name, kept in self._sessions.items() if kept.token_id == token_id]
        for name in own[: max(0, len(own) + 1 - MAX_SESSIONS_PER_TOKEN)]:
            del self._sessions[name]


def digest_of(secret: str) -> str:
    """What is kept of a secret: looking one up by it tells nobody, by the time that it takes, how near he came."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()
