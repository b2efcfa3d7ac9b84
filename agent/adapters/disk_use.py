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
    """By its parent and not by a path: a million long paths would be gigabytes. `is_fresh`: something was made or removed in it lately."""

    parent: "_Folder | None"
    name: str
    is_fresh: bool

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
    return DiskSpace(
        os.fstat(folder).st_dev,
        status.f_bavail * status.f_frsize,
        status.f_favail if status.f_files else None,
        status.f_files - status.f_ffree,
    )


def held_below(root: int, limits: CountLimits) -> Held:
    """Of the folder that `root` is open on: allocated blocks, each inode once, on its own file system alone. For one thread.

    Fresh folders come first, so that their maker is found though the rest of his tree is beyond the limits.
    """
    return _Count(root, limits).run()


class _Count:
    def __init__(self, root: int, limits: CountLimits) -> None:
        self._root = root
        self._limits = limits
        status = os.fstat(root)
        self._device = status.st_dev
        self._deadline = time.monotonic() + limits.seconds
        self._pending: list[_Folder] = []
        self._fresh_pending: list[_Folder] = []
        self._linked: set[int] = set()
        self._bytes = self._fresh_bytes = self._files = self._fresh_files = self._entries = 0
        self._is_whole = self._is_fresh_whole = True
        self._put_off(_Folder(None, ".", self._is_fresh(status)))

    def run(self) -> Held:
        while (self._fresh_pending or self._pending) and self._has_budget():
            self._scan((self._fresh_pending or self._pending).pop())
        return Held(
            self._bytes,
            self._fresh_bytes,
            self._entries,
            self._is_whole,
            self._files,
            self._fresh_files,
            self._is_fresh_whole and not self._fresh_pending,
        )

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
                for entry in self._within_budget(folder, entries):
                    self._take(folder, entry)
        except OSError as error:
            self._forgive(error)
        finally:
            os.close(number)

    def _within_budget(
        self, folder: _Folder, entries: Iterator[os.DirEntry[str]]
    ) -> Iterator[os.DirEntry[str]]:
        for entry in entries:
            if not self._has_budget():
                self._is_fresh_whole = not folder.is_fresh
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
        is_fresh = self._is_fresh(status)
        if entry.is_dir(follow_symlinks=False):
            self._put_off(_Folder(folder, entry.name, is_fresh))
        elif status.st_nlink > 1:
            if status.st_ino in self._linked:
                return
            self._linked.add(status.st_ino)
        self._bytes += status.st_blocks * _BLOCK
        self._files += 1
        if is_fresh:
            self._fresh_bytes += status.st_blocks * _BLOCK
            self._fresh_files += 1

    def _is_fresh(self, status: os.stat_result) -> bool:
        """By the one stamp that nobody can set."""
        return status.st_ctime >= self._limits.fresh_since

    def _put_off(self, folder: _Folder) -> None:
        (self._fresh_pending if folder.is_fresh else self._pending).append(folder)

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
