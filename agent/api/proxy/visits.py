"""api/proxy/visits — one-time tickets that are out, and the key that seals visitors' cookies. Answers no request.

Tickets live in memory alone: they are good for a minute, and a restart of the daemon in that minute costs a second `open`. Cookies are
kept nowhere: each is checked by its seal, whose key is on disk, so that a restart throws no visitor out.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from agent.core.proxy_hosts import PageHost
from agent.core.proxy_visits import (
    COOKIE_SECONDS,
    TICKET_SECONDS,
    Page,
    Ticket,
    Visit,
    digest_of,
    read_cookie,
    write_cookie,
)
from agent.interfaces import Clock

# A token that asks for more drops its oldest.
MAX_TICKETS_PER_VISITOR = 64

Key = Callable[[], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class Issued:
    ticket: str
    expires_at: float  # UTC seconds


class Visits:
    """`draw` makes a secret text of 256 bits at least."""

    def __init__(self, key: Key, clock: Clock, draw: Callable[[], str]) -> None:
        self._key = key
        self._clock = clock
        self._draw = draw
        self._tickets: dict[str, Ticket] = {}

    def issue(self, page: Page, visitor: str, path: str) -> Issued:
        self._drop_old(visitor)
        ticket = self._draw()
        # By the boot clock: a step of the wall clock makes no ticket last longer.
        until = self._clock.boot_seconds() + TICKET_SECONDS
        self._tickets[digest_of(ticket)] = Ticket(page, visitor, path, until)
        return Issued(ticket, self._clock.now() + TICKET_SECONDS)

    def redeem(self, ticket: str, host: PageHost) -> Ticket | None:
        """What it stands for, once. Shown to another host than its own it is used up all the same. None: it is good for nothing."""
        found = self._tickets.pop(digest_of(ticket), None)
        if found is None or found.expires_at <= self._clock.boot_seconds():
            return None
        return found if (found.page.job, found.page.port) == (host.job, host.port) else None

    async def cookie(self, ticket: Ticket) -> str:
        """The value of the cookie that the ticket is exchanged for."""
        visit = Visit(ticket.page.seq, ticket.visitor, int(self._clock.now()) + COOKIE_SECONDS)
        return write_cookie(visit, ticket.page, await self._key())

    async def read(self, values: list[str], host: PageHost) -> Visit | None:
        if not values:
            return None
        return read_cookie(values, host.job, host.port, await self._key(), self._clock.now())

    def _drop_old(self, visitor: str) -> None:
        now = self._clock.boot_seconds()
        self._tickets = {digest: kept for digest, kept in self._tickets.items() if kept.expires_at > now}
        own = [digest for digest, kept in self._tickets.items() if kept.visitor == visitor]
        for digest in own[: max(0, len(own) + 1 - MAX_TICKETS_PER_VISITOR)]:
            del self._tickets[digest]
