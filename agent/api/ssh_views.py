"""api/ssh_views — what a client needs to log in to a job, as JSON. Reads no store."""

from collections.abc import Iterable

from agent.api.views import Addresses, Json
from agent.core.event_form import show_time
from agent.core.job import Job
from agent.core.ssh import SshState, ssh_port
from agent.core.ssh_key import SshKey
from agent.spec import read_public_key

_USUAL_PORT = 22


def show_ssh(job: Job, state: SshState, addresses: Addresses) -> Json | None:
    """None: the job has no SSH. The command and the line of known_hosts are there while a port leads to the job."""
    if job.spec.ssh is None or job.ssh_host_key is None:
        return None
    lease = ssh_port(job.lease)
    command = known_hosts = None
    if lease is not None:
        outside = addresses.nat.host
        host = outside or addresses.host
        port = addresses.nat.outside(lease.host_port) if outside else lease.host_port
        known_hosts = f"{host if port == _USUAL_PORT else f'[{host}]:{port}'} {job.ssh_host_key}"
        # As whom is known once somebody has looked into the image.
        command = None if job.run.ssh_user is None else f"ssh -p {port} {job.run.ssh_user}@{host}"
    return {
        "state": state.value,
        "command": command,
        "fingerprint": read_public_key(job.ssh_host_key).fingerprint,
        "known_hosts": known_hosts,
    }


def show_keys(keys: Iterable[SshKey]) -> list[Json]:
    return [_show_key(key) for key in keys]


def _show_key(key: SshKey) -> Json:
    public = read_public_key(key.line)
    return {
        "type": public.type,
        "fingerprint": public.fingerprint,
        "comment": public.comment,
        "by": key.by,
        "expires_at": show_time(key.expires_at),
    }
