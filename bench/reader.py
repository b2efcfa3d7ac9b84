"""bench/reader — a client that reads so many bytes of one answer of an API on a Unix socket, and keeps none. Standard library only."""

import http.client
import socket
import sys

PIECE_BYTES = 1 << 18


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("agent")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)


def main(path: str, target: str, wanted_bytes: int) -> None:
    connection = _Connection(path)
    connection.request("GET", target)
    response = connection.getresponse()
    assert response.status == 200, response.read()
    while wanted_bytes > 0:
        piece = response.read1(PIECE_BYTES)
        assert piece, f"the answer ended {wanted_bytes} bytes too early"
        wanted_bytes -= len(piece)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
