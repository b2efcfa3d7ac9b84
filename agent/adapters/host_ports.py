"""adapters/host_ports — what the host's own sockets tell of its addresses and ports. Keeps none, and sends no byte to anybody."""

import asyncio
import errno
import socket
from contextlib import suppress
from ipaddress import ip_address

from agent.core.ports import Answer

# Of the blocks that stand in documents (RFC 5737, RFC 3849): a datagram socket that is "connected" to one sends nothing, but
# the kernel chooses from which address it would.
_ANYWHERE = {4: "192.0.2.1", 6: "2001:db8::1"}
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}


def why_not_bindable(address: str) -> str | None:
    """Why this host can't publish a port on that address. None: it can."""
    try:
        with socket.socket(_FAMILIES[ip_address(address).version]) as probe:
            probe.bind((address, 0))
    except OSError as error:
        if error.errno == errno.EADDRNOTAVAIL:
            return "this host has no such address"
        return "the kernel has no IPv6" if error.errno == errno.EAFNOSUPPORT else str(error)
    return None


def reachable_at(bind: str) -> str:
    """An address on which a port that is published on `bind` is met from this host: where that is all of them, the one by which
    the host goes out, since the engine leads connections to loopback another way than those of others.
    """
    address = ip_address(bind)
    if not address.is_unspecified:
        return bind
    with suppress(OSError), socket.socket(_FAMILIES[address.version], socket.SOCK_DGRAM) as probe:
        probe.connect((_ANYWHERE[address.version], 9))
        return str(probe.getsockname()[0])
    return "127.0.0.1" if address.version == 4 else "::1"


async def meet(address: str, port: int, seconds: float) -> Answer:
    """Connect by tcp, and hang up at once."""
    loop = asyncio.get_running_loop()
    with socket.socket(_FAMILIES[ip_address(address).version]) as probe:
        probe.setblocking(False)  # noqa: FBT003 - the library's signature
        try:
            async with asyncio.timeout(seconds):
                await loop.sock_connect(probe, (address, port))
        except ConnectionRefusedError:
            return Answer.REFUSED
        except OSError:  # TimeoutError is one
            return Answer.BLOCKED
    return Answer.TAKEN
