"""adapters/folders/durable — folders and files, by descriptor, that outlast a power cut. Knows no job."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from agent.adapters.folders.names import part_of
from agent.errors import AgentError
from agent.interfaces import StateFullError, StateReadOnlyError

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
PRIVATE_FILE, PRIVATE_FOLDER = 0o600, 0o700


@contextmanager
def open_folder(parent: int, name: str) -> Iterator[int]:
    """A descriptor of the folder `name`, which is no link, for the time of the block."""
    descriptor = os.open(name, FOLDER, dir_fd=parent)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def ensure_folder(parent: int, name: str, mode: int) -> None:
    """Make the folder if it is not there, and give it exactly `mode`, whatever the umask. Its parent is not synced."""
    with suppress(FileExistsError):  # ours from before: the mode is set below in either case
        os.mkdir(name, PRIVATE_FOLDER, dir_fd=parent)
    with open_folder(parent, name) as folder:
        os.fchmod(folder, mode)


def write_file(folder: int, name: str, data: bytes, mode: int) -> None:
    """A new file, synced; the entry in `folder` is not. Raises FileExistsError."""
    descriptor = os.open(name, CREATE, PRIVATE_FILE, dir_fd=folder)
    try:
        write_all(descriptor, data)
        os.fchmod(descriptor, mode)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(folder: int, name: str, data: bytes) -> None:
    """The file with this content, or as it was before: never half. Synced, and so is its entry."""
    part = part_of(name)
    unlink_if_there(folder, part)
    try:
        write_file(folder, part, data, PRIVATE_FILE)
        os.rename(part, name, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError:
        unlink_if_there(folder, part)
        raise
    os.fsync(folder)


def write_all(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def read_file(folder: int, name: str) -> bytes:
    """The whole of a file of our own. Raises FileNotFoundError."""
    with os.fdopen(os.open(name, READ, dir_fd=folder), "rb") as file:
        return file.read()


def names_in(folder: int) -> list[str]:
    with os.scandir(folder) as entries:
        return [entry.name for entry in entries]


def unlink_if_there(folder: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        return


def is_there(folder: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def as_state_error(error: OSError, state_dir: str) -> AgentError | None:
    """The error that a user sees where the disk of the state folder is full or read-only; None for any other."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StateFullError(f"no space is left on the disk of {state_dir}")
    if error.errno == errno.EROFS:
        return StateReadOnlyError(f"the file system of {state_dir} is read-only")
    return None
