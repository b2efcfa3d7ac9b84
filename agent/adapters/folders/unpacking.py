"""adapters/folders/unpacking — the files of an archive, written below one open folder. Blocking; takes no name that leads out.

The archive is hostile. It is read by `core/tar`, and by none of tarfile's extraction: each folder is made or opened by its name in the one
above, through no link, each file made anew.
"""

import hashlib
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO

from agent.adapters.folders import durable
from agent.core.tar import (
    BLOCK_BYTES,
    BadArchiveError,
    Member,
    MemberKind,
    TarReader,
    is_end,
    padding_of,
)
from agent.interfaces import Unpacked
from agent.spec import DeployRefusedError, Fault

MIB = 1 << 20
MAX_UNPACKED_BYTES, MAX_MEMBERS = 128 * MIB, 10_000
# Headers, extended ones and padding around the contents.
MAX_STREAM_BYTES = MAX_UNPACKED_BYTES + MAX_MEMBERS * 4 * BLOCK_BYTES
READ_BYTES = 1 << 18
DISK_BLOCK_BYTES = 4096
GZIP = b"\x1f\x8b"
FOLDER_MODE, FILE_MODE, PROGRAM_MODE = 0o755, 0o644, 0o755
# Nobody reads past the first few dozen.
MAX_FAULTS = 64


def unpack(archive: IO[bytes], root: int) -> Unpacked:
    """Write all files below the folder that `root` is open on, synced. Raises DeployRefusedError with everything that is wrong.

    Where it raises, some of the files may be there: the folder is the caller's to remove.
    """
    work = _Unpacking(root)
    try:
        work.run(_plain(archive))
    except (BadArchiveError, zlib.error) as unread:
        work.faults.append(_fault(f"can't be read: {unread}", "Send a tar archive, plain or by gzip."))
    if not work.faults and not work.digests:
        work.faults.append(_fault("holds no file", "Put the chute's file into it."))
    if work.faults:
        raise DeployRefusedError(work.faults)
    _sync(root, work.folders, work.digests)
    return Unpacked(_digest(work.digests), frozenset(map("/".join, work.digests)), work.size_bytes)


def _plain(archive: IO[bytes]) -> Callable[[int], bytes]:
    """Reads so many bytes of the tar, or what there is of them; never more in all than an archive of the largest size has."""
    archive.seek(0)
    is_packed = archive.read(len(GZIP)) == GZIP
    archive.seek(0)
    take = _Inflating(archive).read if is_packed else archive.read
    left = MAX_STREAM_BYTES

    def read(size: int) -> bytes:
        nonlocal left
        left -= size
        if left < 0:
            raise BadArchiveError(f"it unpacks to more than {MAX_UNPACKED_BYTES // MIB} MiB")
        return take(size)

    return read


class _Inflating:
    """One gzip stream. The standard library's reader takes any number behind each other, a million of which hold nothing."""

    def __init__(self, packed: IO[bytes]) -> None:
        self._packed = packed
        self._inflate = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)

    def read(self, size: int) -> bytes:
        """So many bytes, or what there is of them. Raises BadArchiveError, zlib.error."""
        pieces: list[bytes] = []
        while size > 0 and not self._inflate.eof:
            fed = self._inflate.unconsumed_tail or self._packed.read(READ_BYTES)
            if not fed:
                raise BadArchiveError("its gzip ends before its end")
            piece = self._inflate.decompress(fed, size)
            pieces.append(piece)
            size -= len(piece)
        if self._inflate.eof and (self._inflate.unused_data or self._packed.read(1)):
            raise BadArchiveError("something follows its gzip")
        return b"".join(pieces)


class _Unpacking:
    """`digests`: of each file by its path, whether it can be executed and its sha256. From the first fault on nothing is written."""

    def __init__(self, root: int) -> None:
        self.faults: list[Fault] = []
        self.folders: set[tuple[str, ...]] = set()
        self.digests: dict[tuple[str, ...], tuple[bool, str]] = {}
        self._root = root
        self._members = self._bytes = 0

    @property
    def size_bytes(self) -> int:
        """On the disk, where the smallest of them takes a block."""
        return self._bytes + DISK_BLOCK_BYTES * (len(self.folders) + len(self.digests))

    def run(self, read: Callable[[int], bytes]) -> None:
        """Raises BadArchiveError, and what the decompression raises."""
        reader = TarReader()
        while not is_end(block := read(BLOCK_BYTES)) or not block:
            if not block:
                raise BadArchiveError("it ends before its end")
            member = reader.header(block)
            size = reader.wanted
            if member is None:
                reader.extend(_whole(read, size))
            else:
                self._members += 1
                self._bytes += size
                self._refuse_too_much()
                self._take(member, _pieces(read, size))
            _whole(read, padding_of(size))
        # To its last byte: behind the archive's end a packed one has its check sum.
        while read(READ_BYTES):
            pass

    def _refuse_too_much(self) -> None:
        # Folders that only paths name are made all the same: a thousand paths may have thirty each, and each is synced.
        if max(self._members, len(self.folders) + len(self.digests)) > MAX_MEMBERS:
            raise BadArchiveError(f"it has more than {MAX_MEMBERS} files and folders")
        if self._bytes > MAX_UNPACKED_BYTES:
            raise BadArchiveError(f"it unpacks to more than {MAX_UNPACKED_BYTES // MIB} MiB")

    def _take(self, member: Member, content: Iterator[bytes]) -> None:
        trouble = member.trouble or self._why_not(member)
        if trouble is not None:
            self.faults.append(
                _fault(f"{member.name}: {trouble}", "Leave it out of the archive, or rename it.")
            )
            if len(self.faults) >= MAX_FAULTS:
                raise BadArchiveError("there are more faults than are told")
        if self.faults or member.kind is MemberKind.FOLDER:
            # An old archive's folder may have a content, too.
            for _ in content:
                pass
        if self.faults:
            return
        if member.kind is MemberKind.FOLDER:
            self._note_folders(member.parts)
            with _opened(self._root, member.parts):
                pass
        else:
            self._note_folders(member.parts[:-1])
            self._write(member, content)

    def _why_not(self, member: Member) -> str | None:
        parts = member.parts
        if parts in self.digests or (parts in self.folders and member.kind is MemberKind.FILE):
            return "is there twice"
        if any(parts[:depth] in self.digests for depth in range(1, len(parts))):
            return "lies below a file"
        return None

    def _note_folders(self, parts: tuple[str, ...]) -> None:
        self.folders.update(parts[:depth] for depth in range(1, len(parts) + 1))
        self._refuse_too_much()

    def _write(self, member: Member, content: Iterator[bytes]) -> None:
        *folders, name = member.parts
        digest = hashlib.sha256()
        with _opened(self._root, tuple(folders)) as folder:
            file = os.open(name, durable.CREATE, durable.PRIVATE_FILE, dir_fd=folder)
            try:
                for piece in content:
                    digest.update(piece)
                    durable.write_all(file, piece)
                os.fchmod(file, PROGRAM_MODE if member.is_executable else FILE_MODE)
            finally:
                os.close(file)
        self.digests[member.parts] = member.is_executable, digest.hexdigest()


@contextmanager
def _opened(root: int, parts: tuple[str, ...]) -> Iterator[int]:
    """The folder, made where it is not there, with all above it."""
    at = os.dup(root)
    try:
        for name in parts:
            durable.ensure_folder(at, name, FOLDER_MODE)
            below = os.open(name, durable.FOLDER, dir_fd=at)
            os.close(at)
            at = below
        yield at
    finally:
        os.close(at)


def _pieces(read: Callable[[int], bytes], size: int) -> Iterator[bytes]:
    while size > 0:
        piece = read(min(size, READ_BYTES))
        if not piece:
            raise BadArchiveError("it ends in the middle of a file")
        size -= len(piece)
        yield piece


def _whole(read: Callable[[int], bytes], size: int) -> bytes:
    return b"".join(_pieces(read, size))


def _sync(root: int, folders: set[tuple[str, ...]], files: dict[tuple[str, ...], tuple[bool, str]]) -> None:
    # After all is written: the first sync takes most of the others with it, where one behind each file would wait each time.
    for parts in files:
        with _opened(root, parts[:-1]) as folder:
            file = os.open(parts[-1], durable.READ, dir_fd=folder)
            try:
                os.fsync(file)
            finally:
                os.close(file)
    for parts in (*folders, ()):
        with _opened(root, parts) as folder:
            os.fsync(folder)


def _digest(files: dict[tuple[str, ...], tuple[bool, str]]) -> str:
    whole = hashlib.sha256()
    for parts, (is_executable, digest) in sorted(files.items()):
        whole.update(f"{'/'.join(parts)}\0{int(is_executable)}\0{digest}\n".encode())
    return whole.hexdigest()


def _fault(message: str, remedy: str) -> Fault:
    return Fault("code", "archive_refused", message, remedy)
