"""running_agent — the daemon as a process of ours, and its command line. Nothing here imports the agent: it is used as anyone would."""

import json
import os
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from place import BRIDGE, Place, wait
from screen import note, show_log

PROGRAM = str(Path(sys.executable).with_name("gpu-agent"))
READY_WITHIN_SECONDS = 20
PORTS = "28470-28489"
# RFC 5737: an address that is nobody's. The job has no name to look up, and not every host has a server to offer.
NO_DNS_SERVER = "192.0.2.53"
FETCH = "import sys, urllib.request as r; print(r.urlopen(sys.argv[1], timeout=3).read().decode())"
FETCH_THROUGH = (
    "import os, sys, urllib.request as r; bearer = {'Authorization': 'Bearer ' + os.environ['GPU_AGENT_TOKEN']}; "
    "print(r.urlopen(r.Request(sys.argv[1], headers=bearer), timeout=3).read().decode())"
)
PROBE = "import sys, urllib.request as r; r.urlopen(sys.argv[1], timeout=1)"


class AgentError(Exception):
    """The agent did not do what the demo asked. The text is its own."""


@dataclass
class RunningAgent:
    """The daemon under this demo's config; commands go to it over TCP, with a token."""

    place: Place
    prefix: list[str]
    url: str
    token: str = ""
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self) -> None:
        """Returns when it is ready to take jobs."""
        command = [*self.prefix, PROGRAM, "serve", "--config", str(self.place.config)]
        with self.place.agent_log.open("ab") as log:
            # A session of its own: Ctrl-C is for the demo, which then ends the daemon.
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self.place.agent_pid.write_text(str(self.process.pid))
        wait(lambda: self.is_ready() or self.has_left(), READY_WITHIN_SECONDS)
        if not self.is_ready():
            raise AgentError(f"the agent did not start:\n{last_lines(self.place.agent_log)}")

    def is_ready(self) -> bool:
        done = subprocess.run(
            [*self.prefix, sys.executable, "-c", PROBE, f"{self.url}/readyz"],
            capture_output=True,
            check=False,
        )
        return done.returncode == 0

    def has_left(self) -> bool:
        return self.process is None or self.process.poll() is not None

    def kill(self) -> None:
        """SIGKILL: it can't say goodbye to anyone."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    @property
    def pid(self) -> int:
        return 0 if self.process is None else self.process.pid

    def say(self, *words: str) -> str:
        """One command of the command line; what it printed."""
        done = subprocess.run(
            [*self.prefix, PROGRAM, *words],
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise AgentError(f"`gpu-agent {' '.join(words)}` failed: {done.stderr.strip()}")
        return done.stdout

    def ask(self, *words: str) -> Any:  # noqa: ANN401 - what the command answers, as JSON
        return json.loads(self.say(*words, "--json"))

    def find_finished(self, job: str) -> dict[str, Any] | None:
        """None: it is not finished yet."""
        found: dict[str, Any] = self.ask("show", job)
        return found if found["phase"] == "finished" else None

    def environment(self) -> dict[str, str]:
        where = {"GPU_AGENT_URL": self.url, "GPU_AGENT_TOKEN": self.token} if self.token else {}
        return {**os.environ, **where, "GPU_AGENT_CONFIG": str(self.place.config)}

    def fetch(self, url: str) -> Any:  # noqa: ANN401 - what the page answers, as JSON
        """A page of the job's; None while nobody answers there."""
        return self._fetch(FETCH, url)

    def fetch_through(self, path: str) -> Any:  # noqa: ANN401 - what the page answers, as JSON
        """The same by the agent's own address, with its token; None while nobody answers there."""
        return self._fetch(FETCH_THROUGH, self.url + path)

    def _fetch(self, program: str, url: str) -> Any:  # noqa: ANN401 - JSON
        command = [*self.prefix, sys.executable, "-c", program, url]
        done = subprocess.run(command, env=self.environment(), capture_output=True, text=True, check=False)
        return json.loads(done.stdout) if done.returncode == 0 else None


def configure(place: Place, prefix: list[str], engine_socket: str) -> RunningAgent:
    """The agent's config for this run: all of it below the demo's folder, reachable from this host only."""
    for folder in (place.state, place.runtime):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    place.config.write_text(
        f"""state_dir = "{place.state}"
runtime_dir = "{place.runtime}"
[api]
listen = "127.0.0.1:{port}"
socket = "{place.runtime}/api.sock"
[engine]
socket = "unix://{engine_socket}"
[ssh]
kit = "{place.cache}/ssh-kit"
[ports]
range = "{PORTS}"
bind = "127.0.0.1"
[uploads]
allow_http = true
allow_hosts = ["127.0.0.1"]
[network]
bridge = "{BRIDGE}"
dns = ["{NO_DNS_SERVER}"]
"""
    )
    return RunningAgent(place, prefix, f"http://127.0.0.1:{port}")


class Follower:
    """`gpu-agent logs -f` as a process; its lines are shown as they come, and kept."""

    def __init__(self, agent: RunningAgent, job: str) -> None:
        self.lines: list[str] = []
        self._process = subprocess.Popen(
            [*agent.prefix, PROGRAM, "logs", "-f", job],
            env=agent.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._readers = [
            threading.Thread(target=self._read_log, daemon=True),
            threading.Thread(target=self._read_notes, daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def _read_log(self) -> None:
        for line in self._process.stdout or ():
            self.lines.append(line.rstrip("\n"))
            show_log(self.lines[-1])

    def _read_notes(self) -> None:
        for line in self._process.stderr or ():
            note(line.rstrip("\n"))

    def wait(self, seconds: float) -> int:
        """Its exit code; it ends with the job's log. Raises subprocess.TimeoutExpired."""
        code = self._process.wait(seconds)
        for reader in self._readers:
            reader.join(5)
        return code

    def stop(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


def last_lines(path: Path) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-12:])
