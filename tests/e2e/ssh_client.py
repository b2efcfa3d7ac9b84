"""ssh_client — the system's own ssh and its kin, as a person would run them: with the line and the host key that the API gave."""

import json
import subprocess
from pathlib import Path

from tests.e2e.client import Client, Json, expect
from tests.e2e.daemon import Daemon

SSH_SECONDS = 30.0


class Person:
    """Somebody with a key of his own, and a file of known hosts that has what the API told and nothing else."""

    def __init__(self, folder: Path, daemon: Daemon, comment: str = "me@laptop") -> None:
        folder.mkdir()
        self.folder = folder
        self.daemon = daemon
        self.key = folder / "id"
        make_key(self.key, comment)

    @property
    def public(self) -> str:
        return self.key.with_suffix(".pub").read_text().strip()

    @property
    def fingerprint(self) -> str:
        shown = run(["ssh-keygen", "-l", "-f", str(self.key.with_suffix(".pub"))])
        return shown.stdout.decode().split()[1]

    def options(self, ssh: Json) -> list[str]:
        known = self.folder / "known_hosts"
        known.write_text(f"{ssh['known_hosts']}\n")
        kept = {
            "IdentityFile": self.key,
            "IdentitiesOnly": "yes",
            "BatchMode": "yes",
            "StrictHostKeyChecking": "yes",
            "UserKnownHostsFile": known,
            "GlobalKnownHostsFile": "/dev/null",
            "LogLevel": "ERROR",
            "ConnectTimeout": "10",
        }
        return [part for name, value in kept.items() for part in ("-o", f"{name}={value}")]

    def command(self, job: Json, *more: str, options: tuple[str, ...] = ()) -> list[str]:
        """`ssh.command` of the job, in the network of its engine, with this person's key."""
        program, *rest = job["ssh"]["command"].split()
        return [*self.daemon.engine.prefix, program, *self.options(job["ssh"]), *options, *rest, *more]

    def ssh(self, job: Json, *more: str, options: tuple[str, ...] = (), stdin: bytes = b"") -> "Ran":
        return run(self.command(job, *more, options=options), stdin)

    def copy(self, program: str, job: Json, source: str, target: str) -> "Ran":
        """Scp or the like; `{host}` in a path is the job's user and host."""
        _, flag, port, host = job["ssh"]["command"].split()
        assert flag == "-p"
        paths = [path.replace("{host}", host) for path in (source, target)]
        return run([*self.daemon.engine.prefix, program, *self.options(job["ssh"]), "-P", port, *paths])


Ran = subprocess.CompletedProcess[bytes]


def make_key(path: Path, comment: str = "", kind: str = "ed25519") -> None:
    run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", comment, "-f", str(path)])


def run(command: list[str], stdin: bytes = b"") -> Ran:
    return subprocess.run(command, input=stdin, capture_output=True, timeout=SSH_SECONDS, check=False)


def submit(client: Client, person: Person, script: str = "sleep 600", **fields: object) -> str:
    ssh = {"authorized_keys": [person.public]}
    return client.submit(script, **{"ssh": ssh, "network": "egress", "grace": 0, **fields})


def told(daemon: Daemon, job_id: str, kind: str) -> list[Json]:
    """What the job's events of that type hold, in order."""
    rows = daemon.query(
        "SELECT events.data FROM events JOIN jobs ON jobs.seq = events.job"
        " WHERE jobs.id = ? AND events.type = ? ORDER BY events.n",
        job_id,
        kind,
    )
    return [json.loads(row["data"]) for row in rows]


def wait_ready(client: Client, job_id: str, seconds: float = 30.0) -> Json:
    return wait_state(client, job_id, "ready", seconds)


def wait_state(client: Client, job_id: str, state: str, seconds: float = 30.0) -> Json:
    expect(lambda: client.job(job_id)["ssh"]["state"] == state, f"ssh of {job_id} is {state}", seconds)
    return client.job(job_id)
