"""chaos_ports — ports of both protos for the jobs of a chaos, and a stranger who sits on one of the range. Judges nothing."""

import random
import socket
from contextlib import suppress

from tests.e2e.client import Json
from tests.e2e.daemon import Daemon

# Both families, and no other machine.
ADDRESSES = ["127.0.0.1", "::1"]
BIND = {"bind": ADDRESSES}
PROTOS = ("tcp", "udp", "http")
# Jobs get the lowest that are free: there a stranger is met.
LOW_PORTS = 6


def invent_ports(draw: random.Random) -> list[Json]:
    return [
        {"name": f"p{number}", "port": 8080 + number, "proto": draw.choice(PROTOS)}
        for number in range(draw.randint(1, 3))
    ]


class Stranger:
    """One program of the host at a time: four of them within one attempt would rightly fail it."""

    def __init__(self, daemon: Daemon, draw: random.Random) -> None:
        self._daemon = daemon
        self._draw = draw
        self._held: socket.socket | None = None

    def move(self) -> bool:
        """To another port, proto and address, or away. Whether one is held now: a job may have been there first."""
        self.leave()
        listen = self._draw.choice([self._daemon.net.listen, self._daemon.net.listen_udp, None])
        if listen is not None:
            port = self._daemon.first_port + self._draw.randrange(LOW_PORTS)
            with suppress(OSError):
                self._held = listen(port, self._draw.choice(ADDRESSES))
        return self._held is not None

    def leave(self) -> None:
        if self._held is not None:
            self._held.close()
            self._held = None
