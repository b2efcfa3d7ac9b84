"""python_image — an image of this machine's own Python, and packages beside it, made without any registry. Runs nothing."""

import os
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.private_engine import PrivateEngine
from tests.private_engine_host import busybox_tar

PACKAGES = "packages"  # where in the image they lie
# What no job of a test imports, and would only make the image larger.
LEFT_OUT = frozenset(
    [
        "test",
        "tests",
        "idlelib",
        "tkinter",
        "turtledemo",
        "ensurepip",
        "lib2to3",
        "site-packages",
        "dist-packages",
        "debugpy",
        "pip",
        "setuptools",
    ]
)


def make_python_image(engine: PrivateEngine, tag: str, packages: Iterable[Path], folder: Path) -> str:
    """An image with `python3` and these packages importable, and busybox for the rest. Returns the tag."""
    if engine.request("GET", f"/images/{tag}/json")[0] == 200:
        return tag
    archive = folder / f"{tag.replace('/', '-').replace(':', '-')}.tar"
    archive.write_bytes(busybox_tar())
    with tarfile.open(archive, "a") as tar:
        add_python(tar, list(packages))
    settings = [
        f"ENV PYTHONPATH=/{PACKAGES}",
        "ENV PYTHONUNBUFFERED=1",
        f"ENV PATH=/bin:{Path(program()).parent}",
        "CMD sh",
    ]
    changes = [part for setting in settings for part in ("--change", setting)]
    command = ["docker", "--host", f"unix://{engine.socket}", "import", *changes, str(archive), tag]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    archive.unlink()
    assert done.returncode == 0, done.stderr
    return tag


def program() -> str:
    """The interpreter itself, and not the environment's link to it."""
    return os.path.realpath(sys.executable)


def add_python(tar: tarfile.TarFile, packages: list[Path]) -> None:
    # At the same places as here: Python finds its library by where it lies itself.
    library = Path(sysconfig.get_path("stdlib"))
    added = {Path(program()), *files_below(library)}
    pairs = [(path, str(path)) for path in sorted(added)]
    for package in packages:
        if package.is_file():
            pairs.append((package, f"{PACKAGES}/{package.name}"))
        pairs += [
            (path, f"{PACKAGES}/{package.name}/{path.relative_to(package)}") for path in files_below(package)
        ]
    binaries = [path for path, _ in pairs if path == Path(program()) or ".so" in path.name]
    pairs += [(path, str(path)) for path in libraries_of(binaries) if path not in added]
    for path, name in pairs:
        tar.add(path.resolve(), name.lstrip("/"), recursive=False)
    link = tarfile.TarInfo("bin/python3")
    link.type, link.linkname, link.mode = tarfile.SYMTYPE, program(), 0o777
    tar.addfile(link)


def files_below(folder: Path) -> Iterator[Path]:
    for path, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in LEFT_OUT and not name.startswith("config-")]
        yield from (Path(path, name) for name in files if not name.endswith((".a", ".map")))


def libraries_of(binaries: list[Path]) -> set[Path]:
    """The shared libraries of the system that they load, by the names by which they look for them; its loader among them."""
    found: set[Path] = set()
    for start in range(0, len(binaries), 200):
        done = subprocess.run(
            ["ldd", *map(str, binaries[start : start + 200])], capture_output=True, text=True, check=False
        )
        for line in done.stdout.splitlines():
            words = line.split("=>")[-1].split()
            if words and words[0].startswith("/") and not words[0].endswith(":"):
                found.add(Path(words[0]))
    own = tuple(f"{path.parent}/" for path in binaries)
    return {path for path in found if not str(path).startswith(own)}


def packages_in(site: Path, names: Iterable[str] | None = None) -> list[Path]:
    """What lies in a folder of packages: all of it, or what has one of these names."""
    wanted = None if names is None else set(names)
    return [
        path
        for path in sorted(site.iterdir())
        if path.name not in LEFT_OUT
        and (wanted is None or path.name in wanted)
        and not path.name.endswith(".pth")
    ]
