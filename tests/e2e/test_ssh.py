"""SSH into running jobs by the system's own client: what a person can do, who is refused, and what survives what."""

from pathlib import Path

import pytest

from tests.e2e.conftest import Make
from tests.e2e.daemon import Daemon
from tests.e2e.ssh_client import Person, submit, wait_ready
from tests.ssh_kit import KITS, built_kit


@pytest.fixture(scope="session", autouse=True)
def kit() -> None:
    built_kit()


@pytest.fixture
def daemon(make_daemon: Make) -> Daemon:
    return make_daemon({"ssh": {"kit": str(KITS)}}).start()


@pytest.fixture
def person(tmp_path: Path, daemon: Daemon) -> Person:
    return Person(tmp_path / "person", daemon)


def test_a_session_is_the_jobs_own_place(daemon: Daemon, person: Person) -> None:
    job_id = submit(daemon.local, person, env={"GREETING": "hello", "PATH": "/bin:/mine"}, workdir="/tmp")
    job = wait_ready(daemon.local, job_id)
    ran = person.ssh(job, 'echo "$GREETING $PATH $PWD $GPU_AGENT_JOB"; exit 7')
    assert ran.stdout.decode() == f"hello /bin:/mine /tmp {job_id}\n", ran.stderr
    assert ran.returncode == 7
