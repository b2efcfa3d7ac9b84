"""adapters/folders/openat2 — one system call: open beneath a descriptor, through no link and onto no other mount. Judges nothing."""

import ctypes
import errno
import os

from agent.errors import AgentError, Blame

# The same on every architecture of Linux 5.6 and later (include/uapi/asm-generic/unistd.h).
SYSCALL_NUMBER = 437
# include/uapi/linux/openat2.h
RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV
FLAGS = os.O_NOFOLLOW | os.O_CLOEXEC
# A FIFO or a leased file must never hold a thread, and none becomes our terminal. With O_PATH nothing is opened, and the
# kernel refuses these as meaningless.
OPENING = os.O_NONBLOCK | os.O_NOCTTY
# A name that is swapped for a link and back answers ELOOP about half of the time, a rename beside us EAGAIN.
TRIES = 4
PASSING = frozenset({errno.EAGAIN, errno.EINTR, errno.ELOOP})


class Openat2MissingError(AgentError):
    """The kernel has no openat2, or a sandbox around us hides it, and nothing else reads a hostile folder safely."""

    code, blame = "openat2_missing", Blame.HOST
    remedy = "Run the agent on Linux 5.6 or later, outside of sandboxes that hide the openat2 system call."

    def __init__(self) -> None:
        super().__init__("the kernel has no openat2, so output files can't be read safely")


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def open_beneath(directory: int, path: bytes, flags: int) -> int:
    """A descriptor of `path`, which never leaves the folder that `directory` is open on.

    Raises Openat2MissingError, and OSError as open does: ELOOP for a link on the way, EXDEV for a way out
    (`..`, an absolute path, a mount point).
    """
    for _ in range(TRIES - 1):
        try:
            return _openat2(directory, path, flags)
        except OSError as error:
            if error.errno not in PASSING:
                raise
    return _openat2(directory, path, flags)


def _openat2(directory: int, path: bytes, flags: int) -> int:
    always = FLAGS if flags & os.O_PATH else FLAGS | OPENING
    how = _OpenHow(flags=flags | always, mode=0, resolve=RESOLVE)
    descriptor: int = _libc.syscall(
        ctypes.c_long(SYSCALL_NUMBER),
        ctypes.c_int(directory),
        ctypes.c_char_p(path),
        ctypes.byref(how),
        ctypes.c_size_t(ctypes.sizeof(how)),
    )
    if descriptor >= 0:
        return descriptor
    code = ctypes.get_errno()
    if code == errno.ENOSYS:
        raise Openat2MissingError
    raise OSError(code, os.strerror(code), os.fsdecode(path))
