"""jobs/ssh/key_files — the file of who may log in to a job, always made of the row. Decides not who that is."""

import asyncio
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

from agent.core.ssh import authorized_keys, keys_of, seconds_to_expiry, valid_keys
from agent.core.ssh_key import SshKey
from agent.interfaces import Clock, Folders, Store


@dataclass(frozen=True, slots=True)
class Written:
    """What is in the file now. `seconds`: until the next key of it is over; None: none ever is."""

    keys: tuple[SshKey, ...]
    seconds: float | None


@dataclass(frozen=True, slots=True)
class KeyFiles:
    store: Store
    folders: Folders
    clock: Clock
    # Of two who write at once the later has read the row later: what is in the file is never older than what was answered.
    _turns: WeakValueDictionary[str, asyncio.Lock] = field(default_factory=WeakValueDictionary, init=False)

    async def write(self, job_id: str) -> Written:
        """For the next connection. Raises JobFolderMissingError, StateFullError, StateReadOnlyError, StoreUnavailableError."""
        async with self._turns.setdefault(job_id, asyncio.Lock()):
            job = await self.store.read(job_id)
            if job is None:
                return Written((), None)
            now = self.clock.now()
            keys = valid_keys(keys_of(job), now)
            await self.folders.keep_authorized_keys(job_id, authorized_keys(keys))
            return Written(keys, seconds_to_expiry(keys, now))
