"""The race that breaks others: a cancel at a random moment within the creation. Nothing may run on, and nothing be held."""

import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.client import Client, expect
from tests.e2e.conftest import Make
from tests.private_engine_host import wait

AT_ONCE = 8
# From before the look for the image to after the start.
CREATION_SECONDS = 0.7
PORTS = [{"name": "web", "port": 8080, "proto": "tcp"}]


@pytest.mark.parametrize("count", [40, pytest.param(200, marks=pytest.mark.soak)])
def test_a_cancel_at_any_moment_of_the_creation_leaves_nothing(make_daemon: Make, count: int) -> None:
    daemon = make_daemon().start()
    moments = random.Random(count)
    delays = [moments.uniform(0, CREATION_SECONDS) for _ in range(count)]

    def race(delay: float) -> tuple[str, str]:
        return submit_and_cancel(daemon.local, delay)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        ends = list(pool.map(race, delays))

    assert set(Counter(outcome for _, outcome in ends)) <= {"cancelled", "succeeded"}, Counter(ends)
    expect(lambda: not daemon.containers(), "no container is left")
    assert daemon.held_ports() == []
    assert max(daemon.count_starts(job_id) for job_id, _ in ends) <= 1
    assert not daemon.said("container.orphan_found")


def submit_and_cancel(client: Client, delay: float) -> tuple[str, str]:
    job_id = client.submit("sleep 0.3", network="egress", ports=PORTS, retry={"count": 2, "backoff": 0})
    wait(lambda: False, delay)
    reply = client.cancel(job_id, grace=0)
    assert reply.status in {202, 409}, reply.body
    job = client.wait_finished(job_id)
    if reply.status == 409:
        assert job["outcome"] == "succeeded"
    assert job["attempt"] == 1
    return job_id, job["outcome"]
