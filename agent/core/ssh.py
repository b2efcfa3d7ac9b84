"""core/ssh — who may log in to a job, and what a client needs to know for it. Pure; writes no file, starts no server."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from enum import StrEnum

from agent.core.event_form import show_time
from agent.core.job import Job, NewEvent
from agent.core.lease import Lease, PortLease
from agent.core.ssh_key import SshKey
from agent.core.ssh_kit import SSH_PORT, authorized_line
from agent.errors import Phase
from agent.spec import read_public_key

# Where the container sees the job's own folder: its host key, and who may log in.
KEYS_PATH = "/.agent/ssh-keys"
HOST_KEY_PATH = f"{KEYS_PATH}/host_key"

_ENDED = frozenset({Phase.UPLOADING, Phase.FINISHED})


class SshState(StrEnum):
    """What a client may expect of the SSH port."""

    STARTING = "starting"
    READY = "ready"
    DOWN = "down"  # its server died too often; the job goes on
    ENDED = "ended"


def keys_of(job: Job) -> tuple[SshKey, ...]:
    """Those that were set last; at first the spec's, which its owner sent."""
    if job.ssh_keys is not None:
        return job.ssh_keys
    lines = () if job.spec.ssh is None else job.spec.ssh.authorized_keys
    return tuple(SshKey(read_public_key(line).line, job.owner) for line in lines)


def keys_left(job: Job, written: str | None) -> tuple[SshKey, ...] | None:
    """For a row that is made anew: of its spec's keys those that the server's file still had, since who was taken out stays out.
    `written` None: there was no such file yet, and so nobody was.
    """
    if written is None:
        return None
    words = frozenset(written.split())
    return tuple(key for key in keys_of(job) if read_public_key(key.line).base64 in words)


def valid_keys(keys: Iterable[SshKey], now: float) -> tuple[SshKey, ...]:
    return tuple(key for key in keys if key.expires_at is None or key.expires_at > now)


def seconds_to_expiry(keys: Iterable[SshKey], now: float) -> float | None:
    """Until the next of them is over. None: none ever is."""
    ends = [key.expires_at for key in keys if key.expires_at is not None]
    return max(0.0, min(ends) - now) if ends else None


def authorized_keys(keys: Iterable[SshKey]) -> str:
    """The file by that name, for the server."""
    return "".join(f"{authorized_line(key.line)}\n" for key in keys)


def fingerprint(key: SshKey) -> str:
    return read_public_key(key.line).fingerprint


def replace_keys(job: Job, keys: Sequence[SshKey], by: str) -> tuple[Job, list[NewEvent]]:
    return _with_keys(job, tuple(keys), by, "replaced", keys)


def add_key(job: Job, key: SshKey, now: float) -> tuple[Job, list[NewEvent]]:
    """The same key again takes the place of itself: its expiry is the newer one. Keys that are over go."""
    added = read_public_key(key.line).base64
    kept = [old for old in valid_keys(keys_of(job), now) if read_public_key(old.line).base64 != added]
    return _with_keys(job, (*kept, key), key.by, "added", [key])


def _with_keys(
    job: Job, keys: tuple[SshKey, ...], by: str, change: str, told: Iterable[SshKey]
) -> tuple[Job, list[NewEvent]]:
    data: dict[str, object] = {
        "change": change,
        "by": by,
        "keys": [{"fingerprint": fingerprint(key), "expires_at": show_time(key.expires_at)} for key in told],
    }
    return replace(job, ssh_keys=keys), [NewEvent("ssh.keys", data)]


def ssh_port(lease: Lease | None) -> PortLease | None:
    """The lease of the port that leads to the server."""
    ports = () if lease is None else lease.ports
    return next((port for port in ports if port.port == SSH_PORT), None)


def state_of(job: Job, server: SshState | None) -> SshState:
    """`server`: of the server that this daemon looks after; None: it has none."""
    if job.phase in _ENDED or (job.phase is Phase.STOPPING and job.run.exit is not None):
        return SshState.ENDED
    return server or SshState.STARTING
