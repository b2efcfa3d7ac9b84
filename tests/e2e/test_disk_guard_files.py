"""A host whose inodes a job uses up: the job is ended while there are some, and its neighbour with many old files lives on."""

import pytest

from agent.core.disk_guard import FLOOR_BYTES
from agent.core.disk_space import INODE_BYTES
from tests.e2e.client import expect
from tests.e2e.conftest import Make
from tests.e2e.small_disk import disk_of_its_own, free_files, least_free
from tests.loops import needs_loops

# It is a race of a guard with who makes files as fast as he can: beside other tests it would be one of the host's load.
pytestmark = [needs_loops, pytest.mark.alone]

GIB = 1 << 30
OLD_FILES = 70_000  # more than one measurement reaches
QUIET = f"mkdir /outputs/old && cd /outputs/old && seq {OLD_FILES} | xargs touch && echo written; while :; do date >> /outputs/log; sleep 0.2; done"
# As fast as it can: two at once, in a folder each.
BOMB = "trap '' TERM; for folder in a b; do (mkdir /outputs/$folder; cd /outputs/$folder; seq 1000000 | xargs touch; echo ended with $?) & done; wait; sleep 600"


def test_who_uses_up_the_inodes_is_ended_and_they_are_back_once_his_outputs_are_gone(
    make_daemon: Make,
) -> None:
    inodes = OLD_FILES + FLOOR_BYTES // INODE_BYTES + 30_000
    with disk_of_its_own(5 * GIB, "-N", str(inodes)) as disk:
        daemon = make_daemon(state=disk / "state").start()
        quiet = daemon.local.submit(QUIET)
        expect(lambda: "written" in daemon.local.log(quiet), "the quiet one has many files", seconds=60)
        before = free_files(disk)
        with least_free(disk, free_files) as least:
            bomb = daemon.local.submit(BOMB, grace=600)
            job = daemon.local.wait_finished(bomb)
        assert (job["outcome"], job["reason"]["code"]) == ("failed", "disk_guard"), job["reason"]
        assert "files in its output folder" in job["reason"]["message"]
        assert "ended with" not in daemon.local.log(bomb), "it never saw a full disk"
        assert 0 < least[0] < FLOOR_BYTES // INODE_BYTES
        assert daemon.local.job(quiet)["phase"] == "running"
        check = daemon.local.checks()["disk_guard"]
        assert check["state"] == "warn"
        assert "inodes" in check["evidence"]
        assert "1 job was ended" in check["evidence"]
        # With few inodes left, others are let alone.
        assert daemon.local.wait_finished(daemon.local.submit("echo still here"))["outcome"] == "succeeded"
        assert daemon.local.call("DELETE", f"/v1/jobs/{bomb}").status == 204
        expect(lambda: free_files(disk) > before - 1000, "its files are gone", seconds=60)
        expect(lambda: daemon.local.checks()["disk_guard"]["state"] == "ok", "it sees the room", seconds=30)
        daemon.local.cancel(quiet, grace=0)
        daemon.local.wait_finished(quiet)
        daemon.clean_up()
