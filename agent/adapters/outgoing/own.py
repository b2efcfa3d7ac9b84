"""adapters/outgoing/own — which addresses are this host's own, as its kernel has it now. Connects nowhere, and sends nothing."""

import socket
from collections.abc import Iterable

# A datagram's "connection" is only a look at the routes. To the port of nobody (discard, RFC 863).
_PORT = 9


def own_addresses(addresses: Iterable[str]) -> frozenset[str]:
    """Those of them at which the host itself answers, behind every firewall that stands before it."""
    return frozenset(address for address in addresses if _is_own(address))


def _is_own(address: str) -> bool:
    """What is sent to an address of the host's own is sent from that address; nothing else is."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((address, _PORT))
        except OSError:  # no way leads there
            return False
        return str(probe.getsockname()[0]) == address
