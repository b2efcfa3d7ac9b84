"""The decorator reference's functions as one chute on a real engine: the thirty that run are run, the two that it refuses are refused."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.e2e.author import Author, serving
from tests.e2e.client import Client, Json, Reply, expect
from tests.private_engine import PrivateEngine
from tests.ssh_kit import KITS, built_kit
from tests.unit.sdk import reference
from tests.unit.sdk.test_reference import REFUSED, RUNS

pytestmark = [pytest.mark.slow, pytest.mark.alone]
SECONDS = 60.0  # of all thirty, on an engine that has run jobs before
REFERENCE = Path(reference.__file__).read_text()
# Two functions of the reference have a name that another one has.
MAIN = """
from chutes import Chute
from reference import SECTIONS
chute = Chute(username="ann", name="reference")

class Section:
    def __init__(self, name):
        self.name, self.cord = name, chute.cord

    def job(self, **arguments):
        def register(function):
            name = arguments.get("name", function.__name__)
            arguments["name"] = f"{self.name}.{name}" if name in chute.jobs else name
            return chute.job(**arguments)(function)
        return register

for section in SECTIONS:
    section(Section(section.__name__))
"""
# What the two do not register is none of the thirty.
THIRTY = MAIN.replace(
    "            return chute.job",
    "            if function.__name__ in ('multi_port_job', 'api_server_job'): return function\n            return chute.job",
)
# What returns something else in a container than in a test of the function alone.
HERE: dict[tuple[str, str], Any] = {("errors", "graceful_job"): {"processed": 2}}
STOPPED = ("uploads_and_ssh", "streaming_job")
STARTS = {"workflow_step_1": "workflow_step_2", "workflow_step_2": "workflow_step_final"}
CONCURRENCY = 10
# The scheduled ones: when, and which of the clock's minutes these are.
SCHEDULES = {
    "daily_maintenance": ("0 3 * * *", timedelta(days=1), timedelta(hours=3)),
    "data_sync": ("0 * * * *", timedelta(hours=1), timedelta()),
    "health_check": ("*/5 * * * *", timedelta(minutes=5), timedelta()),
}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Played:
    """Every job by section and name, finished; how long all of them took."""

    client: Client
    jobs: dict[tuple[str, str], Json]
    seconds: float


def names() -> dict[tuple[str, str], str]:
    """By which each is started: the first one of a name has it."""
    taken: dict[tuple[str, str], str] = {}
    for section, name in RUNS:
        taken[section, name] = f"{section}.{name}" if name in taken.values() else name
    return taken


@pytest.fixture(scope="module")
def author(session_engine: PrivateEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Author]:
    built_kit()
    settings = {"ssh": {"kit": str(KITS)}, "queues.default": {"concurrency": CONCURRENCY}}
    with serving(session_engine, tmp_path_factory.mktemp("reference"), settings) as daemon:
        yield Author(daemon.client(daemon.token()))


@pytest.fixture(scope="module")
def deployed(author: Author, python_image: str) -> Author:
    return author.deployed(python_image, {"main.py": THIRTY, "reference.py": REFERENCE})


@pytest.fixture(scope="module")
def played(deployed: Author) -> Played:
    author = deployed
    began = time.monotonic()
    ids = {key: author.start(name, RUNS[key][0], chute="reference") for key, name in names().items()}
    expect(lambda: "streaming" in author.client.log(ids[STOPPED]), "it streams", SECONDS)
    expect(lambda: author.client.cancel(ids[STOPPED]).status == 202, "it is asked to stop")
    jobs = {key: author.client.wait_finished(job_id) for key, job_id in ids.items()}
    return Played(author.client, jobs, time.monotonic() - began)


def test_all_thirty_run_within_a_minute(played: Played) -> None:
    print(f"\n{len(played.jobs)} functions of the reference in {played.seconds:.1f} s")  # noqa: T201 - the figure is wanted
    assert len(played.jobs) == 30
    assert played.seconds <= SECONDS


@pytest.mark.parametrize("key", [key for key in RUNS if key != STOPPED], ids="-".join)
def test_each_returns_what_it_should(played: Played, key: tuple[str, str]) -> None:
    job = played.jobs[key]
    assert (job["outcome"], job["error"]) == ("succeeded", None), job["reason"]
    expected = HERE.get(key, RUNS[key][1])
    if key[1] in STARTS:
        child = played.client.wait_finished(job["result"])
        assert (child["chute"]["function"], child["outcome"]) == (STARTS[key[1]], "succeeded")
        assert (child["parent"], job["children"]) == (job["id"], [child["id"]])
    else:
        assert json.loads(json.dumps(job["result"]).replace("/outputs", "OUTPUT")) == expected


def test_the_one_that_runs_until_it_is_stopped_returns_when_it_is(played: Played) -> None:
    job = played.jobs[STOPPED]
    assert (job["outcome"], job["result"], job["error"]) == ("cancelled", "stopped", None)


def test_what_they_told_is_shown(played: Played) -> None:
    assert played.jobs["monitored", "progress_job"]["progress"] == {"percent": 100, "message": "2/2"}
    assert played.jobs["errors", "robust_job"]["statuses"] == {"t1": "started"}
    metrics = played.jobs["monitored", "metrics_job"]["metrics"]
    assert metrics["job_success_count"]["last"] == 1
    assert metrics["job_error_type"]["labels"] == {"ValueError": 1}
    assert played.jobs["practices", "monitored_job"]["metrics"].keys() == {"job_duration"}


def test_what_they_wrote_is_among_the_outputs(played: Played) -> None:
    report = played.jobs["uploads_and_ssh", "generate_report_job"]["id"]
    assert played.client.call("GET", f"/v1/jobs/{report}/outputs/report.pdf").body == b"%PDF"
    logged = played.jobs["scheduled", "data_sync"]["id"]
    assert "api1 is down" in played.client.log(logged)


@pytest.mark.parametrize("name", SCHEDULES)
def test_each_scheduled_one_is_a_schedule_and_says_when_it_comes_next(deployed: Author, name: str) -> None:
    cron, every, offset = SCHEDULES[name]
    asked = datetime.now(UTC)
    (schedule,) = deployed.client.call("GET", f"/v1/schedules?name=reference/{name}").json["items"]
    assert (schedule["chute"], schedule["function"], schedule["cron"]) == ("reference", name, cron)
    coming = [datetime.fromisoformat(minute) for minute in schedule["next"]]
    assert asked < coming[0] <= datetime.now(UTC) + every
    assert [(minute - EPOCH) % every for minute in coming] == [offset] * 5
    assert [later - minute for minute, later in pairwise(coming)] == [every] * 4


def test_no_other_of_its_functions_has_a_schedule(deployed: Author) -> None:
    items = deployed.client.call("GET", "/v1/schedules").json["items"]
    assert {item["name"] for item in items} == {f"reference/{name}" for name in SCHEDULES}


def test_its_three_cords_start_a_job_tell_of_it_and_end_it(deployed: Author) -> None:
    started = cord(deployed, "POST", "/start_training", {"epochs": 1})
    assert started.status == 200, started.body
    told = cord(deployed, "POST", f"/job_status/{started.json}")
    assert (told.json["id"], told.json["chute"]["function"]) == (started.json, "model_training")
    assert cord(deployed, "POST", f"/job_status/{uuid4()}").json == {"detail": "no such job"}
    assert cord(deployed, "DELETE", f"/cancel_job/{uuid4()}").json is False
    ended = deployed.client.wait_finished(started.json)
    assert (ended["outcome"], ended["result"]) == ("succeeded", 0.8)


def test_its_cord_that_cancels_ends_a_job_that_waits(deployed: Author) -> None:
    # In an hour: it is there to be cancelled however quick the host is.
    later = {"not_before": (datetime.now(UTC) + timedelta(hours=1)).isoformat()}
    job_id = deployed.start("model_training", {"epochs": 1}, chute="reference", **later)
    assert cord(deployed, "DELETE", f"/cancel_job/{job_id}").json is True
    assert deployed.client.wait_finished(job_id)["outcome"] == "cancelled"


def cord(author: Author, method: str, path: str, body: object = None) -> Reply:
    return author.client.call(method, f"/v1/chutes/reference/cords{path}", body)


def test_a_deploy_with_the_two_that_break_the_port_rules_is_refused_with_each_fault(
    author: Author, python_image: str
) -> None:
    reply = author.deploy(python_image, {"main.py": MAIN, "reference.py": REFERENCE})
    assert reply.status == 422, reply.body
    faults = {(fault["field"], fault["message"].split()[0]) for fault in reply.json["faults"]}
    assert faults == {
        (f"jobs.{name}.{field}", word) for name, found in REFUSED.items() for field, word in found
    }
