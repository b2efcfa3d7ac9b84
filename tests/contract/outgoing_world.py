"""outgoing_world — a guarded client that may reach loopback, and name servers that answer as a test says. Holds no test."""

import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from ipaddress import ip_network

from agent.adapters.outgoing import OutgoingClient
from agent.adapters.outgoing.resolver import Found, LookUp
from agent.core.outgoing import OutgoingRules

LOOPBACK = OutgoingRules(allow_http=True, networks=(ip_network("127.0.0.0/8"),))


def found(*addresses: str) -> Found:
    kinds = [socket.AF_INET6 if ":" in address else socket.AF_INET for address in addresses]
    return [
        (kind, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, 0))
        for kind, address in zip(kinds, addresses, strict=True)
    ]


def names(*answers: Found | OSError) -> tuple[LookUp, list[str]]:
    """A name server that gives these answers, one after the other, and the names that it was asked for."""
    asked: list[str] = []
    left = list(answers)

    async def ask(host: str, _port: int) -> Found:
        asked.append(host)
        reply = left.pop(0)
        if isinstance(reply, OSError):
            raise reply
        return reply

    return ask, asked


@cache
def system_trust() -> ssl.SSLContext:
    """As the client makes it by itself: once, since it takes longer than most tests."""
    return ssl.create_default_context()


@asynccontextmanager
async def client(
    rules: OutgoingRules = LOOPBACK, look_up: LookUp | None = None, tls: ssl.SSLContext | None = None
) -> AsyncIterator[OutgoingClient]:
    made = OutgoingClient(lambda: rules, "gpu-agent/test", look_up, tls or system_trust())
    try:
        yield made
    finally:
        await made.close()
