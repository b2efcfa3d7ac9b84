"""What a control plane does with somebody's chute, from its deploy on, by HTTP and a token alone: one story, on a real engine, in real time."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from tests.e2e.author import Author, serving
from tests.e2e.client import Client, Json, Reply, expect
from tests.private_engine import PrivateEngine

pytestmark = pytest.mark.slow
SERVICE = Path(__file__).resolve().parents[2] / "examples" / "training_service" / "main.py"
NAME = "training-service"
# A minute comes within a minute; its job is looked for a little longer.
MINUTE_SECONDS = 75.0
FOLLOW_SECONDS = 60.0
TICK = """

@chute.job(name="tick", schedule="* * * * *", timeout=60)
async def tick(self: Chute) -> dict:
    return {"attempt": self.attempt}
"""


@pytest.fixture
def plane(
    session_engine: PrivateEngine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator["ControlPlane"]:
    with serving(session_engine, tmp_path_factory.mktemp("walk")) as daemon:
        yield ControlPlane(daemon.client(daemon.token("plane")))


def test_a_control_plane_deploys_a_chute_calls_its_cords_follows_its_jobs_and_sees_its_schedule_fire(
    plane: "ControlPlane", python_image: str
) -> None:
    schedule = deploy(plane, python_image)
    # The minute comes while the rest of the story is told.
    be_refused_with_every_fault(plane)
    training = start_a_training_once(plane)
    cursor = follow_until_it_learns(plane, training)
    read_how_far_it_is(plane, training)
    cancel_it(plane, training)
    follow_to_the_end(plane, training, cursor)
    read_what_it_left(plane, training)
    see_the_minute(plane, schedule)


# ── the steps ──


def deploy(plane: "ControlPlane", image: str) -> str:
    """The service as its example has it, and with it a job that comes every minute. Returns that one's schedule."""
    began = datetime.now(UTC)
    code = {"main.py": SERVICE.read_text() + TICK}
    chute = plane.author.deploy(image, code, spec={"network": "none"}).json
    assert (chute["name"], chute["version"]["state"]) == (NAME, "active"), chute
    assert {job["name"] for job in chute["jobs"]} == {"train", "tick"}
    assert {(cord["method"], cord["public_api_path"]) for cord in chute["cords"]} == {
        ("POST", "/trainings"),
        ("GET", "/trainings/{job_id}"),
        ("DELETE", "/trainings/{job_id}"),
    }
    (schedule,) = plane.get("/v1/schedules")["items"]
    assert (schedule["name"], schedule["cron"], schedule["paused"]) == (f"{NAME}/tick", "* * * * *", False)
    coming = [datetime.fromisoformat(minute) for minute in schedule["next"]]
    assert {(minute.second, minute.microsecond) for minute in coming} == {(0, 0)}
    assert began < coming[0] <= datetime.now(UTC) + timedelta(minutes=1)
    return str(schedule["id"])


def be_refused_with_every_fault(plane: "ControlPlane") -> None:
    refused = plane.cord("POST", "/trainings", {"epochs": 0, "layers": 3})
    assert refused.status == 400
    assert [fault.partition(":")[0] for fault in refused.json["detail"]] == ["layers", "epochs"]
    assert plane.cord("GET", f"/trainings/{uuid4()}").status == 404
    assert plane.functions() == []


def start_a_training_once(plane: "ControlPlane") -> str:
    """As somebody whose first answer was lost: the same call under the same key."""
    key = uuid4().hex
    started, again = (plane.cord("POST", "/trainings", {"epochs": 10_000}, key) for _ in range(2))
    assert (started.status, again.json) == (200, started.json), started.body
    assert plane.functions() == [("train", started.json["job_id"])]
    return str(started.json["job_id"])


def follow_until_it_learns(plane: "ControlPlane", training: str) -> int:
    """Two events of its progress, behind those of how it came to run. Returns where the stream was left."""
    seen: list[Json] = []
    for event in plane.events(training, after=0):
        seen.append(event)
        progress = [each["data"]["percent"] for each in seen if each["type"] == "job.progress"]
        if len(progress) == 2:
            break
    assert {each["job"] for each in seen} == {training}
    assert seen[0]["type"] == "job.accepted"
    assert [each["data"]["to"] for each in seen if each["type"] == "job.phase"] == ["starting", "running"]
    assert 0 < progress[0] < progress[1] < 100
    return int(seen[-1]["seq"])


def read_how_far_it_is(plane: "ControlPlane", training: str) -> None:
    shown = plane.cord("GET", f"/trainings/{training}")
    assert (shown.status, shown.json["phase"], shown.json["outcome"]) == (200, "running", None)
    assert 0 < shown.json["progress"]["percent"] < 100
    # The platform's own view has the same, and more.
    job = plane.get(f"/v1/jobs/{training}")
    assert (job["chute"]["name"], job["parent"], job["metrics"]["loss"]["count"] > 0) == (NAME, None, True)


def cancel_it(plane: "ControlPlane", training: str) -> None:
    cancelled = plane.cord("DELETE", f"/trainings/{training}")
    assert (cancelled.status, cancelled.json) == (200, {"cancelled": training})


def follow_to_the_end(plane: "ControlPlane", training: str, cursor: int) -> None:
    """The stream goes on where it was left: nothing twice."""
    seen: list[Json] = []
    for event in plane.events(training, after=cursor):
        seen.append(event)
        if event["data"].get("to") == "finished":
            break
    assert all(each["seq"] > cursor for each in seen)
    assert [each["data"]["to"] for each in seen if each["type"] == "job.phase"] == [
        "stopping",
        "uploading",
        "finished",
    ]
    assert seen[-1]["data"]["outcome"] == "cancelled"


def read_what_it_left(plane: "ControlPlane", training: str) -> None:
    shown = plane.cord("GET", f"/trainings/{training}").json
    assert (shown["phase"], shown["outcome"], shown["result"]["status"]) == (
        "finished",
        "cancelled",
        "stopped",
    )
    line = plane.get(f"/v1/jobs/{training}/outputs/line.json")
    assert line == {name: shown["result"][name] for name in ("slope", "height")}
    assert plane.cord("DELETE", f"/trainings/{training}").status == 404


def see_the_minute(plane: "ControlPlane", schedule: str) -> None:
    jobs = f"/v1/jobs?schedule={schedule}"
    expect(lambda: plane.get(jobs)["items"], "a minute has its job", MINUTE_SECONDS)
    job = plane.get(jobs)["items"][-1]
    created, due = (datetime.fromisoformat(text) for text in (job["created_at"], job["schedule"]["due"]))
    assert (due.second, due.microsecond) == (0, 0)
    assert timedelta() <= created - due < timedelta(seconds=1)
    ended = plane.client.wait_finished(job["id"])
    assert (ended["outcome"], ended["result"]) == ("succeeded", {"attempt": 1})
    read = plane.get(f"/v1/schedules/{schedule}")
    assert (read["fired"] >= 1, read["skipped"], read["missed"], read["trouble"]) == (True, 0, 0, None)


# ── who walks ──


@dataclass(frozen=True)
class ControlPlane:
    client: Client

    @property
    def author(self) -> Author:
        return Author(self.client)

    def get(self, path: str) -> Json:
        reply = self.client.call("GET", path)
        assert reply.status == 200, reply.body
        found: Json = reply.json
        return found

    def cord(self, method: str, path: str, body: object = None, key: str | None = None) -> Reply:
        headers = {} if key is None else {"Idempotency-Key": key}
        return self.client.call(method, f"/v1/chutes/{NAME}/cords{path}", body, headers)

    def functions(self) -> list[tuple[str, str]]:
        """Of the jobs that somebody started, the function and the id."""
        jobs = self.get("/v1/jobs?kind=function")["items"]
        return [(job["chute"]["function"], job["id"]) for job in jobs if job["schedule"] is None]

    def events(self, job_id: str, after: int) -> Iterator[Json]:
        """Server-sent events from there on, each as its data says, until nobody reads or the deadline has passed."""
        deadline = time.monotonic() + FOLLOW_SECONDS
        # The comment that comes each 15 s lets the deadline be seen on a stream that tells nothing.
        for line in self.client.lines(f"/v1/events?job={job_id}", {"Last-Event-ID": str(after)}):
            assert time.monotonic() < deadline, f"{job_id} tells nothing more"
            if line.startswith(b"data: "):
                yield json.loads(line.removeprefix(b"data: "))
