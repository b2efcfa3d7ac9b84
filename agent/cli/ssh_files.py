"""cli/ssh_files — a key of this moment and the files around it, in a folder that is its owner's alone. Asks no API."""

import asyncio
import getpass
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from agent.cli.refusals import ProgramMissingError
from agent.cli.ssh_place import Place, write_block

KEY, KNOWN_HOSTS, CONFIG = "key", "known_hosts", "config"


@dataclass(frozen=True, slots=True)
class SshFolder:
    path: Path

    @property
    def config(self) -> Path:
        return self.path / CONFIG

    async def make_key(self) -> str:
        """The public half. Raises ProgramMissingError."""
        key = self.path / KEY
        for old in (key, key.with_suffix(".pub")):
            old.unlink(missing_ok=True)
        keygen = find_program("ssh-keygen")
        process = await asyncio.create_subprocess_exec(
            keygen, "-q", "-t", "ed25519", "-N", "", "-C", comment(), "-f", str(key),
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        told, _ = await process.communicate()
        if process.returncode != 0:
            raise ProgramMissingError(f"{keygen} made no key: {told.decode(errors='replace').strip()}")
        return key.with_suffix(".pub").read_text("utf-8").strip()

    def write(self, place: Place) -> str:
        """The files that ssh reads; returns the config's text."""
        block = write_block(place, self.path / KEY, self.path / KNOWN_HOSTS)
        (self.path / KNOWN_HOSTS).write_text(place.known_hosts, "utf-8")
        self.config.write_text(block, "utf-8")
        return block


@contextmanager
def temporary() -> Iterator[SshFolder]:
    """Of mode 0700, and gone with the block."""
    path = Path(tempfile.mkdtemp(prefix="gpu-agent-ssh-"))
    try:
        yield SshFolder(path)
    finally:
        shutil.rmtree(path, ignore_errors=True)


def lasting(job_id: str, environ: Mapping[str, str]) -> SshFolder:
    """Of mode 0700, below the user's own state; those of before are made anew. Raises OSError."""
    state = environ.get("XDG_STATE_HOME") or str(
        Path(environ.get("HOME") or "~").expanduser() / ".local/state"
    )
    path = Path(state) / "gpu-agent" / "ssh" / job_id
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.chmod(0o700)
    return SshFolder(path)


def comment() -> str:
    """Who opened the session, for the job's events: one word."""
    with suppress(OSError, KeyError):
        return f"gpu-agent:{getpass.getuser()}@{socket.gethostname()}".replace(" ", "_")
    return f"gpu-agent:{os.getuid()}"


def find_program(name: str) -> str:
    """Raises ProgramMissingError."""
    found = shutil.which(name)
    if found is None:
        raise ProgramMissingError(f"there is no {name} in PATH")
    return found
