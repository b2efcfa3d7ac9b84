"""place — where the demo keeps things, and how all of it goes away again. Starts nothing.

Everything is found by name, not remembered: so the same clean-up serves the end of a run, a Ctrl-C, and the start of the
next run where the last one was killed.
"""

import contextlib
import fcntl
import hashlib
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import docker
from docker.errors import DockerException

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CHECKOUT))

from tests import private_engine as engines  # noqa: E402 (the checkout is not on the path before)
from tests.private_engine_host import is_alive, read_pid, send_signal, wait  # noqa: E402

BRIDGE = "gpuagentdemo0"
LEAVES_WITHIN_SECONDS = 15


@dataclass(frozen=True)
class Place:
    """`cache` outlives a run: the image and the last results. `run` does not, nor does `runtime`, which is in memory. `mark` tells checkouts apart."""

    cache: Path
    run: Path
    runtime: Path
    engine: Path
    mark: str

    @property
    def results(self) -> Path:
        return self.cache / "results"

    @property
    def received(self) -> Path:
        """What the control plane got."""
        return self.run / "received"

    @property
    def config(self) -> Path:
        return self.run / "config.toml"

    @property
    def state(self) -> Path:
        return self.run / "state"

    @property
    def agent_pid(self) -> Path:
        return self.run / "agent.pid"

    @property
    def receiver_pid(self) -> Path:
        return self.run / "receiver.pid"

    @property
    def agent_log(self) -> Path:
        return self.run / "agent.log"

    @property
    def engine_socket(self) -> Path:
        """A file with the path of the engine's socket that the agent of this run uses."""
        return self.run / "engine-socket"


def find_place() -> Place:
    cache = CHECKOUT / ".cache/demo"
    mark = hashlib.sha256(bytes(CHECKOUT)).hexdigest()[:8]
    return Place(cache, cache / "run", Path(f"/dev/shm/gpu-agent-demo-{mark}"), cache / "engine", mark)


@contextlib.contextmanager
def held(place: Place) -> Iterator[bool]:
    """One demo a checkout. False: another one runs. The kernel lets go of it whatever happens to us."""
    place.cache.mkdir(parents=True, exist_ok=True)
    with (place.cache / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def clean_up(place: Place) -> None:
    """Leave no process, container, network or file but the cache. Doing it twice does no harm."""
    stop(place.agent_pid, str(place.config))
    stop(place.receiver_pid, str(place.received))
    if place.engine_socket.exists():
        with contextlib.suppress(DockerException):
            remove_from_engine(place.engine_socket.read_text(), place)
    if (place.engine / "engine.json").exists():
        engines.find(place.engine).tear_down()
    for folder in (place.run, place.runtime, place.engine):
        shutil.rmtree(folder, ignore_errors=True)


def stop(pid_file: Path, mark: str) -> None:
    """End the process of that file, if its command line still has the mark: its number may be another's by now."""
    pid = read_pid(pid_file)
    if pid == 0 or mark not in command_line(pid):
        return
    send_signal(pid, signal.SIGTERM)
    if not wait(lambda: not is_alive(pid), LEAVES_WITHIN_SECONDS):
        send_signal(pid, signal.SIGKILL)
        wait(lambda: not is_alive(pid), LEAVES_WITHIN_SECONDS)


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def remove_from_engine(socket: str, place: Place) -> None:
    """The job's container, if the job was not over, and the bridge. The image stays: it makes the next run short."""
    with closing(docker.DockerClient(base_url=f"unix://{socket}", timeout=30)) as engine:
        for container in engine.containers.list(
            all=True, filters={"label": f"gpu-agent.agent={agent_id(place)}"}
        ):
            container.remove(force=True, v=True)
        for network in engine.networks.list(names=[BRIDGE]):
            if network.name == BRIDGE:  # the engine also lists names that merely contain it
                network.remove()
    for family in ("inet", "bridge"):
        # A private engine's went with its network namespace; this one's are the host's. The agent leaves them to who removes the bridge.
        with contextlib.suppress(OSError):
            command = ["nft", "delete", "table", family, f"gpu_agent_{BRIDGE}"]
            subprocess.run(command, capture_output=True, check=False)


def agent_id(place: Place) -> str:
    """What labels this run's containers; a text that labels none where the agent was never started."""
    with contextlib.suppress(OSError):
        return (place.state / "agent-id").read_text().strip()
    return "none"
