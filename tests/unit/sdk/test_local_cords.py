"""LocalRunner: a cord is called in this process as a host would call it."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator

import pytest

from chutes import HTTPException
from chutes.chute import Chute
from chutes.testing import Children, LocalRunner
from tests.unit.sdk.chutes_for_tests import make_chute
from tests.unit.sdk.reference import cords


@pytest.fixture
def chute() -> Chute:
    return make_chute()


async def test_the_references_cords_start_a_job_and_ask_for_it(chute: Chute) -> None:
    @chute.job(name="model_training")
    async def train(self: Chute, rate: float) -> float:
        return rate

    cords(chute)
    runner = LocalRunner(chute, children=Children.RUN)
    job_id = (await runner.call_cord("POST", "/start_training", json={"rate": 0.5})).json()
    assert [(each.job_id, each.payload) for each in runner.started] == [(job_id, {"rate": 0.5})]
    status = await runner.call_cord("POST", f"/job_status/{job_id}")
    assert (status.json()["outcome"], status.json()["result"]) == ("succeeded", 0.5)
    assert (await runner.call_cord("DELETE", f"/cancel_job/{job_id}")).json() is False
    unknown = await runner.call_cord("POST", "/job_status/no")
    assert (unknown.status, unknown.json(), unknown.error) == (404, {"detail": "no such job"}, None)


async def test_path_query_and_body_are_bound_as_on_a_host(chute: Chute) -> None:
    @chute.cord("/items/{item_id}")
    async def give(self: Chute, item_id: int, *, note: str, tags: list[str], loud: bool, extra: object):
        return [item_id, note, tags, loud, extra]

    runner = LocalRunner(chute)
    answer = await runner.call_cord(
        "post", "/items/7?note=a%20b&tags=x&tags=y", query={"loud": True}, json={"extra": (1, 2)}
    )
    assert answer.json() == [7, "a b", ["x", "y"], True, [1, 2]]
    misfit = await runner.call_cord("POST", "/items/x", json={})
    assert misfit.error is not None
    assert (misfit.status, misfit.error.kind) == (422, "binding")
    assert "item_id is no whole number" in misfit.json()["detail"]


async def test_a_plain_name_goes_before_a_parameter(chute: Chute) -> None:
    @chute.cord("/items/{item_id}", method="GET")
    async def one(self: Chute, item_id: str) -> str:
        return item_id

    @chute.cord("/items/all", method="GET")
    async def every(self: Chute) -> str:
        return "every"

    runner = LocalRunner(chute)
    paths = ("/items/all", "/items/a%2Fb", "/items/", "/items", "/items/a/b")
    answers = [await runner.call_cord("GET", path) for path in paths]
    assert [answer.json() for answer in answers[:2]] == ["every", "a/b"]
    assert [answer.status for answer in answers[2:]] == [404] * 3
    wrong = await runner.call_cord("PUT", "/items/all")
    assert (wrong.status, wrong.error and wrong.error.message) == (
        405,
        "/items/all takes GET, HEAD, OPTIONS and no PUT",
    )
    assert wrong.headers == {"Allow": "GET, HEAD, OPTIONS"}


async def test_options_tells_the_methods_of_a_path_and_head_is_get_without_its_body(chute: Chute) -> None:
    given_up: list[str] = []
    held: list[AsyncIterator[str]] = []

    async def endless() -> AsyncIterator[str]:
        try:
            while True:
                yield "data: 1\n\n"
        finally:
            given_up.append("endless")

    @chute.cord("/items", method="GET")
    def items(self: Chute) -> list[int]:
        return [1, 2]

    @chute.cord("/lines", method="GET", output_content_type="text/event-stream")
    async def lines(self: Chute) -> AsyncIterator[str]:
        held.append(endless())
        return held[0]

    @chute.cord("/asked", method="OPTIONS")
    def asked(self: Chute) -> str:
        return "me"

    runner = LocalRunner(chute)
    options = await runner.call_cord("options", "/items")
    assert (options.status, options.headers, options.body) == (204, {"Allow": "GET, HEAD, OPTIONS"}, b"")
    assert (await runner.call_cord("OPTIONS", "/asked")).json() == "me"
    assert (await runner.call_cord("OPTIONS", "/nothing")).status == 404
    head = await runner.call_cord("HEAD", "/items")
    assert (head.status, head.content_type, head.body) == (200, "application/json", b"")
    streamed = await runner.call_cord("HEAD", "/lines")
    assert (streamed.status, streamed.content_type, streamed.pieces) == (200, "text/event-stream", None)
    assert given_up == ["endless"]
    wrong = await runner.call_cord("HEAD", "/asked")
    assert (wrong.status, wrong.body, wrong.error and wrong.error.kind) == (405, b"", "unknown_method")


async def test_startup_hooks_run_once_and_the_chute_goes_on_until_it_is_shut_down(chute: Chute) -> None:
    seen: list[str] = []

    @chute.on_startup()
    async def begin(self: Chute) -> None:
        seen.append("begin")
        self.count = 0

    @chute.on_shutdown()
    def end(self: Chute) -> None:
        seen.append("end")

    @chute.cord("/count")
    async def count(self: Chute) -> int:
        self.count += 1
        return int(self.count)

    runner = LocalRunner(chute)
    answers = await asyncio.gather(*(runner.call_cord("POST", "/count") for _ in range(3)))
    assert sorted(answer.json() for answer in answers) == [1, 2, 3]
    await runner.shut_down()
    await runner.shut_down()
    assert seen == ["begin", "end"]


async def test_a_startup_hook_that_fails_is_an_answer_and_is_tried_again(chute: Chute) -> None:
    failures = [OSError("no model"), None]

    @chute.on_startup()
    def begin(self: Chute) -> None:
        failure = failures.pop(0)
        if failure is not None:
            raise failure

    @chute.cord("/one")
    async def one(self: Chute) -> int:
        return 1

    runner = LocalRunner(chute)
    first, second = [await runner.call_cord("POST", "/one") for _ in range(2)]
    assert first.error is not None
    assert (first.status, first.error.kind, second.json()) == (503, "startup", 1)


async def test_what_a_cord_raises_is_in_the_answer_with_the_exception_itself(chute: Chute) -> None:
    @chute.cord("/fail")
    def fail(self: Chute) -> None:
        raise ValueError("no luck")

    answer = await LocalRunner(chute).call_cord("POST", "/fail")
    assert answer.error is not None
    assert (answer.status, answer.error.kind, answer.error.message) == (500, "raised", "no luck")
    assert isinstance(answer.error.exception, ValueError)
    assert "in fail" in answer.error.traceback


@pytest.mark.parametrize(
    ("value", "kind"),
    [(float("nan"), "result_not_json"), ({1}, "result_not_json"), ("x" * (8 << 20), "result_too_large")],
)
async def test_what_can_not_be_an_answer_is_refused_as_on_a_host(
    chute: Chute, value: object, kind: str
) -> None:
    @chute.cord("/give")
    async def give(self: Chute) -> object:
        return value

    answer = await LocalRunner(chute).call_cord("POST", "/give")
    assert answer.error is not None
    assert (answer.status, answer.error.kind) == (500, kind)


async def test_a_stream_is_read_to_its_end_and_its_pieces_are_kept(chute: Chute) -> None:
    @chute.cord("/stream", output_content_type="text/event-stream")
    async def stream(self: Chute, fails: int = 0):
        yield "a"
        yield {"b": 1}
        if fails:
            raise ValueError("in the middle")

    runner = LocalRunner(chute)
    answer = await runner.call_cord("POST", "/stream")
    assert (answer.status, answer.content_type) == (200, "text/event-stream")
    assert (answer.pieces, answer.text, answer.error) == ((b"a", b'{"b":1}\n'), 'a{"b":1}\n', None)
    broken = await runner.call_cord("POST", "/stream?fails=1")
    assert broken.error is not None
    assert (broken.pieces, broken.error.message) == (answer.pieces, "in the middle")


async def test_headers_of_an_http_exception_are_in_the_answer(chute: Chute) -> None:
    @chute.cord("/busy")
    async def busy(self: Chute) -> None:
        raise HTTPException(429, "slow down", {"Retry-After": "5"})

    answer = await LocalRunner(chute).call_cord("POST", "/busy")
    assert (answer.status, answer.headers, answer.json()) == (
        429,
        {"Retry-After": "5"},
        {"detail": "slow down"},
    )


async def test_plain_functions_run_beside_each_other_as_many_as_the_chute_allows() -> None:
    chute = Chute("me", "many", concurrency=3)
    barrier = threading.Barrier(3)

    @chute.cord("/meet")
    def meet(self: Chute) -> bool:
        barrier.wait(10)
        return True

    runner = LocalRunner(chute)
    answers = await asyncio.gather(*(runner.call_cord("POST", "/meet") for _ in range(3)))
    assert all(answer.json() for answer in answers)


async def test_a_call_that_the_test_gives_up_is_cancelled(chute: Chute) -> None:
    seen: list[str] = []

    @chute.cord("/hang")
    async def hang(self: Chute) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            seen.append("cancelled")

    began = time.monotonic()
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(LocalRunner(chute).call_cord("POST", "/hang"), 0.05)
    assert (seen, time.monotonic() - began < 5) == (["cancelled"], True)


async def test_a_body_that_no_host_would_get_is_an_error_of_the_test(chute: Chute) -> None:
    @chute.cord("/one")
    async def one(self: Chute, body: object) -> None: ...

    with pytest.raises(ValueError, match="the body is no JSON"):
        await LocalRunner(chute).call_cord("POST", "/one", json={1, 2})
    with pytest.raises(ValueError, match="are the most"):
        await LocalRunner(chute).call_cord("POST", "/one", json="x" * (1 << 20))
    assert (await LocalRunner(chute).call_cord("POST", "/one", json=None)).json() is None
