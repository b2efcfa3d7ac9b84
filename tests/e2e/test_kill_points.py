"""SIGKILL of the daemon at each step of the line, as a subprocess: the outcome is right, and nothing is doubled, lost or left."""

import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException

import pytest

from tests.e2e.client import Client, expect
from tests.e2e.conftest import Make
from tests.e2e.daemon import Daemon
from tests.e2e.points import Point, after, asked_of, told_at_once
from tests.private_engine import PrivateEngine, busybox_image

LINES = [f"line {number}" for number in range(1, 301)]
PRINT = (
    "i=1; while [ $i -le 300 ]; do echo line $i; i=$((i+1)); done; echo $GPU_AGENT_ATTEMPT >> /outputs/runs;"
)
ENDS = f"{PRINT} exit 7"
STAYS = f"trap 'echo asked' TERM; {PRINT} while :; do sleep 0.05; done"
PORTS = [{"name": "web", "port": 8080, "proto": "tcp"}]


OF_ANY_JOB = [
    Point("job.accepted"),
    after("FindImage"),
    Point("queue.decided", (("phase", "starting"),)),
    Point("container.planned"),
    after("Create"),
    after("Intend"),
    after("Start"),
    after("BeginRunning"),
    after("Judge"),
    after("Free"),
    Point("log.drained"),
    after("DrainAndRemove"),
    after("Close"),
    Point("secrets.dropped"),
    after("Finish"),
]
OF_A_CANCEL = [
    after("BeginStopping"),
    after("WriteSignalled"),
    after("Signal"),
    after("Kill"),
    after("Judge"),
    after("DrainAndRemove"),
    after("Close"),
]
OF_A_RETRY = [after("Free"), after("DrainAndRemove"), after("Close")]


def put(client: Client, job_id: str, script: str, **fields: object) -> None:
    """As a careful client does it: an answer that was lost is asked for again, under the same id."""
    reply = client.call(
        "PUT", f"/v1/jobs/{job_id}", client.spec(script, network="egress", ports=PORTS, **fields)
    )
    assert reply.status in {200, 201}, reply.body


def check_nothing_is_left(daemon: Daemon, job_id: str, starts: int) -> None:
    expect(lambda: not daemon.containers(), "no container is left")
    assert daemon.count_starts(job_id) == starts
    assert daemon.held_ports() == []
    assert not (daemon.folder / "run/jobs" / job_id / "secrets").exists()
    numbers = [row["n"] for row in daemon.query("SELECT n FROM events ORDER BY seq")]
    assert numbers == list(range(1, len(numbers) + 1))


def runs(daemon: Daemon, job_id: str) -> list[str]:
    """Which attempts the program itself saw."""
    return (daemon.state / "jobs" / job_id / "outputs/runs").read_text().split()


def end_by_itself(daemon: Daemon, point: Point) -> None:
    job_id = str(uuid.uuid4())
    daemon.launch(point.matches)
    daemon.wait_ready()
    with suppress(
        OSError, HTTPException
    ):  # killed before it answers, or between the answer and our next look
        put(daemon.local, job_id, ENDS, secrets={"KEY": "value"})
    assert daemon.wait_killed(), f"never came to {point}: {daemon.tail()}"

    daemon.start()
    put(daemon.local, job_id, ENDS, secrets={"KEY": "value"})
    job = daemon.local.wait_finished(job_id)
    assert (job["outcome"], job["exit"]["code"], job["attempt"]) == ("failed", 7, 1), job["reason"]
    assert daemon.local.log(job_id).splitlines() == LINES
    assert runs(daemon, job_id) == ["1"]
    check_nothing_is_left(daemon, job_id, starts=1)


def be_cancelled(daemon: Daemon, point: Point) -> None:
    job_id = str(uuid.uuid4())
    daemon.launch(point.matches)
    daemon.wait_ready()
    put(daemon.local, job_id, STAYS, retry={"count": 3, "backoff": 1})
    expect(lambda: LINES[-1] in daemon.local.log(job_id), "the job is up")
    daemon.local.cancel(job_id, grace=1)
    assert daemon.wait_killed(), f"never came to {point}: {daemon.tail()}"

    daemon.start()
    job = daemon.local.wait_finished(job_id)
    assert (job["outcome"], job["reason"]["code"], job["exit"]["code"]) == ("cancelled", "cancelled", 137)
    # A signal that was on its way when the daemon died may be sent once more.
    printed = daemon.local.log(job_id).splitlines()
    assert printed[: len(LINES)] == LINES
    assert set(printed[len(LINES) :]) <= {"asked"}
    check_nothing_is_left(daemon, job_id, starts=1)


def be_tried_again(daemon: Daemon, point: Point) -> None:
    job_id = str(uuid.uuid4())
    daemon.launch(point.matches)
    daemon.wait_ready()
    put(daemon.local, job_id, ENDS, retry={"count": 1, "backoff": 0})
    assert daemon.wait_killed(), f"never came to {point}: {daemon.tail()}"

    daemon.start()
    job = daemon.local.wait_finished(job_id)
    assert [attempt["exit"]["code"] for attempt in job["attempts"]] == [7, 7]
    assert daemon.local.log(job_id, "?attempt=1").splitlines() == LINES
    assert daemon.local.log(job_id, "?attempt=2").splitlines() == LINES
    assert runs(daemon, job_id) == ["1", "2"]
    check_nothing_is_left(daemon, job_id, starts=2)


@dataclass(frozen=True)
class Case:
    story: Callable[[Daemon, Point], None]
    point: Point

    def __str__(self) -> str:
        return f"{self.story.__name__}-{self.point}"


CASES = [
    *(Case(end_by_itself, point) for point in OF_ANY_JOB),
    *(Case(be_cancelled, point) for point in OF_A_CANCEL),
    *(Case(be_tried_again, point) for point in OF_A_RETRY),
]


@pytest.fixture(scope="module")
def ends(
    request: pytest.FixtureRequest, session_engine: PrivateEngine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[Case, "Future[None]"]]:
    image, folder = busybox_image(session_engine), tmp_path_factory.mktemp("kills")

    def tell(case: Case) -> None:
        daemon = Daemon(folder / f"d{CASES.index(case)}", session_engine, image)
        try:
            case.story(daemon, case.point)
        finally:
            daemon.clean_up()

    with told_at_once(asked_of(request.session, Case), tell) as told:
        yield told


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_kill_at_a_step_loses_nothing_and_doubles_nothing(
    case: Case, ends: dict[Case, "Future[None]"]
) -> None:
    ends[case].result(timeout=300)


def test_a_job_cancelled_in_its_backoff_is_not_tried_again_after_a_kill(make_daemon: Make) -> None:
    daemon = make_daemon().start()
    job_id = daemon.local.submit(ENDS, retry={"count": 1, "backoff": 300})
    expect(lambda: daemon.local.job(job_id)["attempt"] == 2, "the second attempt waits")
    assert daemon.local.cancel(job_id).status == 202
    daemon.kill()
    daemon.start()
    job = daemon.local.wait_finished(job_id)
    assert job["outcome"] == "cancelled"
    assert daemon.local.log(job_id, "?attempt=1").splitlines() == LINES
    check_nothing_is_left(daemon, job_id, starts=1)
