"""An ext4 that a test fills, and the least that was free on it."""

import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def disk_of_its_own(size: int, *options: str) -> Iterator[Path]:
    """An ext4 of that size, at a short path: an engine's sockets may lie below it. `options`: of mke2fs."""
    folder = Path(tempfile.mkdtemp(prefix="gad-", dir="/tmp"))
    image = folder / "disk.img"
    with image.open("wb") as file:
        file.truncate(size)
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-m", "0", *options, str(image)], check=True)
    target = folder / "d"
    target.mkdir()
    subprocess.run(["mount", "-o", "loop", str(image), str(target)], check=True)
    try:
        yield target
    finally:
        # Lazily: of a test that failed, something may still run there, and is ended later.
        subprocess.run(["umount", "--lazy", str(target)], check=True)
        shutil.rmtree(folder)


def free_bytes(disk: Path) -> int:
    status = os.statvfs(disk)
    return status.f_bavail * status.f_frsize


def free_files(disk: Path) -> int:
    return os.statvfs(disk).f_favail


@contextmanager
def least_free(disk: Path, what: Callable[[Path], int] = free_bytes) -> Iterator[list[int]]:
    """The least that was free, looked at all the time."""
    least, is_over = [what(disk)], threading.Event()

    def look() -> None:
        while not is_over.wait(0.005):
            least[0] = min(least[0], what(disk))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield least
    finally:
        is_over.set()
        looking.join()
