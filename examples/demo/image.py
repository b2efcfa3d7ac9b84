"""image — the Docker image of the demo's chute: in the engine already, from the cache, or built. Runs no container.

Its base is a Python image from a registry if one answers; otherwise Debian packages of this host's own sources, unpacked
into a folder. That needs no root, no chroot and no network beyond what installs packages here anyway.
"""

import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from contextlib import closing
from pathlib import Path

import docker
from docker.errors import DockerException, ImageNotFound
from requests.exceptions import RequestException
from screen import tell

HERE = Path(__file__).resolve().parent
INPUTS = ("Dockerfile", "image.py", "requirements.txt")
REPOSITORY = "gpu-agent-demo"
PULLED_BASE, PULLED_PYTHON = "python:3.13-slim", "3.13"
# A registry that does not answer within this is as good as none.
REGISTRY_SECONDS = 5
PULL_STALL_SECONDS = 60
DEBIAN_PACKAGES = ("python3", "libstdc++6", "dash", "coreutils")
# Nothing runs the packages' own scripts, which would write it. Who logs in by SSH needs a line and a shell.
PASSWD = "root:x:0:0:root:/root:/bin/sh\n"
# Read after the host's own (apt.conf(5)): its sources and proxies count, its folders and its hooks on them don't.
APT_SETTINGS = """
Dir::State "{folder}"; Dir::State::status "{folder}/status"; Dir::State::lists "{folder}/lists";
Dir::Cache "{folder}"; Dir::Cache::archives "{folder}/archives";
APT::Update::Error-Mode "any"; Debug::NoLocking "true"; APT::Sandbox::User ""; APT::Install-Recommends "false";
#clear APT::Update::Pre-Invoke; #clear APT::Update::Post-Invoke; #clear APT::Update::Post-Invoke-Success;
#clear DPkg::Pre-Invoke; #clear DPkg::Post-Invoke;
"""


class ImageError(Exception):
    """No image could be had. The text says what was tried and what would help."""


def provide_image(socket: str, cache: Path) -> str:
    """The tag of the image, which the engine behind `socket` has when this returns."""
    tag = f"{REPOSITORY}:{key()}"
    kept = cache / f"image-{key()}.tar"
    with closing(docker.DockerClient(base_url=f"unix://{socket}", timeout=600)) as engine:
        if has_image(engine, tag):
            tell(f"image {tag} is there already")
        elif kept.exists():
            tell(f"image {tag}, loaded from the cache")
            with kept.open("rb") as content:
                engine.images.load(content)
        else:
            build(engine, socket, tag)
            keep(engine, tag, kept)
        forget_earlier(engine, tag)
    return tag


def key() -> str:
    """Changes whenever an input of the image does."""
    contents = b"".join((HERE / name).read_bytes() for name in INPUTS)
    return hashlib.sha256(contents).hexdigest()[:12]


def has_image(engine: docker.DockerClient, tag: str) -> bool:
    try:
        engine.images.get(tag)
    except ImageNotFound:
        return False
    return True


def build(engine: docker.DockerClient, socket: str, tag: str) -> None:
    with tempfile.TemporaryDirectory(prefix="gpu-agent-demo-") as folder:
        context = Path(folder)
        if is_pulled(socket):
            base, python = PULLED_BASE, PULLED_PYTHON
        else:
            base, python = make_base(engine, context)
        tell(f"adding scikit-learn and what it needs, for Python {python}")
        add_packages(context / "packages", python)
        for name in INPUTS:
            shutil.copy(HERE / name, context)
        engine.images.build(path=str(context), tag=tag, buildargs={"BASE": base}, rm=True)


def is_pulled(socket: str) -> bool:
    """Ask the registry first, with little patience: a pull from one that never answers would wait for minutes."""
    try:
        with closing(docker.DockerClient(base_url=f"unix://{socket}", timeout=REGISTRY_SECONDS)) as asking:
            if not has_image(asking, PULLED_BASE):
                asking.images.get_registry_data(PULLED_BASE)
        with closing(docker.DockerClient(base_url=f"unix://{socket}", timeout=PULL_STALL_SECONDS)) as pulling:
            if not has_image(pulling, PULLED_BASE):
                tell(f"pulling {PULLED_BASE}")
                pulling.images.pull(PULLED_BASE)
    except (DockerException, RequestException):
        tell(f"no registry gives us {PULLED_BASE}: making a base here")
        return False
    return True


def make_base(engine: docker.DockerClient, folder: Path) -> tuple[str, str]:
    """Import an image of Python and the libraries below it; its tag and Python's version, such as 3.13."""
    root = folder / "root"
    for link in ("bin", "sbin", "lib", "lib64"):
        # As on any Debian of today; whichever package comes first would else make a folder of it.
        (root / "usr" / link).mkdir(parents=True)
        (root / link).symlink_to(f"usr/{link}")
    for name in ("tmp", "proc", "sys", "dev", "run", "root", "etc"):
        (root / name).mkdir()
    (root / "etc/passwd").write_text(PASSWD)
    (root / "tmp").chmod(0o1777)
    packages = download_debian_packages(folder / "apt")
    tell(f"{len(packages)} Debian packages, unpacked to a base")
    for package in packages:
        run(["dpkg-deb", "--extract", str(package), str(root)])
    for needless in ("doc", "locale", "man", "perl5", "zoneinfo"):
        shutil.rmtree(root / "usr/share" / needless, ignore_errors=True)
    archive = folder / "root.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(root, arcname=".", filter=owned_by_root)
    engine.api.import_image_from_file(str(archive), repository=f"{REPOSITORY}-base", tag=key())
    archive.unlink()
    python = (root / "usr/bin/python3").readlink().name.removeprefix("python")
    shutil.rmtree(root)
    return f"{REPOSITORY}-base:{key()}", python


def download_debian_packages(folder: Path) -> list[Path]:
    """What DEBIAN_PACKAGES need, onto an empty system, out of this host's own sources. The host's lists stay as they are."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise ImageError(
            f"No registry answers, and this host has no apt-get to make a base with. Load {PULLED_BASE} into Docker first."
        )
    for name in ("lists/partial", "archives/partial"):
        (folder / name).mkdir(parents=True)
    (folder / "status").touch()
    (folder / "first.conf").write_text(f'Dir::Etc::main "{folder}/last.conf";')
    (folder / "last.conf").write_text(APT_SETTINGS.format(folder=folder))
    apt = ["env", f"APT_CONFIG={folder}/first.conf", "apt-get", "--quiet=2"]
    run([*apt, "update"])
    run([*apt, "--yes", "--download-only", "install", *DEBIAN_PACKAGES])
    return sorted((folder / "archives").glob("*.deb"))


def owned_by_root(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    return entry


def add_packages(target: Path, python: str) -> None:
    """The wheels of requirements.txt for the image's Python, which is seldom ours; without their tests, a third of them."""
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
    which = ["--only-binary=:all:", "--implementation=cp", f"--python-version={python}"]
    exactly = ["--no-deps", "--require-hashes", "--no-compile", "--root-user-action=ignore"]
    run([*pip, *which, *exactly, "--target", str(target), "-r", str(HERE / "requirements.txt")])
    for tests in [path for path in target.rglob("tests") if path.is_dir()]:
        shutil.rmtree(tests, ignore_errors=True)


def keep(engine: docker.DockerClient, tag: str, kept: Path) -> None:
    """Into the cache, in place of earlier ones."""
    for old in kept.parent.glob("image-*.tar*"):
        old.unlink()
    part = kept.with_suffix(".tar.part")
    with part.open("wb") as file:
        for chunk in engine.images.get(tag).save(named=True):
            file.write(chunk)
    part.replace(kept)


def forget_earlier(engine: docker.DockerClient, tag: str) -> None:
    for image in engine.images.list(name=REPOSITORY):
        for other in set(image.tags) - {tag}:
            engine.images.remove(other)


def run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ImageError(f"`{' '.join(command[:3])} …` failed: {done.stderr.strip()[-600:]}")
