"""Jobs on GPUs, whole: the daemon's own child reads a stand-in of NVIDIA's library, and the engine hands harmless nodes over by CDI."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.client import expect
from tests.e2e.conftest import Make
from tests.e2e.daemon import Daemon
from tests.nvml_standin import profiles
from tests.nvml_standin.library import Standin, build
from tests.nvml_standin.profiles import uuid_of
from tests.private_engine import PrivateEngine

NODES = ("/dev/full", "/dev/null", "/dev/zero", "/dev/random")
SEE = "ls /dev | grep -c '^nvidia[0-9]'; ls /dev | grep '^nvidia[0-9]'; sleep {seconds}"


@pytest.fixture
def host(engine: PrivateEngine, tmp_path: Path) -> Iterator[Standin]:
    """Four L40S, by name."""
    devices = [
        {
            "name": uuid_of(place),
            "containerEdits": {"deviceNodes": [{"path": f"/dev/nvidia{place}", "hostPath": node}]},
        }
        for place, node in enumerate(NODES)
    ]
    file = engine.root / "cdi" / "four.json"
    file.write_text(json.dumps({"cdiVersion": "0.5.0", "kind": "nvidia.com/gpu", "devices": devices}))
    library, state = tmp_path / "library", tmp_path / "standin"
    library.mkdir()
    state.mkdir()
    build(library)
    yield Standin(library, state, profiles.l40s_pcie())
    file.unlink()


@pytest.fixture
def daemon(make_daemon: Make, host: Standin) -> Daemon:
    made = make_daemon({"gpus": {"clean_timeout": 5}})
    made.environment = host.environ
    made.start()
    expect(lambda: states(made) == ["ok"] * 4, "all four were looked at")
    return made


def states(daemon: Daemon) -> list[str | None]:
    return [gpu["state"] for gpu in daemon.local.call("GET", "/v1/gpus").json["items"]]


def run_on(daemon: Daemon, count: int, seconds: int = 600) -> str:
    job_id = daemon.local.submit(SEE.format(seconds=seconds), gpus=count)
    daemon.local.wait_phase(job_id, "running")
    return job_id


def test_a_job_sees_the_gpus_of_its_lease_and_no_other(daemon: Daemon) -> None:
    job_id = run_on(daemon, 2, seconds=0)
    job = daemon.local.wait_finished(job_id)
    assert job["outcome"] == "succeeded", job["reason"]
    # The two behind one PCIe switch.
    expect(lambda: daemon.local.log(job_id).split() == ["2", "nvidia0", "nvidia1"], "its log")
    alone = run_on(daemon, 0, seconds=0)
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


def test_what_a_gpu_did_is_in_the_job_at_its_end_whole_also_after_a_kill(
    daemon: Daemon, host: Standin
) -> None:
    job_id = run_on(daemon, 1)
    (leased,) = daemon.local.job(job_id)["gpus"]
    place = int(leased[4:12], 16)
    works = ("utilisation 90 10", "memory 48318382080 0 10737418240")

    def stats() -> dict[str, Any]:
        shown: dict[str, Any] = daemon.local.call("GET", f"/v1/jobs/{job_id}/stats?once=1").json
        return shown

    def has_taken(joules: float) -> bool:
        usage = stats()["gpu_usage"]
        return usage is not None and usage["energy"] == joules

    expect(lambda: has_taken(0), "the account has begun")
    begun = 1000 * (place + 1)
    host.become(profiles.l40s_pcie().but(place, *works, f"energy {begun + 40_000}"))
    expect(lambda: has_taken(40), "40 J were taken")
    shown = stats()
    assert shown["gpus"] == [
        {"uuid": leased, "utilisation": 90, "memory_used": 10 << 30, "power": 70.5, "temperature": 31, "slowdowns": []}
    ]  # fmt: skip
    assert shown["container"]["memory"] > 0
    assert shown["container"]["cpu_percent"] is not None
    daemon.kill()
    host.become(profiles.l40s_pcie().but(place, f"energy {begun + 90_000}"))
    daemon.start()
    expect(lambda: has_taken(90), "what was taken while the daemon was away is counted")
    host.become(profiles.l40s_pcie().but(place, f"energy {begun + 120_000}"))
    daemon.local.call("POST", f"/v1/jobs/{job_id}/cancel?grace=0")
    job = daemon.local.wait_finished(job_id)
    (attempt,) = job["attempts"]
    for usage in (job["gpu_usage"], attempt["gpu_usage"]):
        assert usage["energy"] == 120
        assert usage["gpu_seconds"] == pytest.approx(usage["energy_seconds"], abs=2)
        assert 0 < usage["utilisation_seconds"] <= usage["energy_seconds"]
        assert [one["uuid"] for one in usage["gpus"]] == [leased]
    reply = daemon.local.call("GET", f"/v1/jobs/{job_id}/stats")
    assert (reply.status, reply.json["code"]) == (409, "job_not_running")
