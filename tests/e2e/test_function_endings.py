"""How a function may end in a real container, each way once, all at the same time; and what is told of it."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.e2e.author import Author, code_of, serving
from tests.e2e.client import Json, expect
from tests.private_engine import PrivateEngine

pytestmark = pytest.mark.slow
GRACE = 6
FUNCTIONS = """
if "FAIL_AT_IMPORT" in os.environ:
    import no_such_module

def wait_for_a_stop(self, seen):
    while not self.should_shutdown:
        time.sleep(0.01)
    seen.append(time.monotonic())

@chute.job()
async def sees_the_stop(self):
    await self.update_job_status("is", "there")
    while not self.should_shutdown:
        await asyncio.sleep(0.02)
    return {"saved": True}

@chute.job()
async def is_cancelled(self):
    seen = []
    threading.Thread(target=wait_for_a_stop, args=(self, seen)).start()
    await self.update_job_status("is", "there")
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        await self.record_metric("seconds", time.monotonic() - seen[0])
        raise

@chute.job()
async def swallows_the_cancel(self):
    await self.update_job_status("is", "there")
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        return {"saved": "in the last moment"}

@chute.job()
def is_deaf(self):
    asyncio.run(self.update_job_status("is", "there"))
    while True:
        time.sleep(0.5)

@chute.job(timeout=30)
async def outlasts(self):
    return await sees_the_stop_of(self)

async def sees_the_stop_of(self):
    while not self.should_shutdown:
        await asyncio.sleep(0.02)
    return {"attempt": self.attempt}

@chute.job(timeout=30, retry_count=1)
async def outlasts_at_first(self):
    return await sees_the_stop_of(self) if self.attempt == 1 else {"attempt": self.attempt}

@chute.job(retry_count=1)
async def ends(self, how: str):
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "segfault":
        import ctypes
        ctypes.string_at(0)
    if how == "os_exit_0":
        os._exit(0)
    if how == "os_exit_3":
        os._exit(3)
    if how == "exit_0":
        sys.exit(0)
    if how == "exit_4":
        sys.exit(4)
    if how == "exit_text":
        sys.exit("no data today")
    if how == "permanent":
        raise PermanentError("this account is closed")
    if how == "exits_after_its_return":
        import atexit
        atexit.register(os._exit, 5)

@chute.job(retry_count=1)
async def raises(self):
    def parse(text):
        return int(text)
    try:
        parse("seven")
    except ValueError as error:
        raise LookupError(f"no such row, in attempt {self.attempt}") from error

@chute.job()
def takes_all_memory(self):
    held = []
    while True:
        held.append(bytearray(8 << 20))

@chute.job()
def is_plain(self, name: str = "you"):
    return f"hello {name}"

@chute.job(retry_count=1)
async def returns(self, what: str):
    return {"object": object, "nan": float("nan"), "bytes": b"\\x00", "9mb": "x" * (9 << 20), "5mb": "é" * (5 << 19)}[what]

@chute.job(retry_count=1)
async def takes(self, number: int, *, unit: str = "kg"):
    return number

@chute.job()
async def starts_wrongly(self):
    child = await self.start_job("takes", {"count": 5, "unit": "g"})
    while True:
        status = await self.get_job_status(child)
        if status["outcome"]:
            return {name: status[name] for name in ("outcome", "reason", "error", "attempt")}
        await asyncio.sleep(0.1)
"""


@dataclass(frozen=True)
class Case:
    """One start, and what came of it. `is_stopped`: it is cancelled as soon as it says that it is there."""

    function: str
    outcome: str
    reason: str | None = None
    payload: Any = None
    attempts: int = 1
    is_stopped: bool = False
    spec: dict[str, object] = field(default_factory=dict, hash=False)
    check: Callable[[Json], object] = lambda _job: True

    def __str__(self) -> str:
        return "-".join([self.function, *map(str, (self.payload or {}).values())])


def says(*words: str) -> Callable[[Json], object]:
    """The error, its traceback included, has these words."""
    return lambda job: all(word in job["error"]["message"] + job["error"]["traceback"] for word in words)


def returned(value: object) -> Callable[[Json], object]:
    return lambda job: (job["result"], job["error"]) == (value, None)


def noted(picture: str) -> Callable[[Json], object]:
    return lambda job: picture in job["result"] and "is no JSON" in job["result_note"]


def ended(how: str, outcome: str, reason: str | None = None, **facts: Any) -> Case:  # noqa: ANN401 - a case's fields
    attempts = 2 if outcome == "failed" else 1
    return Case("ends", outcome, reason, {"how": how}, **{"attempts": attempts, **facts})


def stopped(function: str, check: Callable[[Json], object]) -> Case:
    return Case(function, "cancelled", "cancelled", is_stopped=True, check=check)


def was_cancelled_after_half_the_grace(job: Json) -> bool:
    seconds = job["metrics"]["seconds"]["last"]
    return bool(job["error"]["type"] == "CancelledError" and GRACE / 2 - 0.5 < seconds < GRACE - 0.5)


def has_no_error(job: Json) -> bool:
    return (job["error"], job["result"]) == (None, None)


CASES = [
    stopped("sees_the_stop", returned({"saved": True})),
    stopped("is_cancelled", was_cancelled_after_half_the_grace),
    stopped("swallows_the_cancel", returned({"saved": "in the last moment"})),
    stopped("is_deaf", says("did not end within the grace", "in is_deaf")),
    Case("outlasts", "timed_out", "timeout", check=returned({"attempt": 1})),
    Case("outlasts_at_first", "succeeded", attempts=2, check=returned({"attempt": 2})),
    ended("kill", "failed", "killed_by_signal", check=has_no_error),
    ended("segfault", "failed", "killed_by_signal", check=has_no_error),
    ended("os_exit_0", "failed", "no_result", check=has_no_error),
    ended("os_exit_3", "failed", "exit_nonzero", check=lambda job: job["exit"]["code"] == 3),
    ended("exit_0", "succeeded", check=returned(None)),
    ended("exit_4", "failed", "exit_nonzero", check=lambda job: job["exit"]["code"] == 4),
    ended("exit_text", "failed", "exit_nonzero", check=says("no data today")),
    ended("permanent", "failed", "function_refused", attempts=1, check=says("this account is closed")),
    ended("exits_after_its_return", "failed", "exit_nonzero", check=lambda job: job["exit"]["code"] == 5),
    Case(
        "raises",
        "failed",
        "function_raised",
        attempts=2,
        check=says("in attempt 2", "int(text)", "invalid literal", "in parse"),
    ),
    Case(
        "takes_all_memory",
        "failed",
        "out_of_memory",
        spec={"memory": "96MiB"},
        check=lambda job: job["exit"]["oom"],
    ),
    Case("is_plain", "succeeded", check=returned("hello you")),
    Case("returns", "succeeded", payload={"what": "object"}, check=noted("<class 'object'>")),
    Case("returns", "succeeded", payload={"what": "nan"}, check=noted("nan")),
    Case("returns", "succeeded", payload={"what": "bytes"}, check=noted("b'\\x00'")),
    Case(
        "returns",
        "failed",
        "result_too_large",
        {"what": "9mb"},
        check=says(f"{(9 << 20) + 2} bytes", "write it to a file"),
    ),
    Case(
        "returns",
        "succeeded",
        payload={"what": "5mb"},
        check=lambda job: job["result_bytes"] == (5 << 20) + 2,
    ),
    Case(
        "starts_wrongly",
        "succeeded",
        check=lambda job: (
            (job["result"]["outcome"], job["result"]["reason"]["code"], job["result"]["attempt"])
            == ("failed", "payload_mismatch", 1)
            and "number" in job["result"]["error"]["message"]
            and "count" in job["result"]["error"]["message"]
        ),
    ),
    Case(
        "takes",
        "failed",
        "chute_import_failed",
        {"number": 1},
        spec={"env": {"FAIL_AT_IMPORT": "1"}},
        check=says("no_such_module"),
    ),
]


@pytest.fixture(scope="module")
def author(
    session_engine: PrivateEngine, tmp_path_factory: pytest.TempPathFactory, python_image: str
) -> Iterator[Author]:
    settings = {"queues.default": {"concurrency": len(CASES)}}
    with serving(session_engine, tmp_path_factory.mktemp("endings"), settings) as daemon:
        spec = {"network": "none", "grace": GRACE}
        yield Author(daemon.client(daemon.token())).deployed(python_image, FUNCTIONS, spec=spec)


@pytest.fixture(scope="module")
def jobs(author: Author) -> dict[int, str]:
    """The ids of all, started."""
    started = {
        number: author.start(case.function, case.payload, **case.spec) for number, case in enumerate(CASES)
    }
    for number, case in enumerate(CASES):
        if case.is_stopped:
            stop(author, started[number])
    return started


def stop(author: Author, job_id: str) -> None:
    expect(lambda: author.client.job(job_id)["statuses"] == {"is": "there"}, "it is there", 60)
    assert author.client.cancel(job_id).status == 202


@pytest.mark.parametrize("number", range(len(CASES)), ids=[str(case) for case in CASES])
def test_a_function_ends_as_it_does(author: Author, jobs: dict[int, str], number: int) -> None:
    case = CASES[number]
    job = author.client.wait_finished(jobs[number])
    told = (job["outcome"], code_of(job), job["attempt"])
    assert told == (case.outcome, case.reason, case.attempts), job
    assert case.check(job), {
        name: job[name] for name in ("result", "result_note", "error", "metrics", "exit")
    }


def job_of(author: Author, jobs: dict[int, str], name: str) -> Json:
    (number,) = (number for number, case in enumerate(CASES) if str(case) == name)
    return author.client.wait_finished(jobs[number])


def test_a_result_that_is_too_large_to_be_shown_is_fetched(author: Author, jobs: dict[int, str]) -> None:
    job = job_of(author, jobs, "returns-5mb")
    assert job["result"] is None
    reply = author.client.call("GET", f"/v1/jobs/{job['id']}/result")
    assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
    assert reply.json == "é" * (5 << 19)


def test_an_attempt_that_timed_out_is_told_beside_the_one_that_succeeded(
    author: Author, jobs: dict[int, str]
) -> None:
    job = job_of(author, jobs, "outlasts_at_first")
    assert [attempt["outcome"] for attempt in job["attempts"]] == ["timed_out", "succeeded"]


def test_a_crash_of_the_interpreter_says_where_it_was(author: Author, jobs: dict[int, str]) -> None:
    log = author.client.log(job_of(author, jobs, "ends-segfault")["id"])
    assert "Fatal Python error: Segmentation fault" in log
    assert "in ends" in log


def test_a_payload_that_does_not_bind_is_refused_at_the_door(author: Author) -> None:
    body = {"payload": {"count": 5, "unit": "g"}}
    reply = author.client.call("POST", "/v1/chutes/trainer/jobs/takes", body)
    assert reply.status == 422
    (fault,) = reply.json["faults"]
    assert fault["field"] == "payload"
    assert "takes(number, *, unit=…)" in json.dumps(fault, ensure_ascii=False)
