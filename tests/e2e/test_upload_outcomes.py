"""Outputs leave whatever became of the job: of one that ran out of memory, of one that somebody killed."""

import json

from tests.e2e.conftest import Make
from tests.e2e.daemon import Daemon
from tests.e2e.sink import MANIFEST, UPLOADS, Sink, sinking

SETTINGS = {"uploads": UPLOADS}
SAVE = "printf kept > /outputs/kept; "


def check(daemon: Daemon, sink: Sink, job_id: str, outcome: str, code: str) -> None:
    job = daemon.local.wait_finished(job_id)
    assert (job["outcome"], job["reason"]["code"], job["upload"]["state"]) == (outcome, code, "complete")
    assert {path: one.data for path, one in sink.files(job_id).items()} == {"kept": b"kept"}
    assert json.loads(sink.of(job_id)[MANIFEST].data)["outcome"] == outcome


def test_what_a_job_saved_before_it_ran_out_of_memory_leaves(make_daemon: Make) -> None:
    daemon = make_daemon(SETTINGS).start()
    with sinking(daemon.net) as sink:
        hungry = SAVE + "exec tail /dev/zero"
        job_id = daemon.local.submit(hungry, memory="16MiB", outputs={"upload": sink.upload()})
        check(daemon, sink, job_id, "failed", "out_of_memory")


def test_what_a_job_saved_before_somebody_killed_it_leaves(make_daemon: Make) -> None:
    daemon = make_daemon(SETTINGS).start()
    with sinking(daemon.net) as sink:
        job_id = daemon.local.submit(
            SAVE + "sleep 300", outputs={"upload": sink.upload()}, retry={"count": 0}
        )
        daemon.local.wait_phase(job_id, "running")
        status, _ = daemon.engine.request("POST", f"/containers/gpu-agent-{job_id}-1/kill")
        assert status == 204
        check(daemon, sink, job_id, "lost", "killed_outside")
