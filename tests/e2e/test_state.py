"""The state folder full, read-only, locked, damaged, gone or taken: refused in clear words, nothing lost, and back by itself."""

import os
import sqlite3
import subprocess
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path

import pytest

from agent.daemon import DatabaseMissingError, repair
from tests.e2e.client import expect
from tests.e2e.conftest import Make
from tests.e2e.daemon import Daemon, in_loop

WAITS = "echo end > /outputs/end; echo up; while [ ! -e /outputs/go ]; do sleep 0.05; done; exit 6"


def run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, which a test may fill or turn read-only."""
    folder = tmp_path / "small"
    folder.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=300m,mode=0700", "tmpfs", str(folder))
    yield folder
    run("umount", "--lazy", str(folder))


def start_waiting(daemon: Daemon) -> str:
    job_id = daemon.local.submit(WAITS)
    expect(lambda: "up" in daemon.local.log(job_id), "the job is up")
    # It prints before its row says so.
    expect(lambda: daemon.local.job(job_id)["phase"] == "running", "the row is running")
    return job_id


def check_own_end(daemon: Daemon, job_id: str) -> None:
    job = daemon.local.wait_finished(job_id)
    assert (job["outcome"], job["exit"]["code"]) == ("failed", 6), job["reason"]
    assert daemon.local.log(job_id) == "up\n"
    assert daemon.local.call("GET", f"/v1/jobs/{job_id}/outputs/end").body == b"end\n"
    assert daemon.count_starts(job_id) == 1


def test_a_full_state_folder_is_a_503_and_nothing_is_lost_when_there_is_room_again(
    make_daemon: Make, small_disk: Path
) -> None:
    daemon = make_daemon(state=small_disk / "state").start()
    job_id = start_waiting(daemon)
    before = {job["id"] for job in daemon.local.jobs()}
    filler = small_disk / "filler"
    fill(filler)
    (daemon.state / "jobs" / job_id / "outputs" / "go").touch()

    accepted: list[str] = []
    expect(lambda: refused(daemon, accepted), "a submit is refused")
    # The job ended meanwhile; that can't be written down, and waits.
    assert daemon.local.call("GET", "/healthz").status == 200
    assert daemon.is_running()
    filler.unlink()
    check_own_end(daemon, job_id)
    expect(lambda: daemon.local.call("GET", "/readyz").status == 200, "it is ready again")
    assert {job["id"] for job in daemon.local.jobs()} == before | set(accepted)
    assert daemon.local.wait_finished(daemon.local.submit("true"))["outcome"] == "succeeded"
    assert all(daemon.local.wait_finished(new)["outcome"] == "succeeded" for new in accepted)


def fill(filler: Path) -> None:
    """To the last block."""
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 20, 4096):
            with pytest.raises(OSError, match="No space"):
                grow_for_ever(file.fileno(), size)


def grow_for_ever(descriptor: int, size: int) -> None:
    while True:
        os.posix_fallocate(descriptor, os.lseek(descriptor, 0, os.SEEK_END), size)


def refused(daemon: Daemon, accepted: list[str]) -> bool:
    """A small row may still find a place: then it is as good as any, and the next one is tried."""
    body = daemon.local.spec("true", env={"LONG": "x" * 100_000})
    reply = daemon.local.call("POST", "/v1/jobs", body)
    if reply.status == 201:
        accepted.append(reply.json["id"])
        return False
    assert reply.status == 503, reply.body
    assert reply.json["code"] in {"state_full", "store_unavailable"}
    assert "retry-after" in reply.headers
    return True


def test_a_state_folder_that_turned_read_only_is_told_at_the_start_and_costs_no_job(
    make_daemon: Make, small_disk: Path
) -> None:
    daemon = make_daemon(state=small_disk / "state").start()
    job_id = start_waiting(daemon)
    daemon.kill()  # a file system with open files for writing can't be turned
    (daemon.state / "jobs" / job_id / "outputs" / "go").touch()
    expect(lambda: daemon.containers(job_id)[0]["State"] == "exited", "the job has ended")
    run("mount", "-o", "remount,ro", str(small_disk))
    daemon.launch()
    assert "read-only" in daemon.leave_failed()
    run("mount", "-o", "remount,rw", str(small_disk))
    daemon.start()
    check_own_end(daemon, job_id)


def test_a_database_that_another_program_locks_is_a_503_until_it_lets_go(daemon: Daemon) -> None:
    job_id = start_waiting(daemon)
    connection = sqlite3.connect(daemon.database, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        (daemon.state / "jobs" / job_id / "outputs" / "go").touch()
        reply = daemon.local.call("POST", "/v1/jobs", daemon.local.spec("true"))
        assert (reply.status, reply.json["code"]) == (503, "store_unavailable")
        assert daemon.local.job(job_id)["phase"] == "running"  # it can still be read
        connection.execute("ROLLBACK")
    finally:
        connection.close()
    check_own_end(daemon, job_id)
    assert [job["id"] for job in daemon.local.jobs()] == [job_id]


def test_a_corrupt_database_is_refused_and_a_repair_keeps_the_running_job_and_its_result(
    daemon: Daemon,
) -> None:
    job_id = start_waiting(daemon)
    over = daemon.local.submit("echo over")
    daemon.local.wait_finished(over)
    daemon.stop()
    size = daemon.database.stat().st_size
    with daemon.database.open("r+b") as file:
        file.seek(0)
        file.write(b"\xff" * min(size, 65536))
    daemon.launch()
    told = daemon.leave_failed()
    assert "damaged" in told
    assert "doctor --repair" in told

    done = in_loop(repair(daemon.config))
    assert any(job_id in line and "goes on" in line for line in done), done
    assert any(over in line for line in done), done
    assert in_loop(repair(daemon.config)) == []
    daemon.start()
    job = daemon.local.job(job_id)
    assert (job["phase"], job["owner"]) == ("running", "local")
    (daemon.state / "jobs" / job_id / "outputs" / "go").touch()
    check_own_end(daemon, job_id)
    assert list(daemon.state.glob("agent.db*2*")), "the damaged file is kept"
    expect(lambda: not daemon.containers(), "no container is left")


@pytest.mark.parametrize("its_log_is_left", [False, True])
def test_a_deleted_database_beside_job_folders_is_refused_and_can_be_repaired(
    daemon: Daemon, *, its_log_is_left: bool
) -> None:
    job_id = start_waiting(daemon)
    daemon.stop()
    for file in daemon.state.glob("agent.db*"):
        file.unlink()
    with pytest.raises(DatabaseMissingError):
        daemon.token()
    assert not daemon.database.exists()
    if its_log_is_left:
        (daemon.state / "agent.db-wal").write_bytes(b"what was written last")
    daemon.launch()
    assert "doctor --repair" in daemon.leave_failed()
    assert [found["State"] for found in daemon.containers(job_id)] == ["running"]
    in_loop(repair(daemon.config))
    daemon.start()
    (daemon.state / "jobs" / job_id / "outputs" / "go").touch()
    check_own_end(daemon, job_id)


def test_an_empty_database_in_the_place_of_the_lost_one_is_refused_and_can_be_repaired(
    daemon: Daemon, make_daemon: Make
) -> None:
    over = daemon.local.submit("echo over > /outputs/over", secrets={"KEY": "not to be kept"})
    daemon.local.wait_finished(over)
    waiting = daemon.local.submit(
        "true", secrets={"KEY": "not to be kept"}, not_before="2100-01-01T00:00:00Z"
    )
    daemon.stop()
    for file in daemon.state.glob("agent.db*"):
        file.unlink()
    other = make_daemon()
    other.token()
    other.database.rename(daemon.database)
    daemon.launch()
    assert "doctor --repair" in daemon.leave_failed()
    assert any(over in line for line in in_loop(repair(daemon.config)))
    assert (daemon.state / "aside" / over / "outputs/over").read_text() == "over\n"
    assert not (daemon.state / "aside" / waiting / "secrets").exists()
    daemon.start()


def test_a_daemon_that_leaves_while_jobs_come_in_leaves_clean_and_takes_them_up_again(daemon: Daemon) -> None:
    accepted: list[str] = []
    stopping = threading.Event()

    def submit() -> None:
        while not stopping.is_set():
            with suppress(OSError, HTTPException):  # it has closed the door
                reply = daemon.local.call("POST", "/v1/jobs", daemon.local.spec("true"))
                assert reply.status in {201, 503}, reply.body
                if reply.status == 201:
                    accepted.append(reply.json["id"])

    with ThreadPoolExecutor(4) as threads:
        submits = [threads.submit(submit) for _ in range(4)]
        expect(lambda: len(accepted) > 8, "jobs come in")
        code = daemon.stop()
        stopping.set()
        for done in submits:
            done.result()
    assert code == 0, daemon.tail()
    assert not [line for line in daemon.lines if "exception" in line], daemon.tail()
    daemon.start()
    for job_id in accepted:
        assert daemon.local.wait_finished(job_id)["outcome"] == "succeeded"


def test_a_database_of_a_newer_program_is_refused_and_not_changed(daemon: Daemon) -> None:
    daemon.stop()
    with sqlite3.connect(daemon.database) as connection:
        connection.execute("PRAGMA user_version = 999")
    connection.close()
    before = daemon.database.read_bytes()
    daemon.launch()
    told = daemon.leave_failed()
    assert "999" in told
    assert "newer" in told
    assert daemon.database.read_bytes() == before


def test_a_second_daemon_on_the_same_state_folder_is_refused_and_the_first_goes_on(
    daemon: Daemon, make_daemon: Make
) -> None:
    second = make_daemon(state=daemon.state)
    second.launch()
    told = second.leave_failed()
    assert str(daemon.state) in told
    assert "another" in told.lower()
    assert "Traceback" not in told
    assert daemon.local.wait_finished(daemon.local.submit("true"))["outcome"] == "succeeded"


def test_a_folder_without_a_row_is_swept_before_the_api_opens(daemon: Daemon) -> None:
    daemon.local.wait_finished(daemon.local.submit("true"))
    daemon.stop()
    half_made = daemon.state / "jobs" / str(uuid.uuid4())
    (half_made / "outputs").mkdir(parents=True)
    daemon.start()
    assert not half_made.exists()
