"""chutes/_runtime/bell — wakes the wire's thread, from any thread and from a signal handler. Carries no news itself."""

from __future__ import annotations

from socket import MSG_NOSIGNAL, socketpair

from chutes._runtime.endpoint import Endpoint


class Bell:
    """Takes no lock: a signal handler may have interrupted whoever holds it."""

    def __init__(self) -> None:
        self._inside, self._outside = _pair()

    def ring(self) -> None:
        outside = self._outside
        if not outside.is_ours:
            return  # the thread looks once a second anyway, and mends it
        try:
            outside.socket.send(b"!", MSG_NOSIGNAL)
        except OSError:
            return  # full: it is rung already

    def fileno(self) -> int:
        return self._inside.socket.fileno()

    def silence(self) -> None:
        if not (self._inside.is_ours and self._outside.is_ours):
            self.close()
            self._inside, self._outside = _pair()
            return
        try:
            while self._inside.socket.recv(4096):
                pass
        except BlockingIOError:
            return

    def close(self) -> None:
        self._inside.close()
        self._outside.close()


def _pair() -> tuple[Endpoint, Endpoint]:
    inside, outside = socketpair()
    return Endpoint(inside), Endpoint(outside)
