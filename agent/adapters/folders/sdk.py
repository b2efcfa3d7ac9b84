"""adapters/folders/sdk — a copy of the SDK for containers to see, under the digest of what it holds. Blocking; imports none of it.

So an upgrade of the agent changes nothing under a job that runs: its container has the copy that it was started with.
"""

import errno
import hashlib
import os
import shutil
from pathlib import Path
from secrets import token_hex

from agent.adapters.folders import durable

SDKS = "sdk"
# The image runs as any user.
_FOLDER_MODE, _FILE_MODE = 0o755, 0o644
_LEFT_OUT = frozenset({"__pycache__"})


def lay_out(runtime: Path, source: Path) -> str:
    """The path of the copy, made whole or found. Raises OSError."""
    files = _read_below(source)
    sdks = runtime / SDKS
    sdks.mkdir(exist_ok=True)
    sdks.chmod(_FOLDER_MODE)
    target = sdks / _digest_of(files)
    if not target.is_dir():
        _remove_half_made(sdks)
        _make(target, files)
    return str(target)


def sweep(runtime: Path, kept: str) -> list[str]:
    """Remove all copies but that one, as far as they can be; the names of those that are gone."""
    old = [path for path in (runtime / SDKS).iterdir() if str(path) != kept]
    for path in old:
        shutil.rmtree(path, ignore_errors=True)
    return sorted(path.name for path in old if not path.exists())


def _read_below(source: Path) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for folder, folders, names in os.walk(source):
        folders[:] = [name for name in folders if name not in _LEFT_OUT]
        found |= {
            str(Path(folder, name).relative_to(source)): Path(folder, name).read_bytes() for name in names
        }
    return found


def _digest_of(files: dict[str, bytes]) -> str:
    digest = hashlib.sha256()
    for name, data in sorted(files.items()):
        for part in (name.encode(), data):
            digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()[:32]


def _make(target: Path, files: dict[str, bytes]) -> None:
    made = target.with_name(f"{target.name}.{token_hex(8)}")
    made.mkdir(durable.PRIVATE_FOLDER)
    try:
        for name, data in files.items():
            path = made / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            path.chmod(_FILE_MODE)
        for folder, _, _ in os.walk(made):
            Path(folder).chmod(_FOLDER_MODE)
        made.rename(target)
    except OSError as error:
        shutil.rmtree(made, ignore_errors=True)
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):  # another daemon of the host was first
            raise


def _remove_half_made(sdks: Path) -> None:
    """What a crash left. The runtime folder is ours alone, and its daemon makes one copy at a time."""
    for left in sdks.glob("*.*"):
        shutil.rmtree(left, ignore_errors=True)
