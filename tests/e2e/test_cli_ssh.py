"""`gpu-agent ssh` with the system's own ssh, scp and a forwarded port, into a job with a real server."""

import contextlib
import os
import pty
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.e2e.client import Json, expect
from tests.e2e.conftest import Make
from tests.e2e.daemon import REPOSITORY, Daemon
from tests.e2e.ssh_client import Person, submit, told, wait_ready
from tests.ssh_kit import KITS, built_kit

SECONDS = 60.0


@pytest.fixture(scope="module", autouse=True)
def kit() -> None:
    built_kit()


@pytest.fixture
def daemon(make_daemon: Make) -> Daemon:
    return make_daemon({"ssh": {"kit": str(KITS)}}).start()


@pytest.fixture
def job(daemon: Daemon, tmp_path: Path) -> Json:
    return wait_ready(daemon.local, submit(daemon.local, Person(tmp_path / "person", daemon)))


def program(daemon: Daemon, *words: str) -> list[str]:
    return [*daemon.engine.prefix, sys.executable, "-m", "agent", *words]


def environ(daemon: Daemon) -> dict[str, str]:
    (daemon.folder / "tmp").mkdir(exist_ok=True)
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(daemon.folder),
        "TMPDIR": str(daemon.folder / "tmp"),
        "GPU_AGENT_CONFIG": str(daemon.config_file),
    }


def run(daemon: Daemon, command: list[str], stdin: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        command, cwd=REPOSITORY, env=environ(daemon), input=stdin, capture_output=True, timeout=SECONDS, check=False
    )  # fmt: skip


def test_a_command_by_ssh_has_its_own_exit_code_and_leaves_no_key_here(daemon: Daemon, job: Json) -> None:
    ran = run(daemon, program(daemon, "ssh", job["id"], "--", "cat; echo bad >&2; exit 7"), b"given")
    assert (ran.returncode, ran.stdout, ran.stderr) == (7, b"given", b"bad\n")
    assert list((daemon.folder / "tmp").iterdir()) == []
    expect(lambda: told(daemon, job["id"], "ssh.opened"), "the login is noted")
    (opened,) = told(daemon, job["id"], "ssh.opened")
    assert opened["comment"].startswith("gpu-agent:")
    assert opened["by"] == "local"


def test_a_shell_at_a_terminal(daemon: Daemon, job: Json) -> None:
    master, slave = pty.openpty()
    process = subprocess.Popen(
        ["setsid", "--ctty", *program(daemon, "ssh", job["id"])], cwd=REPOSITORY, env=environ(daemon),
        stdin=slave, stdout=slave, stderr=slave,
    )  # fmt: skip
    os.close(slave)
    os.set_blocking(master, False)
    seen = b""
    os.write(master, b"tty | head -c 5; echo -$((6 * 7)); exit 5\n")
    deadline = time.monotonic() + SECONDS
    while b"/dev/-42" not in seen and time.monotonic() < deadline:
        with contextlib.suppress(BlockingIOError):
            seen += os.read(master, 65_536)
        time.sleep(0.01)
    assert b"/dev/-42" in seen
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(SECONDS)
    process.kill()
    os.close(master)
    assert process.wait() == 5


def test_a_forwarded_port_leads_into_the_job(daemon: Daemon, job: Json) -> None:
    path = daemon.folder / "forwarded"
    words = ("ssh", job["id"], "--", "-L", f"{path}:127.0.0.1:8099", "nc -l -p 8099 -e echo from-inside")
    process = subprocess.Popen(
        program(daemon, *words), cwd=REPOSITORY, env=environ(daemon), stdin=subprocess.DEVNULL
    )

    def answered() -> bool:
        with socket.socket(socket.AF_UNIX) as caller:
            caller.settimeout(5)
            caller.connect(str(path))
            return caller.recv(100) == b"from-inside\n"

    try:
        expect(answered, "the port answers")
        assert process.wait(SECONDS) == 0
    finally:
        process.kill()
        process.wait()


def test_scp_by_a_printed_block_until_its_key_ends(daemon: Daemon, job: Json) -> None:
    printed = run(daemon, program(daemon, "ssh", "--print-config", "--expires", "10s", job["id"]))
    assert printed.returncode == 0, printed.stderr
    config = daemon.folder / "block"
    config.write_bytes(printed.stdout)
    host = printed.stdout.split()[1].decode()
    sent, back = daemon.folder / "sent", daemon.folder / "back"
    sent.write_bytes(os.urandom(1_000_000))
    prefix = daemon.engine.prefix
    for source, target in ((str(sent), f"{host}:/tmp/it"), (f"{host}:/tmp/it", str(back))):
        ran = run(daemon, [*prefix, "scp", "-q", "-F", str(config), source, target])
        assert ran.returncode == 0, ran.stderr
    assert back.read_bytes() == sent.read_bytes()

    def is_refused() -> bool:
        return b"denied" in run(daemon, [*prefix, "ssh", "-F", str(config), host, "true"]).stderr

    expect(is_refused, "the key may log in no more")


def test_a_server_with_another_host_key_is_no_job(daemon: Daemon, job: Json) -> None:
    printed = run(daemon, program(daemon, "ssh", "--print-config", job["id"]))
    known = daemon.folder / ".local/state/gpu-agent/ssh" / job["id"] / "known_hosts"
    other = run(daemon, ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(daemon.folder / "other")])
    assert (printed.returncode, other.returncode) == (0, 0)
    host = printed.stdout.split()[1].decode()
    known.write_text(f"{host} {(daemon.folder / 'other.pub').read_text()}")
    ran = run(daemon, [*daemon.engine.prefix, "ssh", "-F", str(known.parent / "config"), host, "true"])
    assert ran.returncode == 255
    assert b"HOST IDENTIFICATION HAS CHANGED" in ran.stderr
