"""core/tar — a tar archive read strictly, block by block, for who has nothing to lose by refusing. Opens no file and holds no content.

What archives of code need and no more: files and folders in the ustar, pax and GNU forms. Everything else is named and refused. The
standard library's reader is not for hostile archives: it takes what it can't read for the end, and believes any size.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from agent.spec.text import UNPRINTABLE

BLOCK_BYTES = 512
# Of one extended header, which is held in memory: a path and a few times.
MAX_EXTENDED_BYTES = 1 << 16
MAX_NAME_BYTES, MAX_PATH_BYTES, MAX_DEPTH = 255, 1024, 32
SHOWN_CHARACTERS = 80

FILES, FOLDER, EXTENDED, GLOBAL, LONG_NAME, LONG_LINK = b"0\x007", b"5", b"x", b"g", b"L", b"K"
# By POSIX these have none behind them, whatever size they name. (Of hard links some do; they are refused in any case.)
WITHOUT_CONTENT = (b"1", b"2", b"3", b"4", b"5", b"6")
KINDS = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a device",
    b"4": "a device",
    b"6": "a FIFO",
    b"S": "a sparse file",
}
OCTAL = re.compile(rb" *([0-7]*)[ \x00]*")
RECORD_LENGTH = re.compile(rb"([1-9][0-9]{0,6}) ")


class BadArchiveError(Exception):
    """The archive can't be read any further."""


class MemberKind(Enum):
    FILE = "file"
    FOLDER = "folder"


@dataclass(frozen=True, slots=True)
class Member:
    """What comes next. `parts` is the path; () is the top folder itself. `trouble`: why it is refused; its content is to be skipped."""

    parts: tuple[str, ...]
    kind: MemberKind
    size: int
    is_executable: bool
    name: str  # as it is shown
    trouble: str | None = None


class TarReader:
    """Fed with headers, says what follows each. The caller reads: one block, then `wanted` bytes more in whole blocks, and so on.

    `header` returns None where the block was one of the archive's own (an extended header): its content goes to `extend`.
    """

    def __init__(self) -> None:
        self._path: bytes | None = None
        self._size: int | None = None
        self._is_sparse = False
        self._pending: bytes | None = None
        self.wanted = 0

    def header(self, block: bytes) -> Member | None:
        """Raises BadArchiveError."""
        _check_sum(block)
        size, kind = _number(block[124:136]), block[156:157]
        if kind in (EXTENDED, GLOBAL, LONG_NAME, LONG_LINK):
            if size > MAX_EXTENDED_BYTES:
                raise BadArchiveError("an extended header is too large")
            self._pending, self.wanted = kind, size
            return None
        if self._size is not None:
            size = self._size
        member = self._member(block, kind, size)
        self.wanted = size if kind not in WITHOUT_CONTENT else 0
        self._path = self._size = None
        self._is_sparse = False
        return member

    def extend(self, content: bytes) -> None:
        """The content of an extended header, to count for the next member. Raises BadArchiveError."""
        kind, self._pending, self.wanted = self._pending, None, 0
        if kind == LONG_NAME:
            self._path = content.rstrip(b"\0")
        elif kind == EXTENDED:
            for key, value in _records(content):
                self._take(key, value)

    def _take(self, key: bytes, value: bytes) -> None:
        if key == b"path":
            self._path = value
        elif key == b"size":
            if not value.isdigit() or len(value) > 15:
                raise BadArchiveError("a size is no number")
            self._size = int(value)
        elif key.startswith(b"GNU.sparse."):
            self._is_sparse = True
        elif key == b"hdrcharset" and value != b"ISO-IR 10646 2000 UTF-8":
            raise BadArchiveError("its names are not in UTF-8")

    def _member(self, block: bytes, kind: bytes, size: int) -> Member:
        raw = self._path if self._path is not None else _own_path(block)
        is_folder = kind == FOLDER or (kind in (b"0", b"\0") and raw.endswith(b"/"))
        shown = _show(raw)
        mode = _number(block[100:108])
        made_as = MemberKind.FOLDER if is_folder else MemberKind.FILE
        is_executable = bool(mode & 0o111)
        trouble = KINDS.get(kind) or (
            None if kind in FILES + FOLDER else f"of an unknown kind ({_show(kind)})"
        )
        if trouble is None and self._is_sparse:
            trouble = KINDS[b"S"]
        if trouble is not None:
            return Member((), made_as, size, is_executable, shown, f"is {trouble}")
        try:
            parts = split_path(raw.removesuffix(b"/") if is_folder else raw)
        except ValueError as unread:
            return Member((), made_as, size, is_executable, shown, str(unread))
        if not parts and not is_folder:
            return Member((), made_as, size, is_executable, shown, "has no name")
        return Member(parts, made_as, size, is_executable, shown)


def split_path(raw: bytes) -> tuple[str, ...]:
    """The names of a path that stays below the top; `./` in front is nothing. Raises ValueError that says what is wrong."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError("has a name that is no UTF-8") from None
    if text.startswith("/"):
        raise ValueError("is an absolute path")
    parts = text.split("/")
    while parts and parts[0] == ".":
        parts = parts[1:]
    if parts in ([], [""]):
        return ()
    if ".." in parts:
        raise ValueError("leads out of the folder (..)")
    if any(part in {"", "."} for part in parts):
        raise ValueError("is no plain path")
    if UNPRINTABLE.search(text):
        raise ValueError("has a control character in its name")
    if any(len(part.encode()) > MAX_NAME_BYTES for part in parts) or len(raw) > MAX_PATH_BYTES:
        raise ValueError(
            f"has a path of more than {MAX_PATH_BYTES} bytes, or a name of more than {MAX_NAME_BYTES}"
        )
    if len(parts) > MAX_DEPTH:
        raise ValueError(f"is more than {MAX_DEPTH} folders deep")
    return tuple(parts)


def is_end(block: bytes) -> bool:
    """Whether the block is of the archive's end."""
    return not block.strip(b"\0")


def padding_of(size: int) -> int:
    """How many bytes follow a content to fill its last block."""
    return -size % BLOCK_BYTES


def _own_path(block: bytes) -> bytes:
    name = block[0:100].partition(b"\0")[0]
    # GNU has other things where ustar has the front of a long path.
    prefix = block[345:500].partition(b"\0")[0] if block[257:263] == b"ustar\0" else b""
    return prefix + b"/" + name if prefix else name


def _check_sum(block: bytes) -> None:
    if len(block) != BLOCK_BYTES:
        raise BadArchiveError("it ends in the middle of a header")
    told = _number(block[148:156])
    if sum(block[:148]) + sum(block[156:]) + 8 * ord(" ") != told:
        raise BadArchiveError("a header is damaged, or it is no tar archive")


def _number(field: bytes) -> int:
    found = OCTAL.fullmatch(field)
    if found is None:
        raise BadArchiveError("a header holds a number that is none, or is too large")
    return int(found[1] or b"0", 8)


def _records(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """`LENGTH KEY=VALUE` and a line end; the length is of all of it."""
    at = 0
    while at < len(content) and content[at : at + 1] != b"\0":
        found = RECORD_LENGTH.match(content, at)
        if found is None:
            raise BadArchiveError("an extended header can't be read")
        end = at + int(found[1])
        key, sign, value = content[found.end() : end - 1].partition(b"=")
        if end > len(content) or end <= found.end() or content[end - 1 : end] != b"\n" or not sign:
            raise BadArchiveError("an extended header can't be read")
        yield key, value
        at = end


def _show(raw: bytes) -> str:
    text = raw[: SHOWN_CHARACTERS + 1].decode("utf-8", "backslashreplace")
    plain = "".join(sign if sign.isprintable() else f"\\x{ord(sign):02x}" for sign in text) or '""'
    return plain if len(plain) <= SHOWN_CHARACTERS else f"{plain[: SHOWN_CHARACTERS - 3]}..."
