"""adapters/folders/outputs — list and open the files of a hostile folder. Blocking; reads no contents, trusts no name.

All goes by descriptor through openat2, so no link, no mount and no swap of a folder leads out. Only regular files with one
link are taken. The owner says nothing here: images run as any user. One link does: the folder is a mount of its own in the
container, and no link or rename crosses mounts, so a file whose only name is in it was made in it.
"""

import errno
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from agent.adapters.folders.names import MAX_DEPTH, MAX_PATH_BYTES, to_bytes, to_text
from agent.adapters.folders.openat2 import open_beneath
from agent.adapters.folders.state import State
from agent.core.globs import OutputChoice
from agent.interfaces import (
    JobFolderMissingError,
    OutputFile,
    OutputLimits,
    OutputListing,
    OutputRefusedError,
    SkippedOutput,
)

GONE, HARD_LINK, LINK, NO_FILE, OTHER_MOUNT = (
    "gone",
    "hard_link",
    "symlink",
    "not_a_file",
    "other_file_system",
)
TOO_DEEP, TOO_LONG, TOO_LARGE, UNREADABLE = "too_deep", "name_too_long", "too_large", "unreadable"
KINDS = {
    stat.S_IFLNK: LINK,
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
}
# Names are up to 3,000 characters as they travel, and a list of them is held in memory: more than this on average are a bomb.
MEAN_PATH_CHARACTERS = 512
# A job may date its files past 2262, which 64 bits of nanoseconds don't hold, nor a database: all of that are of one date.
LATEST_NS = (1 << 63) - 1
# What a name may answer. Anything else (no descriptors left, no openat2) is no fact about the file, and is raised.
FAILURES = {
    errno.ENOENT: GONE,
    errno.ELOOP: LINK,
    errno.EXDEV: OTHER_MOUNT,
    errno.ENAMETOOLONG: TOO_LONG,
    errno.ENOTDIR: NO_FILE,
    errno.ENXIO: NO_FILE,
    errno.ENODEV: NO_FILE,
    **dict.fromkeys(
        (errno.EACCES, errno.EPERM, errno.EIO, errno.EAGAIN, errno.EINTR, errno.EUCLEAN), UNREADABLE
    ),
}


@contextmanager
def open_outputs(state: State, job_id: str) -> Iterator[int]:
    """A descriptor of the job's output folder, wherever that is: every reader comes by here.

    Raises JobFolderMissingError, QuotaUnavailableError.
    """
    try:
        with state.roots.opened(state.jobs, job_id) as root:
            yield root
    except FileNotFoundError as error:
        raise JobFolderMissingError(job_id, "folder of outputs") from error


def list_outputs(state: State, job_id: str, limits: OutputLimits, choice: OutputChoice) -> OutputListing:
    """Walk the folder. Each entry counts to `limits.files`, also folders and what is skipped or not chosen: each costs time."""
    with open_outputs(state, job_id) as root:
        return Walk(root, limits, choice).run((b"",))


@dataclass(frozen=True, slots=True)
class OpenedOutput:
    """A descriptor, which the taker closes, and what the file was as it was opened."""

    number: int
    file: OutputFile
    status: os.stat_result


def open_output(state: State, job_id: str, path: str) -> OpenedOutput:
    """One file. Raises OutputRefusedError, JobFolderMissingError, Openat2MissingError."""
    with open_outputs(state, job_id) as root:
        return open_in(root, path)


def open_in(root: int, path: str) -> OpenedOutput:
    """One file of the folder that `root` is open on. Raises OutputRefusedError, Openat2MissingError."""
    raw = to_bytes(path)
    if raw is None:
        raise OutputRefusedError(f"{path!r} is no path of an output")
    try:
        # First a look that opens nothing: to open a device or a FIFO is an act in itself.
        _check(_look(root, raw), path)
        number = open_beneath(root, raw, os.O_RDONLY)
    except OSError as error:
        raise OutputRefusedError(f"the output {path} is not served: {_why_failed(error)}") from error
    try:
        status = os.fstat(number)
        _check(status, path)
    except OutputRefusedError:
        os.close(number)
        raise
    return OpenedOutput(number, _as_file(path, status), status)


def _check(status: os.stat_result, path: str) -> None:
    why = _why_not(status)
    if why is not None:
        raise OutputRefusedError(f"the output {path} is not served: {why}")


def look_at(root: int, path: bytes) -> OutputFile | None:
    """What the file is now; None where it can't be served."""
    try:
        status = _look(root, path)
    except OSError as error:
        _why_failed(error)
        return None
    return None if _why_not(status) is not None else _as_file(to_text(path), status)


def can_hold_files(path: bytes) -> bool:
    """Whether a folder is so near that a file in it can be served: that has one more name."""
    return path.count(b"/") + 2 <= MAX_DEPTH and len(path) <= MAX_PATH_BYTES


def enter_only(_folder: int, _path: bytes) -> None:
    """For a walk that does nothing more with the folders it enters."""


class Walk:
    """One walk, for one thread. `enter` gets each folder (a descriptor and its path) before it is read."""

    def __init__(
        self,
        root: int,
        limits: OutputLimits,
        choice: OutputChoice,
        enter: Callable[[int, bytes], None] = enter_only,
    ) -> None:
        self._root = root
        self._enter = enter
        self._limits = limits
        self._choice = choice
        self._deadline = time.monotonic() + limits.seconds
        self._folders: list[bytes] = []
        self._seen = 0
        self._bytes = 0
        self._most_characters = limits.files * MEAN_PATH_CHARACTERS
        self._characters = 0
        self._files: list[OutputFile] = []
        self._skipped: list[SkippedOutput] = []
        self._truncated: str | None = None

    def run(self, starts: Iterable[bytes]) -> OutputListing:
        """Of these folders and all below them, within one set of limits; b"" is the folder of outputs."""
        self._folders.extend(starts)
        while self._folders and self._has_budget():
            self._scan(self._folders.pop())
        files = sorted(self._files, key=lambda file: file.path)
        skipped = sorted(self._skipped, key=lambda entry: entry.path)
        return OutputListing(tuple(files), tuple(skipped), self._truncated)

    def _has_budget(self) -> bool:
        if self._seen >= self._limits.files:
            self._truncated = f"stopped after {self._limits.files} entries"
            return False
        if time.monotonic() >= self._deadline:
            self._truncated = f"stopped after {self._limits.seconds} s"
            return False
        if self._characters > self._most_characters:
            self._truncated = f"stopped after {self._most_characters} characters of paths"
            return False
        return True

    def _scan(self, path: bytes) -> None:
        try:
            folder = open_beneath(self._root, path or b".", os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            self._fail(path, error)
            return
        try:
            self._enter(folder, path)
            with os.scandir(folder) as entries:
                for entry in entries:
                    if not self._has_budget():
                        return
                    self._seen += 1
                    name = os.fsencode(entry.name)
                    self._take(folder, name, path + b"/" + name if path else name)
        finally:
            os.close(folder)

    def _take(self, folder: int, name: bytes, path: bytes) -> None:
        text = to_text(path)
        is_chosen = self._choice.takes(text)
        if not is_chosen and not self._choice.enters(text):
            return
        try:
            status = _look(folder, name)
        except OSError as error:
            self._fail(path, error)
            return
        is_folder = stat.S_ISDIR(status.st_mode)
        if not (self._choice.enters(text) if is_folder else is_chosen):
            return
        self._characters += len(text)
        if len(path) > MAX_PATH_BYTES:
            self._skip(path, TOO_LONG)
        elif is_folder:
            self._take_folder(path)
        elif (why := _why_not(status)) is not None:
            self._skip(path, why)
        else:
            self._take_file(path, text, status)

    def _take_folder(self, path: bytes) -> None:
        if can_hold_files(path):
            self._folders.append(path)
        else:
            self._skip(path, TOO_DEEP)

    def _take_file(self, path: bytes, text: str, status: os.stat_result) -> None:
        if self._bytes + status.st_size > self._limits.total_bytes:
            self._truncated = f"left out what goes over {self._limits.total_bytes} bytes"
            self._skip(path, TOO_LARGE)
            return
        self._bytes += status.st_size
        self._files.append(_as_file(text, status))

    def _fail(self, path: bytes, error: OSError) -> None:
        why = _why_failed(error)
        # Gone since its folder was read: the job is at work, and that is no news.
        if why != GONE:
            self._skip(path or b".", why)

    def _skip(self, path: bytes, why: str) -> None:
        self._skipped.append(SkippedOutput(to_text(path), why))


def _look(folder: int, path: bytes) -> os.stat_result:
    number = open_beneath(folder, path, os.O_PATH)
    try:
        return os.fstat(number)
    finally:
        os.close(number)


def _why_not(status: os.stat_result) -> str | None:
    if not stat.S_ISREG(status.st_mode):
        return KINDS.get(stat.S_IFMT(status.st_mode), NO_FILE)
    if status.st_nlink == 0:
        return GONE
    return None if status.st_nlink == 1 else HARD_LINK


def _why_failed(error: OSError) -> str:
    if error.errno not in FAILURES:
        raise error
    return FAILURES[error.errno]


def _as_file(path: str, status: os.stat_result) -> OutputFile:
    modified_ns = max(-LATEST_NS, min(status.st_mtime_ns, LATEST_NS))
    return OutputFile(path, status.st_size, modified_ns, stat.S_IMODE(status.st_mode))
