"""Cords on a real engine, by the real launcher: what they answer, what they start, and what their callers get when something dies."""

import http.client
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import pytest

from tests.e2e.author import CHUTE, Author, serving
from tests.e2e.client import Client, Json, Reply
from tests.e2e.daemon import Daemon
from tests.e2e.points import Point, after
from tests.private_engine import PrivateEngine

pytestmark = pytest.mark.slow
STREAM_BYTES = 1 << 30
AT_ONCE = 16
FUNCTIONS = f"""
from chutes import HTTPException
chute.concurrency = {AT_ONCE}

@chute.job(name="model_training", timeout=600)
async def train(self, training_config: dict):
    await asyncio.sleep(training_config.get("seconds", 0))
    return {{"epochs": training_config.get("epochs")}}

@chute.cord(public_api_path="/start_training")
async def start_training_job(self, config: dict):
    if "epochs" not in config:
        raise HTTPException(400, "Invalid training configuration")
    return {{"job_id": await self.start_job("model_training", config), "status": "started"}}

@chute.cord(public_api_path="/job_status/{{job_id}}", method="GET")
async def get_job_status(self, job_id: str):
    status = await self.get_job_status(job_id)
    if not status:
        raise HTTPException(404, "Job not found")
    return status

@chute.cord(public_api_path="/cancel_job/{{job_id}}", method="DELETE")
async def cancel_job(self, job_id: str):
    if not await self.cancel_job(job_id):
        raise HTTPException(404, "Job not found or cannot be cancelled")
    return {{"message": "Job cancelled successfully"}}

@chute.cord(public_api_path="/echo")
async def echo(self, value, seconds: float = 0):
    await asyncio.sleep(seconds)
    return value

@chute.cord(public_api_path="/memory")
def memory(self):
    kept = []
    while True:
        kept.append(bytearray(8 << 20))

@chute.cord(public_api_path="/hang")
def hang(self):
    time.sleep(3600)

@chute.cord(public_api_path="/much", method="GET")
def much(self, size: int):
    piece = bytes(1 << 20)
    for _ in range(size >> 20):
        yield piece

@chute.cord(public_api_path="/no_json")
async def no_json(self):
    return {{"a": float("nan")}}

@chute.cord(public_api_path="/bad_status")
async def bad_status(self):
    raise HTTPException(999, "none")

@chute.cord(public_api_path="/raises")
async def raises(self):
    raise ValueError("because")

@chute.cord(public_api_path="/exits")
async def exits(self):
    os._exit(7)
"""
PATH = f"/v1/chutes/{CHUTE}/cords"


@pytest.fixture(scope="module")
def served(
    session_engine: PrivateEngine, tmp_path_factory: pytest.TempPathFactory, python_image: str
) -> Iterator[Daemon]:
    settings = {"chutes": {"cord_timeout": 20}}
    with serving(session_engine, tmp_path_factory.mktemp("cords"), settings) as daemon:
        author = Author(daemon.client(daemon.token()))
        author.deployed(python_image, FUNCTIONS, spec={"network": "none", "memory": "256MiB"})
        yield daemon


@pytest.fixture
def client(served: Daemon) -> Client:
    return served.client(served.token())


def call(client: Client, method: str, path: str, body: object = None, key: str | None = None) -> Reply:
    headers = {} if key is None else {"Idempotency-Key": key}
    return client.call(method, f"{PATH}{path}", body, headers)


def code_of(reply: Reply) -> str:
    return str(reply.json["code"])


def hosts(client: Client) -> list[Json]:
    """Those that are not finished."""
    reply = client.call("GET", "/v1/jobs?kind=cords")
    assert reply.status == 200, reply.body
    return [job for job in reply.json["items"] if job["phase"] != "finished"]


def test_the_three_cords_of_the_decorator_reference_work(client: Client) -> None:
    assert call(client, "POST", "/start_training", {"lr": 1}).json == {
        "detail": "Invalid training configuration"
    }
    assert call(client, "POST", "/start_training", {"lr": 1}).status == 400
    started = call(client, "POST", "/start_training", {"epochs": 3, "seconds": 60})
    assert started.status == 200, started.body
    job_id = started.json["job_id"]
    seen = call(client, "GET", f"/job_status/{job_id}")
    assert (seen.status, seen.json["id"], seen.json["parent"]) == (200, job_id, None)
    assert call(client, "DELETE", f"/cancel_job/{job_id}").json == {"message": "Job cancelled successfully"}
    assert client.wait_finished(job_id)["outcome"] == "cancelled"
    unknown = call(client, "GET", f"/job_status/{uuid4()}")
    assert (unknown.status, unknown.json) == (404, {"detail": "Job not found"})
    assert call(client, "DELETE", f"/cancel_job/{job_id}").status == 404


def test_two_hundred_calls_at_once_are_answered_by_one_job(client: Client) -> None:
    call(client, "POST", "/echo", {"value": 0})
    with ThreadPoolExecutor(200) as pool:
        replies = list(
            pool.map(
                lambda number: call(client, "POST", "/echo", {"value": number, "seconds": 0.2}), range(200)
            )
        )
    assert [reply.json for reply in replies] == list(range(200))
    assert len(hosts(client)) == 1


@pytest.mark.parametrize(
    ("path", "status", "code", "words"),
    [
        ("/no_json", 500, "cord_answer_invalid", ""),
        ("/bad_status", 500, "cord_answer_invalid", "999"),
        ("/raises", 500, "cord_failed", "ValueError: because"),
        ("/echo", 422, "cord_arguments_invalid", "echo(value, seconds"),
        ("/nowhere", 404, "cord_not_found", ""),
    ],
)
def test_what_is_no_answer_is_told_and_leaves_the_job_alone(
    client: Client, path: str, status: int, code: str, words: str
) -> None:
    reply = call(client, "POST", path, {})
    assert (reply.status, code_of(reply)) == (status, code)
    assert words in reply.json["detail"]
    assert call(client, "POST", "/echo", {"value": 1}).json == 1


@pytest.mark.parametrize("path", ["/memory", "/exits"])
def test_a_call_in_which_the_job_dies_is_told_and_the_next_one_works(client: Client, path: str) -> None:
    call(client, "POST", "/echo", {"value": 0})
    reply = call(client, "POST", path, {})
    assert (reply.status, code_of(reply)) == (502, "cord_host_ended")
    assert ("memory limit" if path == "/memory" else "code 7") in reply.json["detail"]
    assert call(client, "POST", "/echo", {"value": 1}).json == 1


def test_a_call_that_hangs_is_given_up_and_others_go_on(client: Client) -> None:
    call(client, "POST", "/echo", {"value": 0})
    with ThreadPoolExecutor(1) as pool:
        hanging = pool.submit(call, client, "POST", "/hang", {})
        assert call(client, "POST", "/echo", {"value": 1}).json == 1
        reply = hanging.result()
    assert (reply.status, code_of(reply)) == (504, "cord_timed_out")
    assert call(client, "POST", "/echo", {"value": 2}).json == 2


def test_a_gigabyte_streams_through_and_nobody_holds_it(served: Daemon, client: Client) -> None:
    call(client, "POST", "/echo", {"value": 0})
    before, count = resident(served), 0
    connection = client._connect()
    try:
        client._send(connection, "GET", f"{PATH}/much?size={STREAM_BYTES}", None, {})
        reply = connection.getresponse()
        assert reply.status == 200
        while piece := reply.read(1 << 20):
            count += len(piece)
    finally:
        connection.close()
    assert count == STREAM_BYTES
    assert resident(served) - before < 64 << 20


def resident(daemon: Daemon) -> int:
    assert daemon.process is not None
    text = Path(f"/proc/{daemon.process.pid}/status").read_text()
    return int(text.split("VmRSS:")[1].split()[0]) << 10


def test_a_caller_that_leaves_ends_his_stream(client: Client) -> None:
    connection = client._connect()
    client._send(connection, "GET", f"{PATH}/much?size={STREAM_BYTES << 4}", None, {})
    assert connection.getresponse().read(1000)
    connection.close()
    assert call(client, "POST", "/echo", {"value": 1}).json == 1


def test_a_chute_whose_job_is_idle_is_removed(served: Daemon, client: Client, python_image: str) -> None:
    author = Author(client)
    author.deployed(python_image, FUNCTIONS.replace("much", "more"), spec={"network": "none"})
    call(client, "POST", "/echo", {"value": 1})
    assert client.call("DELETE", f"/v1/chutes/{CHUTE}").status == 204
    assert hosts(client) == []
    assert call(client, "POST", "/echo", {"value": 1}).status == 404
    author.deployed(python_image, FUNCTIONS, spec={"network": "none", "memory": "256MiB"})


# the daemon dies

POINTS = [
    Point("job.accepted", (("kind", "cords"),)),
    Point("cords.host_started"),
    *(after(step) for step in ("FindImage", "Create", "Intend", "Start", "BeginRunning")),
    Point("cord.called"),
    Point("child.started"),
    Point("cord.answered"),
    Point("cord.answer_kept"),
]


@pytest.mark.parametrize("point", POINTS, ids=str)
def test_a_call_whose_daemon_is_killed_starts_its_job_once_however_often_it_is_repeated(
    session_engine: PrivateEngine, tmp_path: Path, python_image: str, point: Point
) -> None:
    with serving(session_engine, tmp_path) as daemon:
        token = daemon.token()
        client = daemon.client(token)
        Author(client).deployed(python_image, FUNCTIONS, spec={"network": "none"})
        daemon.kill()
        daemon.launch(point.matches)
        first = daemon.process
        daemon.wait_ready()
        key = uuid4().hex
        reply = called_until_answered(daemon, client, key)
        if daemon.process is first:  # the answer was quicker than the kill
            assert daemon.wait_killed(), "the point was never reached"
            daemon.start()
        job_id = reply.json["job_id"]
        assert client.wait_finished(job_id)["result"] == {"epochs": 1}
        again = call(client, "POST", "/start_training", {"epochs": 1}, key)
        assert (again.status, again.json["job_id"]) == (200, job_id)
        functions = [job for job in client.jobs() if job["kind"] == "function"]
        assert [job["id"] for job in functions] == [job_id]
        assert len(hosts(client)) == 1


def called_until_answered(daemon: Daemon, client: Client, key: str) -> Reply:
    """As a caller that calls again under the same name; a daemon that has died is started again."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        with suppress(OSError, http.client.HTTPException):
            reply = call(client, "POST", "/start_training", {"epochs": 1}, key)
            if reply.status == 200:
                return reply
            assert reply.status in {502, 503}, reply.body
        if not daemon.is_running():
            daemon.start()
    raise AssertionError(daemon.tail())
