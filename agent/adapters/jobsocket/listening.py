"""adapters/jobsocket/listening — the socket itself: made in a job's folder, in the place of the one before. Blocking; accepts nobody."""

import errno
import os
import socket
from pathlib import Path

from agent.interfaces import JobFolderMissingError, StateFullError, StateReadOnlyError

NAME, NEW = "agent.sock", "agent.sock.new"
# The image runs as any user, and the mount is the boundary.
MODE = 0o666
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Who connects beyond what is accepted waits in the kernel, or is told to try again.
_BACKLOG = 8


def listen(job_id: str, folder: Path, lines: int) -> socket.socket:
    """`lines`: so many more connect at once. Raises JobFolderMissingError, StateFullError, StateReadOnlyError, OSError."""
    try:
        return _listen(folder, _BACKLOG + lines)
    except FileNotFoundError as error:
        raise JobFolderMissingError(job_id, "folder of the socket") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StateFullError(f"no space is left for a socket in {folder}") from error
        if error.errno == errno.EROFS:
            raise StateReadOnlyError(f"the file system of {folder} is read-only") from error
        raise


def _listen(folder: Path, backlog: int) -> socket.socket:
    descriptor = os.open(folder, _FOLDER)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _unlink(descriptor, NEW)
        # The path of a state folder may be longer than an address of a socket (unix(7): 108 bytes); this one never is.
        listening.bind(f"/proc/self/fd/{descriptor}/{NEW}")
        os.chmod(NEW, MODE, dir_fd=descriptor)
        listening.listen(backlog)
        # In one step: who looks for it finds the old one, or this one.
        os.rename(NEW, NAME, src_dir_fd=descriptor, dst_dir_fd=descriptor)
    except BaseException:
        listening.close()
        raise
    finally:
        os.close(descriptor)
    listening.setblocking(False)  # noqa: FBT003 - socket's own
    return listening


def remove(folder: Path) -> None:
    """Gone is fine."""
    try:
        descriptor = os.open(folder, _FOLDER)
    except FileNotFoundError:
        return
    try:
        _unlink(descriptor, NAME)
    finally:
        os.close(descriptor)


def _unlink(folder: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        return
