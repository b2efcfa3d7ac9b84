"""adapters/gpu_locks — a locked file for each GPU, in one folder for all agents of the host. Knows no GPU, waits for no lock.

The lock is flock's, so the kernel ends it with the process; files are left behind, and one that nobody has locked means
nothing. Never are they removed: two agents could then hold locks of one name.
"""

import errno
import fcntl
import json
import os
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from agent.aio import Threads
from agent.core.gpu_locks import LockHolder
from agent.interfaces import GpuLocksUnusableError

_FOLDER_MODE, _FILE_MODE = 0o700, 0o600
_WRITABLE_BY_OTHERS = 0o022
# Whoever has the turn opens a few files; past this he was stopped in the middle of it.
_TURN_SECONDS, _AGAIN_SECONDS = 2.0, 0.01
_MOST_BYTES = 8192


class GpuLockFiles:
    """`own`: what others are told of us. Nothing is made before the first GPU is to be locked."""

    def __init__(self, folder: Path, own: LockHolder) -> None:
        self._folder, self._own = folder, own
        self._threads = Threads("gpu-locks", 1)
        self._held: dict[str, int] = {}

    async def take(self, gpus: Collection[str]) -> Mapping[str, LockHolder | None]:
        wanted = sorted(set(gpus) - self._held.keys())
        return await self._threads.run(self._take, wanted) if wanted else {}

    def close(self) -> None:
        self._threads.close()
        for descriptor in self._held.values():
            os.close(descriptor)
        self._held.clear()

    def _take(self, wanted: Sequence[str]) -> dict[str, LockHolder | None]:
        try:
            with _folder(self._folder) as folder:
                _take_turn(folder)  # it ends as the folder is closed
                return {gpu: _read_holder(folder, gpu) for gpu in wanted if not self._lock(folder, gpu)}
        except OSError as error:
            raise GpuLocksUnusableError(f"GPUs can't be locked in {self._folder}: {error}") from error

    def _lock(self, folder: int, gpu: str) -> bool:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(gpu, flags, _FILE_MODE, dir_fd=folder)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._sign(descriptor)
        except BaseException as error:
            os.close(descriptor)
            if isinstance(error, BlockingIOError):
                return False
            raise
        self._held[gpu] = descriptor
        return True

    def _sign(self, descriptor: int) -> None:
        own = self._own
        text = json.dumps({"agent": own.agent, "pid": own.pid, "state_dir": own.state_dir})
        os.ftruncate(descriptor, 0)
        try:
            os.pwrite(descriptor, f"{text}\n".encode(), 0)
        except OSError as error:
            # It is for a message only: a full disk must not keep the daemon from adopting its jobs.
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise


@contextmanager
def _folder(path: Path) -> Iterator[int]:
    path.mkdir(_FOLDER_MODE, parents=True, exist_ok=True)
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        _require_own(os.fstat(folder))
        os.fchmod(folder, _FOLDER_MODE)
        yield folder
    finally:
        os.close(folder)


def _require_own(status: os.stat_result) -> None:
    """Else somebody could have put there what is opened and written to as a lock."""
    if status.st_uid != os.geteuid():
        raise PermissionError(f"it belongs to user {status.st_uid}, the agent is user {os.geteuid()}")
    if status.st_mode & _WRITABLE_BY_OTHERS:
        raise PermissionError(f"its mode is {status.st_mode & 0o7777:04o}, so others can write to it")


def _take_turn(folder: int) -> None:
    """One agent at a time takes locks and signs them: else two that start at once could each get a half, and both be refused."""
    until = time.monotonic() + _TURN_SECONDS
    while True:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                raise
            time.sleep(_AGAIN_SECONDS)
        else:
            return


def _read_holder(folder: int, gpu: str) -> LockHolder | None:
    descriptor = os.open(gpu, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        told = json.loads(os.pread(descriptor, _MOST_BYTES, 0))
        return LockHolder(str(told["agent"]), int(told["pid"]), str(told["state_dir"]))
    except (ValueError, KeyError, TypeError):  # its disk was full, or it is no agent of ours
        return None
    finally:
        os.close(descriptor)
