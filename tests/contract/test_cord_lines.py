"""The promises of interfaces.CordLine, for a connection of a real socket and for its twin in memory; then what only a socket has to bear."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from struct import pack
from typing import Any

import pytest

from agent.adapters.jobsocket.pace import BYTES_OF_A_READ, CORD_BYTES_A_SECOND, CORD_BYTES_AT_ONCE
from agent.adapters.jobsocket.sockets import MOST_CONNECTIONS
from agent.core.cord_answer import (
    MOST_HEAD_BYTES,
    BadCordAnswerError,
    CordFault,
    CordFaultKind,
    CordHead,
)
from agent.interfaces.cord_line import CordLine, CordLineBrokenError
from agent.interfaces.job_socket import CallFault, CallRefusedError
from tests.contract.job_caller import HELLO, Answering, Caller
from tests.contract.test_job_sockets import JOB, opened
from tests.fakes.cord_lines import Author, FakeCordLine, Said, stream, whole

SERVE = {"id": 1, "call": "serve", "pid": 1}
REQUEST = b'{"cord":0}'
Make = Callable[[Author], Awaitable[CordLine]]


def bytes_of(said: Said) -> bytes:
    """As a launcher writes it. A stream that breaks off has no last frame."""
    head = said.head
    if isinstance(head, CordFault):
        error = {"kind": head.kind, "type": head.type, "message": head.message}
        return json.dumps({"error": error}).encode() + b"\n"
    fields: dict[str, Any] = {"status": head.status, "content_type": head.content_type, "headers": {}}
    fields |= {"stream": True} if head.size is None else {"stream": False, "bytes": head.size}
    pieces = [piece for piece in said.pieces if piece is not None]
    if head.size is None:
        pieces = [pack(">I", len(piece)) + piece for piece in pieces]
        pieces += [] if None in said.pieces else [pack(">I", 0)]
    return json.dumps(fields).encode() + b"\n" + b"".join(pieces)


async def launch(caller: Caller, author: Author) -> None:
    """A launcher's end of one line, until it is closed."""
    with suppress(ConnectionError, asyncio.IncompleteReadError):
        while line := await caller.reader.readline():
            said = await author(json.loads(line))
            caller.writer.write(bytes_of(said))
            await caller.writer.drain()
            if None in said.pieces:
                caller.writer.close()
                return


@asynccontextmanager
async def serving(place: Path, lines: int = 2) -> AsyncIterator[tuple[Answering, Path]]:
    (place / JOB).mkdir(exist_ok=True)
    calls = Answering()
    calls.lines = lines
    async with opened(place) as made:
        await made.open(JOB, calls)
        yield calls, place / JOB


@pytest.fixture(params=["memory", "socket"])
async def make(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Make]:
    if request.param == "memory":

        async def in_memory(author: Author) -> CordLine:
            line = FakeCordLine(author)
            line.welcome()
            return line

        yield in_memory
        return
    launchers: list[asyncio.Task[None]] = []
    async with serving(tmp_path) as (calls, folder), AsyncExitStack() as stack:

        async def connected(author: Author) -> CordLine:
            caller = await stack.enter_async_context(Caller(folder))
            assert await caller.ask(SERVE) == {"id": 1, "ok": None}
            launchers.append(asyncio.get_running_loop().create_task(launch(caller, author)))
            return await calls.served.get()

        yield connected
        for launcher in launchers:
            launcher.cancel()
            await asyncio.wait({launcher})


def always(said: Said) -> Author:
    async def answer(_request: dict[str, Any]) -> Said:
        return said

    return answer


async def never(_request: dict[str, Any]) -> Said:
    await asyncio.Event().wait()
    raise AssertionError


def takes_calls(line: CordLine) -> bool:
    return line.is_open


async def read_all(line: CordLine) -> bytes:
    return b"".join([piece async for piece in line.body()])


# both


async def test_an_answer_comes_whole_and_the_line_takes_the_next_call(make: Make) -> None:
    line = await make(always(whole({"a": 1})))
    for _ in range(3):
        assert takes_calls(line)
        assert await line.call(REQUEST) == CordHead(200, "application/json", (), 8)
        assert not takes_calls(line)
        assert await read_all(line) == b'{"a": 1}'
    assert takes_calls(line)


async def test_a_stream_comes_piece_after_piece_to_its_end(make: Make) -> None:
    line = await make(always(stream(b"one", b"two" * 20_000)))
    for _ in range(2):
        head = await line.call(REQUEST)
        assert (isinstance(head, CordHead) and head.size) is None
        assert await read_all(line) == b"one" + b"two" * 20_000
    assert line.is_open


async def test_an_error_has_nothing_behind_it(make: Make) -> None:
    fault = CordFault(CordFaultKind.RAISED, "ValueError", "no")
    line = await make(always(Said(fault)))
    assert [await line.call(REQUEST) for _ in range(2)] == [fault, fault]
    assert line.is_open


async def test_an_empty_answer_is_over_with_its_head(make: Make) -> None:
    line = await make(always(Said(CordHead(200, "application/octet-stream", (), 0))))
    await line.call(REQUEST)
    assert line.is_open
    assert await read_all(line) == b""


async def test_the_launcher_gets_the_request_as_it_is(make: Make) -> None:
    heard: list[dict[str, Any]] = []

    async def author(request: dict[str, Any]) -> Said:
        heard.append(request)
        return whole(None)

    line = await make(author)
    await line.call(json.dumps({"body": "x" * 1_000_000}).encode())
    # An answer that nobody reads is waited for at the socket's end.
    assert await read_all(line) == b"null"
    assert heard == [{"body": "x" * 1_000_000}]


async def test_a_stream_that_breaks_off_is_told_from_one_that_ends(make: Make) -> None:
    line = await make(always(stream(b"one", None)))
    await line.call(REQUEST)
    with pytest.raises(CordLineBrokenError):
        await read_all(line)
    async with asyncio.timeout(10):
        await line.wait_closed()


async def test_a_line_that_is_closed_takes_no_call(make: Make) -> None:
    line = await make(always(whole(1)))
    line.close()
    line.close()
    assert not line.is_open
    async with asyncio.timeout(10):
        await line.wait_closed()
    with pytest.raises(CordLineBrokenError):
        await line.call(REQUEST)


async def test_a_call_that_is_given_up_ends_with_the_line(make: Make) -> None:
    line = await make(never)
    calling = asyncio.get_running_loop().create_task(line.call(REQUEST))
    await asyncio.sleep(0)
    line.close()
    with pytest.raises(CordLineBrokenError):
        async with asyncio.timeout(10):
            await calling


# the socket


@asynccontextmanager
async def raw(place: Path) -> AsyncIterator[tuple[CordLine, Caller]]:
    """A line, and a launcher that a test writes for byte by byte."""
    async with serving(place) as (calls, folder), Caller(folder) as caller:
        assert await caller.ask(SERVE) == {"id": 1, "ok": None}
        yield await calls.served.get(), caller


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        (b"x" * (MOST_HEAD_BYTES + 2), BadCordAnswerError),
        (b"\n", BadCordAnswerError),
        (b"null\n", BadCordAnswerError),
        (b'{"status":200}\n', BadCordAnswerError),
        (b'{"status":200,"content_type":"a/b","bytes":9000000}\n', BadCordAnswerError),
        (b'{"error":{"kind":"other"}}\n', BadCordAnswerError),
        (b'{"status":101,"content_type":"a/b","bytes":0}\n', BadCordAnswerError),
        (b'{"status":200,"content_type":"a/b"', CordLineBrokenError),
        (b"", CordLineBrokenError),
    ],
)
async def test_an_answer_that_is_none_ends_its_call_and_the_line(
    tmp_path: Path, sent: bytes, error: type[Exception]
) -> None:
    async with raw(tmp_path) as (line, caller):
        calling = asyncio.get_running_loop().create_task(line.call(REQUEST))
        assert await caller.next() == {"cord": 0}
        await caller.send(sent)
        if error is CordLineBrokenError:
            caller.writer.close()
        with pytest.raises(error):
            async with asyncio.timeout(10):
                await calling
        assert not line.is_open
        await line.wait_closed()


@pytest.mark.parametrize(
    "sent",
    [pack(">I", 70_000), pack(">I", 2) + b"ab" + pack(">I", 0) + b"x"],
    ids=["too_large", "more_than_all"],
)
async def test_frames_that_are_none_end_the_line(tmp_path: Path, sent: bytes) -> None:
    async with raw(tmp_path) as (line, caller):
        calling = asyncio.get_running_loop().create_task(line.call(REQUEST))
        await caller.next()
        await caller.send(b'{"status":200,"content_type":"a/b","stream":true}\n' + sent)
        await calling
        with pytest.raises(BadCordAnswerError):
            await read_all(line)
        assert not line.is_open


async def test_what_follows_a_whole_answer_ends_the_line_and_not_the_answer(tmp_path: Path) -> None:
    async with raw(tmp_path) as (line, caller):
        calling = asyncio.get_running_loop().create_task(line.call(REQUEST))
        await caller.next()
        await caller.send(b'{"status":200,"content_type":"a/b","bytes":2}\nokmore')
        await calling
        assert await read_all(line) == b"ok"
        assert not line.is_open


async def test_whoever_speaks_without_being_asked_is_closed(tmp_path: Path) -> None:
    async with raw(tmp_path) as (line, caller):
        await caller.send(b"x")
        async with asyncio.timeout(10):
            await line.wait_closed()


async def test_a_launcher_that_leaves_between_calls_is_noticed(tmp_path: Path) -> None:
    async with raw(tmp_path) as (line, caller):
        caller.writer.close()
        async with asyncio.timeout(10):
            await line.wait_closed()


async def test_a_closed_line_is_seen_by_its_launcher(tmp_path: Path) -> None:
    async with raw(tmp_path) as (line, caller):
        line.close()
        assert await caller.next() is None


async def test_who_may_not_serve_is_told_why_and_closed(tmp_path: Path) -> None:
    async with serving(tmp_path) as (calls, folder):
        calls.refuse.add("serve")
        async with Caller(folder) as caller:
            assert (await caller.ask(SERVE))["error"]["code"] == "unavailable"
            assert await caller.next() is None


async def test_a_line_that_is_refused_once_it_is_welcome_is_closed_and_is_no_defect(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    class Late(Answering):
        async def serve(self, line: CordLine) -> None:
            line.welcome()
            raise CallRefusedError(CallFault.UNAVAILABLE, "the job is to end")

    (tmp_path / JOB).mkdir()
    calls = Late()
    calls.lines = 1
    async with opened(tmp_path) as made:
        await made.open(JOB, calls)
        async with Caller(tmp_path / JOB) as caller:
            assert await caller.ask(SERVE) == {"id": 1, "ok": None}
            assert await caller.next() is None
    assert "connection_broke" not in caplog.text + capsys.readouterr().out


async def test_serve_is_no_call_behind_hello(tmp_path: Path) -> None:
    async with serving(tmp_path) as (_calls, folder), Caller(folder) as caller:
        await caller.ask(HELLO)
        assert await caller.ask(SERVE) == {"id": 1, "ok": "serve"}, (
            "answered as any other, and turned round by none"
        )


async def test_lines_leave_their_job_its_own_connections(tmp_path: Path) -> None:
    async with serving(tmp_path, lines=8) as (calls, folder), AsyncExitStack() as stack:
        callers = [await stack.enter_async_context(Caller(folder)) for _ in range(8 + MOST_CONNECTIONS)]
        for caller in callers[:8]:
            assert await caller.ask(SERVE) == {"id": 1, "ok": None}
        for caller in callers[8:]:
            assert await caller.ask(HELLO) == {"id": 0, "ok": "hello"}
        assert calls.served.qsize() == 8


async def test_frames_of_a_byte_each_keep_the_loop_from_nobody(tmp_path: Path) -> None:
    async with raw(tmp_path) as (line, caller):
        calling = asyncio.get_running_loop().create_task(line.call(REQUEST))
        await caller.next()
        sent = pack(">I", 1) + b"x"
        await caller.send(b'{"status":200,"content_type":"a/b","stream":true}\n')
        await calling
        longest, count = 0.0, 0

        async def flood() -> None:
            for _ in range(40):
                await caller.send(sent * 5_000)
            await caller.send(pack(">I", 0))

        flooding = asyncio.get_running_loop().create_task(flood())
        before = time.thread_time()
        async for piece in line.body():
            longest, count = max(longest, time.thread_time() - before), count + len(piece)
            await asyncio.sleep(0)
            before = time.thread_time()
        await flooding
        assert count == 200_000
        assert longest < 0.1


async def test_an_answer_that_comes_byte_by_byte_is_read_in_larger_pieces(tmp_path: Path) -> None:
    size = 30_000
    async with raw(tmp_path) as (line, caller):
        calling = asyncio.get_running_loop().create_task(line.call(REQUEST))
        await caller.next()

        async def flood() -> None:
            await caller.send(b'{"status":200,"content_type":"a/b","bytes":30000}\n')
            await calling
            for _ in range(size):
                await caller.send(b"x")
                await asyncio.sleep(0)

        began = asyncio.get_running_loop().time()
        flooding = asyncio.get_running_loop().create_task(flood())
        await calling
        pieces = [len(piece) async for piece in line.body()]
        await flooding
    seconds = asyncio.get_running_loop().time() - began
    assert sum(pieces) == size
    # Few more: what was overdrawn by the last one.
    most = (CORD_BYTES_AT_ONCE + seconds * CORD_BYTES_A_SECOND) / BYTES_OF_A_READ + 2
    assert len(pieces) <= most < size
