"""bench/receiver — an nginx that takes PUTs into memory, on loopback, for as long as a block lasts. Measures nothing."""

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

STARTS_WITHIN_SECONDS = 10.0
# A tmpfs on every Linux: what a disk could take is not the question.
MEMORY = Path("/dev/shm")
# One worker, as for one client; the buffer lets it take what a socket has in few reads, with any sender.
CONFIG = """
daemon off;
user root;
worker_processes 1;
pid {root}/nginx.pid;
error_log {root}/error.log;
events {{ worker_connections 256; }}
http {{
    access_log off;
    keepalive_requests 1000000;
    client_body_temp_path {root}/body;
    proxy_temp_path {root}/proxy;
    fastcgi_temp_path {root}/fastcgi;
    uwsgi_temp_path {root}/uwsgi;
    scgi_temp_path {root}/scgi;
    server {{
        listen 127.0.0.1:{port};
        root {root}/files;
        client_max_body_size 0;
        client_body_buffer_size 1m;
        dav_methods PUT;
        create_full_put_path on;
    }}
}}
"""


@dataclass(frozen=True, slots=True)
class Receiver:
    """`PUT {url}/a/b` makes `folder/a/b`."""

    url: str
    folder: Path

    def empty(self) -> None:
        for entry in self.folder.iterdir():
            shutil.rmtree(entry)


@contextmanager
def receiving() -> Iterator[Receiver]:
    nginx = shutil.which("nginx") or "/usr/sbin/nginx"
    if not Path(nginx).exists():
        raise SystemExit("nginx is missing: apt-get install nginx-light")
    root = Path(tempfile.mkdtemp(prefix="gab-nginx-", dir=MEMORY))
    port = _free_port()
    (root / "files").mkdir()
    (root / "nginx.conf").write_text(CONFIG.format(root=root, port=port))
    with (root / "out").open("wb") as out:
        process = subprocess.Popen([nginx, "-c", root / "nginx.conf", "-p", root], stdout=out, stderr=out)
    try:
        _wait_for(port, process, root / "out")
        yield Receiver(f"http://127.0.0.1:{port}", root / "files")
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(root, ignore_errors=True)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _wait_for(port: int, process: "subprocess.Popen[bytes]", out: Path) -> None:
    deadline = time.monotonic() + STARTS_WITHIN_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"nginx did not start: {out.read_text(errors='replace')[-500:]}")
