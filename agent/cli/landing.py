"""cli/landing — where fetched files land: below one folder and nowhere else, whatever their names. Fetches nothing.

Names come from a job, which is hostile. Folders are opened one by one and never through a link, so that no name leads out, not
even past a link that somebody else put there meanwhile.
"""

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from io import BufferedRandom
from pathlib import Path
from stat import S_ISREG

from agent.errors import AgentError, Blame

ENCODED = re.compile(rb"%([0-9A-Fa-f]{2})")
NOT_NAMES = frozenset({b"", b".", b".."})
READ_BYTES = 1 << 20
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class HostileNameError(AgentError):
    """A name that would land somewhere else."""

    code, blame = "hostile_name", Blame.USER
    remedy = "Nothing was written for it. Look at what the job calls its files."


class LandingRefusedError(AgentError):
    """The place is taken, or can't be written."""

    code, blame = "landing_refused", Blame.USER
    remedy = "Fetch into another folder, move away what is in the way, or use --force where a file differs."


class Overwrite(Enum):
    """What to do with a file that is there and differs."""

    REFUSE = "refuse"
    REPLACE = "replace"


def parts_of(path: str) -> list[bytes]:
    """The names on disk of a path as the API lists it (`%XX` for bytes that are no text). Raises HostileNameError."""
    raw = ENCODED.sub(lambda found: bytes([int(found[1], 16)]), os.fsencode(path))
    parts = raw.split(b"/")
    if b"\0" in raw or not NOT_NAMES.isdisjoint(parts):
        raise HostileNameError(f"{path!a} would not land inside the folder")
    return parts


class Landing:
    """The folder, made if it is not there. Use it as a context of `open_landing`."""

    def __init__(self, root: int) -> None:
        self._root = root

    @contextmanager
    def place(self, path: str) -> Iterator["Place"]:
        """The place of one file, its folders made. Raises HostileNameError, LandingRefusedError."""
        *folders, name = parts_of(path)
        at = os.dup(self._root)
        try:
            for folder in folders:
                at = _step_into(at, folder, path)
            yield Place(at, name, path)
        finally:
            os.close(at)


@contextmanager
def open_landing(root: Path) -> Iterator[Landing]:
    """Raises LandingRefusedError."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        # The folder itself may be a link: the user named it.
        fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise LandingRefusedError(f"{root} can't be used: {error.strerror}") from error
    try:
        yield Landing(fd)
    finally:
        os.close(fd)


def _step_into(at: int, folder: bytes, path: str) -> int:
    """The folder, open; `at` is closed if that worked."""
    try:
        with suppress(FileExistsError):  # opening it tells whether it is a folder
            os.mkdir(folder, 0o777, dir_fd=at)
        below = os.open(folder, FOLDER, dir_fd=at)
    except OSError as error:
        raise LandingRefusedError(
            f"{path}: {os.fsdecode(folder)} is no folder to write into: {error.strerror}"
        ) from error
    os.close(at)
    return below


@dataclass(frozen=True, slots=True)
class Place:
    """One file's place: an open folder and a name in it."""

    folder: int
    name: bytes
    path: str

    def digest(self) -> str | None:
        """The sha256 of the file that is there; None where nothing is. Raises LandingRefusedError for what is no file."""
        try:
            fd = os.open(
                self.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self.folder
            )
        except FileNotFoundError:
            return None
        except OSError as error:
            raise LandingRefusedError(f"{self.path} is taken: {error.strerror}") from error
        if not S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise LandingRefusedError(f"{self.path} is taken by something that is no file")
        with os.fdopen(fd, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    @contextmanager
    def part(self, sha256: str) -> Iterator[BufferedRandom]:
        """What was fetched so far of the content with this digest, open to be read and gone on with."""
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            fd = os.open(self._part_name(sha256), flags, 0o666, dir_fd=self.folder)
        except OSError as error:
            raise LandingRefusedError(f"{self.path} can't be written: {error.strerror}") from error
        with os.fdopen(fd, "r+b") as file:
            yield file

    def commit(self, sha256: str, mode: int) -> None:
        """The part becomes the file, at once and whole. Of its mode only "executable" is kept."""
        part = self._part_name(sha256)
        if mode & 0o111:
            umask = os.umask(0o077)
            os.umask(umask)
            os.chmod(part, 0o777 & ~umask, dir_fd=self.folder)
        try:
            os.replace(part, self.name, src_dir_fd=self.folder, dst_dir_fd=self.folder)
        except OSError as error:
            raise LandingRefusedError(f"{self.path} can't be written: {error.strerror}") from error

    def discard(self, sha256: str) -> None:
        os.unlink(self._part_name(sha256), dir_fd=self.folder)

    def _part_name(self, sha256: str) -> bytes:
        # Of a fixed length, since the file's own name may be as long as names can be.
        return b".gpu-agent-%s-%s.part" % (
            hashlib.sha256(self.name).hexdigest()[:16].encode(),
            sha256[:16].encode(),
        )
