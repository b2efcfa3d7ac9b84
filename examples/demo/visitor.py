"""visitor — somebody who logs into the running job with the system's own ssh. Of the agent he knows what the job's answer says, and no more."""

import shlex
import subprocess
from pathlib import Path
from typing import Any

from place import Place
from story import StoryError

WITHIN_SECONDS = 30


class Visitor:
    """His key is made for this run, and goes with it."""

    def __init__(self, place: Place, prefix: list[str]) -> None:
        self._folder = place.run / "visitor"
        self._folder.mkdir(mode=0o700)
        self._prefix = prefix
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "visitor", "-f", str(self._key))

    @property
    def _key(self) -> Path:
        return self._folder / "key"

    @property
    def public_key(self) -> str:
        return self._key.with_suffix(".pub").read_text().strip()

    def ask(self, ssh: dict[str, Any], command: str) -> str:
        """What the command says in the job. The host key is the one that the agent told, or ssh ends here."""
        known = self._folder / "known_hosts"
        known.write_text(ssh["known_hosts"] + "\n")
        program, *where = shlex.split(ssh["command"])
        options = {
            "UserKnownHostsFile": known,
            "StrictHostKeyChecking": "yes",
            "IdentitiesOnly": "yes",
            "LogLevel": "ERROR",
        }
        given = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        # Without the user's own settings, whatever they say of this address.
        return run(*self._prefix, program, "-F", "none", "-i", str(self._key), *given, *where, command)


def run(*words: str) -> str:
    done = subprocess.run(
        words, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=WITHIN_SECONDS
    )
    if done.returncode != 0:
        raise StoryError(f"`{shlex.join(words)}` failed: {done.stderr.strip()}")
    return done.stdout.strip()
