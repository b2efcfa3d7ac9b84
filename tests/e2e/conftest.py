"""Fixtures of the whole daemon on a real engine: the engine lives for the session, each test has daemons of its own."""

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from tests import private_engine
from tests.e2e.daemon import REPOSITORY, Daemon, Settings
from tests.e2e.python_image import make_python_image, packages_in
from tests.e2e.wan import DNS_PORT, NAMES, OUT_PORT, Wan, banner
from tests.private_engine import PrivateEngine, busybox_image
from tests.private_engine_host import busybox_tar

Make = Callable[..., Daemon]
# What aiohttp needs to serve.
SERVING = [
    "aiohttp",
    "aiohappyeyeballs",
    "aiosignal",
    "attr",
    "attrs",
    "frozenlist",
    "idna",
    "multidict",
    "propcache",
    "typing_extensions.py",
    "yarl",
]
SERVERS = [Path(__file__).with_name(name) for name in ("web_app.py", "hostile_server.py")]


@pytest.fixture(scope="session")
def session_engine() -> Iterator[PrivateEngine]:
    # A short path: sockets lie below it.
    root = Path(tempfile.mkdtemp(prefix="gae-", dir="/tmp"))
    try:
        with private_engine.running(root, live_restore=True) as engine:
            yield engine
    finally:
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def engine(session_engine: PrivateEngine) -> Iterator[PrivateEngine]:
    """The engine, with live-restore. A test may stop, freeze or kill it: it is mended afterwards."""
    yield session_engine
    session_engine.thaw()
    settings = (session_engine.root / "daemon.json").read_text()
    if not session_engine.is_alive():
        session_engine.launch()
    elif '"live-restore": true' not in settings:
        session_engine.restart()


@pytest.fixture
def image(engine: PrivateEngine) -> str:
    return busybox_image(engine)


@dataclass(frozen=True)
class Registry:
    """Ports in the engine's network: `plain` misbehaves as the first part of a repository's name says."""

    plain: int
    private: int
    upstream: int


@pytest.fixture(scope="session")
def registry(session_engine: PrivateEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    script = REPOSITORY / "tests/docker/hostile_registry.py"
    folder = tmp_path_factory.mktemp("registry")
    command = [*session_engine.prefix, sys.executable, str(script), str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        ports = Registry(**json.loads(process.stdout.readline()))
        push(session_engine, f"127.0.0.1:{ports.upstream}/ok/busybox:1")
        yield ports
        process.stdin.close()


def push(engine: PrivateEngine, target: str) -> None:
    """An image of its own layer, so that what a test pulls is not there already."""
    cli = ["docker", "--host", f"unix://{engine.socket}"]
    path = f"/images/create?fromSrc=-&repo={target.rpartition(':')[0]}&tag=1&changes=CMD%20sh"
    assert engine.request("POST", path, tar_of_its_own())[0] == 200
    for arguments in (["push", "-q", target], ["rmi", target]):
        done = subprocess.run([*cli, *arguments], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr


def tar_of_its_own() -> bytes:
    buffer = io.BytesIO(busybox_tar())
    with tarfile.open(fileobj=buffer, mode="a") as tar:
        entry = tarfile.TarInfo("etc/noise")
        entry.size = 2 << 20
        tar.addfile(entry, io.BytesIO(os.urandom(entry.size)))
    return buffer.getvalue()


@pytest.fixture
def make_daemon(tmp_path: Path, engine: PrivateEngine, image: str) -> Iterator[Make]:
    """Makes daemons that are not started yet; whatever they leave is taken away before the engine is mended."""
    made: list[Daemon] = []

    def make(settings: Settings | None = None, state: Path | None = None) -> Daemon:
        daemon = Daemon(tmp_path / f"d{len(made)}", engine, image, settings, state)
        made.append(daemon)
        return daemon

    yield make
    engine.thaw()
    if not engine.is_alive():
        engine.launch()
    for daemon in made:
        daemon.clean_up()


@pytest.fixture
def daemon(make_daemon: Make) -> Daemon:
    return make_daemon().start()


@pytest.fixture(scope="session")
def network_host() -> Iterator[PrivateEngine]:
    """An engine whose host has a network of its own, whatever else runs on this machine."""
    root = Path(tempfile.mkdtemp(prefix="gan-", dir="/tmp"))
    try:
        with private_engine.running(root, namespace=f"ganet-{uuid.uuid4().hex[:8]}") as engine:
            busybox_image(engine)
            yield engine
    finally:
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture(scope="session")
def wan(network_host: PrivateEngine) -> Iterator[Wan]:
    """What is beyond that host."""
    assert network_host.namespace is not None
    found = Wan(network_host.namespace)
    try:
        found.join()
        with banner(found.net, "world", [OUT_PORT, DNS_PORT], [OUT_PORT, DNS_PORT], NAMES):
            yield found
    finally:
        found.leave()


@pytest.fixture(scope="session")
def python_image(session_engine: PrivateEngine, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An image of the Python that runs here, what serves HTTP in it, and the servers that jobs of the tests run."""
    site = Path(aiohttp.__file__).parent.parent
    packages = [*packages_in(site, SERVING), *SERVERS]
    return make_python_image(
        session_engine, "gpu-agent-test/python:1", packages, tmp_path_factory.mktemp("image")
    )
