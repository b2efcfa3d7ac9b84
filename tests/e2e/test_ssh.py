"""SSH into running jobs by the system's own client: what a person can do there, and who is refused."""

import contextlib
import fcntl
import io
import os
import pty
import signal
import socket
import struct
import subprocess
import tarfile
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.client import Json, expect
from tests.e2e.conftest import Make
from tests.e2e.daemon import Daemon
from tests.e2e.ssh_client import Person, submit, told, wait_ready
from tests.private_engine import PrivateEngine
from tests.private_engine_host import busybox_tar
from tests.ssh_kit import KITS, built_kit


@pytest.fixture(scope="module", autouse=True)
def kit() -> None:
    built_kit()


@pytest.fixture
def daemon(make_daemon: Make) -> Daemon:
    return make_daemon({"ssh": {"kit": str(KITS)}}).start()


@pytest.fixture
def person(tmp_path: Path, daemon: Daemon) -> Person:
    return Person(tmp_path / "person", daemon)


@pytest.fixture
def job(daemon: Daemon, person: Person) -> Json:
    return wait_ready(daemon.local, submit(daemon.local, person))


# ── what a person can do ──


def test_a_session_is_the_jobs_own_place(daemon: Daemon, person: Person) -> None:
    job_id = submit(daemon.local, person, env={"GREETING": "hello", "PATH": "/bin:/mine"}, workdir="/tmp")
    job = wait_ready(daemon.local, job_id)
    ran = person.ssh(job, 'echo "$GREETING $PATH $PWD $GPU_AGENT_JOB"; exit 7')
    assert ran.stdout.decode() == f"hello /bin:/mine /tmp {job_id}\n", ran.stderr
    assert ran.returncode == 7


def test_it_is_ready_soon_after_the_job_runs(daemon: Daemon, person: Person) -> None:
    took = []
    for _ in range(3):
        job_id = submit(daemon.local, person)
        expect(lambda: daemon.local.job(job_id)["phase"] == "running", "it runs")  # noqa: B023 - used at once
        began = time.monotonic()
        wait_ready(daemon.local, job_id)
        took.append(time.monotonic() - began)
    assert min(took) < 2, took  # bench/ssh.py measures it


def test_what_goes_in_comes_out_and_both_outputs_are_told_apart(job: Json, person: Person) -> None:
    sent = os.urandom(1_000_000)
    ran = person.ssh(job, "cat; echo bad >&2", stdin=sent)
    assert (ran.stdout, ran.stderr) == (sent, b"bad\n")


@contextlib.contextmanager
def terminal(
    person: Person, job: Json, columns: int, rows: int
) -> Iterator[tuple[int, "subprocess.Popen[bytes]"]]:
    ours, theirs = pty.openpty()
    set_size(ours, columns, rows)
    process = subprocess.Popen(
        person.command(job, options=("-tt",)),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    try:
        yield ours, process
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def set_size(descriptor: int, columns: int, rows: int) -> None:
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def read_until(descriptor: int, wanted: bytes, seconds: float = 10) -> bytes:
    read = b""
    deadline = time.monotonic() + seconds
    os.set_blocking(descriptor, False)
    while wanted not in read and time.monotonic() < deadline:
        with contextlib.suppress(BlockingIOError, OSError):
            read += os.read(descriptor, 65536)
        time.sleep(0.02)
    assert wanted in read, read
    return read


def test_a_terminal_has_the_size_of_mine_and_follows_it(job: Json, person: Person) -> None:
    with terminal(person, job, 101, 33) as (ours, process):
        os.write(ours, b"stty size; echo shown-$((1+1))\n")
        assert b"33 101" in read_until(ours, b"shown-2")
        set_size(ours, 77, 22)
        process.send_signal(signal.SIGWINCH)
        time.sleep(0.3)
        os.write(ours, b"stty size; echo again-$((1+1)); exit 5\n")
        assert b"22 77" in read_until(ours, b"again-2")
        assert process.wait(10) == 5


def test_files_come_and_go_by_scp_and_sftp(job: Json, person: Person) -> None:
    content = os.urandom(3_000_000)
    (person.folder / "up").write_bytes(content)
    for program, target in (("scp", "{host}:/tmp/there"), ("scp", "{host}:/outputs/kept")):
        ran = person.copy(program, job, str(person.folder / "up"), target)
        assert ran.returncode == 0, ran.stderr
    assert person.copy("scp", job, "{host}:/tmp/there", str(person.folder / "down")).returncode == 0
    assert (person.folder / "down").read_bytes() == content
    kept = person.daemon.local.call("GET", f"/v1/jobs/{job['id']}/outputs/kept")
    assert kept.body == content


def test_ports_are_forwarded_both_ways_and_agents_are_not(job: Json, person: Person) -> None:
    with person.daemon.net.listen(0) as listener:
        port = listener.getsockname()[1]
        options = ("-R", f"9100:127.0.0.1:{port}")
        command = person.command(job, "nc 127.0.0.1 9100", options=options)
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as there:
            connection, _ = listener.accept()
            connection.sendall(b"from here\n")
            connection.close()
            assert there.communicate(timeout=10)[0] == b"from here\n"
    served = subprocess.Popen(person.command(job, "echo served | nc -l -p 9200"))
    try:
        expect(
            lambda: b"served" in person.ssh(job, options=("-W", "127.0.0.1:9200")).stdout, "it is forwarded"
        )
    finally:
        served.kill()
        served.wait()
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as agent:
        path = person.folder / "agent"
        agent.bind(str(path))
        agent.listen()
        ran = person.ssh(job, "echo agent=$SSH_AUTH_SOCK", options=("-o", f"ForwardAgent={path}"))
        assert ran.stdout == b"agent=\n"


def test_the_port_that_a_job_names_is_sshs(daemon: Daemon, person: Person) -> None:
    ports = [{"name": "shell", "port": 2202, "proto": "tcp"}]
    job = wait_ready(daemon.local, submit(daemon.local, person, ports=ports))
    assert [port["name"] for port in job["ports"]] == ["shell"]
    assert person.ssh(job, "true").returncode == 0


# ── who is refused ──


def test_nobody_comes_in_by_another_key_or_a_password(job: Json, person: Person, tmp_path: Path) -> None:
    stranger = Person(tmp_path / "stranger", person.daemon)
    assert b"Permission denied (publickey)" in stranger.ssh(job, "true").stderr
    options = (
        "-o",
        "PubkeyAuthentication=no",
        "-o",
        "PreferredAuthentications=password,keyboard-interactive",
    )
    assert b"Permission denied (publickey)" in person.ssh(job, "true", options=options).stderr
    assert person.ssh(job, "true").returncode == 0


def test_another_host_key_is_noticed(job: Json, person: Person) -> None:
    other = wait_ready(person.daemon.local, submit(person.daemon.local, person))
    assert other["ssh"]["fingerprint"] != job["ssh"]["fingerprint"]
    place = job["ssh"]["known_hosts"].split()[0]
    forged = {**job["ssh"], "known_hosts": f"{place} {other['ssh']['known_hosts'].split(' ', 1)[1]}"}
    assert b"verification failed" in person.ssh({**job, "ssh": forged}, "true").stderr


def test_a_replaced_key_is_refused_from_then_on_and_what_is_open_stays(
    job: Json, person: Person, tmp_path: Path
) -> None:
    other = Person(tmp_path / "other", person.daemon)
    with subprocess.Popen(
        person.command(job, "read line; echo still $line"), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as held:
        expect(lambda: told(person.daemon, job["id"], "ssh.opened"), "the session is open")
        put = person.daemon.local.call(
            "PUT", f"/v1/jobs/{job['id']}/ssh-keys", {"authorized_keys": [other.public]}
        )
        assert put.status == 200, put.body
        assert b"Permission denied" in person.ssh(job, "true").stderr
        assert other.ssh(job, "true").returncode == 0
        assert held.communicate(b"here\n", timeout=10)[0] == b"still here\n"


@pytest.mark.slow
def test_a_key_for_a_while_is_refused_after_it(job: Json, person: Person, tmp_path: Path) -> None:
    other = Person(tmp_path / "other", person.daemon)
    body = {"key": other.public, "expires_in": 10}
    assert person.daemon.local.call("POST", f"/v1/jobs/{job['id']}/ssh-keys", body).status == 200
    assert other.ssh(job, "true").returncode == 0
    time.sleep(10.5)
    assert b"Permission denied" in other.ssh(job, "true").stderr
    assert person.ssh(job, "true").returncode == 0


def test_who_came_and_went_is_in_the_jobs_events(job: Json, person: Person) -> None:
    assert person.ssh(job, "true").returncode == 0
    expect(lambda: told(person.daemon, job["id"], "ssh.closed"), "he has left")
    (opened,) = told(person.daemon, job["id"], "ssh.opened")
    assert (opened["user"], opened["fingerprint"]) == ("root", person.fingerprint)
    assert (opened["comment"], opened["by"]) == ("me@laptop", "local")
    assert opened["address"].rpartition(":")[2].isdigit()
    (closed,) = told(person.daemon, job["id"], "ssh.closed")
    assert (closed["session"], closed["address"]) == (opened["session"], opened["address"])


@pytest.mark.slow
def test_two_hundred_connections_and_many_half_open_ones_hurt_nobody(job: Json, person: Person) -> None:
    daemon = person.daemon
    port = next(port["host_port"] for port in job["ports"])
    with contextlib.ExitStack() as stack:
        for _ in range(200):
            with contextlib.suppress(OSError):
                stack.enter_context(daemon.net.connect(port, seconds=5))
        assert daemon.local.job(job["id"])["phase"] == "running"
        assert daemon.local.job(job["id"])["ssh"]["state"] == "ready"
    expect(lambda: person.ssh(job, "true").returncode == 0, "one comes in again", 60)
    held: list[subprocess.Popen[bytes]] = []
    try:
        for _ in range(12):
            # One after the other: of those who come at once from one address the server takes five.
            before = len(told(daemon, job["id"], "ssh.opened"))
            held.append(subprocess.Popen(person.command(job, "sleep 300"), stdin=subprocess.DEVNULL))
            expect(lambda: len(told(daemon, job["id"], "ssh.opened")) > before, "one more is in", 60)  # noqa: B023 - called here
        assert [process.poll() for process in held] == [None] * len(held)
        assert daemon.local.job(job["id"])["ssh"]["state"] == "ready"
    finally:
        for process in held:
            process.kill()
            process.wait()


# ── images ──


def image_of(
    engine: PrivateEngine, name: str, changes: str, leave_out: tuple[str, ...] = (), **files: bytes
) -> str:
    """The busybox image without some files, and with others; `changes` as in a Dockerfile."""
    buffer = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(busybox_tar())) as old,
        tarfile.open(fileobj=buffer, mode="w") as new,
    ):
        for entry in old:
            if entry.name not in (*leave_out, *(path.replace("_", "/") for path in files)):
                new.addfile(entry, old.extractfile(entry) if entry.isfile() else None)
        for path, content in files.items():
            entry = tarfile.TarInfo(path.replace("_", "/"))
            entry.size, entry.mode = len(content), 0o644
            new.addfile(entry, io.BytesIO(content))
    path = f"/images/create?fromSrc=-&repo=gpu-agent-test/{name}&tag=1&changes={changes.replace(' ', '%20')}"
    status, reply = engine.request("POST", path, buffer.getvalue())
    assert status == 200, reply
    assert b'"error"' not in reply, reply
    return f"gpu-agent-test/{name}:1"


PASSWD = (
    b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/nowhere:/bin/sh\nlocked:x:7:7::/:/bin/false\n"
)


def test_an_images_own_user_without_a_home_logs_in_as_himself(daemon: Daemon, person: Person) -> None:
    image = image_of(daemon.engine, "homeless", "USER nobody", etc_passwd=PASSWD)
    job = wait_ready(daemon.local, submit(daemon.local, person, image=image, workdir="/tmp"))
    assert job["ssh"]["command"].split()[-1].startswith("nobody@")
    ran = person.ssh(job, "id -u; pwd")
    assert ran.stdout == b"65534\n/tmp\n", ran.stderr
    assert ran.stderr.startswith(b"Failed chdir '/nowhere'")  # the server's own words, and no more


def test_a_numeric_user_of_the_spec_is_found_by_his_number(daemon: Daemon, person: Person) -> None:
    job = wait_ready(daemon.local, submit(daemon.local, person, user="1000:1000"))
    assert job["ssh"]["command"].split()[-1].startswith("worker@")
    assert person.ssh(job, "id -u").stdout == b"1000\n"


@pytest.mark.parametrize(
    ("name", "changes", "leave_out", "fields", "told_why"),
    [
        ("no-passwd", "USER 0", ("etc/passwd",), {}, "/etc/passwd"),
        ("no-shell", "USER root", ("bin/sh",), {"command": ["/bin/busybox", "sleep", "600"]}, "no /bin/sh"),
        ("locked", "USER locked", (), {}, "/bin/false"),
        ("nameless", "USER 4242", (), {}, "4242"),
    ],
)
def test_an_image_that_nobody_could_log_in_to_is_refused_before_it_runs(  # noqa: PLR0917 - a table
    daemon: Daemon,
    person: Person,
    name: str,
    changes: str,
    leave_out: tuple[str, ...],
    fields: Json,
    told_why: str,
) -> None:
    kept = {} if leave_out else {"etc_passwd": PASSWD}
    image = image_of(daemon.engine, name, changes, leave_out, **kept)
    job = daemon.local.wait_finished(submit(daemon.local, person, image=image, **fields))
    assert (job["outcome"], job["reason"]["code"]) == ("failed", "ssh_unsupported_image")
    assert told_why in job["reason"]["message"]
    assert job["started_at"] is None
    # The same image is fine for who wants no SSH, whatever becomes of its program.
    plain = daemon.local.wait_finished(
        daemon.local.submit(
            "true", image=image, **{**fields, "ssh": False, "command": ["/bin/busybox", "true"]}
        )
    )
    assert plain["reason"] is None or plain["reason"]["code"] != "ssh_unsupported_image"


# What fills the container ends by itself; the shell that filled it ends where it can't fork.
FILL = "while :; do sleep 6 & done"


@pytest.mark.slow
def test_a_container_at_its_limit_of_processes_goes_on_and_lets_in_again_later(
    daemon: Daemon, person: Person
) -> None:
    # Full at its start, when there may be no room for the server; then it waits without a process more.
    script = f"mkfifo /tmp/wait; sh -c '{FILL}' 2>/dev/null; read nothing </tmp/wait"
    job = wait_ready(daemon.local, submit(daemon.local, person, script, pids=12), 60)
    expect(lambda: person.ssh(job, "true").returncode == 0, "there is room for a session", 60)
    # And full once more, with the server there.
    (container,) = daemon.containers(job["id"])
    docker = ["docker", "--host", f"unix://{daemon.engine.socket}", "exec", container["Id"]]
    subprocess.run([*docker, "sh", "-c", f"({FILL}) >/dev/null 2>&1"], check=False, timeout=20)
    assert person.ssh(job, "true").returncode != 0
    assert daemon.local.job(job["id"])["phase"] == "running"
    expect(lambda: person.ssh(job, "true").returncode == 0, "there is room again", 60)


def test_without_a_kit_ssh_is_refused_with_the_remedy_and_the_rest_works(
    make_daemon: Make, tmp_path: Path
) -> None:
    daemon = make_daemon({"ssh": {"kit": str(tmp_path / "none")}}).start()
    person = Person(tmp_path / "person", daemon)
    spec = daemon.local.spec("true", ssh={"authorized_keys": [person.public]}, network="egress")
    reply = daemon.local.call("POST", "/v1/jobs", spec)
    assert (reply.status, reply.json["faults"][0]["code"]) == (422, "ssh_kit_missing")
    assert daemon.local.wait_finished(daemon.local.submit("true"))["outcome"] == "succeeded"
