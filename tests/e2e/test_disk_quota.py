"""A job with `disk` on a whole host: the quota holds, the host keeps its own, and no death of the agent leaves anything."""

import json
import os
import sqlite3
import subprocess
import uuid
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from http.client import HTTPException
from pathlib import Path

import pytest

from agent.adapters.folders.images import FLOOR_BYTES
from agent.daemon import examine, repair
from agent.jobs.health import Check, CheckState
from tests.e2e.client import expect
from tests.e2e.conftest import Make
from tests.e2e.daemon import Daemon, in_loop
from tests.e2e.test_kill_points import Point, after, parameter_of, put
from tests.loops import needs_loops
from tests.private_engine import PrivateEngine, busybox_image

pytestmark = needs_loops

MIB = 1 << 20
DISK = 64 * MIB
# Each attempt adds a line to what the one before it left.
COUNTS = "echo $GPU_AGENT_ATTEMPT >> /outputs/runs; cat /outputs/runs; exit 7"
TWICE = {"count": 1, "backoff": 0}
AT_ONCE = 4


def outputs_of(daemon: Daemon, job_id: str) -> dict[str, int]:
    reply = daemon.local.call("GET", f"/v1/jobs/{job_id}/outputs?digest=none")
    assert reply.status == 200, reply.body
    return {file["path"]: file["size"] for file in reply.json["items"]}


def read_output(daemon: Daemon, job_id: str, path: str) -> bytes:
    reply = daemon.local.call("GET", f"/v1/jobs/{job_id}/outputs/{path}")
    assert reply.status == 200, reply.body
    return reply.body


def image_of(daemon: Daemon, job_id: str) -> Path:
    return daemon.state / "jobs" / job_id / "q.img"


def expect_nothing_left(daemon: Daemon) -> None:
    expect(lambda: not daemon.containers(), "no container is left")
    expect(lambda: not daemon.volumes(), "no volume is left", seconds=60)
    expect(lambda: not daemon.loops(), "no loop device is left", seconds=60)


def test_a_job_is_stopped_by_its_quota_and_the_host_is_not(daemon: Daemon) -> None:
    script = "dd if=/dev/zero of=/outputs/much bs=1M count=200; echo code $?; df -m /outputs | tail -1"
    job_id = daemon.local.submit(script, disk=DISK)
    assert daemon.local.wait_finished(job_id)["outcome"] == "succeeded"
    log = daemon.local.log(job_id)
    assert "No space left on device" in log
    assert "code 1" in log
    assert DISK * 0.7 < outputs_of(daemon, job_id)["much"] < DISK
    host_folder = daemon.state / "jobs" / job_id / "outputs"
    assert os.listdir(host_folder) == []  # noqa: PTH208 - the names alone
    expect_nothing_left(daemon)
    assert daemon.local.call("DELETE", f"/v1/jobs/{job_id}").status == 204
    assert not image_of(daemon, job_id).exists()
    assert daemon.loops() == []


def test_the_volume_is_the_one_that_the_operator_expects(daemon: Daemon) -> None:
    job_id = daemon.local.submit("sleep 60", disk=DISK)
    daemon.local.wait_phase(job_id, "running")
    (volume,) = daemon.volumes()
    (loop,) = daemon.loops()
    assert volume["Options"] == {"type": "ext4", "device": loop.device, "o": "nosuid,nodev"}
    assert volume["Labels"] == {"gpu-agent.agent": daemon.agent_id, "gpu-agent.job": job_id}
    assert image_of(daemon, job_id).stat().st_blocks * 512 >= DISK
    daemon.local.cancel(job_id, grace=0)
    daemon.local.wait_finished(job_id)
    expect_nothing_left(daemon)
    assert image_of(daemon, job_id).stat().st_blocks * 512 < DISK // 2, "what it did not fill is given back"


def test_an_agent_in_a_mount_namespace_of_its_own_reads_what_the_job_writes_and_the_host_gets_none_of_it(
    make_daemon: Make,
) -> None:
    daemon = make_daemon()
    daemon.wrapper = ["unshare", "--mount", "--propagation", "slave"]
    daemon.start()
    script = (
        "echo one > /outputs/file; df -k /outputs | tail -1; while [ ! -e /outputs/x ]; do sleep 0.1; done"
    )
    job_id = daemon.local.submit(script, disk=DISK)
    expect(lambda: outputs_of(daemon, job_id) == {"file": 4}, "the job's file is there, while it runs")
    assert int(daemon.local.log(job_id).split()[1]) < DISK / 1024, "it has no more than its quota"
    assert [entry.name for entry in (daemon.state / "jobs" / job_id / "outputs").iterdir()] == []
    assert str(daemon.state) not in mounts_of(daemon.process.pid if daemon.process else 0)
    daemon.kill()
    daemon.start()
    assert read_output(daemon, job_id, "file") == b"one\n"
    daemon.local.cancel(job_id, grace=0)
    daemon.local.wait_finished(job_id)
    assert read_output(daemon, job_id, "file") == b"one\n"
    expect_nothing_left(daemon)


def test_a_restart_in_another_mount_namespace_finds_the_devices_of_the_one_before(make_daemon: Make) -> None:
    """As a service manager starts it: in a new namespace each time, with its state folder mounted over itself. The kernel's path
    of an image that was opened in a namespace that has ended is a shorter one.
    """
    daemon = make_daemon()
    daemon.state.mkdir(mode=0o700)
    sandbox = 'mount --bind "$0" "$0" && exec "$@"'
    daemon.wrapper = ["unshare", "--mount", "--propagation", "slave", "sh", "-c", sandbox, str(daemon.state)]
    daemon.start()
    ends = daemon.local.submit(
        "echo one > /outputs/file; while [ ! -e /tmp/x ]; do sleep 0.1; done", disk=DISK
    )
    stays = daemon.local.submit(
        "echo two > /outputs/file; while [ ! -e /tmp/x ]; do sleep 0.1; done", disk=DISK
    )
    for job_id in (ends, stays):
        expect(lambda job_id=job_id: outputs_of(daemon, job_id), "it has written")
    before = {loop.job: loop.device for loop in daemon.loops()}
    daemon.kill()
    expect(lambda: str(daemon.state) not in backing_files(), "the namespace is gone")
    daemon.start()
    daemon.local.cancel(ends, grace=0)
    daemon.local.wait_finished(ends)
    assert read_output(daemon, stays, "file") == b"two\n"
    expect(lambda: [loop.job for loop in daemon.loops()] == [stays], "what nobody needs goes", seconds=60)
    assert {loop.job: loop.device for loop in daemon.loops()} == {stays: before[stays]}
    daemon.local.cancel(stays, grace=0)
    daemon.local.wait_finished(stays)
    assert read_output(daemon, stays, "file") == b"two\n"
    expect_nothing_left(daemon)


def backing_files() -> str:
    return "".join(file.read_text() for file in Path("/sys/block").glob("loop*/loop/backing_file"))


def mounts_of(pid: int) -> str:
    return Path(f"/proc/{pid}/mountinfo").read_text()


def test_a_retry_finds_its_checkpoint_also_where_the_loop_devices_number_has_changed(
    make_daemon: Make, tmp_path: Path
) -> None:
    daemon = make_daemon().start()
    job_id = daemon.local.submit(COUNTS, disk=DISK, retry={"count": 1, "backoff": 300})
    expect(lambda: daemon.local.job(job_id)["attempt"] == 2, "the second attempt waits")
    daemon.kill()
    (volume,), (loop,) = daemon.volumes(), daemon.loops()
    # As after a boot: the volume is there, and its device is another's.
    subprocess.run(["losetup", "--detach", loop.device], check=True)
    foreign = tmp_path / "foreign.img"
    with foreign.open("wb") as file:
        file.truncate(DISK)
    subprocess.run(["losetup", loop.device, str(foreign)], check=True)
    try:
        with closing(sqlite3.connect(daemon.database)) as connection, connection:
            (rest,) = connection.execute("SELECT rest FROM jobs WHERE id = ?", (job_id,)).fetchone()
            due = json.dumps({**json.loads(rest), "not_before": None})
            connection.execute("UPDATE jobs SET rest = ? WHERE id = ?", (due, job_id))
        daemon.start()
        job = daemon.local.wait_finished(job_id)
        assert [attempt["exit"]["code"] for attempt in job["attempts"]] == [7, 7]
        assert daemon.local.log(job_id, "?attempt=2").split() == ["1", "2"]
        assert volume["Options"]["device"] == loop.device
        expect_nothing_left(daemon)
    finally:
        subprocess.run(["losetup", "--detach", loop.device], check=True)


def test_what_no_row_knows_is_found_and_taken_away(make_daemon: Make) -> None:
    daemon = make_daemon().start()
    job_id = daemon.local.submit("sleep 300", disk=DISK)
    daemon.local.wait_phase(job_id, "running")
    keeps = daemon.local.submit("echo kept > /outputs/file; sleep 300", disk=DISK)
    daemon.local.wait_phase(keeps, "running")
    daemon.kill()
    with closing(sqlite3.connect(daemon.database)) as connection, connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute("DELETE FROM jobs WHERE id = ?", (job_id,))
    daemon.start()
    expect(lambda: len(daemon.containers()) == 1, "the orphan is gone")
    expect(lambda: len(daemon.volumes()) == 1, "its volume is gone", seconds=60)
    expect(lambda: len(daemon.loops()) == 1, "its device is gone", seconds=60)
    assert not image_of(daemon, job_id).exists()
    assert read_output(daemon, keeps, "file") == b"kept\n"
    daemon.local.cancel(keeps, grace=0)
    daemon.local.wait_finished(keeps)
    expect_nothing_left(daemon)


def check_of(daemon: Daemon, name: str) -> Check:
    (found,) = [check for check in in_loop(examine(daemon.config)) if check.name == name]
    return found


def test_the_doctor_names_what_is_left_of_a_job_that_is_over(make_daemon: Make) -> None:
    daemon = make_daemon().start()
    assert daemon.local.checks()["disk_quotas"]["state"] == "ok"
    assert check_of(daemon, "disk_quotas").state is CheckState.OK
    job_id = daemon.local.submit("sleep 300", disk=DISK)
    daemon.local.wait_phase(job_id, "running")
    assert check_of(daemon, "quota_leftovers").state is CheckState.OK
    daemon.kill()
    with closing(sqlite3.connect(daemon.database)) as connection, connection:
        connection.execute("UPDATE jobs SET phase = 'finished' WHERE id = ?", (job_id,))
    found = check_of(daemon, "quota_leftovers")
    (loop,) = daemon.loops()
    assert found.state is CheckState.WARN
    assert f"docker volume rm gpu-agent-{job_id}; losetup --detach {loop.device}" in found.remedy
    assert f"{loop.device} (mounted by " in found.evidence, "the job itself has it mounted"


def test_a_repair_keeps_the_quota_of_what_runs_and_lets_all_others_go(make_daemon: Make) -> None:
    daemon = make_daemon().start()
    runs = daemon.local.submit("echo one > /outputs/file; while :; do sleep 0.1; done", disk=DISK)
    over = daemon.local.submit("echo two > /outputs/file; sleep 300", disk=DISK)
    for job_id in (runs, over):
        expect(lambda job_id=job_id: outputs_of(daemon, job_id), "it has written")
    daemon.kill()
    for container in daemon.containers(over):
        daemon.engine.request("DELETE", f"/containers/{container['Id']}?force=1")
    daemon.database.write_bytes(b"\xff" * 8192)
    done = in_loop(repair(daemon.config))
    assert f"{over}: its volume gpu-agent-{over} is removed" in done
    assert [volume["Name"] for volume in daemon.volumes()] == [f"gpu-agent-{runs}"]
    assert [loop.job for loop in daemon.loops()] == [runs]
    daemon.start()
    assert read_output(daemon, runs, "file") == b"one\n"
    daemon.local.cancel(runs, grace=0)
    daemon.local.wait_finished(runs)
    assert read_output(daemon, runs, "file") == b"one\n"
    expect_nothing_left(daemon)


@contextmanager
def disk_of_its_own(folder: Path) -> Iterator[Path]:
    """A disk for a state folder, with 1 GiB above what reservations leave."""
    folder.mkdir()
    with (folder / "disk.img").open("wb") as file:
        file.truncate(FLOOR_BYTES + (1 << 30))
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-m", "0", str(folder / "disk.img")], check=True)
    target = folder / "disk"
    target.mkdir()
    subprocess.run(["mount", "-o", "loop", str(folder / "disk.img"), str(target)], check=True)
    try:
        yield target
    finally:
        subprocess.run(["umount", str(target)], check=True)


def test_where_the_disk_has_no_room_a_job_waits_holds_nothing_and_goes_on_when_there_is(
    make_daemon: Make, tmp_path: Path
) -> None:
    with disk_of_its_own(tmp_path / "small") as disk:
        daemon = make_daemon(state=disk / "state").start()
        large = f"{600 * MIB}"
        first = daemon.local.submit("sleep 300", disk=int(large))
        daemon.local.wait_phase(first, "running")
        second = daemon.local.submit("df -m /outputs | tail -1", disk=int(large))
        expect(lambda: daemon.local.job(second)["waiting_words"], "it waits, and says for what")
        job = daemon.local.job(second)
        assert (job["phase"], job["waiting_for"]) == ("queued", "disk")
        refused = daemon.local.call("POST", "/v1/jobs", daemon.local.spec("true", disk="2GiB"))
        assert refused.status == 422
        assert refused.json["faults"][0]["code"] == "over_host_limit"
        assert daemon.local.wait_finished(daemon.local.submit("echo free"))["outcome"] == "succeeded"
        daemon.local.cancel(first, grace=0)
        assert daemon.local.wait_finished(second)["outcome"] == "succeeded"
        expect_nothing_left(daemon)
        daemon.clean_up()


POINTS = [
    Point("disk.reserved"),
    after("ReserveDisk"),
    Point("volume.ready"),
    Point("container.planned"),
    after("Create"),
    after("Intend"),
    after("Start"),
    after("BeginRunning"),
    after("Judge"),
    after("DrainAndRemove"),
    after("Close"),
    after("Finish"),
    Point("volume.removed"),
    Point("disk.released"),
]


def be_killed_and_go_on(daemon: Daemon, point: Point) -> None:
    job_id = str(uuid.uuid4())
    daemon.launch(point.matches)
    daemon.wait_ready()
    with suppress(OSError, HTTPException):  # killed before it answers
        put(daemon.local, job_id, COUNTS, disk=DISK, retry=TWICE)
    assert daemon.wait_killed(), f"never came to {point}: {daemon.tail()}"
    daemon.start()
    put(daemon.local, job_id, COUNTS, disk=DISK, retry=TWICE)
    job = daemon.local.wait_finished(job_id)
    assert [attempt["exit"]["code"] for attempt in job["attempts"]] == [7, 7], job["reason"]
    assert daemon.local.log(job_id, "?attempt=2").split() == ["1", "2"]
    assert read_output(daemon, job_id, "runs") == b"1\n2\n"
    assert daemon.count_starts(job_id) == 2
    expect_nothing_left(daemon)
    expect(lambda: image_of(daemon, job_id).stat().st_blocks * 512 < DISK // 2, "unused room is given back")


@pytest.fixture(scope="module")
def kills(
    request: pytest.FixtureRequest, session_engine: PrivateEngine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[Point, "Future[None]"]]:
    """Several at once, since each spends most of its time waiting; only those that were asked for."""
    image, folder = busybox_image(session_engine), tmp_path_factory.mktemp("quotas")
    asked = [
        point for item in request.session.items if isinstance(point := parameter_of(item, "point"), Point)
    ]

    def tell(point: Point) -> None:
        daemon = Daemon(folder / f"d{POINTS.index(point)}", session_engine, image)
        try:
            be_killed_and_go_on(daemon, point)
        finally:
            daemon.clean_up()

    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {point: pool.submit(tell, point) for point in asked}


@pytest.mark.parametrize("point", POINTS, ids=str)
def test_a_kill_at_a_step_loses_no_checkpoint_and_leaves_neither_volume_nor_device(
    point: Point, kills: dict[Point, "Future[None]"]
) -> None:
    kills[point].result(timeout=300)
