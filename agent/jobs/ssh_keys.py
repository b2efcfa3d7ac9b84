"""jobs/ssh_keys — how somebody says, after the submit, who may log in to a job by SSH. Starts no server."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from agent.core.job import Job, NewEvent, Viewer
from agent.core.ssh import add_key, keys_of, replace_keys, valid_keys
from agent.core.ssh_key import SshKey
from agent.errors import AgentError, Blame
from agent.interfaces import Clock, JobFolderMissingError, Store
from agent.jobs.intake import ENDED, unknown_job
from agent.jobs.ssh import SshServers
from agent.spec import Fault, SpecRefusedError, find_key_faults, read_public_key
from agent.spec.limits import MAX_KEY_SECONDS, MAX_SSH_KEYS, MIN_KEY_SECONDS

Changed = tuple[Job, Sequence[NewEvent]]


class SshNotAskedError(AgentError):
    """A job has the port and the server of SSH from its start, or never."""

    code, blame = "ssh_not_asked", Blame.USER
    remedy = "Submit the job with `ssh`; keys may be replaced and added from then on."


class SshEndedError(AgentError):
    """Nobody can log in to a job that has ended."""

    code, blame = "ssh_ended", Blame.USER
    remedy = "Submit the job again."


@dataclass(frozen=True, slots=True)
class SshKeys:
    store: Store
    servers: SshServers
    clock: Clock

    async def replace(self, viewer: Viewer, job_id: str, body: object) -> Job:
        """`{"authorized_keys": […]}`: these, and no others, from the next connection on. It is so when this returns.

        Raises ForeignIdError, SpecRefusedError, SshNotAskedError, SshEndedError, StateFullError, StateReadOnlyError,
        StoreUnavailableError.
        """
        await self._find(viewer, job_id)
        keys = [SshKey(line, viewer.principal) for line in _read_keys(body)]
        return await self._change(viewer, job_id, lambda job: replace_keys(job, keys, viewer.principal))

    async def add(self, viewer: Viewer, job_id: str, body: object) -> Job:
        """`{"key": …, "expires_in": seconds}`: this one, too, for so long. Raises as `replace`."""
        await self._find(viewer, job_id)
        line, seconds = _read_key(body)
        now = self.clock.now()
        key = SshKey(line, viewer.principal, now + seconds)
        return await self._change(viewer, job_id, lambda job: _add(job, key, now))

    async def _find(self, viewer: Viewer, job_id: str) -> None:
        """Whether there is such a job comes before what is wrong with the keys for it."""
        if await self.store.get(job_id, viewer) is None:
            raise unknown_job(job_id)

    async def _change(self, viewer: Viewer, job_id: str, change: Callable[[Job], Changed]) -> Job:
        def decide(job: Job) -> Changed:
            if job.spec.ssh is None:
                raise SshNotAskedError(f"the job {job.id} was submitted without ssh")
            if job.phase in ENDED:
                raise SshEndedError(f"the job {job.id} has ended: {job.outcome}")
            return change(job)

        job = await self.store.change(job_id, viewer, decide)
        if job is None:
            raise unknown_job(job_id)
        try:
            await self.servers.renew_keys(job)
        except JobFolderMissingError as error:
            # It ended a moment ago, and its host key with it; or it was removed, which its task finds out.
            raise SshEndedError(f"the job {job.id} can't be logged in to any more") from error
        return job

    def keys_of(self, job: Job) -> tuple[SshKey, ...]:
        return valid_keys(keys_of(job), self.clock.now())


def _add(job: Job, key: SshKey, now: float) -> Changed:
    changed = add_key(job, key, now)
    if len(keys_of(changed[0])) > MAX_SSH_KEYS:
        raise SpecRefusedError(
            [
                Fault(
                    "key",
                    "too_many",
                    f"would be more than {MAX_SSH_KEYS} keys",
                    "Replace the keys with fewer.",
                )
            ]
        )
    return changed


def _read_keys(body: object) -> list[str]:
    faults = list(_find_shape_faults(body, {"authorized_keys": "a list of keys"}))
    keys = body.get("authorized_keys") if isinstance(body, dict) else None
    if not faults and not (isinstance(keys, list) and all(isinstance(key, str) for key in keys)):
        faults = [Fault("authorized_keys", "wrong_type", "must be a list of text", "Write a list of keys.")]
    faults += find_key_faults("authorized_keys", keys)
    if faults or not isinstance(keys, list):
        raise SpecRefusedError(faults)
    return [read_public_key(key).line for key in keys]


def _read_key(body: object) -> tuple[str, int]:
    faults = list(_find_shape_faults(body, {"key": "one key", "expires_in": "seconds"}))
    key, seconds = (body.get("key"), body.get("expires_in")) if isinstance(body, dict) else (None, None)
    if isinstance(key, str):
        faults += [replace(fault, field="key") for fault in find_key_faults("key", [key])]
    elif not faults:
        faults.append(Fault("key", "wrong_type", "must be text", "Write one line of a .pub file."))
    if not isinstance(seconds, int) or isinstance(seconds, bool):
        if not any(fault.field in {"expires_in", "body"} for fault in faults):
            faults.append(Fault("expires_in", "wrong_type", "must be a whole number", "Write seconds."))
    elif not MIN_KEY_SECONDS <= seconds <= MAX_KEY_SECONDS:
        told = f"from {MIN_KEY_SECONDS} to {MAX_KEY_SECONDS}"
        faults.append(Fault("expires_in", "out_of_range", f"must be {told}", f"Write seconds {told}."))
    if faults or not isinstance(key, str) or not isinstance(seconds, int):
        raise SpecRefusedError(faults)
    return read_public_key(key).line, seconds


def _find_shape_faults(body: object, fields: dict[str, str]) -> list[Fault]:
    if not isinstance(body, dict):
        told = ", ".join(f"`{name}` ({what})" for name, what in fields.items())
        return [Fault("body", "wrong_type", f"must be an object with {told}", "Send a JSON object.")]
    unknown = [
        Fault(str(name)[:64], "unknown_field", "is no field here", f"The fields are: {', '.join(fields)}.")
        for name in body
        if name not in fields
    ]
    missing = [Fault(name, "missing_field", "is required", "Add it.") for name in fields if name not in body]
    return [*unknown, *missing]
