"""adapters/outgoing/resolver — a name looked up once, and only addresses that were checked handed to the connection. Connects nothing."""

import socket
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

from agent.adapters.outgoing.own import own_addresses
from agent.aio import Apart
from agent.core.outgoing import OutgoingRules, may_reach

# As socket.getaddrinfo answers: family, kind, protocol, canonical name, and an address that begins with the host and the port.
Found = list[tuple[Any, Any, int, str, tuple[Any, ...]]]
LookUp = Callable[[str, int], Awaitable[Found]]
# A name may have thousands of addresses, and each is tried for a while.
MOST_TRIED = 8
# To look at one takes some 40 µs of the loop, which is everybody's; and none is connected to beyond those that are tried.
MOST_LOOKED_AT = 64
# Half of the threads that the service's TasksMax leaves the daemon; more than one principal can hold (jobs/turns).
MOST_LOOK_UPS = 128


class AddressRefusedError(Exception):
    """A name leads where the rules close. Never seen by a user: `client` makes a value of it."""


class SystemNames:
    """Names as the system looks them up. A name server that never answers holds a thread for half a minute and more."""

    def __init__(self) -> None:
        self._apart = Apart("look up", MOST_LOOK_UPS)

    async def look_up(self, host: str, port: int) -> Found:
        """Raises OSError."""

        def ask() -> Found:
            return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)

        return await self._apart.run(ask)


class CheckedResolver(AbstractResolver):
    def __init__(self, rules: Callable[[], OutgoingRules], look_up: LookUp) -> None:
        self._rules = rules
        self._look_up = look_up

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_UNSPEC,  # noqa: ARG002 - the caller asks for any
    ) -> list[ResolveResult]:
        """Raises OSError where there is no such name, AddressRefusedError."""
        found = (await self._look_up(host, port))[:MOST_LOOKED_AT]
        addresses = [str(address[0]) for *_, address in found]
        if not may_reach(host, addresses, self._rules(), own_addresses(addresses)):
            raise AddressRefusedError(f"{host} has the addresses {', '.join(addresses[:MOST_TRIED])}")
        numeric = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        return [
            ResolveResult(
                hostname=host, host=str(address[0]), port=port, family=int(kind), proto=proto, flags=numeric
            )
            for kind, _, proto, _, address in found[:MOST_TRIED]
        ]

    async def close(self) -> None:
        """Nothing is held."""
