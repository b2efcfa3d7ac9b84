"""adapters/ssh/kit — the kit that new jobs get: found by the link `current`, and compared with its manifest. Builds none, mends none."""

import hashlib
import os
import platform
import stat
from pathlib import Path

from agent.adapters.ssh.manifest import MANIFEST, Manifest, ManifestBrokenError, hash_of, read_manifest
from agent.aio import Threads
from agent.core.ssh_kit import KitTrouble, SshKit

CURRENT = "current"
_BUILD = "Run `gpu-agent kit build` on this host: jobs with `ssh` are refused until then, and no others."
_WRITABLE_BY_OTHERS = 0o022
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

# Of each file and folder: enough to see that somebody touched it.
_Traces = tuple[tuple[str, int, int, int], ...]


class KitDamagedError(Exception):
    """It is not as its manifest says, or somebody else could make it so. The text says how."""


class KitFolder:
    """The kits of this host, in `root`. A kit is read through once, and again only after a file of it was touched."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._threads = Threads("ssh-kit", 1)
        self._seen: tuple[_Traces, SshKit] | None = None

    async def look(self) -> SshKit | KitTrouble:
        return await self._threads.run(self._look)

    def close(self) -> None:
        self._threads.close()

    def _look(self) -> SshKit | KitTrouble:
        traces = _traces(self._root)
        if self._seen is not None and self._seen[0] == traces:
            return self._seen[1]
        found = find_kit(self._root)
        # What was touched while it was read is read again.
        self._seen = (traces, found) if isinstance(found, SshKit) and _traces(self._root) == traces else None
        return found


def find_kit(root: Path) -> SshKit | KitTrouble:
    """Reads all of it."""
    try:
        name = (root / CURRENT).readlink()
    except OSError:  # not there, or no link: in any case nothing that was built
        return KitTrouble(f"there is no SSH kit in {root}", _BUILD)
    folder = root / name.name
    try:
        manifest = check_kit(folder)
    except (KitDamagedError, OSError) as error:
        return KitTrouble(f"the SSH kit {folder} can't be used: {error}", _BUILD)
    if os.statvfs(folder).f_flag & os.ST_NOEXEC:
        remedy = "Name a folder on a disk without `noexec` as [ssh] kit, run `gpu-agent kit build`, and restart the agent."
        return KitTrouble(f"{folder} lies on a file system that is mounted noexec", remedy)
    return SshKit(str(folder), folder.name, manifest.version, manifest.loader)


def check_kit(folder: Path) -> Manifest:
    """Its manifest, where the folder holds exactly what that says. Raises KitDamagedError and OSError."""
    for part in (folder.parent, folder):
        _require_own(part, part.lstat())
    written = _read_own(folder / MANIFEST)
    if hash_of(written) != folder.name:
        raise KitDamagedError("its manifest has another hash than its name says")
    try:
        manifest = read_manifest(written)
    except ManifestBrokenError as error:
        raise KitDamagedError(f"its manifest can't be read: {error}") from error
    if manifest.architecture != platform.machine():
        raise KitDamagedError(f"it is for {manifest.architecture}, and this host is {platform.machine()}")
    if strange := _names_in(folder) ^ {MANIFEST, *manifest.files}:
        raise KitDamagedError(f"{min(strange)} is missing, or was added")
    for name, file in sorted(manifest.files.items()):
        content, mode = _read_own(folder / name), stat.S_IMODE((folder / name).lstat().st_mode)
        if hashlib.sha256(content).hexdigest() != file.sha256 or mode != file.mode:
            raise KitDamagedError(f"{name} is not what it was when the kit was built")
    return manifest


def _read_own(path: Path) -> bytes:
    with os.fdopen(os.open(path, _READ), "rb") as file:
        status = os.fstat(file.fileno())
        _require_own(path, status)
        if not stat.S_ISREG(status.st_mode):
            raise KitDamagedError(f"{path.name} is not a file")
        return file.read()


def _require_own(path: Path, status: os.stat_result) -> None:
    """All jobs run what lies there, and some as root."""
    if status.st_uid != os.geteuid():
        raise KitDamagedError(f"{path} belongs to user {status.st_uid}, the agent is user {os.geteuid()}")
    if status.st_mode & _WRITABLE_BY_OTHERS:  # as the mode of each link says
        raise KitDamagedError(f"{path} is a link, or others can write to it")


def _names_in(folder: Path) -> set[str]:
    """All but folders; a folder that nobody needs does no harm."""
    return {
        str(Path(at, name).relative_to(folder))
        for at, folders, files in os.walk(folder)
        for name in (*files, *(name for name in folders if Path(at, name).is_symlink()))
    }


def _traces(root: Path) -> _Traces:
    """Empty where there is none. Of the kit where the links end: a link's own status says nothing of what it leads to."""
    current = (root / CURRENT).resolve()
    paths = [Path(at, name) for at, _, files in os.walk(current) for name in (".", *files)]
    touched = [root, *sorted(paths)] if paths else []
    return tuple(
        (str(path), status.st_ino, status.st_size, status.st_ctime_ns)
        for path in touched
        for status in (path.lstat(),)
    )
