"""adapters/folders/roots — the folder in which a job's outputs are read: its own, or that in its quota. Judges no file.

A quota is mounted for the first reader and let go when nobody has read for a while: a host keeps the outputs of thousands of
finished jobs, and a loop device and a mounted file system for those alone that somebody reads.
"""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from agent.adapters.folders import durable, images
from agent.adapters.folders.loops import Keep, Loops
from agent.adapters.folders.mounts import mount_to_read
from agent.adapters.folders.names import IMAGE, job_folder

OUTPUTS = "outputs"
# A client that fetches file by file mounts once; more of them at once than these let go of the longest unread.
IDLE_SECONDS = 30.0
MOST_IDLE = 16


@dataclass(slots=True)
class _Mounted:
    """`root` None: not mounted. `inode`: of the image: another job may have the id later."""

    root: int | None = None
    inode: int = 0
    users: int = 0
    read_at: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)


class Roots:
    """For all threads of one process."""

    def __init__(self, loops: Loops) -> None:
        self._loops = loops
        self._mounted: dict[str, _Mounted] = {}
        self._lock = threading.Lock()

    @contextmanager
    def opened(self, jobs: int, job_id: str) -> Iterator[int]:
        """A descriptor of the folder, for the time of the block. Raises FileNotFoundError, QuotaUnavailableError."""
        with durable.open_folder(jobs, job_folder(job_id)) as job:
            if not images.has_image(job):
                with durable.open_folder(job, OUTPUTS) as root:
                    yield root
                return
            with self._use(job_id) as mounted:
                with mounted.lock:
                    self._ensure_mounted(job_id, job, mounted)
                    # Of its own, so that nothing here closes it beneath who reads.
                    root = os.dup(mounted.root) if mounted.root is not None else -1
                try:
                    yield root
                finally:
                    os.close(root)

    def let_go_idle(self, idle_seconds: float = IDLE_SECONDS) -> None:
        """Unmount what nobody has read for so long, and of what is idle all but the last few."""
        with self._lock:
            idle = sorted(
                (mounted.read_at, job_id) for job_id, mounted in self._mounted.items() if mounted.users == 0
            )
            before = time.monotonic() - idle_seconds
            for number, (read_at, job_id) in enumerate(idle):
                if read_at <= before or number < len(idle) - MOST_IDLE:
                    self._drop(job_id)

    def let_go(self, job_id: str) -> None:
        """Unmount it, unless somebody reads: then it is let go some time after."""
        with self._lock:
            mounted = self._mounted.get(job_id)
            if mounted is not None and mounted.users == 0:
                self._drop(job_id)

    def close(self) -> None:
        """Readers must have ended."""
        with self._lock:
            for job_id in list(self._mounted):
                self._drop(job_id)

    @contextmanager
    def _use(self, job_id: str) -> Iterator[_Mounted]:
        with self._lock:
            mounted = self._mounted.setdefault(job_id, _Mounted())
            mounted.users += 1
        try:
            yield mounted
        finally:
            with self._lock:
                mounted.users -= 1
                mounted.read_at = time.monotonic()
            self.let_go_idle()

    def _ensure_mounted(self, job_id: str, job: int, mounted: _Mounted) -> None:
        image = os.open(IMAGE, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=job)
        try:
            inode = os.fstat(image).st_ino
            if mounted.root is not None and mounted.inode == inode:
                return
            _unmount(mounted)
            with self._loops.attached(job_id, image, Keep.WHILE_OPEN) as device:
                mounted.root, mounted.inode = mount_to_read(device), inode
        finally:
            os.close(image)

    def _drop(self, job_id: str) -> None:
        _unmount(self._mounted.pop(job_id))


def _unmount(mounted: _Mounted) -> None:
    if mounted.root is not None:
        os.close(mounted.root)
        mounted.root = None
