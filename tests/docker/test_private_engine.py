"""The private engine itself: two beside each other, a crash outlived, and nothing left behind."""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.private_engine import PrivateEngine, PrivateEngineError, busybox_image, find, running, start
from tests.private_engine_host import mounts_below, processes_of


@pytest.fixture
def root() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="ga-second-"))
    yield folder
    shutil.rmtree(folder)


def run_web(engine: PrivateEngine) -> str:
    """A container that serves its /etc on port 20100."""
    body = {
        "Image": busybox_image(engine),
        "Cmd": ["httpd", "-f", "-p", "80", "-h", "/etc"],
        "ExposedPorts": {"80/tcp": {}},
        "HostConfig": {"PortBindings": {"80/tcp": [{"HostPort": "20100"}]}, "Init": True},
    }
    status, reply = engine.request("POST", "/containers/create", body)
    assert status == 201, reply
    container = str(json.loads(reply)["Id"])
    status, reply = engine.request("POST", f"/containers/{container}/start")
    assert status == 204, reply
    return container


def fetch(engine: PrivateEngine) -> bytes:
    ask = "for i in $(seq 100); do wget -qO- -T 5 http://127.0.0.1:20100/group && exit; sleep 0.05; done"
    command = [*engine.prefix, "busybox", "sh", "-c", ask]
    return subprocess.run(command, capture_output=True, check=False).stdout


def pid_of(engine: PrivateEngine, container: str) -> int:
    return int(json.loads(engine.request("GET", f"/containers/{container}/json")[1])["State"]["Pid"])


def test_two_engines_beside_each_other_publish_the_same_port(
    private_engine: PrivateEngine, root: Path
) -> None:
    first = run_web(private_engine)
    try:
        with running(root) as second:
            assert second.namespace != private_engine.namespace
            run_web(second)
            assert b"worker" in fetch(second)
        assert b"worker" in fetch(private_engine)
    finally:
        private_engine.request("DELETE", f"/containers/{first}?force=1&v=1")


def test_containers_outlive_a_killed_engine_with_live_restore_only(root: Path) -> None:
    with running(root) as engine:
        container = run_web(engine)
        before = pid_of(engine, container)
        engine.kill()
        engine.launch()
        assert pid_of(engine, container) == before
        assert b"worker" in fetch(engine)
        engine.restart(live_restore=False)
        engine.restart(live_restore=False)
        assert pid_of(engine, container) == 0


def test_a_tear_down_leaves_neither_process_nor_mount_nor_namespace_nor_file(root: Path) -> None:
    engine = start(root)
    run_web(engine)
    assert find(root) == engine
    engine.kill()
    engine.tear_down()
    assert processes_of(root) == []
    assert mounts_below(root) == []
    assert not Path("/run/netns", str(engine.namespace)).exists()
    assert [path.name for path in root.iterdir()] == ["engine.log"]
    with pytest.raises(PrivateEngineError):
        find(root)


def test_a_root_too_long_for_sockets_is_refused_with_words(root: Path) -> None:
    with pytest.raises(PrivateEngineError, match="sockets"):
        start(root / ("x" * 80))
