"""SSH through deaths: of its server, of the daemon at any step, of the engine. There are never two servers, and nothing is left."""

import contextlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.daemon.repair import repair
from tests.e2e.client import Json, expect
from tests.e2e.conftest import Make
from tests.e2e.daemon import Daemon, in_loop
from tests.e2e.invariants import Invariants
from tests.e2e.ssh_client import Person, submit, told, wait_ready, wait_state
from tests.ssh_kit import KITS, built_kit

# All that listens on 2202, by its command line: a session's process has another.
SERVERS = "for p in /proc/[0-9]*; do read -r l <$p/cmdline; case $l in /.agent/ssh/*-D/.agent/ssh-keys) echo ${p#/proc/};; esac; done 2>/dev/null"


@pytest.fixture(scope="module", autouse=True)
def kit() -> None:
    built_kit()


@pytest.fixture
def daemon(make_daemon: Make) -> Daemon:
    return make_daemon({"ssh": {"kit": str(KITS)}}).start()


@pytest.fixture
def person(tmp_path: Path, daemon: Daemon) -> Person:
    return Person(tmp_path / "person", daemon)


def inside(daemon: Daemon, job_id: str, script: str) -> list[str]:
    """What a shell script in the job's container writes, word by word: by the engine's own client, past the agent."""
    (container,) = daemon.containers(job_id)
    command = [
        "docker",
        "--host",
        f"unix://{daemon.engine.socket}",
        "exec",
        container["Id"],
        "sh",
        "-c",
        script,
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False).stdout.split()


def servers(daemon: Daemon, job_id: str) -> list[str]:
    return inside(daemon, job_id, SERVERS)


@contextlib.contextmanager
def open_session(person: Person, job: Json) -> Iterator["subprocess.Popen[bytes]"]:
    """One that waits for a line, and says it."""
    before = len(told(person.daemon, job["id"], "ssh.opened"))
    process = subprocess.Popen(
        person.command(job, "read -r line; echo still $line"), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        expect(lambda: len(told(person.daemon, job["id"], "ssh.opened")) > before, "the session is open")
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_session_lives_through_a_kill_of_the_daemon_and_the_next_one_lets_in_again(
    daemon: Daemon, person: Person
) -> None:
    job = wait_ready(daemon.local, submit(daemon.local, person))
    with open_session(person, job) as session:
        for _ in range(2):
            daemon.kill()
            expect(lambda: servers(daemon, job["id"]) == [], "nobody is let in whom nobody notes")
            assert person.ssh(job, "true").returncode == 255
            daemon.start()
            after = wait_ready(daemon.local, job["id"])
            assert after["ssh"] == job["ssh"]
            assert person.ssh(after, "true").returncode == 0
            assert len(servers(daemon, job["id"])) == 1
        assert session.communicate(b"here\n", timeout=10)[0] == b"still here\n"
    assert [event["fingerprint"] for event in told(daemon, job["id"], "ssh.opened")] == [
        person.fingerprint
    ] * 3


@pytest.mark.slow
def test_a_server_killed_from_inside_comes_back_three_times_and_the_job_goes_on(
    daemon: Daemon, person: Person
) -> None:
    job = wait_ready(daemon.local, submit(daemon.local, person))
    for number in range(4):
        job = wait_ready(daemon.local, job["id"], 40)
        assert person.ssh(job, "true").returncode == 0
        assert inside(daemon, job["id"], f"kill -9 $({SERVERS})") == []
        state = "down" if number == 3 else "starting"
        wait_state(daemon.local, job["id"], state)
    assert person.ssh(job, "true").returncode == 255
    assert daemon.local.job(job["id"])["phase"] == "running"
    # Who brings a key wants to come in.
    put = daemon.local.call("PUT", f"/v1/jobs/{job['id']}/ssh-keys", {"authorized_keys": [person.public]})
    assert put.status == 200
    wait_ready(daemon.local, job["id"])
    assert person.ssh(job, "true").returncode == 0


def test_the_script_around_the_server_killed_from_inside_leaves_no_second_server(
    daemon: Daemon, person: Person
) -> None:
    job = wait_ready(daemon.local, submit(daemon.local, person))
    (server,) = servers(daemon, job["id"])
    kill_parent = f"read -r _ _ _ parent _ </proc/{server}/stat; kill -9 $parent"
    inside(daemon, job["id"], kill_parent)
    wait_state(daemon.local, job["id"], "starting")
    wait_ready(daemon.local, job["id"])
    assert person.ssh(job, "true").returncode == 0
    assert len(servers(daemon, job["id"])) == 1


def test_who_was_taken_out_stays_out_after_a_repair_of_the_database(
    daemon: Daemon, person: Person, tmp_path: Path
) -> None:
    other = Person(tmp_path / "other", daemon)
    keys = {"authorized_keys": [person.public, other.public]}
    job = wait_ready(daemon.local, submit(daemon.local, person, ssh=keys))
    left = daemon.local.call("PUT", f"/v1/jobs/{job['id']}/ssh-keys", {"authorized_keys": [person.public]})
    assert left.status == 200
    daemon.stop()
    for file in daemon.state.glob("agent.db*"):
        file.unlink()
    in_loop(repair(daemon.config))
    daemon.start()
    job = wait_ready(daemon.local, job["id"])
    assert person.ssh(job, "echo in").stdout == b"in\n"
    assert other.ssh(job, "echo in").returncode == 255


def test_an_engine_that_is_killed_leaves_its_server_to_be_replaced(daemon: Daemon, person: Person) -> None:
    job = wait_ready(daemon.local, submit(daemon.local, person))
    (old,) = servers(daemon, job["id"])
    daemon.engine.kill()
    daemon.engine.launch()

    def is_replaced() -> bool:
        found = servers(daemon, job["id"])
        assert len(found) <= 1
        return found not in ([], [old])

    expect(is_replaced, "another server", 60)
    wait_ready(daemon.local, job["id"])
    assert person.ssh(job, "true").returncode == 0
    expect(lambda: told(daemon, job["id"], "ssh.opened"), "who comes in is noted again")
    assert "down" not in [event["state"] for event in told(daemon, job["id"], "ssh.state")]


def test_the_host_key_is_the_same_in_the_next_attempt_and_gone_with_the_job(
    daemon: Daemon, person: Person
) -> None:
    job_id = submit(daemon.local, person, "sleep 600", retry={"count": 1, "backoff": 0})
    first = wait_ready(daemon.local, job_id)
    key = daemon.state / "jobs" / job_id / "ssh" / "host_key"
    secret = key.read_bytes()[-64:-32]
    person.ssh(first, "kill -9 $(pidof sleep)")
    expect(lambda: daemon.local.job(job_id)["attempt"] == 2, "it is tried again")
    second = wait_ready(daemon.local, job_id)
    assert second["ssh"]["fingerprint"] == first["ssh"]["fingerprint"]
    assert person.ssh(second, "true").returncode == 0
    daemon.local.call("POST", f"/v1/jobs/{job_id}/cancel", {"grace": 0})
    assert daemon.local.wait_finished(job_id)["ssh"]["state"] == "ended"
    assert_gone(daemon, job_id, secret)


def assert_gone(daemon: Daemon, job_id: str, secret: bytes) -> None:
    assert not (daemon.state / "jobs" / job_id / "ssh").exists()
    for path in (*daemon.state.rglob("*"), *(daemon.folder / "run").rglob("*")):
        assert not path.is_file() or secret not in path.read_bytes(), path


STEPS = [
    ("container.planned", {}),
    ("step.taken", {"step": "Create"}),
    ("step.taken", {"step": "Intend"}),
    ("step.taken", {"step": "Start"}),
    ("step.taken", {"step": "BeginRunning"}),
    ("ssh.state", {"state": "ready"}),
    ("ssh.opened", {}),
    ("ssh.closed", {}),
    ("step.taken", {"step": "WriteSignalled"}),
    ("step.taken", {"step": "DrainAndRemove"}),
    ("step.taken", {"step": "Close"}),
    ("secrets.dropped", {}),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("event", "fields"),
    STEPS,
    ids=lambda value: value if isinstance(value, str) else "-".join(map(str, value.values())),
)
def test_a_kill_at_any_step_leaves_one_server_and_no_key(
    make_daemon: Make, tmp_path: Path, event: str, fields: Json
) -> None:
    daemon = make_daemon({"ssh": {"kit": str(KITS)}})

    def is_the_step(line: dict[str, Any]) -> bool:
        return line.get("event") == event and all(line.get(name) == value for name, value in fields.items())

    daemon.launch(kill_at=is_the_step)
    daemon.wait_ready()
    person = Person(tmp_path / "person", daemon)
    job_id = submit(daemon.local, person)
    secret = (daemon.state / "jobs" / job_id / "ssh" / "host_key").read_bytes()[-64:-32]
    live_one_life(daemon, person, job_id)
    assert daemon.wait_killed()
    daemon.start()
    live_one_life(daemon, person, job_id)
    job = daemon.local.wait_finished(job_id)
    assert job["outcome"] == "cancelled", job["reason"]["message"]
    assert daemon.containers(job_id) == []
    assert_gone(daemon, job_id, secret)
    seen = Invariants(daemon)
    seen.check_end({job_id})
    assert seen.violations == []


def is_ready(daemon: Daemon, job_id: str) -> bool:
    return daemon.local.job(job_id)["ssh"]["state"] == "ready"


def live_one_life(daemon: Daemon, person: Person, job_id: str) -> None:
    """Log in, and cancel: as far as the daemon lives."""
    with contextlib.suppress(OSError, AssertionError, json.JSONDecodeError):
        expect(lambda: not daemon.is_running() or is_ready(daemon, job_id), "it lets in, or was killed", 8)
        job = daemon.local.job(job_id)
        assert person.ssh(job, "true").returncode == 0
        assert len(servers(daemon, job_id)) == 1
    with contextlib.suppress(OSError, AssertionError):
        daemon.local.call("POST", f"/v1/jobs/{job_id}/cancel", {"grace": 0})
