"""One call of a cord on fakes: what its launcher gets, what becomes of each answer, and of calls that were named."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest

from agent.core.cord_answer import BadCordAnswerError, CordFault, CordFaultKind, CordHead
from agent.errors import AgentError
from agent.interfaces import StoreUnavailableError
from agent.jobs.cords import CordCall, CordReply, CordTimedOutError, CordTimes
from agent.jobs.cords.probe import cords_probe
from agent.jobs.cords.replays import KEPT_SECONDS, MOST_KEPT_BYTES
from agent.jobs.health import CheckState
from tests.fakes.cord_lines import Said, stream, whole
from tests.shell.cord_world import CordWorld, cord_world
from tests.shell.world import ME

pytestmark = pytest.mark.looptime


@pytest.fixture
async def stage() -> AsyncIterator[CordWorld]:
    async with cord_world() as made:
        yield made


class Author:
    """Answers with what a test says; counts what it is asked."""

    def __init__(self, *said: Said, seconds: float = 0) -> None:
        self._said = list(said)
        self._seconds = seconds
        self.asked: list[dict[str, Any]] = []

    async def __call__(self, request: dict[str, Any]) -> Said:
        self.asked.append(request)
        await asyncio.sleep(self._seconds)
        return self._said[0] if len(self._said) == 1 else self._said.pop(0)


def answer_with(stage: CordWorld, *said: Said, seconds: float = 0) -> Author:
    stage.author = author = Author(*said, seconds=seconds)
    return author


def fault(kind: CordFaultKind, message: str = "m") -> Said:
    return Said(CordFault(kind, "ValueError", message))


async def test_the_launcher_is_told_which_cord_and_with_what(stage: CordWorld) -> None:
    author = answer_with(stage, whole(None))
    await stage.call("/look/a%2Fb", method="GET", query={"one": ["1"], "two": ["2", "3"]})
    await stage.call(body={"a": [1, "\n"]})
    ids = [request.pop("call") for request in author.asked]
    assert len(set(ids)) == 2
    assert author.asked == [
        {
            "cord": 1,
            "function": "look",
            "params": {"what": "a/b"},
            "query": {"one": "1", "two": ["2", "3"]},
            "has_body": False,
            "body": None,
        },
        {"cord": 0, "function": "ask", "params": {}, "query": {}, "has_body": True, "body": {"a": [1, "\n"]}},
    ]


async def test_a_call_is_under_way_in_its_job_while_it_is_made_and_no_longer(stage: CordWorld) -> None:
    seen: list[int | None] = []

    async def author(request: dict[str, Any]) -> Said:
        assert stage.cords is not None
        seen.append(stage.cords.under_way.started(stage.jobs()[0].id, request["call"]))
        seen.append(stage.cords.under_way.started("another", request["call"]))
        return whole(request["call"])

    stage.author = author
    call_id = (await stage.call()).json
    assert stage.cords is not None
    assert [*seen, stage.cords.under_way.started(stage.jobs()[0].id, call_id)] == [0, None, None]


async def test_a_body_over_several_lines_is_one_line_for_the_launcher(stage: CordWorld) -> None:
    author = answer_with(stage, whole(None))
    await stage.ready()
    assert stage.cords is not None
    async with stage.cords.answer(ME, "trainer", CordCall("POST", "/ask", {}, body=b'{\r\n"a":\n1}')):
        pass
    assert author.asked[0]["body"] == {"a": 1}


async def test_a_path_and_a_method_that_no_cord_has_are_refused_without_a_job(stage: CordWorld) -> None:
    await stage.ready()
    assert (await stage.refusal("/akk")).code == "cord_not_found"
    error = await stage.refusal("/ask", method="PUT")
    assert (error.code, getattr(error, "allowed", None)) == ("cord_method_not_allowed", ("POST", "OPTIONS"))
    assert stage.jobs() == []


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (CordFaultKind.RAISED, "cord_failed"),
        (CordFaultKind.BINDING, "cord_arguments_invalid"),
        (CordFaultKind.NOT_JSON, "cord_answer_invalid"),
        (CordFaultKind.TOO_LARGE, "cord_answer_invalid"),
        (CordFaultKind.BAD_STATUS, "cord_answer_invalid"),
        (CordFaultKind.UNKNOWN, "cord_answer_invalid"),
    ],
)
async def test_each_error_of_a_cord_has_its_words_and_costs_the_job_nothing(
    stage: CordWorld, kind: CordFaultKind, code: str
) -> None:
    answer_with(stage, fault(kind, "because"))
    error = await stage.refusal()
    assert (error.code, "because" in str(error)) == (code, True)
    if kind is not CordFaultKind.BINDING:
        assert stage.jobs()[0].id in str(error)
    answer_with(stage, whole(1))
    assert (await stage.call()).json == 1
    assert len(stage.jobs()) == 1


async def test_a_call_that_gets_no_answer_is_given_up_and_the_others_go_on(stage: CordWorld) -> None:
    answer_with(stage, whole(1), seconds=3600)
    error = await stage.refusal()
    assert (error.code, "60 s" in str(error)) == ("cord_timed_out", True)
    answer_with(stage, whole(2))
    assert (await stage.call()).json == 2
    lines = stage.lines[stage.jobs()[0].id]
    assert sum(line.given_up for line in lines) == 1


async def test_a_stream_may_last_longer_than_a_call_may_wait(stage: CordWorld) -> None:
    answer_with(stage, stream(b"a", b"b"))
    await stage.ready()
    assert stage.cords is not None
    async with stage.cords.answer(ME, "trainer", CordCall("POST", "/ask", {})) as reply:
        assert reply.size is None
        found = []
        async for piece in reply.pieces:
            await asyncio.sleep(500)  # a slow reader is not the cord's fault
            found.append(piece)
    assert found == [b"a", b"b"]


async def read_slowly(reply: CordReply) -> None:
    async for _piece in reply.pieces:
        await asyncio.sleep(59)


@pytest.mark.slow
async def test_a_stream_may_not_last_for_ever(stage: CordWorld) -> None:
    answer_with(stage, stream(*[b"a"] * 1_000))
    await stage.ready()
    assert stage.cords is not None
    async with stage.cords.answer(ME, "trainer", CordCall("POST", "/ask", {})) as reply:
        began = asyncio.get_running_loop().time()
        with pytest.raises(CordTimedOutError, match="3600 s"):
            await read_slowly(reply)
        assert asyncio.get_running_loop().time() - began < 3_700
    assert (await stage.call()).status == 200


async def test_a_stream_that_breaks_off_is_an_error_at_its_end(stage: CordWorld) -> None:
    answer_with(stage, stream(b"a", None))
    assert (await stage.refusal()).code == "cord_host_ended"


async def test_what_the_caller_does_not_read_is_given_up_and_its_place_is_had_again(stage: CordWorld) -> None:
    answer_with(stage, stream(b"a", b"b", b"c"))
    await stage.ready()
    assert stage.cords is not None
    for _ in range(5):
        with suppress(ConnectionResetError):
            async with stage.cords.answer(ME, "trainer", CordCall("POST", "/ask", {})) as reply:
                async for _piece in reply.pieces:
                    raise ConnectionResetError
    assert (await stage.call()).body == b"abc"
    assert len(stage.jobs()) == 1


async def test_calls_with_large_bodies_are_refused_before_they_take_the_hosts_memory(
    stage: CordWorld,
) -> None:
    answer_with(stage, whole(1), seconds=5)
    await stage.ready()
    large = "x" * (1 << 20)
    answers = await asyncio.gather(*[stage.call(body=large) for _ in range(40)], return_exceptions=True)
    refused = [error.code for error in answers if isinstance(error, AgentError)]
    assert (len(refused), set(refused)) == (25, {"cord_busy"})
    assert (await stage.call(body=large)).json == 1


async def test_a_caller_that_leaves_cancels_the_cord(stage: CordWorld) -> None:
    await stage.call()
    author = answer_with(stage, whole(1), seconds=50)
    calling = asyncio.get_running_loop().create_task(stage.call())
    await asyncio.sleep(1)
    calling.cancel()
    await asyncio.wait({calling})
    assert len(author.asked) == 1
    assert sum(line.given_up for line in stage.lines[stage.jobs()[0].id]) == 1
    assert stage.cords is not None
    assert stage.cords.tally.ends == {"answered": 1, "caller_left": 1}


async def test_callers_that_leave_while_they_wait_leave_no_place_taken(stage: CordWorld) -> None:
    await stage.ready()
    calls = [asyncio.get_running_loop().create_task(stage.call()) for _ in range(20)]
    await asyncio.sleep(0.1)
    for call in calls:
        call.cancel()
    await asyncio.wait(calls)
    assert (await stage.call(body=1)).json == 1


async def test_a_launcher_that_breaks_the_protocol_is_told_of_and_goes_on(stage: CordWorld) -> None:
    async def lie(_request: dict[str, Any]) -> Said:
        raise BadCordAnswerError("the head is no JSON")

    stage.author = lie
    error = await stage.refusal()
    assert (error.code, "no JSON" in str(error)) == ("cord_answer_invalid", True)


# named calls


async def test_a_named_call_is_made_once_and_answered_again(stage: CordWorld) -> None:
    answer = Said(CordHead(404, "text/plain", (("X-A", "1"),), 2), (b"no",))
    author = answer_with(stage, answer)
    replies = [await stage.call(key="k", body=1) for _ in range(3)]
    assert {(reply.status, reply.body) for reply in replies} == {(404, b"no")}
    assert len(author.asked) == 1


async def test_the_answers_of_many_names_are_kept_beside_each_other(stage: CordWorld) -> None:
    author = answer_with(stage, whole("x" * 1_000))
    for _ in range(2):
        for number in range(50):
            await stage.call(key=f"k{number}")
    assert len(author.asked) == 50


async def test_named_calls_at_once_wait_for_the_first(stage: CordWorld) -> None:
    author = answer_with(stage, whole("one"), seconds=5)
    await stage.ready()
    replies = await asyncio.gather(*[stage.call(key="k") for _ in range(20)])
    assert [reply.json for reply in replies] == ["one"] * 20
    assert len(author.asked) == 1


@pytest.mark.parametrize("seconds", [0, 5])
async def test_another_call_under_the_same_name_is_refused_also_while_the_first_is_made(
    stage: CordWorld, seconds: float
) -> None:
    answer_with(stage, whole(1), seconds=seconds)
    await stage.ready()
    first = asyncio.get_running_loop().create_task(stage.call(key="k", body=1))
    await asyncio.sleep(1)
    asked_at = asyncio.get_running_loop().time()
    for other in ({"body": 2}, {"path": "/look/x", "method": "GET"}, {"body": 1, "raw_query": "a=1"}):
        assert (await stage.refusal(key="k", **other)).code == "idempotency_conflict"
    assert asyncio.get_running_loop().time() - asked_at < 0.1, "nobody waits for it"
    assert (await first).json == 1


async def test_what_failed_under_a_name_is_made_again_with_the_same_id(stage: CordWorld) -> None:
    author = answer_with(stage, fault(CordFaultKind.RAISED), whole(1, 503), whole(2), whole(3))
    assert (await stage.refusal(key="k")).code == "cord_failed"
    assert (await stage.call(key="k")).status == 503
    assert (await stage.call(key="k")).json == 2
    assert (await stage.call(key="k")).json == 2
    assert len({request["call"] for request in author.asked}) == 1


@pytest.mark.parametrize(
    "said",
    [
        fault(CordFaultKind.RAISED),
        whole(1, 503),
        stream(b"a"),
        stream(b"a", None),
        whole("x" * MOST_KEPT_BYTES),
    ],
)
async def test_another_call_under_a_name_is_refused_whatever_became_of_the_first(
    stage: CordWorld, said: Said
) -> None:
    author = answer_with(stage, said)
    with suppress(AgentError):
        await stage.call(key="k", body=1)
    assert (await stage.refusal(key="k", body=2)).code == "idempotency_conflict"
    assert len(author.asked) == 1


async def test_a_daemon_that_is_killed_in_a_named_call_leaves_its_id_and_what_it_was_of(
    stage: CordWorld,
) -> None:
    author = answer_with(stage, whole(1), seconds=50)
    await stage.ready()
    first = asyncio.get_running_loop().create_task(stage.call(key="k", body=1))
    await asyncio.sleep(5)
    await stage.crash()
    first.cancel()
    await asyncio.wait({first})
    await stage.start()
    assert (await stage.refusal(key="k", body=2)).code == "idempotency_conflict"
    assert (await stage.call(key="k", body=1)).json == 1
    assert len({request["call"] for request in author.asked}) == 1
    assert len(author.asked) == 2


async def test_a_name_that_is_used_again_on_another_day_is_another_call(stage: CordWorld) -> None:
    author = answer_with(stage, fault(CordFaultKind.RAISED), whole(2))
    assert (await stage.refusal(key="nightly", body=1)).code == "cord_failed"
    stage.world.clock.started += KEPT_SECONDS + 1
    await asyncio.sleep(700)
    assert (await stage.call(key="nightly", body=2)).json == 2
    assert len({request["call"] for request in author.asked}) == 2


async def test_a_named_call_that_can_not_be_written_down_is_not_made(stage: CordWorld) -> None:
    async def fail(step: str) -> None:
        if step == "begin_cord_call":
            raise StoreUnavailableError("disk full")

    author = answer_with(stage, whole(1))
    await stage.ready()
    stage.world.store.before = fail
    assert (await stage.refusal(key="k")).code == "store_unavailable"
    assert author.asked == []


async def test_who_waits_for_a_call_of_the_same_name_does_not_wait_for_ever(stage: CordWorld) -> None:
    answer_with(stage, stream(b"a", b"b"))
    await stage.ready()
    assert stage.cords is not None
    async with stage.cords.answer(ME, "trainer", CordCall("POST", "/ask", {}, key="k")) as reply:
        assert reply.status == 200
        began = asyncio.get_running_loop().time()
        assert (await stage.refusal(key="k")).code == "cord_busy"
        assert asyncio.get_running_loop().time() - began == pytest.approx(60, abs=1)


async def test_names_of_other_cords_and_other_names_are_other_calls(stage: CordWorld) -> None:
    author = answer_with(stage, whole(1))
    await stage.call(key="k")
    await stage.call(key="l")
    await stage.call(key=None)
    assert len({request["call"] for request in author.asked}) == 3


async def test_streams_and_large_answers_are_made_anew(stage: CordWorld) -> None:
    large = Said(CordHead(200, "a/b", (), MOST_KEPT_BYTES + 1), (b"x" * (MOST_KEPT_BYTES + 1),))
    author = answer_with(stage, stream(b"a"), large, whole(1))
    assert (await stage.call(key="k")).body == b"a"
    assert len((await stage.call(key="k")).body) == MOST_KEPT_BYTES + 1
    assert (await stage.call(key="k")).json == 1
    assert len(author.asked) == 3


async def test_a_named_answer_outlives_the_daemon_and_a_day_ends_it(stage: CordWorld) -> None:
    author = answer_with(stage, whole(1), whole(2))
    assert (await stage.call(key="k")).json == 1
    await stage.restart()
    assert (await stage.call(key="k")).json == 1
    stage.world.clock.started += KEPT_SECONDS - 1_000
    await asyncio.sleep(700)
    assert (await stage.call(key="k")).json == 1
    stage.world.clock.started += 1_001
    await asyncio.sleep(700)
    assert (await stage.call(key="k")).json == 2
    assert len(author.asked) == 2


async def test_an_answer_that_can_not_be_kept_is_given_all_the_same(stage: CordWorld) -> None:
    async def fail(step: str) -> None:
        if step == "keep_cord_answer":
            raise StoreUnavailableError("disk full")

    author = answer_with(stage, whole(1))
    stage.world.store.before = fail
    assert [(await stage.call(key="k")).json for _ in range(2)] == [1, 1]
    assert len(author.asked) == 2


async def test_a_caller_that_leaves_lets_the_next_one_of_its_name_make_the_call(stage: CordWorld) -> None:
    author = answer_with(stage, whole(1), seconds=20)
    await stage.ready()
    first = asyncio.get_running_loop().create_task(stage.call(key="k"))
    await asyncio.sleep(5)
    second = asyncio.get_running_loop().create_task(stage.call(key="k"))
    await asyncio.sleep(5)
    first.cancel()
    assert (await second).json == 1
    assert len(author.asked) == 2


async def test_calls_are_counted_by_how_they_ended(stage: CordWorld) -> None:
    answer_with(stage, whole(1, 404), fault(CordFaultKind.RAISED))
    stage.times = CordTimes(300, 60)
    await stage.call()
    await stage.refusal()
    await stage.refusal("/akk")
    assert stage.cords is not None
    assert stage.cords.tally.ends == {"answered": 1, "cord_failed": 1, "cord_not_found": 1}
    assert stage.cords.tally.seconds > 0
    assert json.dumps(stage.cords.tally.ends)


async def test_health_tells_how_calls_ended_and_alarms_nobody(stage: CordWorld) -> None:
    answer_with(stage, whole(1), fault(CordFaultKind.RAISED), seconds=2)
    await stage.ready()
    assert stage.cords is not None
    probe = cords_probe(stage.cords)
    at_first = await probe()
    assert (at_first.state, at_first.remedy) == (CheckState.OK, "")
    assert at_first.evidence.startswith("0 jobs answer cords; calls since the start: none; they took 0.0 s")
    await stage.call()
    await stage.refusal()
    found = await probe()
    assert (found.state, found.remedy) == (CheckState.OK, "")
    ends, _, seconds = found.evidence.partition("; they took ")
    assert ends == "1 jobs answer cords; calls since the start: 1 answered, 1 cord_failed"
    assert 4 <= float(seconds.removesuffix(" s")) < 6


async def test_a_mistake_of_the_agents_is_not_counted_as_a_caller_that_left(stage: CordWorld) -> None:
    async def break_down(_request: dict[str, Any]) -> Said:
        raise ZeroDivisionError

    await stage.ready()
    stage.author = break_down
    with pytest.raises(ZeroDivisionError):
        await stage.call()
    assert stage.cords is not None
    assert stage.cords.tally.ends == {"internal_error": 1}
