"""adapters/folders/tree — remove a folder that a hostile job filled. Follows no link, holds two descriptors, reads no path.

A folder that is found below is emptied of files and then moved up to the top, so depth costs nothing: no recursion, no path
longer than a name, and a crash leaves a flatter tree that the next call goes on with.
"""

import errno
import os
import secrets
from contextlib import suppress
from itertools import count

from agent.adapters.folders import durable
from agent.adapters.folders.names import to_text
from agent.errors import AgentError, Blame

# What the engine or a file system may still do beneath us ends within a few rounds; a writer that is alive would never let us end.
ROUNDS = 20
SHOWN = 5


class FolderNotRemovedError(AgentError):
    """Something in a folder can't be removed: it is immutable, a mount point, another user's, or is still written to."""

    code, blame = "folder_not_removed", Blame.HOST
    remedy = "Look at the entries named: unmount them, clear their immutable flag (chattr -i), or run the agent as root."

    def __init__(self, folder: str, faults: dict[str, str]) -> None:
        shown = ", ".join(f"{name} ({why})" for name, why in list(faults.items())[:SHOWN])
        super().__init__(f"{folder} can't be removed: {len(faults)} of its entries stay: {shown}")


def remove_tree(parent: int, name: str) -> None:
    """Remove the folder `name` and all in it; gone is fine. Raises FolderNotRemovedError for what stays."""
    try:
        top = os.open(name, durable.FOLDER, dir_fd=parent)
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno not in (errno.ENOTDIR, errno.ELOOP):
            raise
        durable.unlink_if_there(parent, name)
        return
    try:
        faults = _Emptying(top).run()
    finally:
        os.close(top)
    if faults:
        raise FolderNotRemovedError(name, faults)
    with suppress(FileNotFoundError):  # another removal was faster
        os.rmdir(name, dir_fd=parent)


class _Emptying:
    def __init__(self, top: int) -> None:
        self._top = top
        self._pending: list[str] = []
        self._removed = 0
        self._faults: dict[str, str] = {}
        # Unlike any name that an earlier, interrupted call gave, and any that is there.
        self._new_names = (f"{prefix}.{number}" for prefix in (secrets.token_hex(8),) for number in count())

    def run(self) -> dict[str, str]:
        """Empty the top folder; what stays, and why."""
        for _ in range(ROUNDS):
            before = self._removed
            self._faults = {}
            self._empty(self._top)
            while self._pending:
                self._empty_and_remove(self._pending.pop())
            if not durable.names_in(self._top) or self._removed == before:
                break
        # What another process made between two looks is no fault of its own, and stays all the same.
        return self._faults or dict.fromkeys(map(_shown, durable.names_in(self._top)), "still there")

    def _empty_and_remove(self, name: str) -> None:
        try:
            with durable.open_folder(self._top, name) as folder:
                self._empty(folder)
            self._remove_folder(self._top, name)
        except OSError as error:
            self._blame(name, error)

    def _empty(self, folder: int) -> None:
        with os.scandir(folder) as entries:
            for entry in entries:
                try:
                    self._remove_entry(folder, entry)
                except OSError as error:
                    self._blame(entry.name, error)

    def _remove_entry(self, folder: int, entry: os.DirEntry[str]) -> None:
        if not entry.is_dir(follow_symlinks=False):
            os.unlink(entry.name, dir_fd=folder)
            self._removed += 1
        elif not self._is_removed_empty(folder, entry.name):
            self._pending.append(self._move_up(folder, entry.name))

    def _is_removed_empty(self, folder: int, name: str) -> bool:
        try:
            self._remove_folder(folder, name)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                return False
            raise
        return True

    def _remove_folder(self, folder: int, name: str) -> None:
        os.rmdir(name, dir_fd=folder)
        self._removed += 1

    def _move_up(self, folder: int, name: str) -> str:
        if folder == self._top:
            return name
        new = next(self._new_names)
        os.rename(name, new, src_dir_fd=folder, dst_dir_fd=self._top)
        return new

    def _blame(self, name: str, error: OSError) -> None:
        # Gone or not empty any more: the next round looks again.
        if error.errno not in (errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST):
            self._faults.setdefault(_shown(name), os.strerror(error.errno or 0))


def _shown(name: str) -> str:
    return to_text(os.fsencode(name))
