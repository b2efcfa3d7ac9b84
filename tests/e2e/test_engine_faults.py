"""The engine stopped, killed, restarted and frozen under jobs, and away at each step: every end is the right one."""

import json
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.client import expect
from tests.e2e.conftest import Make, Registry
from tests.e2e.daemon import Chosen, Daemon
from tests.e2e.test_kill_points import LINES, PORTS, PRINT, STAYS, Point, after
from tests.private_engine import PrivateEngine

# Each tells that it is up, waits for its file, tells that it ends, and ends with its own code.
WAITS = "echo up; while [ ! -e /outputs/{file} ]; do sleep 0.05; done; touch /outputs/ended; exit {code}"
TRAPS = "trap 'exit 0' TERM; " + WAITS.format(file="go", code=3)
IGNORES = "trap '' TERM; " + WAITS.format(file="go", code=4)
DIES_IN_THE_GAP = "trap '' TERM; " + WAITS.format(file="die", code=9)
# Not in the moment of the engine's own death: one that dies while it notes an exit can never tell the code.
ENDS_LATER = f"{PRINT} sleep 1; exit 7"
PRINTING = (after("Start"), after("BeginRunning"))
# Longer than it takes an engine to see all its containers end.
ENGINE_SECONDS = 120.0


def start_jobs(daemon: Daemon) -> dict[str, str]:
    retry = {"count": 1, "backoff": 0, "on": ["lost"]}
    jobs = {
        "traps": daemon.local.submit(TRAPS),
        "ignores": daemon.local.submit(IGNORES),
        "dies": daemon.local.submit(DIES_IN_THE_GAP),
        "again": daemon.local.submit(IGNORES, retry=retry),
    }
    expect(
        lambda: all(
            daemon.local.job(job_id)["phase"] == "running" and "up" in daemon.local.log(job_id)
            for job_id in jobs.values()
        ),
        "the jobs are up",
    )
    return jobs


def give(daemon: Daemon, job_id: str, name: str) -> None:
    (daemon.state / "jobs" / job_id / "outputs" / name).touch()


def has(daemon: Daemon, job_id: str, name: str) -> bool:
    return (daemon.state / "jobs" / job_id / "outputs" / name).exists()


def end_of(daemon: Daemon, job_id: str) -> tuple[str, str | None, int | None]:
    job = daemon.local.wait_finished(job_id, ENGINE_SECONDS)
    return job["outcome"], job["reason"] and job["reason"]["code"], job["exit"] and job["exit"]["code"]


@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_with_live_restore_an_engine_that_goes_away_changes_nothing(
    daemon: Daemon, engine: PrivateEngine, how: str
) -> None:
    jobs = start_jobs(daemon)
    engine.stop() if how == "stopped" else engine.kill()
    give(daemon, jobs["dies"], "die")
    expect(lambda: has(daemon, jobs["dies"], "ended"), "it ended in the gap")
    engine.launch()
    assert end_of(daemon, jobs["dies"]) == ("failed", "exit_nonzero", 9)
    for name in ("traps", "ignores", "again"):
        assert daemon.local.job(jobs[name])["phase"] == "running"
        give(daemon, jobs[name], "go")
    assert end_of(daemon, jobs["traps"]) == ("failed", "exit_nonzero", 3)
    assert end_of(daemon, jobs["ignores"]) == ("failed", "exit_nonzero", 4)
    assert daemon.local.wait_finished(jobs["again"])["attempt"] == 1
    expect(lambda: not daemon.containers(), "no container is left")


def test_without_live_restore_an_engine_that_stops_loses_its_jobs_also_one_that_exits_0(
    daemon: Daemon, engine: PrivateEngine
) -> None:
    engine.restart(live_restore=False)
    jobs = start_jobs(daemon)
    engine.stop()
    engine.launch(live_restore=False)
    assert end_of(daemon, jobs["traps"]) == ("lost", "engine_stopped", 0)
    for name in ("ignores", "dies"):
        assert end_of(daemon, jobs[name]) == ("lost", "engine_stopped", 137)
    check_the_second_attempt(daemon, jobs["again"])


def test_without_live_restore_a_killed_engine_loses_its_jobs_but_not_an_exit_code(
    daemon: Daemon, engine: PrivateEngine
) -> None:
    engine.restart(live_restore=False)
    jobs = start_jobs(daemon)
    engine.kill()
    give(daemon, jobs["dies"], "die")
    expect(lambda: has(daemon, jobs["dies"], "ended"), "it ended in the gap")
    engine.launch(live_restore=False)
    for name in ("traps", "ignores"):
        outcome, reason, _ = end_of(daemon, jobs[name])
        assert (outcome, reason) == ("lost", "engine_stopped"), name
    assert end_of(daemon, jobs["dies"]) in {("failed", "exit_nonzero", 9), ("lost", "engine_stopped", 137)}
    check_the_second_attempt(daemon, jobs["again"])


def test_an_engine_that_ends_the_containers_of_a_killed_one_is_known_by_a_daemon_that_was_killed_too(
    daemon: Daemon, engine: PrivateEngine
) -> None:
    """It sends its TERM within its start, so that only the replay of its stream tells of it, and no break came before."""
    jobs = start_jobs(daemon)
    daemon.kill()
    engine.kill()
    engine.launch(live_restore=False)
    daemon.start()
    assert end_of(daemon, jobs["traps"]) == ("lost", "engine_stopped", 0)
    for name in ("ignores", "dies"):
        assert end_of(daemon, jobs[name]) == ("lost", "engine_stopped", 137)
    check_the_second_attempt(daemon, jobs["again"])


def check_the_second_attempt(daemon: Daemon, job_id: str) -> None:
    """It runs beside nothing: the first was seen to end."""
    expect(lambda: daemon.local.job(job_id)["attempt"] == 2, "the second attempt", ENGINE_SECONDS)
    job = daemon.local.wait_phase(job_id, "running")
    assert [attempt["outcome"] for attempt in job["attempts"]] == ["lost"]
    assert len(daemon.containers(job_id)) == 1
    give(daemon, job_id, "go")
    assert end_of(daemon, job_id) == ("failed", "exit_nonzero", 4)
    expect(lambda: not daemon.containers(), "no container is left")


def at(point: Point, engine: PrivateEngine, daemon: Daemon) -> Chosen:
    """Kill the engine, once, at that line of the daemon, which stands still meanwhile: its next call finds no engine."""
    seen: list[Point] = []

    def look(line: dict[str, Any]) -> bool:
        if point.matches(line) and not seen:
            seen.append(point)
            assert daemon.process is not None
            daemon.process.send_signal(signal.SIGSTOP)
            engine.kill()
            daemon.process.send_signal(signal.SIGCONT)
        return False  # the daemon itself lives

    return look


@pytest.mark.parametrize(
    "point",
    [
        Point("job.accepted"),
        Point("container.planned"),
        after("Create"),
        after("Start"),
        after("BeginRunning"),
        after("Free"),
        Point("log.drained"),
    ],
    ids=str,
)
def test_an_engine_that_is_away_at_a_step_only_delays_the_job(
    make_daemon: Make, engine: PrivateEngine, point: Point
) -> None:
    daemon = make_daemon()
    daemon.launch(at(point, engine, daemon))
    daemon.wait_ready()
    job_id = daemon.local.submit(ENDS_LATER, network="egress", ports=PORTS)
    expect(lambda: not engine.is_alive(), f"the engine is gone at {point}")
    expect(lambda: daemon.said("engine.no_answer") or daemon.said("engine.stream_broke"), "it is noticed")
    engine.launch()
    end = end_of(daemon, job_id)
    if end == ("lost", "engine_stopped", None) and point == after("Create"):
        return  # the daemon was faster than its reader: the start had been sent, and what a dead engine made of it nobody knows
    assert end == ("failed", "exit_nonzero", 7)
    printed = daemon.local.log(job_id).splitlines()
    # What a program prints while nobody reads its pipe never reaches the engine's log; the rest is there once.
    assert printed == ([line for line in LINES if line in printed] if point in PRINTING else LINES)
    assert daemon.local.call("GET", f"/v1/jobs/{job_id}/outputs/runs").body == b"1\n"
    expect(lambda: not daemon.containers(), "no container is left")
    assert daemon.held_ports() == []


def test_an_engine_that_is_away_at_the_stop_only_delays_it(make_daemon: Make, engine: PrivateEngine) -> None:
    daemon = make_daemon()
    daemon.launch(at(after("WriteSignalled"), engine, daemon))
    daemon.wait_ready()
    job_id = daemon.local.submit(STAYS)
    expect(lambda: LINES[-1] in daemon.local.log(job_id), "the job is up")
    assert daemon.local.cancel(job_id, grace=1).status == 202
    expect(lambda: not engine.is_alive(), "the engine is gone at the stop")
    engine.launch()
    assert end_of(daemon, job_id) == ("cancelled", "cancelled", 137)
    expect(lambda: not daemon.containers(), "no container is left")


def test_a_pull_goes_on_when_the_engine_is_back(
    daemon: Daemon, engine: PrivateEngine, registry: Registry
) -> None:
    image = f"127.0.0.1:{registry.plain}/drips/busybox:1"
    engine.request("DELETE", f"/images/{image}?force=1")
    body = {**daemon.local.spec("echo pulled"), "image": image}
    job_id = daemon.local.call("POST", "/v1/jobs", body).json["id"]

    def has_progress() -> bool:
        return bool(daemon.query("SELECT 1 FROM events WHERE type = 'image.progress'"))

    expect(has_progress, "the pull makes progress")
    engine.kill()
    engine.launch()
    assert end_of(daemon, job_id) == ("succeeded", None, 0)


@pytest.fixture
def frozen(daemon: Daemon, engine: PrivateEngine) -> Iterator[str]:
    job_id = daemon.local.submit(IGNORES)
    expect(lambda: "up" in daemon.local.log(job_id), "the job is up")
    engine.freeze()
    yield job_id
    engine.thaw()


def test_a_frozen_engine_is_said_to_hang_and_jobs_go_on_when_it_thaws(
    daemon: Daemon, engine: PrivateEngine, frozen: str
) -> None:
    expect(lambda: daemon.local.checks()["engine"]["state"] == "fail", "health says so", ENGINE_SECONDS)
    check = daemon.local.checks()["engine"]
    assert "hangs" in check["evidence"], check
    assert check["remedy"]
    assert daemon.local.call("GET", "/readyz").json == {"state": "fail", "failed": ["engine"]}
    assert daemon.local.call("GET", "/healthz").status == 200
    new = daemon.local.submit("echo new")
    assert daemon.local.cancel(frozen, grace=0).status == 202

    engine.thaw()
    assert end_of(daemon, new) == ("succeeded", None, 0)
    assert end_of(daemon, frozen) == ("cancelled", "cancelled", 137)
    expect(lambda: daemon.local.checks()["engine"]["state"] == "ok", "health says so", ENGINE_SECONDS)


def test_an_engine_without_live_restore_is_a_failed_check(daemon: Daemon, engine: PrivateEngine) -> None:
    engine.restart(live_restore=False)
    expect(lambda: daemon.local.checks()["live_restore"]["state"] == "fail", "health says so")
    assert "live-restore" in json.dumps(daemon.local.checks()["live_restore"])
