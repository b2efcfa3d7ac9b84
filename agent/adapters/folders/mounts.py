"""adapters/folders/mounts — a file system used through a mount that hangs in no folder and in no namespace. Looks for no device.

A descriptor is all that it is: nobody else sees it, no path leads to it, and it goes with its last user, also one that is
killed. A mount(2) at a path would be in the host's namespace where there is no sandbox, would outlast a SIGKILL, and would be
open to writes and to setuid until a second call had changed that.
"""

import ctypes
import os

from agent.interfaces import QuotaUnavailableError

# The same on every architecture since Linux 5.2 (include/uapi/asm-generic/unistd.h).
_FSOPEN, _FSCONFIG, _FSMOUNT = 430, 431, 432
# include/uapi/linux/mount.h
_FSOPEN_CLOEXEC, _FSMOUNT_CLOEXEC = 1, 1
_SET_STRING, _CMD_CREATE = 1, 6
_RDONLY, _NOSUID, _NODEV, _NOEXEC = 0x1, 0x2, 0x4, 0x8

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def mount_to_read(device: str) -> int:
    """A descriptor of the root folder of the ext4 on `device`, through which nothing can be written, run or opened as a device.

    The file system itself is open for writing, as the container's mount of it wants it, and as the replay of a journal does
    after a crash of the host. Raises QuotaUnavailableError.
    """
    return _root_of(device, _RDONLY | _NOSUID | _NODEV | _NOEXEC)


def mount_to_make(device: str) -> int:
    """The same, to lay out a file system that is no job's yet. Raises QuotaUnavailableError."""
    return _root_of(device, _NOSUID | _NODEV | _NOEXEC)


def _root_of(device: str, attributes: int) -> int:
    check_mounts()
    try:
        mount = _mount(device, attributes)
    except OSError as error:
        raise QuotaUnavailableError(f"{device} can't be mounted: {error.strerror}") from error
    try:
        return os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=mount)
    finally:
        os.close(mount)


def check_mounts() -> None:
    """Raises QuotaUnavailableError where this process can mount nothing in this way."""
    try:
        os.close(_open())
    except OSError as error:
        why = f"ext4 can't be mounted here ({error.strerror}): an old kernel, or a sandbox around the agent"
        raise QuotaUnavailableError(why) from error


def _open() -> int:
    return _call(_FSOPEN, ctypes.c_char_p(b"ext4"), ctypes.c_uint(_FSOPEN_CLOEXEC))


def _mount(device: str, attributes: int) -> int:
    context = _open()
    try:
        source = ctypes.c_char_p(os.fsencode(device))
        _configure(context, _SET_STRING, ctypes.c_char_p(b"source"), source)
        _configure(context, _CMD_CREATE, None, None)
        return _call(
            _FSMOUNT, ctypes.c_int(context), ctypes.c_uint(_FSMOUNT_CLOEXEC), ctypes.c_uint(attributes)
        )
    finally:
        os.close(context)


def _configure(
    context: int, command: int, key: ctypes.c_char_p | None, value: ctypes.c_char_p | None
) -> None:
    _call(_FSCONFIG, ctypes.c_int(context), ctypes.c_uint(command), key, value, ctypes.c_int(0))


def _call(number: int, *arguments: object) -> int:
    result: int = _libc.syscall(ctypes.c_long(number), *arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
