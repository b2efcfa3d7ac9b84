"""Timeouts, which are at least 30 s: all in one test, side by side."""

from tests.e2e.client import Client, expect
from tests.e2e.daemon import Daemon

TIMEOUT_SECONDS = 30
STAYS = "trap 'echo asked' TERM; echo up $GPU_AGENT_ATTEMPT; while :; do sleep 0.1; done"
HEEDS = "trap 'echo asked; exit 0' TERM; echo up; while :; do sleep 0.1; done"
RETRY = {"count": 3, "on": ["failed", "lost", "timed_out"], "backoff": 0}


def test_timeouts_hold_through_kills_and_a_cancel_in_their_grace_forbids_the_retry(daemon: Daemon) -> None:
    client: Client = daemon.local
    plain = client.submit(HEEDS, timeout=TIMEOUT_SECONDS)
    stubborn = client.submit(STAYS, timeout=TIMEOUT_SECONDS, grace=1)
    cancelled = client.submit(STAYS, timeout=TIMEOUT_SECONDS, grace=60, retry=RETRY)
    in_time = client.submit("sleep 20; exit 4", timeout=TIMEOUT_SECONDS)
    # A daemon that is away at the start and comes back still knows the deadline.
    expect(lambda: "up" in client.log(cancelled), "the jobs are up")
    daemon.kill()
    daemon.start()

    expect(lambda: "asked" in client.log(cancelled), "the timeout asked it to end", seconds=90)
    assert client.cancel(cancelled, grace=2).status == 202
    daemon.kill()
    daemon.start()

    job = client.wait_finished(cancelled)
    assert (job["outcome"], job["attempt"], len(job["attempts"])) == ("cancelled", 1, 1)
    assert daemon.count_starts(cancelled) == 1
    for job_id, code in ((plain, 0), (stubborn, 137)):
        job = client.wait_finished(job_id)
        assert (job["outcome"], job["reason"]["code"], job["exit"]["code"]) == ("timed_out", "timeout", code)
    job = client.wait_finished(in_time)
    assert (job["outcome"], job["exit"]["code"]) == ("failed", 4)
    expect(lambda: not daemon.containers(), "no container is left")
