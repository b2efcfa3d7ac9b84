"""Checkpoints of a running job: at the endpoint soon after they were closed, also where the daemon is killed meanwhile."""

import time

import pytest

from tests.e2e.client import expect
from tests.e2e.conftest import Make
from tests.e2e.sink import MANIFEST, UPLOADS, sinking

SETTINGS = {"uploads": UPLOADS}
QUIET = 2
# What it must show: by t + quiet + 2 s.
WITHIN = QUIET + 2
TRAIN = """
cd /outputs
for n in 1 2 3 4 5 6 7 8; do
    head -c 200000 /dev/zero > step-$n.part; mv step-$n.part step-$n.pt; printf "line $n\\n" >> log.txt; sleep 1
done
sleep 60
"""


@pytest.mark.alone
def test_a_checkpoint_that_was_closed_is_at_the_endpoint_within_its_quiet_time_and_two_seconds(
    make_daemon: Make,
) -> None:
    daemon = make_daemon(SETTINGS).start()
    with sinking(daemon.net) as sink:
        outputs = {"upload": sink.upload(), "live": True, "quiet": QUIET}
        job_id = daemon.local.submit(
            "cd /outputs; sleep 2; printf whole > a.pt; date +%s.%N > closed.txt; sleep 40", outputs=outputs
        )
        file = daemon.state / "jobs" / job_id / "outputs" / "closed.txt"
        expect(lambda: file.exists() and file.stat().st_size > 0, "the job has closed its file")
        closed_at = file.stat().st_mtime
        expect(lambda: "a.pt" in sink.files(job_id), "the checkpoint is there", WITHIN + 5)
        took = sink.files(job_id)["a.pt"].began - time.monotonic() + time.time() - closed_at
        assert QUIET - 0.2 <= took <= WITHIN, took
        assert daemon.local.job(job_id)["phase"] == "running"
        assert sink.files(job_id)["a.pt"].data == b"whole"


def test_checkpoints_go_on_leaving_after_the_daemon_was_killed_and_none_leaves_twice(
    make_daemon: Make,
) -> None:
    daemon = make_daemon(SETTINGS).start()
    with sinking(daemon.net) as sink:
        outputs = {"upload": sink.upload(), "live": True, "quiet": QUIET}
        job_id = daemon.local.submit(TRAIN, outputs=outputs, grace=1)
        expect(lambda: "step-2.pt" in sink.files(job_id), "two checkpoints have left")
        daemon.kill()
        # What has arrived, and is not in the row yet, is sent once more.
        written = daemon.query("SELECT path FROM uploads WHERE state = 'sent'")
        daemon.start()
        expect(lambda: "step-8.pt" in sink.files(job_id), "all checkpoints have left while it runs")
        assert daemon.local.job(job_id)["phase"] == "running"
        daemon.local.cancel(job_id)
        job = daemon.local.wait_finished(job_id)
        assert (job["outcome"], job["upload"]["state"]) == ("cancelled", "complete")
        steps = {f"step-{number}.pt" for number in range(1, 9)}
        assert steps <= set(sink.files(job_id))
        # One that was on its way as the daemon was killed may come twice; those whose rows said sent do not.
        twice = {path for path, times in sink.taken(job_id).items() if path in steps and times > 1}
        assert len(twice) <= 1
        assert not twice & {row["path"] for row in written}
        assert sink.requests[-1].path == MANIFEST
