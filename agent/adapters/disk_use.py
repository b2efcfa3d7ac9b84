"""adapters/disk_use — how much of a disk is free, and how much of it a folder holds. For the adapters that own folders; owns none.

The folder may be hostile and written to meanwhile. Nothing in it is opened but folders, name by name from its root and through no
link, so no name leads out; a count that is cut short says so.
"""

import errno
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass

from agent.core.disk_space import CountLimits, DiskSpace, Held

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
# Of st_blocks, whatever the file system's own are: stat(2).
_BLOCK = 512
# Swapped or removed since its folder was read: the job is at work.
_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
_UNREADABLE = frozenset({errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE, errno.EUCLEAN})


@dataclass(frozen=True, slots=True)
class _Folder:
    """By its parent and not by a path: a million long paths would be gigabytes."""

    parent: "_Folder | None"
    name: str

    def names(self) -> list[str]:
        """From below the root downwards."""
        names, folder = [], self
        while folder.parent is not None:
            names.append(folder.name)
            folder = folder.parent
        return names[::-1]


def space(folder: int) -> DiskSpace:
    """Of a descriptor. What an unprivileged writer may still fill."""
    status = os.fstatvfs(folder)
    return DiskSpace(os.fstat(folder).st_dev, status.f_bavail * status.f_frsize)


def held_below(root: int, limits: CountLimits) -> Held:
    """Of the folder that `root` is open on: allocated blocks, each inode once, on its own file system alone. For one thread."""
    return _Count(root, limits).run()


class _Count:
    def __init__(self, root: int, limits: CountLimits) -> None:
        self._root = root
        self._limits = limits
        self._device = os.fstat(root).st_dev
        self._deadline = time.monotonic() + limits.seconds
        self._pending = [_Folder(None, ".")]
        self._linked: set[int] = set()
        self._bytes = self._fresh = self._entries = 0
        self._is_whole = True

    def run(self) -> Held:
        while self._pending and self._has_budget():
            self._scan(self._pending.pop())
        return Held(self._bytes, self._fresh, self._entries, self._is_whole)

    def _has_budget(self) -> bool:
        if self._entries >= self._limits.entries or time.monotonic() >= self._deadline:
            self._is_whole = False
        return self._is_whole

    def _scan(self, folder: _Folder) -> None:
        try:
            number = self._open(folder)
        except OSError as error:
            self._forgive(error)
            return
        try:
            with os.scandir(number) as entries:
                for entry in self._within_budget(entries):
                    self._take(folder, entry)
        except OSError as error:
            self._forgive(error)
        finally:
            os.close(number)

    def _within_budget(self, entries: Iterator[os.DirEntry[str]]) -> Iterator[os.DirEntry[str]]:
        for entry in entries:
            if not self._has_budget():
                return
            self._entries += 1
            yield entry

    def _take(self, folder: _Folder, entry: os.DirEntry[str]) -> None:
        try:
            status = entry.stat(follow_symlinks=False)
        except OSError as error:
            self._forgive(error)
            return
        if status.st_dev != self._device:
            return  # mounted there, which is nothing that a job can do
        if entry.is_dir(follow_symlinks=False):
            self._pending.append(_Folder(folder, entry.name))
        elif status.st_nlink > 1:
            if status.st_ino in self._linked:
                return
            self._linked.add(status.st_ino)
        self._bytes += status.st_blocks * _BLOCK
        if status.st_ctime >= self._limits.fresh_since:
            self._fresh += status.st_blocks * _BLOCK

    def _open(self, folder: _Folder) -> int:
        """Step by step from the root: a path may be longer than the kernel takes, and a folder above it may have been moved."""
        number = os.open(".", _FOLDER, dir_fd=self._root)
        for name in folder.names():
            try:
                below = os.open(name, _FOLDER, dir_fd=number)
            finally:
                os.close(number)
            number = below
        return number

    def _forgive(self, error: OSError) -> None:
        """What can't be seen makes the count a partial one. Anything else (no descriptors left) is no fact about the folder."""
        if error.errno in _UNREADABLE:
            self._is_whole = False
        elif error.errno not in _GONE:
            raise error
