"""cli/chute_code — the code of a chute as an archive: a file, a folder or a tarball, and which file in it has the chute. Sends nothing.

The same files make the same archive, byte for byte: no times, no owners, sorted, so that a deploy that is sent twice is one.
"""

import gzip
import io
import os
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from agent.cli.refusals import BadArgumentError

IGNORED = frozenset({".git", "__pycache__", ".venv"})
TARBALLS = (".tar", ".tar.gz", ".tgz")
DEFAULT_FILE, DEFAULT_ATTRIBUTE = "main.py", "chute"
ATTRIBUTE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
MIB = 1 << 20
MAX_CODE_BYTES = 32 * MIB
NAMED = 3


@dataclass(frozen=True, slots=True)
class Code:
    """`entry`: FILE:ATTRIBUTE within the archive."""

    entry: str
    archive: bytes = field(repr=False)


def read_code(target: str, entry: str | None) -> Code:
    """`target`: PATH[:ATTRIBUTE]. `entry`: the file within a folder or tarball, FILE[:ATTRIBUTE]. Raises BadArgumentError."""
    path, attribute = _split(target)
    try:
        if path.is_dir():
            archive, file = pack(path, list(_files_of(path))), _entry_of_folder(path, entry)
        elif path.name.endswith(TARBALLS):
            archive, file = path.read_bytes(), entry or DEFAULT_FILE
        elif path.suffix == ".py":
            archive, file = pack(path.parent, [path]), entry or path.name
        else:
            raise BadArgumentError(f"{path} is no .py file, folder or tarball ({', '.join(TARBALLS)})")
    except OSError as error:
        raise BadArgumentError(f"{error.filename or path} can't be read: {error.strerror}") from error
    if len(archive) > MAX_CODE_BYTES:
        raise BadArgumentError(_too_large(path, len(archive)))
    return Code(file if ":" in file else f"{file}:{attribute}", archive)


def pack(root: Path, files: list[Path]) -> bytes:
    """A tar by gzip, of these files below `root`."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for file in sorted(files):
            data = file.read_bytes()
            info = tarfile.TarInfo(file.relative_to(root).as_posix())
            info.size = len(data)
            info.mode = 0o755 if os.access(file, os.X_OK) else 0o644
            tar.addfile(info, io.BytesIO(data))
    return gzip.compress(buffer.getvalue(), mtime=0)


def _split(target: str) -> tuple[Path, str]:
    path, colon, attribute = target.rpartition(":")
    # A name with a colon in it is a path first.
    if not colon or Path(target).exists():
        return Path(target), DEFAULT_ATTRIBUTE
    if not ATTRIBUTE.fullmatch(attribute):
        raise BadArgumentError(
            f"{attribute!a} is no name of a chute; write PATH:ATTRIBUTE, as in main.py:chute"
        )
    return Path(path), attribute


def _files_of(root: Path) -> Iterator[Path]:
    """Regular files; a link to one within the folder is that file. Raises BadArgumentError for what an archive of code can't hold."""
    top = root.resolve()
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if name not in IGNORED)
        for name in (*folders, *names):
            path = Path(folder, name)
            if path.is_symlink() and not (path.is_file() and path.resolve().is_relative_to(top)):
                raise BadArgumentError(
                    f"{path} is a link to a folder, or out of {root}; put the files there themselves"
                )
        for name in names:
            path = Path(folder, name)
            if not path.is_file():
                raise BadArgumentError(f"{path} is no file; move it out of {root}")
            yield path


def _entry_of_folder(root: Path, entry: str | None) -> str:
    if entry is not None:
        return entry
    scripts = sorted(path.name for path in root.glob("*.py"))
    if DEFAULT_FILE in scripts:
        return DEFAULT_FILE
    if len(scripts) == 1:
        return scripts[0]
    told = f"{len(scripts)} .py files and none is" if scripts else "no"
    raise BadArgumentError(
        f"{root} has {told} {DEFAULT_FILE}; name the file with the chute by --entry FILE[:ATTRIBUTE]"
    )


def _too_large(path: Path, size: int) -> str:
    told = f"the archive of {path} has {size / MIB:.1f} MiB, and at most {MAX_CODE_BYTES // MIB} are taken"
    if not path.is_dir():
        return told
    largest = sorted(_files_of(path), key=lambda file: file.stat().st_size, reverse=True)[:NAMED]
    shown = ", ".join(f"{file.relative_to(path)} ({file.stat().st_size / MIB:.1f} MiB)" for file in largest)
    return f"{told}; the largest files: {shown}"
