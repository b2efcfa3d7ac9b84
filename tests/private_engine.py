"""private_engine — a Docker engine of one's own, for tests and for the demo. Standard library only; touches no other engine.

    python tests/private_engine.py start DIR     prints the path of the engine's socket; the engine stays
    python tests/private_engine.py stop DIR      removes its containers, stops it, leaves only DIR/engine.log

Two engines in one network namespace break each other (one bridge, one set of iptables chains). So by default the engine
gets a namespace of its own wherever another one runs. Its published ports are then reachable in that namespace only: run
what needs them behind `PrivateEngine.prefix`.
"""

import argparse
import contextlib
import fcntl
import functools
import http.client
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

AUTO_NAMESPACE = "auto"
STARTS_WITHIN_SECONDS = 60.0
STOPS_WITHIN_SECONDS = 30.0
SYSTEM_SOCKET = Path("/var/run/docker.sock")
BUSYBOX_TAG = "gpu-agent-test/busybox:1"
# sun_path is 108 bytes (man 7 unix), and the longest socket's name is 23 below the root.
LONGEST_ROOT = 80
FILES = (
    "daemon.json",
    "engine.json",
    "docker.pid",
    "docker.sock",
    "containerd.toml",
    "containerd.pid",
    "containerd.log",
    "containerd.sock",
    "containerd.sock.ttrpc",
)
PACKAGES = {
    "dockerd": "docker.io",
    "docker": "docker-cli",
    "iptables": "iptables",
    "busybox": "busybox-static",
    "docker-registry": "docker-registry",
    "ip": "iproute2",
    "nsenter": "util-linux",
}


class PrivateEngineError(Exception):
    """No engine could be had here. The text says what is missing."""


def ensure_packages() -> None:
    """Install what the engine needs from the distribution, if it is missing. Only root can."""
    missing = sorted({package for tool, package in PACKAGES.items() if shutil.which(tool) is None})
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


def start(
    root: Path, *, live_restore: bool = True, namespace: str | None = AUTO_NAMESPACE
) -> "PrivateEngine":
    """Start an engine that keeps everything below `root`, and wait until it answers.

    `namespace`: the name of a network namespace (made if it is missing), None for the caller's own, or AUTO_NAMESPACE:
    the caller's own unless another engine runs in it.
    """
    _check_host(root)
    root.mkdir(parents=True, exist_ok=True)
    with _start_lock():
        chosen = _choose_namespace(root) if namespace == AUTO_NAMESPACE else namespace
        if chosen is not None:
            _make_namespace(chosen)
        engine = PrivateEngine(root, chosen)
        if engine.is_alive():
            raise PrivateEngineError(f"an engine runs in {root} already")
        (root / "engine.json").write_text(json.dumps({"namespace": chosen}))
        engine.launch(live_restore=live_restore)
    return engine


@contextlib.contextmanager
def running(
    root: Path, *, live_restore: bool = True, namespace: str | None = AUTO_NAMESPACE
) -> Iterator["PrivateEngine"]:
    """`start`, and `tear_down` at the end."""
    engine = start(root, live_restore=live_restore, namespace=namespace)
    try:
        yield engine
    finally:
        engine.tear_down()


def find(root: Path) -> "PrivateEngine":
    """The engine that an earlier `start` left in `root`, alive or not."""
    try:
        facts = json.loads((root / "engine.json").read_text())
    except FileNotFoundError:
        raise PrivateEngineError(f"no engine was started in {root}") from None
    return PrivateEngine(root, facts["namespace"])


@dataclass(frozen=True)
class PrivateEngine:
    """One engine. Everything that it is lies below `root`; its network in `namespace` (None: the caller's)."""

    root: Path
    namespace: str | None

    @property
    def socket(self) -> str:
        return str(self.root / "docker.sock")

    @property
    def log(self) -> Path:
        return self.root / "engine.log"

    @property
    def pid(self) -> int:
        """0 where there is none."""
        return _read_pid(self.root / "docker.pid")

    @property
    def prefix(self) -> list[str]:
        """What goes before a command that must see the engine's network (published ports, its registry)."""
        return [] if self.namespace is None else ["nsenter", f"--net=/run/netns/{self.namespace}"]

    def is_alive(self) -> bool:
        return _is_alive(self.pid)

    def launch(self, *, live_restore: bool = True) -> None:
        """Start the process again in its folder; for an engine that was stopped or killed."""
        config = self.root / "daemon.json"
        config.write_text(json.dumps(self._settings(live_restore=live_restore)))
        (self.root / "cdi").mkdir(exist_ok=True)
        for stale in ("docker.pid", "docker.sock"):
            (self.root / stale).unlink(missing_ok=True)
        self._launch_containerd()
        pid = _spawn([*self.prefix, "dockerd", "--config-file", str(config)], self.log)
        _wait(lambda: self._answers() or not _is_alive(pid), STARTS_WITHIN_SECONDS)
        if not self._answers():
            _signal(pid, signal.SIGKILL)
            raise PrivateEngineError(f"dockerd did not start: {self._last_words()}")

    def stop(self) -> None:
        """SIGTERM, as a service manager would; KILL if that takes too long. Live-restored containers run on."""
        pid = self.pid
        _signal(pid, signal.SIGTERM)
        if not _wait(lambda: not _is_alive(pid), STOPS_WITHIN_SECONDS):
            self.kill()

    def kill(self) -> None:
        """SIGKILL to the engine alone: its containerd and the containers run on, as after a crash."""
        pid = self.pid
        _signal(pid, signal.SIGKILL)
        _wait(lambda: not _is_alive(pid), 5)

    def restart(self, *, live_restore: bool = True) -> None:
        """`stop` (if it runs) and start again, with the same containers and images."""
        self.stop()
        self.launch(live_restore=live_restore)

    def freeze(self) -> None:
        """A hang: it accepts connections and answers nothing, until `thaw`."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        _signal(self.pid, signal.SIGCONT)

    def tear_down(self) -> None:
        """Remove its containers and networks, stop it, and leave no process, mount, namespace or file but the log."""
        self.thaw()
        if not self.is_alive():
            # Only an engine can end containers that outlived it.
            with contextlib.suppress(PrivateEngineError):
                self.launch()
        if self.is_alive():
            self._remove_everything()
        self.stop()
        containerd = _read_pid(self.root / "containerd.pid")
        _signal(containerd, signal.SIGTERM)
        _wait(lambda: not _is_alive(containerd), 5)
        self._sweep()

    def request(self, method: str, path: str, body: object = None) -> tuple[int, bytes]:
        """One call of the engine's API: status and body. Bytes go as a tar, anything else as JSON. OSError if it is down."""
        connection = _UnixConnection(self.socket, STOPS_WITHIN_SECONDS)
        payload = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else None
        kind = "application/x-tar" if isinstance(body, bytes) else "application/json"
        try:
            connection.request(method, path, body=payload, headers={"Content-Type": kind})
            reply = connection.getresponse()
            return reply.status, reply.read()
        finally:
            connection.close()

    def _launch_containerd(self) -> None:
        """A containerd of its own, as on a host of the usual kind: the one that an engine starts itself dies with it."""
        pid_file = self.root / "containerd.pid"
        if _is_alive(_read_pid(pid_file)):
            return
        config = self.root / "containerd.toml"
        config.write_text(
            f"""version = 2
root = "{self.root}/data/containerd"
state = "{self.root}/exec/containerd"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "{self._containerd_socket}"
"""
        )
        pid = _spawn([*self.prefix, "containerd", "--config", str(config)], self.root / "containerd.log")
        pid_file.write_text(str(pid))
        if not _wait(Path(self._containerd_socket).exists, STARTS_WITHIN_SECONDS):
            raise PrivateEngineError(f"containerd did not start: see {self.root}/containerd.log")

    @property
    def _containerd_socket(self) -> str:
        return str(self.root / "containerd.sock")

    def _settings(self, *, live_restore: bool) -> dict[str, object]:
        return {
            "hosts": [f"unix://{self.socket}"],
            "data-root": str(self.root / "data"),
            "exec-root": str(self.root / "exec"),
            "pidfile": str(self.root / "docker.pid"),
            "containerd": self._containerd_socket,
            "log-driver": "local",
            "live-restore": live_restore,
            # CDI is behind "experimental" in 25 and 26, and behind the feature from 27 on.
            "experimental": True,
            "features": {"cdi": True},
            "cdi-spec-dirs": [str(self.root / "cdi")],
        }

    def _answers(self) -> bool:
        try:
            return self.request("GET", "/_ping")[0] == 200
        except OSError:
            return False

    def _last_words(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-8:])

    def _remove_everything(self) -> None:
        for container in json.loads(self.request("GET", "/containers/json?all=1")[1]):
            self.request("DELETE", f"/containers/{container['Id']}?force=1&v=1")
        self.request("POST", "/networks/prune")
        self.request("POST", "/volumes/prune?filters=%7B%22all%22%3A%5B%22true%22%5D%7D")

    def _sweep(self) -> None:
        for pid in _processes_of(self.root):
            _signal(pid, signal.SIGKILL)
        for mount in reversed(_mounts_below(self.root)):
            subprocess.run(["umount", "--lazy", mount], capture_output=True, check=False)
        if self.namespace is None:
            subprocess.run(["ip", "link", "delete", "docker0"], capture_output=True, check=False)
        else:
            subprocess.run(["ip", "netns", "delete", self.namespace], capture_output=True, check=False)
        for name in ("data", "exec", "cdi"):
            shutil.rmtree(self.root / name, ignore_errors=True)
        for name in FILES:
            (self.root / name).unlink(missing_ok=True)


def busybox_image(engine: PrivateEngine, tag: str = BUSYBOX_TAG) -> str:
    """An image of this host's static busybox with all its applets, made without any registry. Returns the tag."""
    if engine.request("GET", f"/images/{tag}/json")[0] == 200:
        return tag
    repository, _, version = tag.rpartition(":")
    path = f"/images/create?fromSrc=-&repo={repository}&tag={version}&changes=CMD%20sh"
    status, reply = engine.request("POST", path, _busybox_tar())
    if status != 200 or b'"error"' in reply:
        raise PrivateEngineError(f"the engine refused the busybox image: {reply.decode(errors='replace')}")
    return tag


@functools.cache
def _busybox_tar() -> bytes:
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


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _check_host(root: Path) -> None:
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
def _start_lock() -> Iterator[None]:
    """One start at a time, so that two can't both see the host's network as free."""
    with Path(tempfile.gettempdir(), "gpu-agent-private-engine.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _choose_namespace(root: Path) -> str | None:
    try:
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as probe:
            probe.connect(str(SYSTEM_SOCKET))
        taken = True
    except OSError:
        taken = any(_runs_engine(pid) for pid in _pids() if str(root) not in _command_line(pid))
    return f"gpu-agent-{uuid.uuid4().hex[:8]}" if taken else None


def _runs_engine(pid: int) -> bool:
    """A shim counts: its container waits for an engine that will come back."""
    try:
        name = Path(f"/proc/{pid}/comm").read_text().strip()
        return (
            name in {"dockerd", "containerd-shim"}
            and _is_alive(pid)
            and Path(f"/proc/{pid}/ns/net").readlink() == Path("/proc/self/ns/net").readlink()
        )
    except OSError:
        return False


def _make_namespace(name: str) -> None:
    if Path("/run/netns", name).exists():
        return
    for command in (["ip", "netns", "add", name], ["ip", "-netns", name, "link", "set", "lo", "up"]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise PrivateEngineError(f"`{' '.join(command)}` failed: {done.stderr.strip()}")


def _spawn(command: list[str], log: Path) -> int:
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


def _read_pid(path: Path) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return 0


def _is_alive(pid: int) -> bool:
    """A zombie is dead: not every PID 1 reaps at once."""
    if pid <= 0:
        return False
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def _signal(pid: int, number: signal.Signals) -> None:
    if pid > 0:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _wait(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
    except OSError:
        return ""


def _processes_of(root: Path) -> list[int]:
    """What the engine left: its containerd and shims carry a path below the root among their arguments."""
    names = {"dockerd", "containerd", "containerd-shim"}
    found = []
    for pid in _pids():
        with contextlib.suppress(OSError):
            name = Path(f"/proc/{pid}/comm").read_text().strip()
            if name in names and f"{root}/" in _command_line(pid):
                found.append(pid)
    return found


def _mounts_below(root: Path) -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [target for target in (line.split()[4] for line in lines) if target.startswith(f"{root}/")]


def main() -> None:
    parser = argparse.ArgumentParser(description="A Docker engine of one's own.")
    parser.add_argument("action", choices=["start", "stop", "image", "packages"])
    parser.add_argument("root", nargs="?", type=lambda text: Path(text).absolute())
    parser.add_argument(
        "--namespace", default=AUTO_NAMESPACE, help="auto, none, or the name of a network namespace"
    )
    asked = parser.parse_args()
    try:
        sys.stdout.write(_act(asked) + "\n")
    except PrivateEngineError as error:
        sys.exit(str(error))


def _act(asked: argparse.Namespace) -> str:
    if asked.action == "packages":
        ensure_packages()
        return "all there"
    if asked.root is None:
        raise PrivateEngineError("say in which folder the engine lives")
    if asked.action == "start":
        return start(asked.root, namespace=None if asked.namespace == "none" else asked.namespace).socket
    engine = find(asked.root)
    if asked.action == "image":
        return busybox_image(engine)
    engine.tear_down()
    return "stopped"


if __name__ == "__main__":
    main()
