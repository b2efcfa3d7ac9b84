"""A host whose disk a job fills: the job is ended before the disk is full, its quiet neighbour and the agent live on."""

from pathlib import Path

from agent.core.disk_guard import FLOOR_BYTES
from tests import private_engine
from tests.e2e.client import expect
from tests.e2e.conftest import Make
from tests.e2e.daemon import Daemon
from tests.e2e.small_disk import disk_of_its_own, free_bytes, least_free
from tests.loops import needs_loops
from tests.private_engine import busybox_image

pytestmark = needs_loops

MIB, GIB = 1 << 20, 1 << 30
QUIET = "head -c 734003200 /dev/zero > /outputs/held && echo written; while :; do date >> /outputs/log; sleep 0.2; done"
WRITES_OUTPUTS = "trap '' TERM; cat /dev/zero > /outputs/much; echo ended with $?; sleep 600"
WRITES_LAYER = "trap '' TERM; cat /dev/zero > /much; echo ended with $?; sleep 600"
# At the end so slowly that the disk is not full before the agent is back.
WRITES_SLOWLY = "head -c 2300000000 /dev/zero > /outputs/first; while :; do head -c 4194304 /dev/zero >> /outputs/much; sleep 0.05; done"
# As one call does it, which takes no time; it is left alone with what it took.
TAKES_AT_ONCE = "fallocate -l 3000000000 /outputs/taken; echo ended with $?; sleep 600"


def run_quiet_one(daemon: Daemon) -> str:
    job_id = daemon.local.submit(QUIET)
    expect(lambda: "written" in daemon.local.log(job_id), "the quiet one holds much", seconds=60)
    return job_id


def expect_stopped(daemon: Daemon, writer: str, quiet: str, where: str) -> None:
    job = daemon.local.wait_finished(writer)
    assert (job["outcome"], job["reason"]["code"]) == ("failed", "disk_guard"), job["reason"]
    assert where in job["reason"]["message"]
    assert "ended with" not in daemon.local.log(writer), "it never saw a full disk"
    assert daemon.local.job(quiet)["phase"] == "running"
    assert daemon.is_running()
    assert daemon.local.checks()["disk_guard"]["state"] in {"ok", "warn"}
    assert "1 job was ended" in daemon.local.checks()["disk_guard"]["evidence"]


def test_who_fills_the_state_folders_disk_is_ended_and_room_is_back_once_his_outputs_are_gone(
    make_daemon: Make,
) -> None:
    with disk_of_its_own(FLOOR_BYTES + 1500 * MIB) as disk:
        daemon = make_daemon(state=disk / "state").start()
        quiet = run_quiet_one(daemon)
        before = free_bytes(disk)
        with least_free(disk) as least:
            writer = daemon.local.submit(WRITES_OUTPUTS, grace=600)
            expect_stopped(daemon, writer, quiet, "in its output folder")
        assert 0 < least[0] < FLOOR_BYTES
        check = daemon.local.checks()["disk_guard"]
        assert check["state"] == "warn"
        assert "the state folder's disk" in check["evidence"]
        # What it wrote is there; and with the disk low, others are let alone.
        assert (
            daemon.local.call("GET", f"/v1/jobs/{writer}/outputs?digest=none").json["items"][0]["size"] > GIB
        )
        assert daemon.local.wait_finished(daemon.local.submit("echo still here"))["outcome"] == "succeeded"
        assert daemon.local.job(quiet)["phase"] == "running"
        assert daemon.local.call("DELETE", f"/v1/jobs/{writer}").status == 204
        assert free_bytes(disk) > before - 100 * MIB
        expect(lambda: daemon.local.checks()["disk_guard"]["state"] == "ok", "it sees the room", seconds=30)
        daemon.local.cancel(quiet, grace=0)
        daemon.local.wait_finished(quiet)
        daemon.clean_up()


def test_who_takes_the_disk_in_one_call_is_ended(make_daemon: Make) -> None:
    with disk_of_its_own(FLOOR_BYTES + 1500 * MIB) as disk:
        daemon = make_daemon(state=disk / "state").start()
        quiet = daemon.local.submit("while :; do date >> /outputs/log; sleep 0.2; done")
        daemon.local.wait_phase(quiet, "running")
        expect(lambda: daemon.local.checks()["disk_guard"]["state"] == "ok", "it has looked")
        taker = daemon.local.submit(TAKES_AT_ONCE)
        job = daemon.local.wait_finished(taker)
        assert (job["outcome"], job["reason"]["code"]) == ("failed", "disk_guard"), job["reason"]
        assert daemon.local.job(quiet)["phase"] == "running"
        daemon.local.cancel(quiet, grace=0)
        daemon.local.wait_finished(quiet)
        daemon.clean_up()


def test_who_fills_the_engines_disk_is_ended_and_the_end_makes_room(tmp_path: Path) -> None:
    with (
        disk_of_its_own(FLOOR_BYTES + 1000 * MIB) as disk,
        private_engine.running(disk / "e", live_restore=True) as engine,
    ):
        daemon = Daemon(tmp_path / "d", engine, busybox_image(engine))
        try:
            daemon.start()
            quiet = run_quiet_one(daemon)
            before = free_bytes(disk)
            with least_free(disk) as least:
                writer = daemon.local.submit(WRITES_LAYER, grace=600)
                expect_stopped(daemon, writer, quiet, "in its container's own files")
            assert 0 < least[0] < FLOOR_BYTES
            expect(lambda: free_bytes(disk) > before - 100 * MIB, "its files went with its container")
            daemon.local.cancel(quiet, grace=0)
            daemon.local.wait_finished(quiet)
        finally:
            daemon.clean_up()


def test_an_agent_that_is_killed_as_it_asks_ends_him_after_its_start(make_daemon: Make) -> None:
    with disk_of_its_own(FLOOR_BYTES + 1500 * MIB) as disk:
        daemon = make_daemon(state=disk / "state")
        daemon.launch(lambda line: line.get("event") == "disk_guard.stopped")
        daemon.wait_ready()
        writer = daemon.local.submit(WRITES_SLOWLY, grace=600)
        assert daemon.wait_killed(), daemon.tail()
        daemon.start()
        job = daemon.local.wait_finished(writer)
        assert (job["outcome"], job["reason"]["code"]) == ("failed", "disk_guard"), job["reason"]
        assert daemon.local.call("DELETE", f"/v1/jobs/{writer}").status == 204
        daemon.clean_up()
