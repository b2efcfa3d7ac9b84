"""core/ssh_audit — who came in by SSH and left, as a job's events. Pure: the server's words and the keys in; what is told, out."""

from collections.abc import Iterable
from dataclasses import dataclass

from agent.core.job import NewEvent
from agent.core.ssh import fingerprint
from agent.core.ssh_key import SshKey
from agent.core.ssh_log import Closed, Opened
from agent.spec import read_public_key

# A job may write what looks like the server's words, or log in to itself for ever: of one job at most so many are told at once,
# and one a second from then on.
BURST, PER_SECOND = 60.0, 1.0


@dataclass(frozen=True, slots=True)
class Pace:
    """What may still be told. `at` is of any clock that never goes back; `missed`: since the last that was told."""

    at: float
    left: float = BURST
    missed: int = 0


def pass_by(pace: Pace, at: float) -> tuple[Pace, int | None]:
    """One more. How many were missed before it; None: it is missed, too."""
    left = min(BURST, pace.left + (at - pace.at) * PER_SECOND)
    if left < 1:
        return Pace(at, left, pace.missed + 1), None
    return Pace(at, left - 1), pace.missed


def tell(line: Opened | Closed, keys: Iterable[SshKey], attempt: int, missed: int) -> NewEvent:
    """`keys`: those in the file; one that was taken out a moment ago is nobody's."""
    data: dict[str, object] = {
        "attempt": attempt,
        "session": line.session,
        "user": line.user,
        "address": line.address,
        "missed": missed,
    }
    if isinstance(line, Closed):
        return NewEvent("ssh.closed", data)
    key = next((key for key in keys if fingerprint(key) == line.fingerprint), None)
    data |= {
        "fingerprint": line.fingerprint,
        "comment": None if key is None else read_public_key(key.line).comment,
        "by": None if key is None else key.by,
    }
    return NewEvent("ssh.opened", data)
