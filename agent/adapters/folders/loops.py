"""adapters/folders/loops — loop devices on quota images: found, made, let go. Mounts nothing.

Which file a device is on is known by that file's device and inode numbers, and whose it is by a label that we write into it.
The kernel's path of the file serves for neither: it is another in each mount namespace, and a shorter one where the
namespace in which the device was made has ended, as a service's does with each restart.
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

from agent.adapters.folders.names import IMAGE, is_job_id, part_of
from agent.interfaces import QuotaUnavailableError

# include/uapi/linux/loop.h; LOOP_CONFIGURE is of Linux 5.8.
_CLR_FD, _SET_STATUS64, _GET_STATUS64, _CONFIGURE, _CTL_GET_FREE = 0x4C01, 0x4C04, 0x4C05, 0x4C0A, 0x4C82
# struct loop_info64: the file's device and inode; a span of it; numbers; flags; a name, which is for us to choose; the rest.
_INFO = struct.Struct("=2Q24s12sI64s112s")
_CONFIG_RESERVED = bytes(64)
_CONTROL = "/dev/loop-control"
_BLOCKS = Path("/sys/block")
# Between the look for a free number and its use another program may take it.
_TRIES = 16
_JOB_CHARACTERS, _LABEL_CHARACTERS = 36, 63


class Keep(IntFlag):
    """Flags of a loop device, by what they are for."""

    UNTIL_RELEASED = 0
    WHILE_OPEN = 4  # LO_FLAGS_AUTOCLEAR: it goes with its last user, also one that is killed


@dataclass(frozen=True, slots=True)
class Loop:
    """One on a quota image. `label` is ours: the job, and the agent as far as there is room; others have other names there."""

    number: int
    file_device: int
    file_inode: int
    keep: Keep
    label: str

    @property
    def device(self) -> str:
        return f"/dev/loop{self.number}"

    @property
    def job(self) -> str:
        return self.label[:_JOB_CHARACTERS]


class Loops:
    """All that one agent does to loop devices; one at a time, so that no image ever gets two: each would have a file system of
    its own in memory, over one and the same disk.
    """

    def __init__(self, agent_id: str) -> None:
        self._agent_id = agent_id
        self._lock = threading.Lock()

    @contextmanager
    def attached(self, job_id: str, image: int, keep: Keep) -> Iterator[str]:
        """The path of the device of the job's image, open as `image`; it is open itself, and does not go, during the block.

        One that goes with its last user is kept from it by `UNTIL_RELEASED`. Raises QuotaUnavailableError.
        """
        label = _label(job_id, self._agent_id)
        with self._lock:
            number, device = _find(image) or _make(image, keep, label)
            try:
                if keep is Keep.UNTIL_RELEASED:
                    _make_stay(device, label)
            except OSError:
                os.close(device)
                raise
        try:
            yield f"/dev/loop{number}"
        finally:
            os.close(device)

    def release(self, job_id: str) -> None:
        """Let the devices of all images that the job has or had go: at once, or with their last user. None is fine."""
        with self._lock:
            for loop in loops_of(self._agent_id):
                if loop.job == job_id:
                    _release(loop)

    def all(self) -> list[Loop]:
        return loops_of(self._agent_id)


def loops_of(agent_id: str) -> list[Loop]:
    """Those that this agent made, by their number."""
    return sorted(
        (loop for loop in _on_images() if loop.label == _label(loop.job, agent_id)),
        key=lambda loop: loop.number,
    )


def check_loops() -> None:
    """Raises QuotaUnavailableError where this process can make no loop device."""
    os.close(_open_control())


def _label(job_id: str, agent_id: str) -> str:
    return f"{job_id}/{agent_id}"[:_LABEL_CHARACTERS] if is_job_id(job_id) else ""


def _on_images() -> Iterator[Loop]:
    """Of all agents. No other device is opened: to open a stranger's might keep it from going just then."""
    for folder in _BLOCKS.glob("loop*"):
        number = int(folder.name.removeprefix("loop"))
        # It may go while we look: then it is not in use.
        with suppress(OSError):
            path = (folder / "loop" / "backing_file").read_text("utf-8", "replace")
            if _names_an_image(path):
                with _opened(number) as device:
                    yield _read(number, device)


def _names_an_image(path: str) -> bool:
    """Also one that is being made, and where the file was unlinked, which the kernel adds to its path."""
    return path.removesuffix("\n").removesuffix(" (deleted)").endswith((f"/{IMAGE}", f"/{part_of(IMAGE)}"))


def _find(image: int) -> tuple[int, int] | None:
    wanted = os.fstat(image)
    for loop in _on_images():
        if (loop.file_device, loop.file_inode) != (wanted.st_dev, wanted.st_ino):
            continue
        with suppress(OSError):
            device = os.open(loop.device, os.O_RDONLY | os.O_CLOEXEC)
            # From here on it does not go; but it may have gone just before, and be another file's by now.
            if _is_still(loop, device):
                return loop.number, device
            os.close(device)
    return None


def _is_still(loop: Loop, device: int) -> bool:
    try:
        found = _read(loop.number, device)
    except OSError:  # ENXIO: it is no file's
        return False
    return (found.file_device, found.file_inode) == (loop.file_device, loop.file_inode)


def _make(image: int, keep: Keep, label: str) -> tuple[int, int]:
    control = _open_control()
    try:
        for _ in range(_TRIES):
            number: int = fcntl.ioctl(control, _CTL_GET_FREE)
            device = os.open(f"/dev/loop{number}", os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.ioctl(device, _CONFIGURE, _config(image, keep, label))
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


def _open_control() -> int:
    try:
        return os.open(_CONTROL, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise QuotaUnavailableError(f"no loop devices can be made here: {error}") from error


def _config(image: int, keep: Keep, label: str) -> bytes:
    """`struct loop_config`: the file, the size of a block (0: the kernel's choice), the status."""
    info = _INFO.pack(0, 0, b"", b"", keep, label.encode(), b"")
    return struct.pack("=2I", image, 0) + info + _CONFIG_RESERVED


def _make_stay(device: int, label: str) -> None:
    """Also one that somebody else made on the image: from now on it is ours to let go."""
    status = list(_INFO.unpack(fcntl.ioctl(device, _GET_STATUS64, bytes(_INFO.size))))
    wanted = [*status[:4], status[4] & ~Keep.WHILE_OPEN, label.encode().ljust(64, b"\0"), status[6]]
    if wanted != status:
        fcntl.ioctl(device, _SET_STATUS64, _INFO.pack(*wanted))


def _read(number: int, device: int) -> Loop:
    answer = fcntl.ioctl(device, _GET_STATUS64, bytes(_INFO.size))
    file_device, inode, _, _, flags, name, _ = _INFO.unpack(answer)
    label = name.partition(b"\0")[0].decode("ascii", "replace")
    return Loop(number, file_device, inode, Keep(flags & Keep.WHILE_OPEN), label)


def _release(loop: Loop) -> None:
    with suppress(FileNotFoundError), _opened(loop.number) as device:
        if not _is_still(loop, device):
            return
        try:
            fcntl.ioctl(device, _CLR_FD)
        except OSError as error:
            if error.errno != errno.ENXIO:  # it has gone
                raise


@contextmanager
def _opened(number: int) -> Iterator[int]:
    device = os.open(f"/dev/loop{number}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield device
    finally:
        os.close(device)
