"""relay — a port before the agent's, whose connections break when told, as a bad network's do. Reads nothing of what passes."""

import socket
import threading
from contextlib import suppress

from tests.e2e.network import Net

PIECE_BYTES = 65536


class Relay:
    """Listens at once; `port` is where. Connections are served by threads, and end with the process at the latest."""

    def __init__(self, net: Net, target: int) -> None:
        self._net = net
        self._target = target
        self._listener = net.listen(0)
        self.port = int(self._listener.getsockname()[1])
        self._is_cut = False
        self._ends: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Break all connections, and each that comes, until `mend`."""
        self._is_cut = True
        for end in self._ends:
            close(end)
        self._ends.clear()

    def mend(self) -> None:
        self._is_cut = False

    def close(self) -> None:
        self.cut()
        close(self._listener)

    def _accept(self) -> None:
        with suppress(OSError):  # it was closed
            while True:
                client, _ = self._listener.accept()
                if self._is_cut:
                    close(client)
                    continue
                server = self._net.connect(self._target, seconds=600)
                self._ends += [client, server]
                for one, other in ((client, server), (server, client)):
                    threading.Thread(target=copy, args=(one, other), daemon=True).start()


def copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(PIECE_BYTES):
            target.sendall(piece)
    close(source)
    close(target)


def close(end: socket.socket) -> None:
    # A socket that another thread reads from does not wake it by `close` alone.
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
