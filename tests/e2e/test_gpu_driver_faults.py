"""The driver fails while the daemon runs: its library, its permission, its child. Jobs go on, and the API answers."""

import os
import signal
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.client import expect
from tests.e2e.conftest import Make
from tests.e2e.daemon import Daemon
from tests.e2e.gpu_host import gpu_host
from tests.nvml_standin import profiles
from tests.nvml_standin.library import Standin, environ_without
from tests.nvml_standin.profiles import Host, uuid_of
from tests.private_engine import PrivateEngine

FOUR = profiles.l40s_pcie()
SETTINGS = {"gpus": {"clean_timeout": 5, "probation": 1}}
MOST_SECONDS = 0.05


@pytest.fixture
def host(engine: PrivateEngine, tmp_path: Path) -> Iterator[Standin]:
    with gpu_host(engine, tmp_path, FOUR) as standin:
        yield standin


@pytest.fixture
def daemon(make_daemon: Make, host: Standin) -> Daemon:
    made = make_daemon(SETTINGS)
    made.environment = host.environ
    made.start()
    expect(lambda: set(states(made)) == {"ok"}, "all four are well")
    return made


def states(daemon: Daemon) -> list[str | None]:
    return [gpu["state"] for gpu in daemon.local.call("GET", "/v1/gpus").json["items"]]


def nvml_children(daemon: Daemon) -> list[int]:
    assert daemon.process is not None
    pid = daemon.process.pid
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def running_job(daemon: Daemon) -> str:
    job_id = daemon.local.submit("sleep 600", gpus=1)
    daemon.local.wait_phase(job_id, "running")
    return job_id


def absent(_host: Standin, folder: Path) -> dict[str, str]:
    return environ_without(folder)


def refused(code: int) -> Callable[[Standin, Path], dict[str, str]]:
    def environ(host: Standin, _folder: Path) -> dict[str, str]:
        host.become(Host(init=str(code)))
        return host.environ

    return environ


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        (absent, "is not on this host"),
        (refused(profiles.DRIVER_NOT_LOADED), "kernel driver is not loaded"),
        (refused(profiles.NO_PERMISSION), "may not open NVIDIA's devices"),
        (refused(profiles.MISMATCH), "of different versions"),
    ],
    ids=["no library", "no driver", "no permission", "mismatch"],
)
def test_a_host_whose_driver_can_not_be_used_runs_jobs_without_gpus_and_says_why(
    make_daemon: Make,
    host: Standin,
    tmp_path: Path,
    environ: Callable[[Standin, Path], dict[str, str]],
    words: str,
) -> None:
    daemon = make_daemon()
    daemon.environment = environ(host, tmp_path)
    daemon.start()
    assert daemon.local.wait_finished(daemon.local.submit("true"))["outcome"] == "succeeded"
    reply = daemon.local.call("POST", "/v1/jobs", daemon.local.spec("true", gpus=1))
    assert (reply.status, reply.json["code"]) == (422, "gpus_never_fit")
    assert words in daemon.local.checks()["gpus"]["evidence"]


def test_an_upgrade_of_the_driver_ends_no_job_and_its_gpus_wait_for_the_driver(
    daemon: Daemon, host: Standin
) -> None:
    job_id = running_job(daemon)
    host.become(profiles.mismatch())
    expect(lambda: set(states(daemon)) == {"missing"}, "nobody can ask the driver")
    waiting = daemon.local.submit("true", gpus=1)
    assert daemon.local.job(job_id)["phase"] == "running"
    daemon.local.cancel(job_id, grace=0)
    daemon.local.wait_finished(job_id)
    assert daemon.local.job(waiting)["phase"] == "queued"
    host.become(FOUR)
    assert daemon.local.wait_finished(waiting)["outcome"] == "succeeded"


def test_a_child_that_is_killed_costs_no_job_and_errors_are_heard_by_the_next(
    daemon: Daemon, host: Standin
) -> None:
    job_id = running_job(daemon)
    leased = daemon.local.job(job_id)["gpus"][0]
    (child,) = nvml_children(daemon)
    os.kill(child, signal.SIGKILL)
    expect(lambda: nvml_children(daemon) not in ([], [child]), "another is asked")
    expect(lambda: "gpu_reader_broken" not in str(daemon.local.checks()["gpus"]), "it answers")
    assert set(states(daemon)) == {"ok"}
    assert daemon.local.job(job_id)["phase"] == "running"
    # Told again and again: the new child watches from its first look on, and what came before is lost to it.
    expect(lambda: (host.tell_xid(leased, 62), daemon.local.job(job_id)["outcome"])[1], "the error ends it")
    job = daemon.local.job(job_id)
    assert (job["outcome"], job["reason"]["code"]) == ("failed", "gpu_fault")


def answered_within(daemon: Daemon, path: str) -> float:
    began = time.perf_counter()
    assert daemon.local.call("GET", path).status == 200
    return time.perf_counter() - began


@pytest.mark.parametrize("seconds", [15, pytest.param(60, marks=pytest.mark.soak)])
def test_the_api_answers_as_fast_while_the_driver_hangs_as_that_of_a_host_without_a_driver(
    daemon: Daemon, host: Standin, make_daemon: Make, tmp_path: Path, seconds: int
) -> None:
    """Call by call beside another agent's, so that a busy host slows down both."""
    job_id = running_job(daemon)
    other = make_daemon()
    (tmp_path / "no-driver").mkdir()
    other.environment = environ_without(tmp_path / "no-driver")
    other_job = other.start().local.submit("sleep 600")
    other.local.wait_phase(other_job, "running")
    hanging = FOUR
    for place in range(4):
        hanging = hanging.but(place, "hang *")
    host.become(hanging)
    expect(lambda: daemon.said("gpus.hung"), "a look hangs", 40)
    taken, usual = list[float](), list[float]()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for path in ("/v1/gpus", "/v1/host", "/health"):
            taken.append(answered_within(daemon, path))
            usual.append(answered_within(other, path))
        taken.append(answered_within(daemon, f"/v1/jobs/{job_id}"))
        usual.append(answered_within(other, f"/v1/jobs/{other_job}"))
        taken.append(answered_within(daemon, f"/v1/gpus/{uuid_of(0)}"))
        time.sleep(0.05)
    slow, usually_slow = (statistics.quantiles(times, n=100)[94] for times in (taken, usual))
    assert slow < max(MOST_SECONDS, 2 * usually_slow), (
        f"5 % of {len(taken)} answers took more than {1e3 * slow:.0f} ms, and without a hang {1e3 * usually_slow:.0f} ms"
    )
    # A hang that the loop waited for would be seen here: it takes seconds.
    assert max(taken) < max(20 * MOST_SECONDS, 2 * max(usual))
    assert daemon.local.job(job_id)["phase"] == "running"
    assert len(daemon.said("gpus.hung")) >= 2, "it hung at one GPU after another all the while"
    host.become(FOUR)
    daemon.local.cancel(job_id, grace=0)
    daemon.local.wait_finished(job_id)
