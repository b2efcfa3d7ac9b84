"""The socket of a job: what is said on it in order, what is none of it, and who may connect, for the real one on a real disk."""

import asyncio
import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from agent.adapters.jobsocket import UnixJobSockets, sockets
from agent.adapters.jobsocket.reader import LineReader
from agent.adapters.jobsocket.reading import NoRequest, Request
from agent.aio import Threads
from agent.core.finish import Finish
from agent.core.function import ReportStatus
from agent.core.told import MOST_VALUES
from agent.interfaces import JobFolderMissingError
from agent.interfaces.job_socket import JobSockets
from tests.contract.job_caller import HELLO, Answering, Caller

JOB = "job-1"


@asynccontextmanager
async def opened(place: Path) -> AsyncIterator[UnixJobSockets]:
    threads = Threads("test", 1)
    made = UnixJobSockets(lambda job_id: place / job_id, threads)
    try:
        async with asyncio.TaskGroup() as group:
            made.use(group)
            yield made
            for job_id in os.listdir(place):  # noqa: PTH208 - names, not paths
                await made.close(job_id)
    finally:
        await made.close_all()
        threads.close()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / JOB).mkdir()
    return tmp_path


@pytest.fixture
async def made(place: Path) -> AsyncIterator[UnixJobSockets]:
    async with opened(place) as made:
        yield made


@pytest.fixture
def calls() -> Answering:
    return Answering()


@pytest.fixture
async def caller(made: UnixJobSockets, place: Path, calls: Answering) -> AsyncIterator[Caller]:
    """One that has said hello."""
    await made.open(JOB, calls)
    async with Caller(place / JOB) as caller:
        assert await caller.ask(HELLO) == {"id": 0, "ok": "hello"}
        yield caller


async def test_the_real_one_is_the_port(made: UnixJobSockets) -> None:
    port: JobSockets = made
    await port.close("nobody")


# who may connect


async def test_any_user_may_connect_and_the_path_may_be_long(tmp_path: Path, calls: Answering) -> None:
    deep = tmp_path / ("d" * 120)
    (deep / JOB).mkdir(parents=True)
    async with opened(deep) as made:
        await made.open(JOB, calls)
        where = os.stat(deep / JOB / "agent.sock")  # noqa: PTH116 - the mode of the link itself is asked
        assert (stat.S_ISSOCK(where.st_mode), stat.S_IMODE(where.st_mode)) == (True, 0o666)


async def test_a_job_without_a_folder_has_no_socket(made: UnixJobSockets, calls: Answering) -> None:
    with pytest.raises(JobFolderMissingError):
        await made.open("gone", calls)


async def test_open_twice_is_once_and_a_closed_one_can_be_opened_again(
    made: UnixJobSockets, place: Path, calls: Answering
) -> None:
    await made.open(JOB, calls)
    inode = (place / JOB / "agent.sock").stat().st_ino
    await made.open(JOB, calls)
    assert (place / JOB / "agent.sock").stat().st_ino == inode
    await made.close(JOB)
    assert not (place / JOB / "agent.sock").exists()
    await made.open(JOB, calls)
    async with Caller(place / JOB) as caller:
        assert await caller.ask(HELLO) == {"id": 0, "ok": "hello"}


async def test_a_socket_that_a_killed_daemon_left_is_replaced(
    made: UnixJobSockets, place: Path, calls: Answering
) -> None:
    for name in ("agent.sock", "agent.sock.new"):
        left = socket.socket(socket.AF_UNIX)
        left.bind(str(place / JOB / name))
        left.close()
    await made.open(JOB, calls)
    async with Caller(place / JOB) as caller:
        assert await caller.ask(HELLO) == {"id": 0, "ok": "hello"}


async def test_a_fifth_connection_waits_until_one_has_left(
    made: UnixJobSockets, place: Path, calls: Answering
) -> None:
    await made.open(JOB, calls)
    first = [Caller(place / JOB) for _ in range(sockets.MOST_CONNECTIONS)]
    for caller in first:
        await caller.__aenter__()
        assert await caller.ask(HELLO) is not None
    async with Caller(place / JOB) as fifth:
        await fifth.send(HELLO)
        answer = asyncio.ensure_future(fifth.next())
        assert await first[1].ask({"id": 1, "call": "x"}) == {"id": 1, "ok": "x"}
        assert not answer.done()
        await first[0].__aexit__(None, None, None)
        assert await answer == {"id": 0, "ok": "hello"}
    for caller in first[1:]:
        await caller.__aexit__(None, None, None)


# what is said


async def test_calls_are_answered_by_their_ids(caller: Caller, calls: Answering) -> None:
    await caller.send({"id": 1, "call": "one", "a": [1]}, {"id": "two", "call": "two"})
    assert [await caller.next() for _ in range(2)] == [{"id": 1, "ok": "one"}, {"id": "two", "ok": "two"}]
    assert (calls.heard[1].fields, calls.heard[1].payload) == ({"a": [1]}, None)


async def test_a_payload_comes_as_canonical_json(caller: Caller, calls: Answering) -> None:
    await caller.ask(b'{"id":1, "call":"start_job", "payload": {"b": 1.0, "a": "\\u00e9"}, "key": null}\n')
    assert calls.heard[-1].payload == b'{"a":"\xc3\xa9","b":1.0}'
    assert calls.heard[-1].fields == {"key": None}
    await caller.ask({"id": 2, "call": "start_job", "payload": None})
    assert calls.heard[-1].payload == b"null"


async def test_metrics_come_in_pieces(caller: Caller, calls: Answering) -> None:
    metrics = [["loss", number, 1.5] for number in range(1200)]
    await caller.send({"id": 1, "call": "report", "seq": 1, "metrics": metrics}, {"id": 2, "call": "x"})
    assert await caller.next() == {"id": 2, "ok": "x"}
    pieces = next(call for call in calls.heard if call.name == "report").metrics
    assert [len(piece) for piece in pieces] == [500, 500, 200]
    assert [point for piece in pieces for point in piece] == metrics


async def test_a_report_is_answered_once_it_is_durable_and_holds_up_nobody(
    caller: Caller, calls: Answering
) -> None:
    await caller.send({"id": 1, "call": "report", "seq": 1}, {"id": 2, "call": "x"})
    assert await caller.next() == {"id": 2, "ok": "x"}
    calls.write()
    assert await caller.next() == {"id": 1, "ok": None}


async def test_a_result_follows_its_line_and_calls_follow_the_result(
    caller: Caller, calls: Answering
) -> None:
    result = b"[1,\n2]\n" * 100_000
    line = {"id": 1, "call": "finish", "status": "succeeded", "bytes": len(result), "note": None}
    await caller.send(line, result, {"id": 2, "call": "x"})
    assert [await caller.next() for _ in range(2)] == [{"id": 1, "ok": None}, {"id": 2, "ok": "x"}]
    assert calls.finished == [(Finish(ReportStatus.SUCCEEDED), result)]


async def test_the_result_of_a_refused_finish_is_passed_over(caller: Caller, calls: Answering) -> None:
    calls.refuse = {"finish"}
    line = {"id": 1, "call": "finish", "status": "succeeded", "bytes": 200_000}
    await caller.send(line, b"\n" * 200_000, {"id": 2, "call": "x"})
    assert await caller.next() == {"id": 1, "error": {"code": "unavailable", "message": "not now"}}
    assert await caller.next() == {"id": 2, "ok": "x"}


async def test_a_result_that_is_cut_off_is_none(
    made: UnixJobSockets, caller: Caller, calls: Answering
) -> None:
    await caller.send({"id": 1, "call": "finish", "status": "succeeded", "bytes": 10}, b"12345")
    caller.writer.close()
    await made.close(JOB)
    assert calls.finished == []


async def test_a_large_line_is_read_as_a_small_one(caller: Caller, calls: Answering) -> None:
    big = {"b": ["x" * 1000] * 900, "a": {"z": 1, "y": [None, True]}}
    assert await caller.ask({"id": 1, "call": "start_job", "name": "n", "payload": big}) == {
        "id": 1,
        "ok": "start_job",
    }
    payload = calls.heard[-1].payload
    assert payload is not None
    assert payload.startswith(b'{"a":{"y":[null,true],"z":1},"b":["x')
    metrics = [["loss", number, 1764530000.123456] for number in range(12_000)]
    await caller.send({"id": 2, "call": "report", "seq": 5, "metrics": metrics})
    await asyncio.sleep(0)
    assert await caller.ask({"id": 3, "call": "x"}) == {"id": 3, "ok": "x"}
    report = next(call for call in calls.heard if call.name == "report")
    assert ([point for piece in report.metrics for point in piece], report.fields) == (metrics, {"seq": 5})


async def test_a_payload_is_as_large_as_it_is_in_utf_8(caller: Caller, calls: Answering) -> None:
    text = "ж" * 300_000
    await caller.ask({"id": 1, "call": "start_job", "payload": {"text": text}})
    payload = calls.heard[-1].payload
    assert payload is not None
    assert len(payload) == len('{"text":""}') + 600_000
    assert json.loads(payload) == {"text": text}


async def test_more_metrics_than_a_report_may_have_are_refused_before_they_are_looked_at(
    caller: Caller, calls: Answering
) -> None:
    metrics = [["a", 1, 1]] * (MOST_VALUES + 1)
    answer = await caller.ask({"id": 5, "call": "report", "seq": 1, "metrics": metrics})
    assert (answer["id"], answer["error"]["code"]) == (5, "bad_call")
    assert calls.names == ["hello"]


@pytest.mark.parametrize(
    "size",
    [10, pytest.param(3000, marks=pytest.mark.slow), pytest.param(100_000, marks=pytest.mark.slow)],
    ids=["small", "middling", "large"],
)
async def test_a_call_of_very_many_values_beside_its_payload_is_refused(
    caller: Caller, calls: Answering, size: int
) -> None:
    answer = await caller.ask(b'{"id":5,"call":"x","a":[' + b"[]," * 20_000 + b"[]]}\n")
    assert (answer["id"], answer["error"]["code"]) == (5, "bad_call")
    text = {"id": 6, "call": "x", "a": {"text": "x" * size, "many": [None] * 1900}}
    assert await caller.ask(text) == {"id": 6, "ok": "x"}
    assert calls.heard[-1].fields == {"a": text["a"]}


@pytest.mark.parametrize(
    "metric", ["[[]]", "[" + "[]," * 400_000 + "[]]", '["loss",{"a":1},1]', '["loss",1e999,1]', '["loss",1]']
)
async def test_a_report_with_something_that_is_no_metric_is_refused_whole(
    caller: Caller, calls: Answering, metric: str
) -> None:
    line = f'{{"id":5,"call":"report","seq":1,"metrics":[["loss",1,1],{metric}]}}\n'
    answer = await caller.ask(line.encode())
    assert (answer["id"], answer["error"]["code"]) == (5, "bad_call")
    assert calls.names == ["hello"]


@pytest.mark.slow
async def test_who_asks_again_and_again_is_held_back(caller: Caller, calls: Answering) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    await caller.send(*[{"id": number, "call": "get_job_status"} for number in range(150)])
    assert [(await caller.next())["id"] for _ in range(150)] == list(range(150))
    assert loop.time() - began > 0.9  # four lines each: 200 above the burst


# what is none of it


@pytest.mark.parametrize(
    "line",
    [
        b"1",
        b"[]",
        b"null",
        b"{}",
        b'{"id":1.5,"call":"x"}',
        b'{"id":true,"call":"x"}',
        b'{"id":null,"call":"x"}',
        b'{"id":{},"call":"x"}',
        b'{"id":"' + b"i" * 65 + b'","call":"x"}',
        b'{"id":99999999999999999999,"call":"x"}',
    ],
)
async def test_what_is_no_request_is_answered_and_the_next_line_is_heard(caller: Caller, line: bytes) -> None:
    answer = await caller.ask(line + b"\n")
    assert (answer["id"], answer["error"]["code"]) == (None, "bad_call")
    assert await caller.ask({"id": 1, "call": "x"}) == {"id": 1, "ok": "x"}


@pytest.mark.parametrize(
    "line",
    [
        b'{"id":5}',
        b'{"id":5,"call":7}',
        b'{"id":5,"call":""}',
        b'{"id":5,"call":"x","metrics":{"a":1}}',
        b'{"id":5,"call":"x","a":1e999}',
        b'{"id":5,"call":"x","payload":{"a":-1e999}}',
        b'{"id":5,"call":"x","payload":{"a":"\\ud800"}}',
    ],
)
async def test_a_request_that_lacks_something_or_holds_what_others_can_not_read_is_told_so_by_its_id(
    caller: Caller, line: bytes
) -> None:
    answer = await caller.ask(line + b"\n")
    assert (answer["id"], answer["error"]["code"]) == (5, "bad_call")


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"GET / HTTP/1.1",
        b"\xff\xfe",
        b'{"id":1,"call":"x","a":NaN}',
        b'{"id":1,"call":"x","a":Infinity}',
        b'{"id":1,"call":"x"',
        b'{"id":1,"call":"x","a":' + b"9" * 5000 + b"}",
        b'{"id":1,"call":"x","a":' + b"[" * 60_000 + b"]" * 1 + b"}",
        b'{"id":1,"call":"x","a":' + b'{"a":' * 300_000 + b"1}",
        b"\0" * 100_000,
    ],
)
async def test_a_line_that_is_no_json_ends_its_connection_and_no_other(
    caller: Caller, place: Path, line: bytes
) -> None:
    answers = await after(caller, line + b"\n")
    assert [(answer["id"], answer["error"]["code"]) for answer in answers] == [(None, "bad_call")]
    async with Caller(place / JOB) as other:
        assert await other.ask(HELLO) == {"id": 0, "ok": "hello"}


async def after(caller: Caller, *messages: bytes) -> list[Any]:
    with suppress(ConnectionError):
        await caller.send(*messages)
    return await caller.rest()


async def test_a_line_without_end_is_cut_off(caller: Caller, calls: Answering) -> None:
    answers = await after(caller, *[b'{"id":1,"call":"' + b"x" * (1 << 20)] * 4)
    assert [answer["error"]["code"] for answer in answers] == ["bad_call"]
    assert calls.names == ["hello"]


async def test_the_first_call_is_hello(made: UnixJobSockets, place: Path, calls: Answering) -> None:
    await made.open(JOB, calls)
    async with Caller(place / JOB) as caller:
        answers = await after(caller, b'{"id":7,"call":"start_job"}\n')
    assert [(answer["id"], answer["error"]["code"]) for answer in answers] == [(7, "bad_call")]
    assert calls.heard == []


@pytest.mark.parametrize(
    "said",
    [
        {"status": "succeeded", "bytes": 100 << 20},
        {"status": "succeeded"},
        {"status": "failed", "bytes": 5},
        {},
    ],
)
async def test_a_finish_that_can_not_be_followed_ends_its_connection(
    caller: Caller, calls: Answering, said: dict[str, object]
) -> None:
    with suppress(ConnectionError):
        await caller.send({"id": 1, "call": "finish", **said}, b"x" * 1_000_000)
    assert [answer["error"]["code"] for answer in await caller.rest()] == ["bad_call"]
    assert calls.finished == []


async def test_who_connects_and_says_nothing_keeps_no_place(
    made: UnixJobSockets, place: Path, calls: Answering, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.adapters.jobsocket.connection.HELLO_SECONDS", 0.05)
    await made.open(JOB, calls)
    async with Caller(place / JOB) as silent:
        assert await silent.rest() == []


# its end


async def test_what_was_sent_before_the_end_is_taken_and_nothing_after(
    made: UnixJobSockets, caller: Caller, calls: Answering
) -> None:
    result = b"1" * (8 << 20)
    caller.writer.write(b'{"id":1,"call":"finish","status":"succeeded","bytes":%d}\n' % len(result) + result)
    caller.writer.write_eof()
    closing = asyncio.ensure_future(made.close(JOB))
    await caller.writer.drain()
    await closing
    assert [(finish.status, len(taken)) for finish, taken in calls.finished] == [("succeeded", len(result))]


async def test_who_holds_the_connection_beyond_its_end_is_cut_off(
    made: UnixJobSockets, caller: Caller, calls: Answering, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "LAST_SECONDS", 0.05)
    calls.held.clear()
    await caller.send({"id": 1, "call": "x"})
    await made.close(JOB)
    assert await caller.rest() == []


async def test_the_child_that_reads_large_lines_does_not_outlive_us_and_is_replaced_when_it_dies(
    caller: Caller, made: UnixJobSockets, place: Path, calls: Answering
) -> None:
    big = {"id": 1, "call": "start_job", "payload": ["x" * 100] * 1000}
    assert await caller.ask(big) == {"id": 1, "ok": "start_job"}
    child = made._lines.large.child
    assert child is not None
    child.kill()
    await child.wait()
    # The one line that it was to read is lost with it: the SDK sends it again, on a new connection.
    assert [answer["error"]["code"] for answer in await after(caller, json_line(big))] == ["bad_call"]
    async with Caller(place / JOB) as again:
        await again.ask(HELLO)
        assert await again.ask(big) == {"id": 1, "ok": "start_job"}


def json_line(value: object) -> bytes:
    return json.dumps(value).encode() + b"\n"


async def test_without_a_child_lines_of_some_kilobytes_are_read_all_the_same() -> None:
    reader = LineReader(("false",))
    middling = await reader.read(b'{"id":1,"call":"x","a":"' + b"y" * 10_000 + b'"}')
    assert isinstance(middling, Request)
    assert (middling.id, len(str(middling.call.fields["a"]))) == (1, 10_000)
    assert isinstance(await reader.read(b'{"id":1,"call":"x","a":"' + b"y" * 100_000 + b'"}'), NoRequest)
    await reader.close()


def test_the_child_ends_with_its_stdin() -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "agent.adapters.jobsocket.child"], input=b"", timeout=20, check=True
    )
    assert done.returncode == 0
