"""private_engine_host — what a private engine needs of its host: packages, processes, namespaces, mounts, an image's files. Runs no engine."""

import contextlib
import fcntl
import functools
import http.client
import io
import os
import shutil
import signal
import socket
import subprocess
import tarfile
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

SYSTEM_SOCKET = Path("/var/run/docker.sock")
# sun_path is 108 bytes (man 7 unix), and the longest socket's name is 23 below the root.
LONGEST_ROOT = 80
PACKAGES = {
    "dockerd": "docker.io",
    "docker": "docker-cli",
    "iptables": "iptables",
    "busybox": "busybox-static",
    "docker-registry": "docker-registry",
    "ip": "iproute2",
    "ssh": "openssh-client",
    "nft": "nftables",
    "nsenter": "util-linux",
    "mke2fs": "e2fsprogs",
}


class PrivateEngineError(Exception):
    """No engine could be had here. The text says what is missing."""


def ensure_packages(tools: Mapping[str, str] = PACKAGES) -> None:
    """Install from the distribution what is missing of these tools, by default what the engine needs. Only root can."""
    missing = sorted({package for tool, package in tools.items() if shutil.which(tool) is None})
    if not missing:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise PrivateEngineError(f"install these first (Debian's names): {' '.join(missing)}")
    # RUNLEVEL=1: the package would start an engine for the whole host, which nobody asked for.
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    install = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *missing]
    for command in (install, ["apt-get", "update", "-q"], install):
        done = subprocess.run(command, env=quiet, capture_output=True, text=True, check=False)
        if done.returncode == 0 and command is install:
            return
    raise PrivateEngineError(f"apt-get could not install {' '.join(missing)}: {done.stderr.strip()[-500:]}")


def check_host(root: Path) -> None:
    if os.geteuid() != 0:
        raise PrivateEngineError("a Docker engine needs root")
    missing = [package for tool, package in PACKAGES.items() if shutil.which(tool) is None]
    if missing:
        raise PrivateEngineError(f"install these first (Debian's names): {' '.join(missing)}")
    if not root.is_absolute() or len(os.fsencode(root)) > LONGEST_ROOT:
        raise PrivateEngineError(
            f"{root} is not absolute, or longer than {LONGEST_ROOT} bytes: sockets lie below it"
        )


@contextlib.contextmanager
def start_lock() -> Iterator[None]:
    """One start at a time, so that two can't both see the host's network as free."""
    with Path(tempfile.gettempdir(), "gpu-agent-private-engine.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def choose_namespace(root: Path) -> str | None:
    try:
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as probe:
            probe.connect(str(SYSTEM_SOCKET))
        taken = True
    except OSError:
        taken = any(runs_engine(pid) for pid in pids() if str(root) not in command_line(pid))
    return f"gpu-agent-{uuid.uuid4().hex[:8]}" if taken else None


def runs_engine(pid: int) -> bool:
    """A shim counts: its container waits for an engine that will come back."""
    try:
        name = Path(f"/proc/{pid}/comm").read_text().strip()
        return (
            name in {"dockerd", "containerd-shim"}
            and is_alive(pid)
            and Path(f"/proc/{pid}/ns/net").readlink() == Path("/proc/self/ns/net").readlink()
        )
    except OSError:
        return False


def make_namespace(name: str) -> None:
    if Path("/run/netns", name).exists():
        return
    for command in (["ip", "netns", "add", name], ["ip", "-netns", name, "link", "set", "lo", "up"]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise PrivateEngineError(f"`{' '.join(command)}` failed: {done.stderr.strip()}")


def spawn(command: list[str], log: Path) -> int:
    """A process in a session of its own, which outlives us."""
    program = shutil.which(command[0])
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    return os.posix_spawn(
        str(program),
        command,
        {"PATH": os.environ.get("PATH", os.defpath), "HOME": "/root"},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), append, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
        setsigdef=[signal.SIGPIPE],
    )


def read_pid(path: Path) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return 0


def is_alive(pid: int) -> bool:
    """A zombie is dead: not every PID 1 reaps at once."""
    if pid <= 0:
        return False
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def send_signal(pid: int, number: signal.Signals) -> None:
    if pid > 0:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def wait(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
    except OSError:
        return ""


def processes_of(root: Path) -> list[int]:
    """What the engine left: its containerd and shims carry a path below the root among their arguments, and the first process of
    a container whose start was cut off by a kill has it among its mounts.
    """
    names = {"dockerd", "containerd", "containerd-shim"}
    found = []
    for pid in pids():
        with contextlib.suppress(OSError):
            name = Path(f"/proc/{pid}/comm").read_text().strip()
            is_cut_off = is_first_process(name) and f"{root}/" in Path(f"/proc/{pid}/mountinfo").read_text()
            if is_cut_off or (name in names and f"{root}/" in command_line(pid)):
                found.append(pid)
    return found


def is_first_process(name: str) -> bool:
    """Of a container, before it has become the container's program: nothing but a kill ends it once its engine has lost it."""
    return name.startswith("runc:[")


def mounts_below(root: Path) -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [target for target in (line.split()[4] for line in lines) if target.startswith(f"{root}/")]


@functools.cache
def busybox_tar() -> bytes:
    busybox = shutil.which("busybox")
    program = Path(busybox).read_bytes() if busybox else b""
    if not program or b"/ld-linux" in program[:4096]:
        raise PrivateEngineError("install busybox-static first: this busybox is missing or not static")
    applets = subprocess.run(
        [str(busybox), "--list"], capture_output=True, text=True, check=True
    ).stdout.split()
    files = {
        "bin/busybox": (program, 0o755),
        "etc/passwd": (b"root:x:0:0:root:/root:/bin/sh\nworker:x:1000:1000::/tmp:/bin/sh\n", 0o644),
        "etc/group": (b"root:x:0:\nworker:x:1000:\n", 0o644),
        "etc/not-a-program": (b"no interpreter\n", 0o644),
    }
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for folder, mode in {"bin": 0o755, "etc": 0o755, "root": 0o700, "tmp": 0o1777}.items():
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, mode
            tar.addfile(entry)
        for name, (content, mode) in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), mode
            tar.addfile(entry, io.BytesIO(content))
        for applet in set(applets) - {"busybox"}:
            entry = tarfile.TarInfo(f"bin/{applet}")
            entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, "busybox", 0o777
            tar.addfile(entry)
    return buffer.getvalue()


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)
