"""swapper — swaps names in a folder for links that lead out of it, as fast as the kernel lets it: python swapper.py FOLDER TARGET SWAPS

It does what a compiled program in a job's container could do to its output folder, at least SWAPS times and until its input is
closed.
"""

import ctypes
import os
import select
import sys
from pathlib import Path

RENAME_EXCHANGE = 2  # linux/fs.h
AT_FDCWD = -100  # linux/fcntl.h
libc = ctypes.CDLL(None, use_errno=True)


def exchange(first: str, second: str) -> None:
    """Each gets the other's name, in one step."""
    if libc.renameat2(AT_FDCWD, first.encode(), AT_FDCWD, second.encode(), RENAME_EXCHANGE):
        raise OSError(ctypes.get_errno(), first)


def main() -> None:
    root, target, wanted = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    os.chdir(root)
    Path("file").write_text("mine")
    Path("file-link").symlink_to(target / "inner")
    Path("folder").mkdir()
    Path("folder/inner").write_text("mine")
    Path("folder-link").symlink_to(target)
    swaps = 0
    while swaps < wanted or not select.select([sys.stdin], [], [], 0)[0]:
        for _ in range(50):
            exchange("file", "file-link")
            exchange("folder", "folder-link")
            swaps += 2
        # Closed after writing: somebody who waits for that is told, and comes to look.
        for name in ("new", "folder-new"):
            Path(name).write_text("mine")
        exchange("new", "file-link")
        exchange("new", "file-link")


if __name__ == "__main__":
    main()
