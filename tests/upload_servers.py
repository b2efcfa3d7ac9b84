"""upload_servers — servers of others for the tests of uploads: nginx with DAV, moto's S3, the official tus server. Standard library only.

    python tests/upload_servers.py install     installs what is missing: from the distribution as root, and below .cache/

Each runs in the foreground of a folder of its own, on loopback, until its block ends.
"""

import contextlib
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

if not __package__:  # run as a script
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.private_engine_host import PrivateEngineError, ensure_packages

ROOT = Path(__file__).resolve().parent.parent

TOOLS = {"nginx": "nginx-light", "node": "nodejs", "npm": "npm"}
TUS_SOURCES = ROOT / "tests" / "tus_server"
# Outside the tree that tools look through; its name changes with what is pinned.
TUS = ROOT / ".cache" / "tus-server"
STARTS_WITHIN_SECONDS = 30.0
NGINX = """
daemon off;
user root;
worker_processes 1;
pid {root}/nginx.pid;
error_log {root}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {root}/body;
    proxy_temp_path {root}/proxy;
    fastcgi_temp_path {root}/fastcgi;
    uwsgi_temp_path {root}/uwsgi;
    scgi_temp_path {root}/scgi;
    server {{
        listen 127.0.0.1:{port};
        root {root}/files;
        client_max_body_size 0;
        dav_methods PUT;
        create_full_put_path on;
        if ($http_authorization != "Bearer hush") {{ return 401; }}
    }}
}}
"""


class ServerMissingError(Exception):
    """A server can't be run here. The text says what is missing."""


@dataclass(frozen=True)
class Server:
    """`folder`: below which it keeps what it was sent."""

    url: str
    folder: Path
    process: subprocess.Popen[bytes]

    def kill(self) -> None:
        """SIGKILL, as a crash would."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def install() -> None:
    """Whatever is missing. Raises PrivateEngineError, ServerMissingError."""
    ensure_packages(TOOLS)
    if tus_is_there():
        return
    TUS.mkdir(parents=True, exist_ok=True)
    for source in TUS_SOURCES.iterdir():
        shutil.copy(source, TUS)
    # The lock file holds versions and hashes and no host: npm asks the registry that this machine is set up with.
    command = ["npm", "ci", "--omit=optional", "--ignore-scripts", "--no-audit", "--no-fund"]
    done = subprocess.run(command, cwd=TUS, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ServerMissingError(f"npm could not install the tus server: {done.stderr.strip()[-500:]}")
    (TUS / "installed").write_text(pinned())


def tus_is_there() -> bool:
    stamp = TUS / "installed"
    return stamp.exists() and stamp.read_text() == pinned()


def pinned() -> str:
    return "".join(hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(TUS_SOURCES.iterdir()))


@contextlib.contextmanager
def nginx(root: Path) -> Iterator[Server]:
    """Takes PUTs with `Authorization: Bearer hush` into `files`."""
    need("nginx")
    (root / "files").mkdir(parents=True)

    port = free_port()
    (root / "nginx.conf").write_text(NGINX.format(root=root, port=port))
    command = ["nginx", "-c", str(root / "nginx.conf"), "-p", str(root)]
    with running(command, port, root / "files", root / "nginx.out") as server:
        yield server


@contextlib.contextmanager
def moto(root: Path) -> Iterator[Server]:
    """Speaks S3; keeps what it gets in memory."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with running(command, port, root, root / "moto.out") as server:
        yield server


@contextlib.contextmanager
def tus(root: Path, expires_seconds: float = 3600.0, port: int = 0) -> Iterator[Server]:
    """Keeps each upload as a file, with its metadata as JSON beside it."""
    need("node")
    if not tus_is_there():
        raise ServerMissingError("the tus server is not installed: python tests/upload_servers.py install")
    files = root / "files"
    files.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    command = ["node", str(TUS / "server.mjs"), str(files), str(int(expires_seconds * 1000)), str(port)]
    with running(command, port, files, root / "tus.out") as server:
        yield server


def need(tool: str) -> None:
    if shutil.which(tool) is None:
        raise ServerMissingError(f"{tool} is missing: python tests/upload_servers.py install")


@contextlib.contextmanager
def running(command: Sequence[str], port: int, folder: Path, log: Path) -> Iterator[Server]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
        server = Server(f"http://127.0.0.1:{port}", folder, process)
        try:
            wait_for(port, process, log)
            yield server
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                server.kill()


def wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + STARTS_WITHIN_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise ServerMissingError(f"it did not start: {log.read_text(errors='replace')[-500:]}")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def main(arguments: Sequence[str]) -> int:
    if list(arguments) != ["install"]:
        print(__doc__, file=sys.stderr)  # noqa: T201 - a command
        return 2
    try:
        install()
    except (PrivateEngineError, ServerMissingError) as error:
        print(f"upload servers: {error}", file=sys.stderr)  # noqa: T201 - a command
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
