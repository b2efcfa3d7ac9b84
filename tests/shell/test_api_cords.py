"""Cords as the API has them: requests of any kind to a chute whose job is stood in for, and each answer as its caller gets it."""

import asyncio
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from agent.api.limits import ApiLimits
from agent.api.tokens import Scope
from agent.core.cord_answer import CordFault, CordFaultKind, CordHead
from agent.core.job import Kind
from agent.interfaces.job_socket import CallRefusedError
from agent.jobs.cords import CordTimes
from tests.fakes.cord_lines import Author, FakeCordLine, Said, stream, whole
from tests.fakes.tars import MAIN, tar_of
from tests.shell.api_world import LONG, ApiWorld, Reply, api_world, running
from tests.shell.test_api_chutes import deploy
from tests.unit.chute_values import a_job

CORDS = [
    {"function": "ask", "public_api_path": "/ask", "method": "POST"},
    {"function": "look", "public_api_path": "/look/{what}", "method": "GET"},
    {"function": "end", "public_api_path": "/look/{what}", "method": "DELETE"},
]
JSON = {"Content-Type": "application/json"}


class Stage:
    """A deployed chute; `author` answers its cords."""

    def __init__(self, world: ApiWorld) -> None:
        self.world = world
        self.author: Author = self.echo
        self.lines: list[FakeCordLine] = []

    async def echo(self, request: dict[str, Any]) -> Said:
        return whole({name: request[name] for name in ("function", "params", "query", "body")})

    async def call(self, method: str, path: str, body: object = None, **more: Any) -> Reply:  # noqa: ANN401 - as ApiWorld.call
        headers = {**(JSON if body is not None else {}), **more.pop("headers", {})}
        return await self.world.call(method, f"/v1/chutes/trainer/cords{path}", body, headers=headers, **more)

    def say(self, said: Said) -> None:
        async def author(_request: dict[str, Any]) -> Said:
            return said

        self.author = author

    @asynccontextmanager
    async def launching(self) -> AsyncIterator[None]:
        launching = asyncio.ensure_future(self._launch())
        yield
        launching.cancel()
        with suppress(asyncio.CancelledError):
            await launching

    async def _launch(self) -> None:
        """Four connections to the first job of cords that runs."""
        while True:
            jobs = [job for job in self.world.store.jobs() if job.kind is Kind.CORDS and not job.outcome]
            calls = self.world.sockets.calls.get(jobs[0].id) if jobs else None
            if calls is not None:
                break
            await asyncio.sleep(0.005)
        async with asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(self._serve(calls))

    async def _serve(self, calls: Any) -> None:  # noqa: ANN401 - JobCalls
        while True:
            line = FakeCordLine(self._answer)
            self.lines.append(line)
            with suppress(CallRefusedError):
                await calls.serve(line)
            await asyncio.sleep(0.005)

    async def _answer(self, request: dict[str, Any]) -> Said:
        return await self.author(request)


@asynccontextmanager
async def staged(tmp_path: Path, limits: ApiLimits = LONG) -> AsyncIterator[Stage]:
    async with api_world(tmp_path, api_limits=limits) as world, running(world):
        made = Stage(world)
        reply = await deploy(world, a_job(), manifest={"cords": CORDS, "chute": {"concurrency": 4}})
        assert reply.status == 201, reply.raw
        async with made.launching():
            yield made


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with staged(tmp_path) as made:
        yield made


async def test_a_request_comes_to_its_cord_and_the_answer_back(stage: Stage) -> None:
    reply = await stage.call("POST", "/ask?a=1&b=2&b=3&c=", {"x": [1]})
    assert reply.status == 200
    assert reply.json == {
        "function": "ask",
        "params": {},
        "query": {"a": "1", "b": ["2", "3"], "c": ""},
        "body": {"x": [1]},
    }
    assert reply.headers["Content-Type"] == "application/json"
    assert reply.headers["Content-Security-Policy"] == "sandbox"
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    assert reply.headers["Cache-Control"] == "no-store"
    assert reply.headers["Content-Length"] == str(len(reply.raw))


async def test_what_is_encoded_in_a_path_is_the_cords(stage: Stage) -> None:
    reply = await stage.call("GET", "/look/a%2Fb%3Fc%20%C3%A9?q=%2B")
    assert (reply.json["params"], reply.json["query"]) == ({"what": "a/b?c é"}, {"q": "+"})


async def test_the_same_path_by_another_method_is_another_cord(stage: Stage) -> None:
    assert (await stage.call("GET", "/look/1")).json["function"] == "look"
    assert (await stage.call("DELETE", "/look/1")).json["function"] == "end"


async def test_head_is_a_get_without_its_body(stage: Stage) -> None:
    for _ in range(10):
        reply = await stage.call("HEAD", "/look/1")
        assert (reply.status, reply.raw) == (200, b"")
        assert int(reply.headers["Content-Length"]) > 0
    assert not any(line.given_up for line in stage.lines)


async def test_options_tells_the_methods_without_a_call(stage: Stage) -> None:
    reply = await stage.call("OPTIONS", "/look/1")
    assert (reply.status, reply.headers["Allow"]) == (204, "GET, HEAD, DELETE, OPTIONS")
    assert (await stage.call("OPTIONS", "/nowhere")).status == 404
    assert not [job for job in stage.world.store.jobs() if job.kind is Kind.CORDS]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/lok/1", 404, "cord_not_found"),
        ("GET", "/look/", 404, "cord_not_found"),
        ("GET", "/look/%ff", 404, "cord_not_found"),
        ("GET", "/", 404, "cord_not_found"),
        ("PATCH", "/look/1", 405, "cord_method_not_allowed"),
        ("TRACE", "/look/1", 405, "method_not_allowed"),
    ],
)
async def test_a_request_to_no_cord_is_a_problem(
    stage: Stage, method: str, path: str, status: int, code: str
) -> None:
    reply = await stage.call(method, path)
    assert (reply.status, reply.json["code"]) == (status, code)
    if status == 405:
        assert "GET" in reply.headers["Allow"]
    assert reply.json["blame"] == "user"
    assert reply.json["remedy"]


async def test_the_nearest_cord_is_named(stage: Stage) -> None:
    assert "/ask" in (await stage.call("POST", "/aks", {})).json["detail"]


@pytest.mark.parametrize("path", ["/v1/chutes/none/cords/ask", "/v1/chutes/trainer%2F/cords/ask"])
async def test_a_chute_that_there_is_not_is_a_404(stage: Stage, path: str) -> None:
    assert (await stage.world.call("POST", path, {}, headers=JSON)).status == 404


@pytest.mark.parametrize(
    ("data", "headers", "status", "code"),
    [
        (b"a=1", {"Content-Type": "application/x-www-form-urlencoded"}, 415, "cord_body_not_json"),
        (b"{}", {"Content-Type": "text/plain"}, 415, "cord_body_not_json"),
        (b"{", JSON, 400, "bad_json"),
        (b'{"a": NaN}', JSON, 400, "bad_json"),
        (b"[" * 1000, JSON, 400, "bad_json"),
        (b"\xff", JSON, 400, "bad_json"),
        (b"1" * ((1 << 20) + 1), JSON, 413, "body_too_large"),
        (b"{}", {**JSON, "Content-Encoding": "gzip"}, 415, "content_encoding_refused"),
        (b"{}", {**JSON, "Idempotency-Key": "a b"}, 400, "bad_request"),
    ],
)
async def test_a_body_that_no_cord_takes_is_refused_before_anything_runs(
    stage: Stage, data: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    reply = await stage.call("POST", "/ask", data=io.BytesIO(data), headers=headers)
    assert (reply.status, reply.json["code"]) == (status, code)
    assert not stage.lines


async def test_a_body_may_be_of_any_json_type_and_a_mebibyte(stage: Stage) -> None:
    large = "x" * ((1 << 20) - 2)
    for body in (0, None, "text", [1], large):
        data = json.dumps(body).encode()
        reply = await stage.call(
            "POST", "/ask", data=data, headers={"Content-Type": "application/vnd.x+json"}
        )
        assert reply.json["body"] == body


async def test_the_authors_own_answer_is_passed_as_it_is(stage: Stage) -> None:
    head = CordHead(418, "text/plain; charset=utf-8", (("X-A", "1"), ("Retry-After", "7")), 3)
    stage.say(Said(head, (b"tea",)))
    reply = await stage.call("POST", "/ask")
    assert (reply.status, reply.raw, reply.headers["X-A"]) == (418, b"tea", "1")
    assert reply.headers["Content-Type"] == "text/plain; charset=utf-8"


async def test_a_stream_comes_piece_by_piece(stage: Stage) -> None:
    stage.say(stream(b"one", b"two"))
    reply = await stage.call("GET", "/look/1")
    assert (reply.status, reply.raw) == (200, b"onetwo")
    assert "Content-Length" not in reply.headers


async def test_a_stream_that_breaks_off_is_no_whole_answer(stage: Stage) -> None:
    stage.say(stream(b"one", None))
    with pytest.raises(Exception, match=r"(?i)payload|connection|disconnected"):
        await stage.call("GET", "/look/1")
    assert stage.world.cords.tally.ends["cord_host_ended"] == 1


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        (CordFaultKind.RAISED, 500, "cord_failed"),
        (CordFaultKind.BINDING, 422, "cord_arguments_invalid"),
        (CordFaultKind.NOT_JSON, 500, "cord_answer_invalid"),
    ],
)
async def test_what_is_no_answer_is_a_problem(
    stage: Stage, kind: CordFaultKind, status: int, code: str
) -> None:
    stage.say(Said(CordFault(kind, "TypeError", "because")))
    reply = await stage.call("POST", "/ask")
    assert (reply.status, reply.json["code"], reply.json["blame"]) == (status, code, "user")
    assert "because" in reply.json["detail"]


async def test_a_call_that_gets_no_answer_in_time_is_a_504(stage: Stage) -> None:
    async def never(_request: dict[str, Any]) -> Said:
        await asyncio.sleep(3600)
        raise AssertionError

    await stage.call("POST", "/ask")
    stage.author = never
    stage.world.settings.cord_times = CordTimes(idle_seconds=300, call_seconds=0.2)
    reply = await stage.call("POST", "/ask")
    assert (reply.status, reply.json["code"]) == (504, "cord_timed_out")


async def test_a_caller_that_hangs_up_cancels_his_call(stage: Stage) -> None:
    begun = asyncio.Event()

    async def never(_request: dict[str, Any]) -> Said:
        begun.set()
        await asyncio.sleep(3600)
        raise AssertionError

    stage.author = never
    calling = asyncio.ensure_future(stage.call("POST", "/ask"))
    await asyncio.wait_for(begun.wait(), 5)
    calling.cancel()
    with suppress(asyncio.CancelledError):
        await calling
    async with asyncio.timeout(5):
        while not any(line.given_up for line in stage.lines):
            await asyncio.sleep(0.01)


async def test_a_call_that_waits_for_its_answer_ends_with_its_token(tmp_path: Path) -> None:
    begun = asyncio.Event()

    async def never(_request: dict[str, Any]) -> Said:
        begun.set()
        await asyncio.sleep(3600)
        raise AssertionError

    limits = ApiLimits(stream_seconds=5, recheck_seconds=0.02)
    async with staged(tmp_path, limits) as stage:
        stage.author = never
        calling = asyncio.ensure_future(stage.call("POST", "/ask", {}))
        await asyncio.wait_for(begun.wait(), 5)
        for token in await stage.world.store.tokens():
            await stage.world.store.remove_token(token.id)
        async with asyncio.timeout(5):
            with suppress(aiohttp.ClientError):
                # Where no byte had come, the client asks once more by itself.
                assert (await calling).status == 401
            while not any(line.given_up for line in stage.lines):
                await asyncio.sleep(0.01)


async def test_a_daemon_that_leaves_says_so_to_those_who_wait(stage: Stage) -> None:
    begun = asyncio.Event()

    async def never(_request: dict[str, Any]) -> Said:
        begun.set()
        await asyncio.sleep(3600)
        raise AssertionError

    stage.author = never
    calls = [asyncio.ensure_future(stage.call("POST", "/ask")) for _ in range(6)]  # two more than run at once
    await asyncio.wait_for(begun.wait(), 5)
    await asyncio.sleep(0.1)
    assert stage.world.sites is not None
    await stage.world.sites.close()
    replies = await asyncio.gather(*calls)
    assert {(reply.status, reply.json["code"]) for reply in replies} == {(502, "cord_host_ended")}
    assert all("leaving" in reply.json["detail"] for reply in replies)
    assert [job.job_stop for job in stage.world.store.jobs() if job.kind is Kind.CORDS] == [None]


async def test_the_same_key_gives_the_same_answer_without_a_call(stage: Stage) -> None:
    calls = 0

    async def count(_request: dict[str, Any]) -> Said:
        nonlocal calls
        calls += 1
        return whole(calls)

    stage.author = count
    key = {"Idempotency-Key": "k"}
    replies = [await stage.call("POST", "/ask", {"a": 1}, headers=key) for _ in range(3)]
    assert [reply.json for reply in replies] == [1, 1, 1]
    other = await stage.call("POST", "/ask", {"a": 2}, headers=key)
    assert (other.status, other.json["code"]) == (409, "idempotency_conflict")


async def test_two_hundred_calls_of_one_token_are_all_answered(stage: Stage) -> None:
    replies = await asyncio.gather(*[stage.call("POST", "/ask", number) for number in range(200)])
    assert sorted(reply.json["body"] for reply in replies) == list(range(200))


async def test_anothers_cords_are_not_there_whatever_he_may_see(stage: Stage) -> None:
    for scopes in ((Scope.JOBS_READ, Scope.JOBS_WRITE), (Scope.JOBS_WRITE, Scope.JOBS_ALL)):
        token = await stage.world.new_token("bob", scopes)
        reply = await stage.call("POST", "/ask", {}, token=token)
        assert (reply.status, reply.json["code"]) == (404, "chute_not_found")
        assert "ask" not in reply.json["detail"]


async def test_who_may_only_read_calls_nothing(stage: Stage) -> None:
    token = await stage.world.new_token("alice", (Scope.JOBS_READ,))
    for method, path in (("GET", "/look/1"), ("HEAD", "/look/1"), ("OPTIONS", "/look/1"), ("POST", "/ask")):
        assert (await stage.call(method, path, token=token)).status == 403
    assert (await stage.call("POST", "/ask", token="")).status == 401


async def test_a_host_job_is_shown_only_to_who_asks_for_its_kind(stage: Stage) -> None:
    await stage.call("POST", "/ask")
    listed = [job["kind"] for job in (await stage.world.call("GET", "/v1/jobs")).json["items"]]
    assert listed == []
    (job,) = (await stage.world.call("GET", "/v1/jobs?kind=cords")).json["items"]
    assert job["chute"] == {"name": "trainer", "version": job["chute"]["version"], "function": None}


async def test_a_chute_with_an_idle_host_is_removed(stage: Stage) -> None:
    await stage.call("POST", "/ask")
    reply = await stage.world.call("DELETE", "/v1/chutes/trainer")
    assert reply.status == 204, reply.raw
    assert (await stage.call("POST", "/ask")).json["code"] == "chute_not_found"


async def test_a_deploy_whose_cords_nobody_could_call_is_refused_with_each_fault(stage: Stage) -> None:
    cords = [{"function": "ask", "public_api_path": "ask", "method": "GET"}, {"function": "no"}]
    code = tar_of({"main.py": MAIN, "more.py": b""})
    reply = await deploy(stage.world, a_job(), manifest={"cords": cords}, code=code)
    assert reply.status == 422
    assert {fault["field"] for fault in reply.json["faults"]} == {
        "cords.ask.public_api_path",
        "cords.no.public_api_path",
        "cords.no.method",
    }
