"""adapters/ssh/build — a kit made of the packages' files: copied, given the kit's own loader, listed, put in place. Starts no server.

The same files give the same kit, of the same name, whoever builds it and wherever.
"""

import fcntl
import hashlib
import os
import platform
import shutil
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

from agent.adapters.ssh.debian import PackageFile, gather, run
from agent.adapters.ssh.errors import KitNotBuiltError
from agent.adapters.ssh.kit import CURRENT, KitDamagedError, check_kit, find_kit
from agent.adapters.ssh.manifest import MANIFEST, KitFile, Manifest, hash_of, write_manifest
from agent.core.ssh_kit import KIT_PATH, SshKit

_PROGRAMS = ("dropbear", "dropbearkey", "sftp-server")
_SCRIPTS = ("start", "session")
_LIBRARIES = "lib"
# Whatever image they run in: any user of it may run them, and none may change them (they are mounted read-only besides).
_EXECUTABLE, _READABLE, _FOLDER = 0o755, 0o644, 0o755
_PRIVATE = 0o700


def build_kit(root: Path) -> SshKit:
    """Build a kit in `root`, which is made if it is not there, and let new jobs have it. Raises KitNotBuiltError and OSError.

    Kits that are there stay: containers may have them mounted.
    """
    # Its parent may be the state folder before its first start.
    root.parent.mkdir(_PRIVATE, parents=True, exist_ok=True)
    root.mkdir(_FOLDER, exist_ok=True)
    with _alone_in(root), tempfile.TemporaryDirectory(prefix=".part-", dir=root) as work:
        gathered, made = Path(work, "packages"), Path(work, "kit")
        gathered.mkdir()
        made.mkdir()
        manifest = _assemble(made, gather(gathered))
        _settle(made, manifest)
        name = hash_of(write_manifest(manifest))
        _put(made, root / name)
        _point(root, name)
    found = find_kit(root)
    if not isinstance(found, SshKit):
        raise KitNotBuiltError(f"{found.message}. {found.remedy}")
    return found


@contextmanager
def _alone_in(root: Path) -> Iterator[None]:
    """One builder at a time; what one that was killed has left is swept."""
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        for left in root.glob(".part-*"):
            shutil.rmtree(left)
        yield
    finally:
        os.close(folder)


def _assemble(made: Path, gathered: Mapping[str, PackageFile]) -> Manifest:
    patchelf = _find_patchelf()
    libraries = made / _LIBRARIES
    libraries.mkdir()
    used = {name: _take(gathered, name, made) for name in _PROGRAMS}
    loader = Path(run(patchelf, "--print-interpreter", str(made / "dropbear")).strip()).name
    used |= _take_libraries(patchelf, made, gathered)
    if loader not in used:
        used[loader] = _take(gathered, loader, libraries)
    _redirect(patchelf, made, [name for name in used if name not in (*_PROGRAMS, loader)], loader)
    for name in _SCRIPTS:
        made.joinpath(name).write_bytes(files(__package__).joinpath("scripts", name).read_bytes())
    _set_modes(made, loader)
    _prove(made, libraries / loader)
    return Manifest(
        architecture=platform.machine(),
        loader=f"{_LIBRARIES}/{loader}",
        packages={file.package: file.version for file in used.values()},
        files={name: _listed(made / name) for name in _files_in(made)},
    )


def _find_patchelf() -> str:
    """It comes with this program, into the same environment."""
    beside = shutil.which("patchelf", path=sysconfig.get_path("scripts"))
    patchelf = beside or shutil.which("patchelf")
    if patchelf is None:
        raise KitNotBuiltError("patchelf is not there; it is one of requirements.txt")
    return patchelf


def _take(gathered: Mapping[str, PackageFile], name: str, into: Path) -> PackageFile:
    file = gathered.get(name)
    if file is None:
        raise KitNotBuiltError(f"none of the packages has {name}")
    shutil.copyfile(file.path, into / name)
    return file


def _take_libraries(patchelf: str, made: Path, gathered: Mapping[str, PackageFile]) -> dict[str, PackageFile]:
    taken: dict[str, PackageFile] = {}
    unread = [made / name for name in _PROGRAMS]
    while unread:
        for name in run(patchelf, "--print-needed", str(unread.pop())).split():
            if name not in taken:
                taken[name] = _take(gathered, name, made / _LIBRARIES)
                unread.append(made / _LIBRARIES / name)
    return taken


def _redirect(patchelf: str, made: Path, libraries: Sequence[str], loader: str) -> None:
    """By RPATH, not RUNPATH: that goes before an image's LD_LIBRARY_PATH, and counts for libraries of libraries."""
    for name in _PROGRAMS:
        interpreter = f"{KIT_PATH}/{_LIBRARIES}/{loader}"
        path = ("--force-rpath", "--set-rpath", f"$ORIGIN/{_LIBRARIES}")
        run(patchelf, "--set-interpreter", interpreter, *path, str(made / name))
    for name in libraries:
        run(patchelf, "--force-rpath", "--set-rpath", "$ORIGIN", str(made / _LIBRARIES / name))


def _set_modes(made: Path, loader: str) -> None:
    for name in _files_in(made):
        is_program = name in (*_PROGRAMS, *_SCRIPTS, f"{_LIBRARIES}/{loader}")
        (made / name).chmod(_EXECUTABLE if is_program else _READABLE)
    (made / _LIBRARIES).chmod(_FOLDER)
    made.chmod(_FOLDER)


def _prove(made: Path, loader: Path) -> None:
    """Each program finds every library, at the version that it wants, within the kit."""
    for name in _PROGRAMS:
        for line in run(str(loader), "--list", str(made / name)).splitlines():
            _, _, found = line.partition(" => ")
            if found and not found.startswith(f"{made}/"):
                raise KitNotBuiltError(f"{name} finds {line.strip()} outside the kit")


def _files_in(made: Path) -> list[str]:
    return sorted(str(path.relative_to(made)) for path in made.rglob("*") if path.is_file())


def _listed(path: Path) -> KitFile:
    return KitFile(hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mode & 0o7777)


def _settle(made: Path, manifest: Manifest) -> None:
    """Nothing of it may be lost by a power cut once it is in place."""
    (made / MANIFEST).write_bytes(write_manifest(manifest))
    (made / MANIFEST).chmod(_READABLE)
    for path in (*made.rglob("*"), made):
        _sync(path)


def _put(made: Path, place: Path) -> None:
    try:
        check_kit(place)
    except FileNotFoundError:
        made.rename(place)
    except (KitDamagedError, OSError):
        # Containers go on with what they have mounted, under whatever name.
        place.rename(Path(tempfile.mkdtemp(prefix="damaged-", dir=place.parent), place.name))
        made.rename(place)
    _sync(place.parent)


def _point(root: Path, name: str) -> None:
    link = root / ".part-current"
    link.symlink_to(name)
    link.rename(root / CURRENT)
    _sync(root)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
