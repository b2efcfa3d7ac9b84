"""Schedules in a real daemon: a minute's job, an overlap, and SIGKILL at each step of a firing and of a deploy that changes schedules."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from http.client import HTTPException

import pytest

from tests.e2e.client import Client, Json, expect
from tests.e2e.conftest import Make
from tests.e2e.daemon import Daemon
from tests.e2e.points import Point, after, asked_of, told_at_once
from tests.e2e.test_chutes import HEAD, deploy
from tests.private_engine import PrivateEngine, busybox_image

pytestmark = pytest.mark.slow
# A minute comes within a minute, and then its job is run.
SECONDS = 90.0
EVERY_MINUTE = "* * * * *"


def add(client: Client, script: str = "true", name: str = "s", **fields: object) -> str:
    spec = client.spec(script, secrets={"KEY": "value"})
    reply = client.call("POST", "/v1/schedules", {"name": name, "cron": EVERY_MINUTE, "spec": spec, **fields})
    assert reply.status == 201, reply.body
    return str(reply.json["id"])


def read(client: Client, schedule: str) -> Json:
    reply = client.call("GET", f"/v1/schedules/{schedule}")
    assert reply.status == 200, reply.body
    found: Json = reply.json
    return found


def jobs_of(client: Client, schedule: str) -> list[Json]:
    items: list[Json] = client.call("GET", f"/v1/jobs?schedule={schedule}").json["items"]
    return items


def seconds_late(job: Json) -> float:
    created, due = (datetime.fromisoformat(text) for text in (job["created_at"], job["schedule"]["due"]))
    return (created - due).total_seconds()


def test_a_minute_has_its_job_and_the_next_one_is_skipped_while_that_runs(make_daemon: Make) -> None:
    daemon = make_daemon().start()
    quick, slow = add(daemon.local, name="quick"), add(daemon.local, "sleep 600", "slow")
    expect(lambda: read(daemon.local, slow)["skipped"] == 1, "a minute is skipped", 2 * SECONDS)
    (running,) = jobs_of(daemon.local, slow)
    expect(lambda: len(jobs_of(daemon.local, quick)) >= 2, "each minute has its job", SECONDS)
    jobs = jobs_of(daemon.local, quick)
    assert all(0 <= seconds_late(job) < 1 for job in [*jobs, running])
    assert daemon.local.wait_finished(jobs[-1]["id"])["outcome"] == "succeeded"
    told = daemon.query("SELECT data FROM events WHERE type = 'schedule.skipped'")
    assert [slow in row["data"] for row in told] == [True]
    assert not any("value" in str(tuple(row)) for row in daemon.query("SELECT * FROM schedules"))


# ── kills ──


def die_over_a_firing(daemon: Daemon, point: Point, image: str) -> None:
    daemon.start()
    schedule = add(daemon.local)
    daemon.kill()
    daemon.launch(point.matches)
    assert daemon.wait_killed(SECONDS), f"never came to {point}: {daemon.tail()}"
    daemon.start()
    expect(lambda: read(daemon.local, schedule)["fired"] >= 1, "the minute has its job", SECONDS)
    row, jobs = read(daemon.local, schedule), jobs_of(daemon.local, schedule)
    dues = [job["schedule"]["due"] for job in jobs]
    assert len(dues) == len(set(dues)) == row["fired"]
    assert (row["missed"], row["trouble"]) == (0, None)
    for job in jobs:
        assert daemon.local.wait_finished(job["id"])["outcome"] == "succeeded"
        assert daemon.count_starts(job["id"]) == 1
    folders = {folder.name for folder in (daemon.state / "jobs").iterdir()}
    assert folders == {row["id"] for row in daemon.query("SELECT id FROM jobs")}


def job(name: str, cron: str) -> str:
    return f'@chute.job(name="{name}", schedule="{cron}")\nasync def {name}(self): pass\n'


FIRST = HEAD + job("stays", "@daily") + job("changes", "@daily") + job("goes", "@daily")
SECOND = HEAD + job("stays", "@daily") + job("changes", "@hourly") + job("comes", "@daily")


def declared(client: Client) -> dict[str, str]:
    """Of the chute's current version."""
    jobs = client.call("GET", "/v1/chutes/trainer").json["jobs"]
    return {f"trainer/{each['name']}": each["schedule"] for each in jobs}


def kept(client: Client) -> dict[str, str]:
    return {each["name"]: each["cron"] for each in client.call("GET", "/v1/schedules").json["items"]}


def die_over_a_deploy(daemon: Daemon, point: Point, image: str) -> None:
    daemon.start()
    assert deploy(daemon.local, image, FIRST).status == 201
    paused = kept_id(daemon.local, "trainer/stays")
    assert daemon.local.call("POST", f"/v1/schedules/{paused}/pause").status == 200
    before = read(daemon.local, paused)
    daemon.kill()
    daemon.launch(point.matches)
    daemon.wait_ready()
    with suppress(OSError, HTTPException):
        deploy(daemon.local, image, SECOND)
    assert daemon.wait_killed(), f"never came to {point}: {daemon.tail()}"
    daemon.start()
    # Whichever version is the current one: its schedules are those that there are.
    assert kept(daemon.local) == declared(daemon.local)
    assert deploy(daemon.local, image, SECOND).status in {200, 201}
    assert kept(daemon.local) == declared(daemon.local)
    assert declared(daemon.local)["trainer/changes"] == "@hourly"
    assert read(daemon.local, paused) == before


def kept_id(client: Client, name: str) -> str:
    return str(client.call("GET", f"/v1/schedules?name={name}").json["items"][0]["id"])


@dataclass(frozen=True)
class Case:
    story: Callable[[Daemon, Point, str], None]
    point: Point

    def __str__(self) -> str:
        return f"{self.story.__name__}-{self.point}"


CASES = [
    *(Case(die_over_a_firing, Point(event)) for event in ("schedule.due", "job.accepted", "schedule.fired")),
    Case(die_over_a_firing, Point("queue.decided", (("phase", "starting"),))),
    *(
        Case(die_over_a_deploy, Point(event))
        for event in ("deploy.accepted", "job.accepted", "chute.deployed")
    ),
    *(Case(die_over_a_deploy, after(step)) for step in ("Judge", "Finish")),
]


@pytest.fixture(scope="module")
def ends(
    request: pytest.FixtureRequest,
    session_engine: PrivateEngine,
    python_image: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[Case, "Future[None]"]]:
    image, folder = busybox_image(session_engine), tmp_path_factory.mktemp("kills")

    def tell(case: Case) -> None:
        daemon = Daemon(folder / f"d{CASES.index(case)}", session_engine, image)
        try:
            case.story(daemon, case.point, python_image)
        finally:
            daemon.clean_up()

    with told_at_once(asked_of(request.session, Case), tell) as told:
        yield told


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_kill_at_a_step_loses_no_minute_and_doubles_none(
    case: Case, ends: dict[Case, "Future[None]"]
) -> None:
    ends[case].result(timeout=400)
