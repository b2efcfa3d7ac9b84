"""daemon — the agent as a process of its own: started, killed, stopped and started again on one state folder."""

import asyncio
import fcntl
import itertools
import json
import os
import signal
import sqlite3
import ssl
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import quote

from agent.adapters.folders.loops import Loop
from agent.config import Config, load_config
from agent.daemon import create_token
from tests.e2e.client import Client, expect
from tests.e2e.network import Net, TcpConnection
from tests.loops import loops_of_state
from tests.private_engine import PrivateEngine
from tests.private_engine_host import UnixConnection

REPOSITORY = Path(__file__).resolve().parents[2]
ALL_SCOPES = ("jobs:read", "jobs:write", "jobs:all", "exec", "gpus:admin", "host:admin")
OWN_JOBS = ("jobs:read", "jobs:write")
READY_SECONDS = 60.0
STOP_SECONDS = 30.0
PORTS_A_DAEMON = 50
_first_ports = itertools.cycle(range(21000, 29000, PORTS_A_DAEMON))

T = TypeVar("T")
Chosen = Callable[[dict[str, Any]], bool]
Settings = dict[str, dict[str, Any]]


class Daemon:
    """One state folder, and the process that serves it. Its own bridge, ports and sockets: many live side by side."""

    def __init__(
        self,
        folder: Path,
        engine: PrivateEngine,
        image: str,
        settings: Settings | None = None,
        state: Path | None = None,
    ) -> None:
        self.folder = folder
        self.engine = engine
        self.image = image
        self.net = Net(engine.namespace)
        self.bridge = f"gae{uuid.uuid4().hex[:10]}"
        self.first_port = next(_first_ports)
        self.state = state or folder / "state"
        self.socket = folder / "api.sock"
        self.settings = settings or {}
        self.environment: dict[str, str] = {}
        self.wrapper: list[str] = []  # what the daemon is started behind, in place
        self.process: subprocess.Popen[bytes] | None = None
        self.lines: list[dict[str, Any]] = []
        self._reader: threading.Thread | None = None
        self._kill_at: Chosen | None = None
        self.write_config()

    @property
    def config_file(self) -> Path:
        return self.folder / "config.toml"

    @property
    def config(self) -> Config:
        return load_config(self.config_file, {})

    @property
    def database(self) -> Path:
        return self.state / "agent.db"

    @property
    def agent_id(self) -> str:
        return (self.state / "agent-id").read_text().strip()

    def write_config(self, settings: Settings | None = None) -> None:
        """`settings` are kept, over the defaults of a test; they are read at the next start."""
        self.settings = {**self.settings, **(settings or {})}
        sections: Settings = {
            "": {"state_dir": str(self.state), "runtime_dir": str(self.folder / "run")},
            "api": {"listen": f"127.0.0.1:{self.first_port - 1000}", "socket": str(self.socket)},
            "engine": {"socket": f"unix://{self.engine.socket}"},
            "network": {"bridge": self.bridge, "dns": ["192.0.2.53"]},
            "ports": {
                "range": f"{self.first_port}-{self.first_port + PORTS_A_DAEMON - 1}",
                "bind": "127.0.0.1",
            },
            # One for all daemons of a test, and no other: the stand-in's GPUs have the same names in every test.
            "gpus": {"lock_dir": str(self.folder.parent / "gpu-locks")},
            "log": {"level": "debug", "format": "json"},
        }
        for name, values in self.settings.items():
            sections[name] = {**sections.get(name, {}), **values}
        self.folder.mkdir(exist_ok=True)
        self.config_file.write_text("\n".join(section(name, values) for name, values in sections.items()))

    def start(self) -> Self:
        """Start it, and wait until it says that it is ready."""
        self.launch()
        self.wait_ready()
        return self

    def launch(self, kill_at: Chosen | None = None) -> None:
        """Start the process only. `kill_at`: it gets SIGKILL as soon as it logs a line for which this holds."""
        self._kill_at = kill_at
        self.lines = []
        read_end, write_end = os.pipe2(os.O_CLOEXEC | os.O_DIRECT)
        # A pipe of one packet: the daemon can't run ahead of the one who reads its log by more than a line or two.
        fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, 4096)
        serve = [sys.executable, "-m", "agent", "serve", "--config", str(self.config_file)]
        self.process = subprocess.Popen(
            [*self.engine.prefix, *self.wrapper, *serve],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=write_end,
            cwd=REPOSITORY,
            env={
                "PATH": os.environ["PATH"],
                "HOME": "/root",
                "PYTHONUNBUFFERED": "1",
                # The daemon's own children start with -P: in a second working tree they would be those of the first.
                "PYTHONPATH": str(REPOSITORY),
                **self.environment,
            },
        )
        os.close(write_end)
        self._reader = threading.Thread(
            target=self._read_log, args=(read_end, self.process, self.lines), daemon=True
        )
        self._reader.start()

    def wait_ready(self, seconds: float = READY_SECONDS) -> None:
        def is_ready() -> bool:
            if self.process is None or self.process.poll() is not None:
                raise AssertionError(f"the daemon has left: {self.tail()}")
            return self.local.call("GET", "/readyz").status == 200

        try:
            expect(is_ready, "the daemon is ready", seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.tail()}") from None

    def wait_killed(self, seconds: float = READY_SECONDS) -> bool:
        """Whether the line came at which it is killed."""
        assert self.process is not None
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)
            self._forget_process()
            return True
        return False

    def kill(self) -> None:
        """SIGKILL, at any instruction."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(STOP_SECONDS)
            self._forget_process()

    def stop(self) -> int:
        """SIGTERM, as a service manager sends it. Returns the exit code; one that does not leave is killed, and fails."""
        assert self.process is not None
        self.process.terminate()
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"SIGTERM did not end the daemon: {self.tail()}") from None
        finally:
            self.kill()

    def leave_failed(self, seconds: float = READY_SECONDS) -> str:
        """For a start that has to be refused: everything that it printed. It must exit by itself, and not with 0."""
        assert self.process is not None
        code = self.process.wait(seconds)
        self._forget_process()
        assert code not in {0, -9}, self.tail()
        return self.tail()

    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def tail(self, count: int = 40) -> str:
        return "\n".join(json.dumps(line) for line in self.lines[-count:])

    def said(self, event: str) -> list[dict[str, Any]]:
        return [line for line in list(self.lines) if line.get("event") == event]

    @property
    def local(self) -> Client:
        """The host's own people, over the Unix socket."""
        return Client(lambda: UnixConnection(str(self.socket), 60.0), self.image)

    def client(self, token: str | None, tls: ssl.SSLContext | None = None) -> Client:
        port = self.config.api.listen.port
        return Client(lambda: TcpConnection(self.net, port, tls), self.image, token)

    def token(
        self, principal: str = "alice", scopes: Sequence[str] = OWN_JOBS, expires: float | None = None
    ) -> str:
        return in_loop(create_token(self.config, "test", principal, scopes, expires))[1]

    def containers(self, job: str | None = None) -> list[dict[str, Any]]:
        """What the engine has with this agent's label, in any state. Asked behind the agent's back."""
        labels = [f"gpu-agent.agent={self.agent_id}", *([f"gpu-agent.job={job}"] if job else [])]
        status, body = self.engine.request(
            "GET", f"/containers/json?all=1&filters={quoted({'label': labels})}"
        )
        assert status == 200, body
        found: list[dict[str, Any]] = json.loads(body)
        return found

    def volumes(self) -> list[dict[str, Any]]:
        """What the engine has with this agent's label."""
        label = quoted({"label": [f"gpu-agent.agent={self.agent_id}"]})
        status, body = self.engine.request("GET", f"/volumes?filters={label}")
        assert status == 200, body
        found: list[dict[str, Any]] = json.loads(body)["Volumes"] or []
        return found

    def loops(self) -> list[Loop]:
        """The host's loop devices on files of this agent's."""
        return loops_of_state(self.state)

    def count_starts(self, job: str) -> int:
        """How often a container of the job was started, since the engine's own start: its events reach back so far."""
        filters = quoted({"label": [f"gpu-agent.job={job}"], "event": ["start"]})
        path = f"/events?since=1&until={time.time() + 0.001:.3f}&filters={filters}"
        status, body = self.engine.request("GET", path)
        assert status == 200, body
        return len(body.splitlines())

    def query(self, sql: str, *values: object) -> list[sqlite3.Row]:
        """Read the database, behind the agent's back and without a way to change it."""
        connection = sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=10)
        try:
            connection.row_factory = sqlite3.Row
            return connection.execute(sql, values).fetchall()
        finally:
            connection.close()

    def held_ports(self) -> list[int]:
        rows = self.query("SELECT rest FROM jobs WHERE phase <> 'finished'")
        leases = [json.loads(row["rest"])["lease"] for row in rows]
        return [port["host_port"] for lease in leases if lease for port in lease["ports"]]

    def clean_up(self) -> None:
        """Kill it, and take away every container, volume, device and network that it made."""
        self.kill()
        self.remove_rules()
        if not (self.state / "agent-id").exists():
            return
        for container in self.containers():
            self.engine.request("DELETE", f"/containers/{container['Id']}?force=1&v=1")
        for volume in self.volumes():
            self.engine.request("DELETE", f"/volumes/{volume['Name']}?force=1")
        for loop in self.loops():
            subprocess.run(["losetup", "--detach", loop.device], check=False)
        self.engine.request("DELETE", f"/networks/{self.bridge}")

    def remove_rules(self) -> None:
        """The tables that guard its bridge. They outlive the agent, as they should."""
        for family in ("inet", "bridge"):
            table = ["nft", "delete", "table", family, f"gpu_agent_{self.bridge}"]
            subprocess.run([*self.engine.prefix, *table], capture_output=True, check=False)

    def _forget_process(self) -> None:
        self.process = None
        if self._reader is not None:
            self._reader.join(STOP_SECONDS)

    def _read_log(
        self, descriptor: int, process: "subprocess.Popen[bytes]", lines: list[dict[str, Any]]
    ) -> None:
        with os.fdopen(descriptor, "rb") as stream, (self.folder / "agent.log").open("ab") as kept:
            for line in stream:
                told = parse(line)
                if self._kill_at is not None and self._kill_at(told):
                    os.kill(process.pid, signal.SIGKILL)
                    self._kill_at = None
                kept.write(line)
                lines.append(told)


def in_loop(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in a thread: pytest's own event loop stays as it is."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


def quoted(filters: dict[str, list[str]]) -> str:
    return quote(json.dumps(filters))


def section(name: str, values: dict[str, Any]) -> str:
    """A table of TOML: its strings, numbers, booleans and lists are written as JSON writes them."""
    body = "\n".join(f"{key} = {json.dumps(value)}" for key, value in values.items())
    return f"[{name}]\n{body}\n" if name else f"{body}\n"


def parse(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {"event": line.decode(errors="replace").rstrip()}
