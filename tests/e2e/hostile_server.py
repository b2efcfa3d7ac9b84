"""hostile_server — what a hostile job has at its http port: each path answers in another bad way. Standard library only; keeps each head that came."""

import json
import socketserver
import sys
import threading

MIB = 1 << 20
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
ANSWERS = {
    "/both": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "/two": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
    "/fold": b"HTTP/1.1 200 OK\r\nX: y\r\n Set-Cookie: folded=1\r\nContent-Length: 2\r\n\r\nok",
    "/te": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "/switch": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nanything",
    "/short": b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello",
    "/nothing": b"",
    "/cookies": b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1; Domain=jobs.localhost\r\nSet-Cookie: gpu-agent-page=forged\r\nContent-Length: 2\r\n\r\nok",
    "/behind": OK + b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhidden",
}
heads: list[str] = []
held = threading.Event()


class Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = self.rfile.readline(65536)
            if not line:
                return
            head += line
        path = head.split(b" ", 2)[1].decode()
        if path == "/heads":
            self.answer_json(heads)
            return
        heads.append(head.decode("latin-1"))
        if path == "/late":
            held.wait(3)
            self.wfile.write(OK)
        elif path == "/flood":
            self.flood()
        else:
            self.wfile.write(ANSWERS.get(path, OK))

    def answer_json(self, value: object) -> None:
        body = json.dumps(value).encode()
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    def flood(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\n")
        try:
            for _ in range(100):
                self.wfile.write(b"X: " + b"y" * MIB + b"\r\n")
        except OSError:
            return  # cut, as it should be


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


if __name__ == "__main__":
    Server(("0.0.0.0", int(sys.argv[1])), Handler).serve_forever()
