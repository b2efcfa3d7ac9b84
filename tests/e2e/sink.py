"""sink — an endpoint that takes PUTs, in a thread: it records what came and when, and can be told to hang, reset, refuse or be slow."""

import hashlib
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

from tests.e2e.client import Json
from tests.e2e.network import Net
from tests.private_engine_host import wait

MANIFEST = "manifest.json"
READ_BYTES = 1 << 20
# A body of more is counted and hashed only.
KEPT_BYTES = 4 << 20
# No request holds a slow or hung one for longer: a test has failed by then.
HANG_SECONDS = 120.0
SLOW_SECONDS = 0.05
# Whatever is secret of an upload says so: nothing that the daemon leaves on disk may hold the word.
SECRET = "hush-it"
UPLOADS = {"allow_http": True, "allow_hosts": ["127.0.0.1"]}


class Act(Enum):
    TAKE = auto()
    SLOW = auto()  # each MiB a while
    HANG = auto()  # read nothing until `free`
    FAIL = auto()  # 503
    FORBID = auto()  # 403, for good
    RESET = auto()  # a TCP reset in the middle of the body


@dataclass(slots=True)
class Request:
    """One PUT. `size` and `sha256` are of the body as far as it came; `data` only of a small one that came whole."""

    job: str
    path: str
    target: str
    headers: dict[str, str]
    began: float
    length: int
    size: int = 0
    sha256: str = ""
    data: bytes = b""
    status: int | None = None

    @property
    def is_taken(self) -> bool:
        return self.status == 204


@dataclass(eq=False)
class Sink:
    """At `/JOB/PATH`, decoded once. `act` decides by job and path."""

    port: int = 0
    act: Callable[[str, str], Act] = lambda _job, _path: Act.TAKE
    free: threading.Event = field(default_factory=threading.Event)
    requests: list[Request] = field(default_factory=list)

    def upload(self, **fields: object) -> Json:
        """As a spec names it."""
        url = f"http://127.0.0.1:{self.port}/{{job}}/{{path}}?sig={SECRET}-query"
        return {"to": "put", "url": url, "headers": {"Authorization": f"Bearer {SECRET}-header"}, **fields}

    def of(self, job: str) -> dict[str, Request]:
        """What it has of the job: the last whole body of each path."""
        return {one.path: one for one in list(self.requests) if one.job == job and one.is_taken}

    def files(self, job: str) -> dict[str, Request]:
        return {path: one for path, one in self.of(job).items() if path != MANIFEST}

    def tries(self, job: str) -> Counter[str]:
        return Counter(one.path for one in list(self.requests) if one.job == job)

    def taken(self, job: str) -> Counter[str]:
        return Counter(one.path for one in list(self.requests) if one.job == job and one.is_taken)

    def until(self, holds: Callable[[Request], bool], what: str, seconds: float = 60.0) -> None:
        assert wait(lambda: any(holds(one) for one in list(self.requests)), seconds), what


@contextmanager
def sinking(net: Net) -> Iterator[Sink]:
    """On a loopback port of that network."""
    sink = Sink()
    handler = type("SinkHandler", (_Handler,), {"sink": sink})
    listener = net.listen(0)
    sink.port = listener.getsockname()[1]
    server = _Server(("", 0), handler, bind_and_activate=False)
    server.socket.close()
    server.socket = listener
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield sink
    finally:
        sink.free.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """A daemon that is killed in the middle of a body is what is tested."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    sink: Sink

    def do_PUT(self) -> None:
        job, _, path = unquote(self.path.partition("?")[0].removeprefix("/")).partition("/")
        headers = {name.lower(): text for name, text in self.headers.items()}
        request = Request(job, path, self.path, headers, time.monotonic(), int(headers["content-length"]))
        act = self.sink.act(job, path)
        self.sink.requests.append(request)
        if act is Act.HANG:
            self.sink.free.wait(HANG_SECONDS)
        if act is Act.RESET:
            self._reset(request)
            return
        self._read(request, SLOW_SECONDS if act is Act.SLOW else 0.0)
        request.status = {Act.FAIL: 503, Act.FORBID: 403}.get(act, 204)
        self.send_response(request.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _read(self, request: Request, pause: float) -> None:
        digest, buffer, kept = hashlib.sha256(), memoryview(bytearray(READ_BYTES)), bytearray()
        while request.size < request.length:
            count = self.rfile.readinto(buffer[: request.length - request.size])  # type: ignore[attr-defined] # a BufferedReader
            if not count:
                raise ConnectionAbortedError
            digest.update(buffer[:count])
            request.size += count
            if request.length <= KEPT_BYTES:
                kept += buffer[:count]
            if pause:
                self.sink.free.wait(pause)
        request.sha256, request.data = digest.hexdigest(), bytes(kept)

    def _reset(self, request: Request) -> None:
        self.rfile.read(min(request.length // 2, READ_BYTES))
        # With no time to linger a close is a reset (man 7 socket).
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the library's name
        """Nothing: pytest shows what matters."""
