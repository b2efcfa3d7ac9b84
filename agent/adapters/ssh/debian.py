"""adapters/ssh/debian — the files of Debian's packages: installed ones where they are, others downloaded and unpacked. Installs nothing."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.adapters.ssh.errors import KitNotBuiltError

SERVER, SFTP_SERVER = "dropbear-bin", "openssh-sftp-server"
# Of one or two megabytes each; past it, the mirror hangs.
_SECONDS = 300.0
_NEEDED = ("apt-cache", "apt-get", "dpkg-deb", "dpkg-query")


@dataclass(frozen=True, slots=True)
class PackageFile:
    path: Path
    package: str
    version: str


def gather(work: Path) -> dict[str, PackageFile]:
    """Programs and libraries of the packages that the server needs, by the last part of their path. What is downloaded lies in `work`.

    A package that is installed is taken as it is: apt keeps it as new as its owner wants it, and no network is needed.
    """
    if missing := [tool for tool in _NEEDED if shutil.which(tool) is None]:
        raise KitNotBuiltError(f"{', '.join(missing)} not found: this is no Debian, nor built like one")
    wanted = (*_with_dependencies(SERVER), SFTP_SERVER)
    installed = {name: version for name in wanted if (version := _installed_version(name)) is not None}
    found: dict[str, PackageFile] = {}
    for name, version in installed.items():
        _add(found, _installed_files(name), name, version)
    for name, version, tree in _download(work, [name for name in wanted if name not in installed]):
        _add(found, sorted(tree.rglob("*")), name, version)
    return found


def _with_dependencies(package: str) -> list[str]:
    kinds = ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")
    told = run("apt-cache", "depends", "--recurse", *(f"--no-{kind}" for kind in kinds), package)
    # A package stands alone in its line, what it depends on is indented. <…> is a virtual one, name:arch a foreign one.
    return [line for line in told.splitlines() if line and line[0] not in " <|" and ":" not in line]


def _installed_version(package: str) -> str | None:
    form = "${db:Status-Status} ${Version}\n"
    done = _run(["dpkg-query", "--show", f"--showformat={form}", package])
    for line in done.stdout.splitlines() if done.returncode == 0 else ():
        state, _, version = line.partition(" ")
        if state == "installed":
            return version
    return None


def _installed_files(package: str) -> Iterator[Path]:
    return (Path(line) for line in run("dpkg-query", "--listfiles", package).splitlines())


def _download(work: Path, packages: Sequence[str]) -> Iterator[tuple[str, str, Path]]:
    """Name, version and unpacked tree of each. apt checks what it loads against the distribution's signed lists."""
    if packages:
        run("apt-get", "-q", "download", *packages, folder=work)
    for number, file in enumerate(sorted(work.glob("*.deb"))):
        tree = work / str(number)
        run("dpkg-deb", "--extract", str(file), str(tree))
        name, version = (
            run("dpkg-deb", "--field", str(file), field).strip() for field in ("Package", "Version")
        )
        yield name, version, tree


def _add(
    found: dict[str, PackageFile], paths: Iterator[Path] | Sequence[Path], package: str, version: str
) -> None:
    for path in paths:
        is_one = path.parent.name.endswith("bin") or path.name == "sftp-server" or ".so" in path.name
        # A build for newer processors only, which the loader would choose; the kit carries the one that runs on all.
        if is_one and "glibc-hwcaps" not in path.parts and path.is_file():
            found.setdefault(path.name, PackageFile(path.resolve(), package, version))


def run(*command: str, folder: Path | None = None) -> str:
    """What it printed. Raises KitNotBuiltError with its last words."""
    done = _run(command, folder)
    if done.returncode != 0:
        words = (done.stderr or done.stdout).strip()[-500:]
        raise KitNotBuiltError(f"`{' '.join(command[:3])} …` failed ({done.returncode}): {words}")
    return done.stdout


def _run(command: Sequence[str], folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(  # noqa: S603 - the arguments are ours, and files that we found
            command,
            cwd=folder,
            env=_plain(os.environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise KitNotBuiltError(f"`{command[0]}`: {error}") from error


def _plain(environment: Mapping[str, str]) -> dict[str, str]:
    """What they print is read here; and a loader is among what is run."""
    kept = {name: text for name, text in environment.items() if not name.startswith(("LD_", "LC_", "LANG"))}
    return {**kept, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
