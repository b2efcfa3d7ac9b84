"""receiver — the sample control plane (examples/control_plane.py) as a process of ours: where the job's results go."""

import base64
import json
import secrets
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from place import CHECKOUT, Place
from story import until

PROGRAM = CHECKOUT / "examples/control_plane.py"


class Receiver:
    """Its lines are kept: what it stored, and how often."""

    def __init__(self, place: Place, prefix: list[str]) -> None:
        self.folder = place.received
        self.secret = "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()
        self.stored: list[str] = []
        self.events: list[str] = []
        self.uploads: dict[str, Any] = {}
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        command = [sys.executable, str(PROGRAM), "--port", str(self.port), "--folder", str(self.folder)]
        self._process = subprocess.Popen(
            [*prefix, *command, "--secret", self.secret],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        place.receiver_pid.write_text(str(self._process.pid))
        threading.Thread(target=self._read, daemon=True).start()
        until(lambda: len(self.uploads) == 4, "the control plane has said what to write into a spec")

    @property
    def notify(self) -> dict[str, str]:
        return {"url": f"http://127.0.0.1:{self.port}/hooks", "secret": self.secret}

    def of(self, job: str) -> Path:
        """What it has of the first attempt of the job."""
        return self.folder / job / "1"

    def _read(self) -> None:
        for line in self._process.stdout or ():
            word, _, rest = line.rstrip("\n").partition(" ")
            if word == "stored":
                self.stored.append(rest.rpartition(" ")[0])
            elif word == "event":
                self.events.append(rest)
            elif rest.startswith("{"):
                self.uploads[word] = json.loads(rest)
