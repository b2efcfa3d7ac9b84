"""adapters/folders/loops — loop devices: found by the file behind them, made, let go. Mounts nothing.

A device is known by the file's device and inode numbers alone: its own number changes with each boot, and a path means
another file in another mount namespace.
"""

import errno
import fcntl
import os
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import IntFlag
from pathlib import Path

from agent.interfaces import QuotaUnavailableError

# include/uapi/linux/loop.h; LOOP_CONFIGURE is of Linux 5.8.
CLR_FD, SET_STATUS64, GET_STATUS64, CONFIGURE, CTL_GET_FREE = 0x4C01, 0x4C04, 0x4C05, 0x4C0A, 0x4C82
# struct loop_info64: device, inode, rdevice, offset, sizelimit; number, encrypt type and key size, flags; file name, crypt
# name, key; init.
_INFO = struct.Struct("=5Q4I64s64s32s2Q")
_NAME_BYTES = 63
_CONFIG_RESERVED = bytes(64)
_CONTROL = "/dev/loop-control"
_BLOCKS = Path("/sys/block")
# Between the look for a free number and its use another program may take it.
_TRIES = 16
_DELETED = " (deleted)"


class Keep(IntFlag):
    """Flags of a loop device, by what they are for."""

    UNTIL_RELEASED = 0
    WHILE_OPEN = 4  # LO_FLAGS_AUTOCLEAR: it goes with its last user, also one that is killed


@dataclass(frozen=True, slots=True)
class Loop:
    """One that is in use. `path`: its file's, as the kernel tells it to us; of one that was unlinked, its last."""

    number: int
    path: str

    @property
    def device(self) -> str:
        return f"/dev/loop{self.number}"

    @property
    def is_of_removed_file(self) -> bool:
        return self.path.endswith(_DELETED)


class Loops:
    """All that this process does to loop devices; one at a time, so that no file ever gets two (each would have a file system
    of its own in memory, over one and the same disk).
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()

    @contextmanager
    def attached(self, image: int, keep: Keep) -> Iterator[str]:
        """The path of the device of the file that is open as `image`, which stays open, and so does not go, during the block.

        One that goes with its last user is kept from it by `UNTIL_RELEASED`. Raises QuotaUnavailableError.
        """
        with self._lock:
            number, device = _find(image) or _make(image, keep)
            try:
                if keep is Keep.UNTIL_RELEASED:
                    _make_stay(device)
            except OSError:
                os.close(device)
                raise
        try:
            yield f"/dev/loop{number}"
        finally:
            os.close(device)

    def release(self, image: os.stat_result) -> None:
        """Let the file's devices go: at once, or with their last user. None is fine."""
        with self._lock:
            for loop in in_use():
                with suppress(FileNotFoundError), _opened(loop) as device:
                    if _is_of(device, image):
                        _clear(device)

    def release_path(self, prefix: str) -> None:
        """The same of files that were unlinked under a path that begins so, and that no stat finds any more."""
        with self._lock:
            for loop in in_use():
                if loop.path.startswith(prefix) and loop.is_of_removed_file:
                    with suppress(FileNotFoundError), _opened(loop) as device:
                        _clear(device)


def in_use() -> list[Loop]:
    """All of the host, whoever's."""
    found = []
    for folder in _BLOCKS.glob("loop*"):
        # It may go while we look: then it is not in use.
        with suppress(OSError):
            path = os.fsdecode((folder / "loop" / "backing_file").read_bytes().removesuffix(b"\n"))
            found.append(Loop(int(folder.name.removeprefix("loop")), path))
    return sorted(found, key=lambda loop: loop.number)


def goes_by_itself(loop: Loop) -> bool:
    """Whether it goes with its last user. One that has gone meanwhile did."""
    try:
        return (_BLOCKS / f"loop{loop.number}" / "loop" / "autoclear").read_text().strip() == "1"
    except OSError:
        return True


def check_loops() -> None:
    """Raises QuotaUnavailableError where this process can make no loop device."""
    os.close(_open_control())


def _open_control() -> int:
    try:
        return os.open(_CONTROL, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise QuotaUnavailableError(f"no loop devices can be made here: {error}") from error


def _find(image: int) -> tuple[int, int] | None:
    wanted, name = os.fstat(image), _path_of(image).name
    for loop in in_use():
        if Path(loop.path.removesuffix(_DELETED)).name != name:
            continue  # no stranger's device is opened without need
        try:
            device = os.open(loop.device, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue
        # From here on it does not go; but it may have gone before, and be another file's by now.
        if _is_of(device, wanted):
            return loop.number, device
        os.close(device)
    return None


def _make(image: int, keep: Keep) -> tuple[int, int]:
    control = _open_control()
    try:
        for _ in range(_TRIES):
            number: int = fcntl.ioctl(control, CTL_GET_FREE)
            device = os.open(f"/dev/loop{number}", os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.ioctl(device, CONFIGURE, _config(image, keep))
            except OSError as error:
                os.close(device)
                if error.errno != errno.EBUSY:
                    raise
            else:
                return number, device
    except OSError as error:
        raise QuotaUnavailableError(f"no loop device can be had: {error}") from error
    finally:
        os.close(control)
    raise QuotaUnavailableError("no loop device can be had: each free one was taken by another program")


def _config(image: int, keep: Keep) -> bytes:
    """`struct loop_config`: the file, the size of a block (0: the kernel's choice), the status."""
    name = os.fsencode(_path_of(image))[-_NAME_BYTES:]
    info = _INFO.pack(0, 0, 0, 0, 0, 0, 0, 0, keep, name, b"", b"", 0, 0)
    return struct.pack("=2I", image, 0) + info + _CONFIG_RESERVED


def _path_of(image: int) -> Path:
    return Path(f"/proc/self/fd/{image}").readlink()


def _make_stay(device: int) -> None:
    status = list(_INFO.unpack(_status(device)))
    if status[8] & Keep.WHILE_OPEN:
        status[8] &= ~Keep.WHILE_OPEN
        fcntl.ioctl(device, SET_STATUS64, _INFO.pack(*status))


def _status(device: int) -> bytes:
    return fcntl.ioctl(device, GET_STATUS64, bytes(_INFO.size))


def _is_of(device: int, file: os.stat_result) -> bool:
    try:
        found = _INFO.unpack(_status(device))
    except OSError:  # ENXIO: it has gone
        return False
    return (found[0], found[1]) == (file.st_dev, file.st_ino)


def _clear(device: int) -> None:
    try:
        fcntl.ioctl(device, CLR_FD)
    except OSError as error:
        if error.errno != errno.ENXIO:  # it has gone
            raise


@contextmanager
def _opened(loop: Loop) -> Iterator[int]:
    device = os.open(loop.device, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield device
    finally:
        os.close(device)
