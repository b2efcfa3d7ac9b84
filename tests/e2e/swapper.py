"""swapper — swaps names in a folder for links that lead out of it, as fast as the kernel lets it: python swapper.py FOLDER TARGET SECONDS

It does what a compiled program in a job's container could do to its output folder. Prints how often it swapped.
"""

import ctypes
import os
import sys
import time
from pathlib import Path

RENAME_EXCHANGE = 2  # linux/fs.h
AT_FDCWD = -100  # linux/fcntl.h
libc = ctypes.CDLL(None, use_errno=True)


def exchange(first: str, second: str) -> None:
    """Each gets the other's name, in one step."""
    if libc.renameat2(AT_FDCWD, first.encode(), AT_FDCWD, second.encode(), RENAME_EXCHANGE):
        raise OSError(ctypes.get_errno(), first)


def main() -> None:
    root, target, seconds = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
    os.chdir(root)
    Path("file").write_text("mine")
    Path("file-link").symlink_to(target / "inner")
    Path("folder").mkdir()
    Path("folder/inner").write_text("mine")
    Path("folder-link").symlink_to(target)
    swaps, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        for _ in range(50):
            exchange("file", "file-link")
            exchange("folder", "folder-link")
            swaps += 2
        # Closed after writing: somebody who waits for that is told, and comes to look.
        for name in ("new", "folder-new"):
            Path(name).write_text("mine")
        exchange("new", "file-link")
        exchange("new", "file-link")
    sys.stdout.write(f"{swaps}\n")


if __name__ == "__main__":
    main()
