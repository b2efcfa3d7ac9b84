"""chutes/_runtime/link — one connection to the host: frames out, whole lines in. Knows no calls, never blocks, and is not mended."""

from __future__ import annotations

from collections import deque
from select import POLLIN, POLLOUT
from socket import AF_UNIX, MSG_NOSIGNAL, SOCK_STREAM, socket

from chutes._runtime.endpoint import Endpoint

_READ_BYTES = 1 << 16


class Link:
    """Every method raises OSError once the connection is lost."""

    def __init__(self, path: str) -> None:
        self._endpoint = Endpoint(socket(AF_UNIX, SOCK_STREAM))
        self._leaving: deque[memoryview] = deque()
        self._unread = b""
        try:
            self._endpoint.socket.connect(path)
        except OSError:
            self._endpoint.close()
            raise

    def fileno(self) -> int:
        return self._endpoint.socket.fileno()

    @property
    def awaits(self) -> int:
        """The events to poll for."""
        return POLLIN | (POLLOUT if self._leaving else 0)

    def put(self, frame: bytes) -> None:
        self._leaving.append(memoryview(frame))

    def flush(self) -> None:
        """Send as much as goes now."""
        self._look()
        while self._leaving:
            first = self._leaving[0]
            try:
                sent = self._endpoint.socket.send(first, MSG_NOSIGNAL)
            except BlockingIOError:
                return
            if sent == len(first):
                self._leaving.popleft()
            else:
                self._leaving[0] = first[sent:]

    def lines(self) -> list[bytes]:
        """What has come, as far as it is whole."""
        self._look()
        try:
            read = self._endpoint.socket.recv(_READ_BYTES)
        except BlockingIOError:
            return []
        if not read:
            raise ConnectionResetError("the host has closed the connection")
        *whole, self._unread = (self._unread + read).split(b"\n")
        return whole

    def close(self) -> None:
        self._endpoint.close()

    def _look(self) -> None:
        if not self._endpoint.is_ours:
            raise ConnectionAbortedError("the connection's descriptor was closed in this process")
