"""adapters/folders/inotify — three system calls and the form of their answers. Judges nothing, keeps no path.

By ctypes, as openat2 is. Of the libraries, watchfiles and asyncinotify watch by paths that are looked up anew, in a folder whose
job swaps names meanwhile; inotify_simple would do, but starts programs (ldconfig, a compiler) to find the C library and reads as
much as the queue holds, and leaves no more to us than these lines.
"""

import ctypes
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass

# include/uapi/linux/inotify.h
CLOSE_WRITE = 0x00000008
MOVED_TO = 0x00000080
CREATE = 0x00000100
OVERFLOW = 0x00004000
IGNORED = 0x00008000
IS_FOLDER = 0x40000000
_ONLY_FOLDERS = 0x01000000
_MASK = CLOSE_WRITE | MOVED_TO | CREATE | _ONLY_FOLDERS

_EVENT = struct.Struct("iIII")
# Some thousand events; at least one must fit, with a name of 255 bytes.
READ_BYTES = 256 << 10

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Event:
    """`name` is that of an entry of the watched folder; empty: of the folder itself, or of none."""

    watch: int
    mask: int
    name: bytes


def open_inotify() -> int:
    """A descriptor that never waits. Raises OSError: EMFILE where the user's instances are used up."""
    return _checked(_libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))


def add_watch(inotify: int, folder: int) -> int:
    """Watch the folder that `folder` is open on, whatever its path is by now; the same number again if it is watched.

    Raises OSError: ENOSPC where the user's watches are used up.
    """
    return _checked(_libc.inotify_add_watch(inotify, b"/proc/self/fd/%d" % folder, ctypes.c_uint32(_MASK)))


def remove_watch(inotify: int, watch: int) -> None:
    """One that is gone is an OSError (EINVAL)."""
    _checked(_libc.inotify_rm_watch(inotify, watch))


def read_events(inotify: int) -> Iterator[Event]:
    """What is there now, up to READ_BYTES."""
    try:
        data = os.read(inotify, READ_BYTES)
    except BlockingIOError:
        return
    at = 0
    while at < len(data):
        watch, mask, _cookie, length = _EVENT.unpack_from(data, at)
        at += _EVENT.size
        yield Event(watch, mask, data[at : at + length].rstrip(b"\0"))
        at += length


def _checked(answer: int) -> int:
    if answer < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return answer
