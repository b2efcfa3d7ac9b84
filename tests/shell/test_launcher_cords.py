"""A chute's cords, called over the socket of their host job: arguments, answers, streams, and the jobs that they start."""

import asyncio
from signal import SIGTERM
from typing import Any
from uuid import UUID

import pytest

from tests.fakes.cord_seats import CALL
from tests.fakes.job_socket import child_id
from tests.shell.launched import JOB, Launched, cords, launched

ECHO = """
@chute.cord("/echo/{name}", method="GET")
async def echo(self, name: str, times: int = 1, loud: bool = False):
    text = name * times
    return {"text": text.upper() if loud else text}

@chute.cord("/plain")
def plain(self, config):
    return [config, threading.current_thread() is threading.main_thread()]
"""


async def test_a_cord_is_called_with_what_its_path_and_its_query_say() -> None:
    async with launched(ECHO, **cords()) as job:
        answer = await job.host.seats.call(
            0, "echo", params={"name": "ab"}, query={"times": "2", "loud": "true"}
        )
        assert answer.head == {
            "status": 200, "content_type": "application/json", "headers": {}, "stream": False, "bytes": 15
        }  # fmt: skip
        assert answer.value == {"text": "ABAB"}


async def test_a_plain_function_runs_in_a_thread_with_the_body_as_its_lone_argument() -> None:
    async with launched(ECHO, **cords()) as job:
        assert (await job.host.seats.call(1, "plain", body={"rate": 1})).value == [{"rate": 1}, False]
        assert (await job.host.seats.call(1, "plain", body=[1])).value == [[1], False]


async def test_a_request_that_does_not_fit_is_told_the_signature_and_calls_nothing() -> None:
    async with launched(ECHO, **cords()) as job:
        answer = await job.host.seats.call(
            0, "echo", params={"name": "ab"}, query={"times": "x", "more": "1"}
        )
        assert answer.error["kind"] == "binding"
        assert answer.error["message"] == (
            "the request does not fit echo(name: str, times: int = …, loud: bool = …): "
            "more is unknown; times is no whole number: 'x'"
        )


async def test_a_connection_answers_one_call_after_another() -> None:
    async with launched(ECHO, **cords(1)) as job:
        for number in range(200):
            answer = await job.host.seats.call(0, "echo", params={"name": str(number)})
            assert answer.value == {"text": str(number)}
        assert job.host.seats.opened == 1


async def test_there_are_as_many_connections_as_calls_at_once() -> None:
    code = """
    @chute.cord("/meet")
    async def meet(self):
        self.state.here = getattr(self.state, "here", 0) + 1
        while self.state.here < 5:
            await asyncio.sleep(0.001)
        return self.state.here

    @chute.cord("/wait")
    def wait(self):
        self.state.barrier.wait(20)
        return threading.get_ident()

    @chute.on_startup()
    def prepare(self):
        self.state.barrier = threading.Barrier(5)
    """
    async with launched(code, **cords(5)) as job:
        answers = await asyncio.gather(*(job.host.seats.call(0, "meet") for _ in range(5)))
        assert [answer.value for answer in answers] == [5] * 5
        answers = await asyncio.gather(*(job.host.seats.call(1, "wait") for _ in range(5)))
        assert len({answer.value for answer in answers}) == 5
        assert job.host.seats.opened == 5


@pytest.mark.parametrize(("asked", "opened"), [(0, 1), (1000, 64)])
async def test_connections_are_one_to_sixty_four_whatever_the_host_says(asked: int, opened: int) -> None:
    async with launched(ECHO, **cords(asked)) as job:
        await job.host.until("serve", opened)
        await job.host.seats.call(1, "plain", body=1)
        assert job.host.seats.opened == opened


async def test_a_cord_in_another_place_than_the_host_knows_is_not_called() -> None:
    async with launched(ECHO, **cords()) as job:
        for position, function in ((1, "echo"), (2, "echo"), (-1, "plain")):
            answer = await job.host.seats.call(position, function)
            assert answer.error["kind"] == "unknown_cord"


async def test_startup_hooks_run_once_before_the_first_call_and_what_they_set_stays() -> None:
    code = """
    @chute.on_startup()
    async def prepare(self):
        self.count = 0

    @chute.cord("/count")
    async def count(self):
        self.count += 1
        return self.count

    @chute.cord("/id")
    async def identify(self):
        return [self.current_job_id, self.attempt, self.should_shutdown]
    """
    async with launched(code, **cords()) as job:
        assert [(await job.host.seats.call(0, "count")).value for _ in range(3)] == [1, 2, 3]
        assert (await job.host.seats.call(1, "identify")).value == [JOB, 1, False]


ANSWERS = """
@chute.cord("/bytes")
async def some_bytes(self):
    return b"\\x00\\xff"

@chute.cord("/image", output_content_type="image/png")
def image(self):
    return bytearray(b"png")

@chute.cord("/odd", output_content_type="no type\\r\\nX: y")
def odd(self):
    return b"odd"

@chute.cord("/none")
async def none(self): ...
"""


@pytest.mark.parametrize(
    ("position", "function", "content_type", "body"),
    [
        (0, "some_bytes", "application/octet-stream", b"\x00\xff"),
        (1, "image", "image/png", b"png"),
        (2, "odd", "application/octet-stream", b"odd"),
        (3, "none", "application/json", b"null"),
    ],
)
async def test_bytes_are_answered_as_they_are_and_nothing_as_null(
    position: int, function: str, content_type: str, body: bytes
) -> None:
    async with launched(ANSWERS, **cords()) as job:
        answer = await job.host.seats.call(position, function)
        assert (answer.status, answer.head["content_type"], answer.body) == (200, content_type, body)


STREAMS = """
PIECES = ["text ü", "", b"bytes", {"a": 1}, bytearray(b"more"), 2]

@chute.cord("/async")
async def by_async(self):
    for piece in PIECES:
        yield piece

@chute.cord("/plain", output_content_type="text/event-stream")
def by_plain(self):
    for piece in PIECES:
        assert threading.current_thread() is not threading.main_thread()
        yield piece

@chute.cord("/returned")
async def returned(self):
    return (piece for piece in PIECES)

@chute.cord("/given")
def given(self):
    return self.by_async()

@chute.cord("/iterator")
def iterator(self):
    return map(str, [1, 2])

@chute.cord("/empty")
async def empty(self):
    return
    yield
"""
WHOLE = 'text übytes{"a":1}\nmore2\n'.encode()


@pytest.mark.parametrize(
    ("position", "function", "content_type", "body"),
    [
        (0, "by_async", "text/plain; charset=utf-8", WHOLE),
        (1, "by_plain", "text/event-stream", WHOLE),
        (2, "returned", "text/plain; charset=utf-8", WHOLE),
        (3, "given", "text/plain; charset=utf-8", WHOLE),
        (4, "iterator", "text/plain; charset=utf-8", b"12"),
        (5, "empty", "text/plain; charset=utf-8", b""),
    ],
)
async def test_what_yields_is_streamed(position: int, function: str, content_type: str, body: bytes) -> None:
    async with launched(STREAMS, **cords(1)) as job:
        for _ in range(2):
            answer = await job.host.seats.call(position, function)
            assert answer.head == {"status": 200, "content_type": content_type, "headers": {}, "stream": True}
            assert (answer.body, answer.is_whole) == (body, True)


async def test_a_piece_leaves_as_soon_as_it_is_there() -> None:
    code = """
    @chute.cord("/slow")
    async def slow(self):
        yield "first"
        await asyncio.sleep(60)
    """
    async with launched(code, **cords()) as job:
        calling = await job.host.seats.begin(0, "slow")
        await calling.head()
        assert await calling.frame() == b"first"


async def test_a_large_piece_comes_in_frames() -> None:
    code = """
    @chute.cord("/large")
    def large(self):
        yield b"x" * 200_000
    """
    async with launched(code, **cords()) as job:
        answer = await job.host.seats.call(0, "large")
        assert (len(answer.body), answer.frames) == (200_000, (65536, 65536, 65536, 3392))


REFUSING = """
@chute.cord("/refuse")
async def refuse(self, status: int, detail=None, headers: dict = None):
    raise HTTPException(status, detail, headers)

@chute.cord("/odd")
async def odd(self):
    raise HTTPException(404, ValueError("not there"))

@chute.cord("/stream")
async def stream(self):
    raise HTTPException(429, "slow down", {"Retry-After": "5"})
    yield

@chute.cord("/other")
def other(self):
    class HTTPException(Exception):
        status_code, detail, headers = 418, {"tea": True}, None

    class Special(HTTPException): ...
    raise Special
"""


async def test_an_http_exception_is_the_authors_own_answer() -> None:
    async with launched(REFUSING, **cords()) as job:
        headers = {"X-Why": "because", "Bad": "a\r\nb", "Ü": "x"} | {str(number): "x" for number in range(40)}
        answer = await job.host.seats.call(
            0, "refuse", body={"status": 400, "detail": ["no", 1], "headers": headers}
        )
        assert (answer.status, answer.head["content_type"]) == (400, "application/json")
        assert answer.value == {"detail": ["no", 1]}
        assert len(answer.head["headers"]) == 30
        assert answer.head["headers"]["X-Why"] == "because"
        # An answer is no fault: the log has nothing of it.
        assert await stopped(job) == ""


@pytest.mark.parametrize(
    ("position", "function", "status", "body"),
    [
        (1, "odd", 404, {"detail": "not there"}),
        (2, "stream", 429, {"detail": "slow down"}),
        (3, "other", 418, {"detail": {"tea": True}}),
    ],
)
async def test_its_detail_may_be_anything_and_it_may_come_of_a_generator_or_another_framework(
    position: int, function: str, status: int, body: object
) -> None:
    async with launched(REFUSING, **cords()) as job:
        answer = await job.host.seats.call(position, function)
        assert (answer.status, answer.value) == (status, body)


@pytest.mark.parametrize("status", [999, 200, 399, True, 0])
async def test_an_http_exception_of_no_such_status_is_a_fault(status: int) -> None:
    async with launched(REFUSING, **cords()) as job:
        answer = await job.host.seats.call(0, "refuse", body={"status": status})
        assert (answer.error["kind"], answer.error["type"]) == ("bad_status", "HTTPException")
        assert str(status) in answer.error["message"]


STARTING = """
@chute.job()
async def work(self, n=0): ...

@chute.cord("/start")
async def start(self, count: int = 1):
    ids = await asyncio.gather(*(self.start_job("work", {"n": 1}) for _ in range(count)))
    return [*ids, await self.start_job("work", {"n": 2}), await self.start_job("work", {}, key="mine")]

@chute.cord("/plain")
def plain(self):
    return asyncio.run(self.start_job("work", {"n": 1}))

@chute.cord("/later")
async def later(self):
    async def start():
        await self.go.wait()
        self.later = await self.start_job("work", {"n": 1})
    self.go = asyncio.Event()
    self.task = asyncio.create_task(start())

@chute.cord("/now")
async def now(self):
    self.go.set()
    await self.task
    return self.later

@chute.cord("/start/{job_id}", method="GET")
async def get_job_status(self, job_id: str):
    status = await self.get_job_status(job_id)
    if not status:
        raise HTTPException(404, "Job not found")
    return status
"""


def child(parent: str, payload: object, k: int = 0, key: str | None = None) -> str:
    call: dict[str, Any] = {"name": "work", "payload": payload, "key": key, "k": k}
    return child_id(parent, call)


async def test_what_a_cord_starts_is_named_by_its_call_and_counted_within_it() -> None:
    other = str(UUID(int=7))
    async with launched(STARTING, **cords()) as job:
        first, second, again = await asyncio.gather(
            job.host.seats.call(0, "start", query={"count": "2"}),
            job.host.seats.call(0, "start", call=other, query={"count": "3"}),
            job.host.seats.call(0, "start", query={"count": "2"}),
        )
        ones = [child(CALL, {"n": 1}, k) for k in range(2)]
        assert first.value == [*ones, child(CALL, {"n": 2}), child(CALL, {}, key="mine")]
        assert again.value == first.value
        ones = [child(other, {"n": 1}, k) for k in range(3)]
        assert second.value == [*ones, child(other, {"n": 2}), child(other, {}, key="mine")]
        assert {started["cord"] for started in job.host.named("start_job")} == {CALL, other}


async def test_a_plain_function_starts_jobs_of_its_call_too() -> None:
    async with launched(STARTING, **cords()) as job:
        assert (await job.host.seats.call(1, "plain")).value == child(CALL, {"n": 1})


async def test_a_task_that_outlives_its_call_starts_children_of_the_host_job() -> None:
    async with launched(STARTING, **cords()) as job:
        await job.host.seats.call(2, "later")
        assert (await job.host.seats.call(3, "now")).value == child(JOB, {"n": 1})
        assert "cord" not in job.host.named("start_job")[0]


async def test_a_cord_named_like_a_member_calls_the_member() -> None:
    async with launched(STARTING, **cords()) as job:
        job.host.statuses["known"] = {"id": "known", "phase": "running"}
        known, unknown = [
            await job.host.seats.call(4, "get_job_status", params={"job_id": name})
            for name in ("known", "no")
        ]
        assert known.value == {"id": "known", "phase": "running"}
        assert (unknown.status, unknown.value) == (404, {"detail": "Job not found"})


async def stopped(job: Launched) -> str:
    """Its standard error."""
    job.send(SIGTERM)
    await job.code()
    return await job.err()


async def test_a_stop_ends_an_idle_host_job_well() -> None:
    code = """
    @chute.on_shutdown()
    async def after(self):
        print("after")

    @chute.cord("/one")
    async def one(self):
        return self.should_shutdown
    """
    async with launched(code, **cords()) as job:
        await job.host.seats.call(0, "one")
        job.send(SIGTERM)
        told = await job.ended()
        assert (told.status, told.value, await job.code()) == ("succeeded", None, 0)
        assert (await job.out(), await job.err()) == ("after\n", "")
