"""adapters/folders/images — a quota as a file: an ext4 in `q.img` of the job's folder, all its room reserved. Serves no reader.

It is made as `q.img.part`, synced and renamed, so that `q.img` is always whole. `q.released` beside it says that nothing
writes to it any more, and that the room which was not filled has been given back.
"""

import ctypes
import errno
import fcntl
import os
import shutil
import struct
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from agent.adapters.folders import durable
from agent.adapters.folders.loops import Keep, Loops
from agent.adapters.folders.mounts import mount_to_make
from agent.adapters.folders.names import IMAGE, job_folder, part_of
from agent.core.disk_guard import FLOOR_BYTES
from agent.interfaces import JobFolderMissingError, QuotaUnavailableError, Shortage

PART, RELEASED = part_of(IMAGE), "q.released"
# Of the file system's root, which is what the job gets: as of any output folder.
ROOT_MODE = 0o1777
_BLOCK = 4096
_SECTOR = 512
_MKFS_SECONDS = 120.0
_PATH = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"
# -m 0: nothing is kept for root, who in the container is the job. nodiscard: else mke2fs punches holes where room was
# reserved. The tables are zeroed at once, which on a new file costs nothing: no kernel thread writes them later.
_MKFS = ("-q", "-F", "-t", "ext4", "-m", "0", "-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0")
_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FITRIM = 0xC0185879  # include/uapi/linux/fs.h; struct fstrim_range: start, length, least extent

_libc = ctypes.CDLL(None, use_errno=True)
# To look at what is free and to take it are one act.
_reserving = threading.Lock()


def free_bytes(jobs: int) -> int:
    """What may be reserved now."""
    status = os.fstatvfs(jobs)
    return max(0, status.f_bavail * status.f_frsize - FLOOR_BYTES)


def reserve(jobs: int, loops: Loops, job_id: str, size_bytes: int) -> Shortage | None:
    """Make the job's image, or leave the one that is there. Raises JobFolderMissingError, QuotaUnavailableError."""
    size = size_bytes // _BLOCK * _BLOCK
    with _job_folder(jobs, job_id) as job:
        if has_image(job):
            return None
        durable.unlink_if_there(job, PART)
        image = os.open(PART, _CREATE, durable.PRIVATE_FILE, dir_fd=job)
        try:
            if not _take_room(jobs, image, size):
                durable.unlink_if_there(job, PART)
                return Shortage(size, free_bytes(jobs))
            _make_file_system(image, loops, job_id)
        finally:
            os.close(image)
        os.rename(PART, IMAGE, src_dir_fd=job, dst_dir_fd=job)
        os.fsync(job)
        return None


def refill(jobs: int, job_id: str) -> bool:
    """Whether the job's image has all its room, also after a trim of the host; true where there is none."""
    try:
        with open_image(jobs, job_id) as image:
            return _take_room(jobs, image, os.fstat(image).st_size)
    except JobFolderMissingError:
        return True


def _take_room(jobs: int, image: int, size: int) -> bool:
    """Of what it has not, and only if the floor stays free. What is in it stays as it is."""
    with _reserving:
        wanted = size - os.fstat(image).st_blocks * _SECTOR
        return wanted <= 0 or (wanted <= free_bytes(jobs) and _fallocate(image, size))


def _fallocate(image: int, size: int) -> bool:
    """Whether there was room. By the call itself: the library's stands in for it by writing, where a file system has none."""
    offset, length = ctypes.c_int64(0), ctypes.c_int64(size)
    if _libc.fallocate(ctypes.c_int(image), ctypes.c_int(0), offset, length) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return False
    if code in (errno.EOPNOTSUPP, errno.ENOSYS):
        raise QuotaUnavailableError("the file system of the state folder can't reserve room (fallocate)")
    raise OSError(code, os.strerror(code))


def _make_file_system(image: int, loops: Loops, job_id: str) -> None:
    """An empty one, anybody's to write to; e2fsck makes its folder for what it finds anew where it needs it.

    By the kernel, which will mount it for the job as well: what can't be mounted is told before anything is granted.
    """
    _run_mkfs(image)
    with loops.attached(job_id, image, Keep.WHILE_OPEN) as device:
        root = mount_to_make(device)
        try:
            os.rmdir("lost+found", dir_fd=root)
            os.fchmod(root, ROOT_MODE)
            os.fsync(root)
        finally:
            os.close(root)
    os.fsync(image)


def _run_mkfs(image: int) -> None:
    """By descriptor: one that outlives a killed daemon writes into its own file, not into the next one of the name."""
    arguments = [find_mkfs(), *_MKFS, f"/proc/self/fd/{image}"]
    try:
        done = subprocess.run(  # noqa: S603 - the arguments are ours
            arguments,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_MKFS_SECONDS,
            check=False,
            env={"PATH": _PATH, "LC_ALL": "C"},
            pass_fds=(image,),
        )
    except subprocess.TimeoutExpired as error:
        raise QuotaUnavailableError(f"mke2fs was not done after {_MKFS_SECONDS:.0f} s") from error
    if done.returncode != 0:
        words = (done.stderr or done.stdout).decode(errors="replace").strip()[-500:]
        raise QuotaUnavailableError(f"mke2fs failed ({done.returncode}): {words}")


def find_mkfs() -> str:
    """Its path. Raises QuotaUnavailableError."""
    program = shutil.which("mke2fs", path=f"{os.environ.get('PATH', '')}:{_PATH}")
    if program is None:
        raise QuotaUnavailableError("mke2fs is not installed (e2fsprogs)")
    return program


@contextmanager
def open_image(jobs: int, job_id: str) -> Iterator[int]:
    """The job's image, for the time of the block. Raises JobFolderMissingError where nothing is reserved."""
    with _job_folder(jobs, job_id) as job:
        try:
            image = os.open(IMAGE, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=job)
        except FileNotFoundError as error:
            raise JobFolderMissingError(job_id, "quota volume") from error
    try:
        yield image
    finally:
        os.close(image)


def has_image(job: int) -> bool:
    """Whether the job's folder, open as `job`, has one: then its outputs are in there, and nowhere else."""
    return durable.is_there(job, IMAGE)


def is_released(job: int) -> bool:
    return durable.is_there(job, RELEASED)


def mark_released(job: int) -> None:
    durable.replace_file(job, RELEASED, b"")


def give_back(root: int) -> None:
    """Punch holes into the image wherever its file system, open as `root`, holds nothing."""
    try:
        fcntl.ioctl(root, _FITRIM, struct.pack("=3Q", 0, (1 << 64) - 1, 0))
    except OSError as error:
        # The disk below can't punch holes: then the room stays taken until the outputs are forgotten.
        if error.errno not in (errno.EOPNOTSUPP, errno.ENOTTY):
            raise


@contextmanager
def _job_folder(jobs: int, job_id: str) -> Iterator[int]:
    try:
        job = os.open(job_folder(job_id), durable.FOLDER, dir_fd=jobs)
    except FileNotFoundError as error:
        raise JobFolderMissingError(job_id, "folder") from error
    try:
        yield job
    finally:
        os.close(job)
