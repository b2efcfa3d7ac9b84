"""core/ssh_audit — who came in by SSH and left, as a job's events. Pure: the server's words and the keys in; what is told, out."""

from collections.abc import Iterable

from agent.core.job import NewEvent
from agent.core.ssh import fingerprint
from agent.core.ssh_key import SshKey
from agent.core.ssh_log import Closed, Opened
from agent.spec import read_public_key


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
