"""chutes/_runtime/endpoint — a socket that knows whether its descriptor is still its own. Sends and receives nothing."""

from __future__ import annotations

from os import fstat
from socket import socket


class Endpoint:
    """An author's code may close every descriptor, and the number may by then be another file's: look before each use."""

    __slots__ = ("_identity", "socket")

    def __init__(self, made: socket) -> None:
        made.settimeout(0)
        self.socket = made
        self._identity = _identity(made.fileno())

    @property
    def is_ours(self) -> bool:
        try:
            return _identity(self.socket.fileno()) == self._identity
        except OSError:
            return False

    def close(self) -> None:
        if self.is_ours:
            self.socket.close()
        else:
            # Closing would close what the number means now.
            self.socket.detach()


def _identity(descriptor: int) -> tuple[int, int]:
    seen = fstat(descriptor)
    return seen.st_dev, seen.st_ino
