"""private_engine — a Docker engine of one's own, for tests and for the demo. Standard library only; touches no other engine.

    python tests/private_engine.py start DIR     prints the path of the engine's socket; the engine stays
    python tests/private_engine.py stop DIR      removes its containers, stops it, leaves only DIR/engine.log

Two engines in one network namespace break each other (one bridge, one set of iptables chains). So by default the engine
gets a namespace of its own wherever another one runs. Its published ports are then reachable in that namespace only: run
what needs them behind `PrivateEngine.prefix`.
"""

import argparse
import contextlib
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

if not __package__:  # run as a script
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.private_engine_host import (
    PrivateEngineError,
    UnixConnection,
    busybox_tar,
    check_host,
    choose_namespace,
    ensure_packages,
    is_alive,
    make_namespace,
    mounts_below,
    processes_of,
    read_pid,
    send_signal,
    spawn,
    start_lock,
    wait,
)

AUTO_NAMESPACE = "auto"
STARTS_WITHIN_SECONDS = 60.0
STOPS_WITHIN_SECONDS = 30.0
BUSYBOX_TAG = "gpu-agent-test/busybox:1"
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


def start(
    root: Path, *, live_restore: bool = True, namespace: str | None = AUTO_NAMESPACE
) -> "PrivateEngine":
    """Start an engine that keeps everything below `root`, and wait until it answers.

    `namespace`: the name of a network namespace (made if it is missing), None for the caller's own, or AUTO_NAMESPACE:
    the caller's own unless another engine runs in it.
    """
    check_host(root)
    root.mkdir(parents=True, exist_ok=True)
    with start_lock():
        chosen = choose_namespace(root) if namespace == AUTO_NAMESPACE else namespace
        if chosen is not None:
            make_namespace(chosen)
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
        return read_pid(self.root / "docker.pid")

    @property
    def prefix(self) -> list[str]:
        """What goes before a command that must see the engine's network (published ports, its registry)."""
        return [] if self.namespace is None else ["nsenter", f"--net=/run/netns/{self.namespace}"]

    def is_alive(self) -> bool:
        return is_alive(self.pid)

    def launch(self, *, live_restore: bool = True) -> None:
        """Start the process again in its folder; for an engine that was stopped or killed."""
        config = self.root / "daemon.json"
        config.write_text(json.dumps(self._settings(live_restore=live_restore)))
        (self.root / "cdi").mkdir(exist_ok=True)
        for stale in ("docker.pid", "docker.sock"):
            (self.root / stale).unlink(missing_ok=True)
        self._launch_containerd()
        pid = spawn([*self.prefix, "dockerd", "--config-file", str(config)], self.log)
        wait(lambda: self._answers() or not is_alive(pid), STARTS_WITHIN_SECONDS)
        if not self._answers():
            send_signal(pid, signal.SIGKILL)
            raise PrivateEngineError(f"dockerd did not start: {self._last_words()}")

    def stop(self) -> None:
        """SIGTERM, as a service manager would; KILL if that takes too long. Live-restored containers run on."""
        pid = self.pid
        send_signal(pid, signal.SIGTERM)
        if not wait(lambda: not is_alive(pid), STOPS_WITHIN_SECONDS):
            self.kill()

    def kill(self) -> None:
        """SIGKILL to the engine alone: its containerd and the containers run on, as after a crash."""
        pid = self.pid
        send_signal(pid, signal.SIGKILL)
        wait(lambda: not is_alive(pid), 5)

    def restart(self, *, live_restore: bool = True) -> None:
        """`stop` (if it runs) and start again, with the same containers and images."""
        self.stop()
        self.launch(live_restore=live_restore)

    def freeze(self) -> None:
        """A hang: it accepts connections and answers nothing, until `thaw`."""
        send_signal(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        send_signal(self.pid, signal.SIGCONT)

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
        containerd = read_pid(self.root / "containerd.pid")
        send_signal(containerd, signal.SIGTERM)
        wait(lambda: not is_alive(containerd), 5)
        self._sweep()

    def request(self, method: str, path: str, body: object = None) -> tuple[int, bytes]:
        """One call of the engine's API: status and body. Bytes go as a tar, anything else as JSON. OSError if it is down."""
        connection = UnixConnection(self.socket, STOPS_WITHIN_SECONDS)
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
        if is_alive(read_pid(pid_file)):
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
        pid = spawn([*self.prefix, "containerd", "--config", str(config)], self.root / "containerd.log")
        pid_file.write_text(str(pid))
        if not wait(Path(self._containerd_socket).exists, STARTS_WITHIN_SECONDS):
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
            # As from 27 on without being asked: rules and NAT for IPv6, too. An engine can't start with it where the kernel has none.
            "ip6tables": Path("/proc/net/if_inet6").exists(),
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
        for pid in processes_of(self.root):
            send_signal(pid, signal.SIGKILL)
        for mount in reversed(mounts_below(self.root)):
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
    status, reply = engine.request("POST", path, busybox_tar())
    if status != 200 or b'"error"' in reply:
        raise PrivateEngineError(f"the engine refused the busybox image: {reply.decode(errors='replace')}")
    return tag


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
