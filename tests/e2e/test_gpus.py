"""Jobs on GPUs, whole: the daemon's own child reads a stand-in of NVIDIA's library, and the engine hands harmless nodes over by CDI."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.client import expect
from tests.e2e.conftest import Make
from tests.e2e.daemon import Daemon
from tests.e2e.gpu_host import gpu_host
from tests.nvml_standin import profiles
from tests.nvml_standin.library import Standin
from tests.nvml_standin.profiles import uuid_of
from tests.private_engine import PrivateEngine

SEE = "ls /dev | grep -c '^nvidia[0-9]'; ls /dev | grep '^nvidia[0-9]'"


@pytest.fixture
def host(engine: PrivateEngine, tmp_path: Path) -> Iterator[Standin]:
    with gpu_host(engine, tmp_path, profiles.l40s_pcie()) as standin:
        yield standin


@pytest.fixture
def daemon(make_daemon: Make, host: Standin) -> Daemon:
    made = make_daemon({"gpus": {"clean_timeout": 5}})
    made.environment = host.environ
    made.start()
    expect(lambda: states(made) == ["ok"] * 4, "all four were looked at")
    return made


def states(daemon: Daemon) -> list[str | None]:
    return [gpu["state"] for gpu in daemon.local.call("GET", "/v1/gpus").json["items"]]


def run_on(daemon: Daemon, count: int) -> str:
    job_id = daemon.local.submit("sleep 600", gpus=count)
    daemon.local.wait_phase(job_id, "running")
    return job_id


def test_a_job_sees_the_gpus_of_its_lease_and_no_other(daemon: Daemon) -> None:
    job_id = daemon.local.submit(SEE, gpus=2)
    job = daemon.local.wait_finished(job_id)
    assert job["outcome"] == "succeeded", job["reason"]
    # The two behind one PCIe switch.
    expect(lambda: daemon.local.log(job_id).split() == ["2", "nvidia0", "nvidia1"], "its log")
    alone = daemon.local.submit(SEE)
    daemon.local.wait_finished(alone)
    assert daemon.local.log(alone).split() == ["0"]


def test_a_gpu_that_fails_under_its_job_is_given_to_nobody_also_after_a_kill(
    daemon: Daemon, host: Standin
) -> None:
    first = run_on(daemon, 1)
    leased = daemon.local.job(first)["gpus"][0]
    host.tell_xid(leased, 62)
    job = daemon.local.wait_finished(first)
    assert (job["outcome"], job["reason"]["code"], job["reason"]["blame"]) == ("failed", "gpu_fault", "host")
    daemon.kill()
    daemon.start()
    others = [run_on(daemon, 1) for _ in range(3)]
    held = {daemon.local.job(job_id)["gpus"][0] for job_id in others}
    assert held == {uuid_of(place) for place in range(4)} - {leased}
    waiting = daemon.local.submit("true", gpus=1)
    expect(lambda: daemon.local.job(waiting)["waiting_for"] == "gpus", "it waits for a GPU")
    shown = daemon.local.call("GET", f"/v1/gpus/{leased}").json
    assert (shown["state"], shown["needs"]) == ("quarantined", ["probation", "reset"])


def test_a_gpu_that_vanishes_loses_its_job_and_is_missing(daemon: Daemon, host: Standin) -> None:
    job_id = run_on(daemon, 1)
    leased = daemon.local.job(job_id)["gpus"][0]
    place = next(place for place in range(4) if uuid_of(place) == leased)
    host.tell_xid(leased, 79)
    host.become(profiles.l40s_pcie().without(place))
    job = daemon.local.wait_finished(job_id)
    assert (job["outcome"], job["reason"]["code"]) == ("lost", "gpu_lost")
    expect(lambda: states(daemon)[place] == "missing", "it is told to be missing")
    assert len(states(daemon)) == 4


def test_more_than_the_host_has_is_refused_and_the_most_is_told(daemon: Daemon) -> None:
    reply = daemon.local.call("POST", "/v1/jobs", daemon.local.spec("true", gpus=5))
    assert (reply.status, reply.json["code"]) == (422, "gpus_never_fit")
    assert "the most that this host could give the job are 4" in reply.json["detail"]
