"""Bodies both ways: as they come, of any size, in constant memory, and cut where they break off."""

import asyncio
import tracemalloc
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from tests.shell.api_world import LONG, until
from tests.shell.proxy_world import OK, ProxyWorld, body_of, header_of, proxy_world, status_of

MIB = 1 << 20


async def read_until(reader: asyncio.StreamReader, mark: bytes) -> bytes:
    async with asyncio.timeout(5):
        return await reader.readuntil(mark)


async def count_of_piece(reader: asyncio.StreamReader) -> int:
    """How many bytes came next. Raises IncompleteReadError where none do: who counts up to a size would never end."""
    piece = await reader.read(MIB)
    if not piece:
        raise asyncio.IncompleteReadError(b"", MIB)
    return len(piece)


def head(world: ProxyWorld, method: str = "GET", *lines: str) -> bytes:
    return "\r\n".join(
        [f"{method} {world.base}/ HTTP/1.1", "Host: agent", world.bearer, *lines, "", ""]
    ).encode()


@pytest.mark.parametrize(
    ("raw", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello and more", b"hello"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nhe\r\n3\r\nllo\r\n0\r\nA: b\r\n\r\nmore", b"5\r\nhello\r\n0\r\n\r\n"),
        (b"HTTP/1.0 200 OK\r\n\r\nhello", b"5\r\nhello\r\n0\r\n\r\n"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
        (b"HTTP/1.1 204 No Content\r\n\r\nmore", b""),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nETag: x\r\n\r\n", b""),
    ],
)  # fmt: skip
async def test_a_body_however_it_is_framed_is_framed_anew(tmp_path: Path, raw: bytes, body: bytes) -> None:
    async with proxy_world(tmp_path) as world:
        world.side.answers(raw)
        assert body_of(await world.ask()) == body


async def test_an_old_client_gets_a_body_without_chunks(tmp_path: Path) -> None:
    async with proxy_world(tmp_path) as world:
        world.side.answers(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
        answer = await world.raw(head(world).replace(b"HTTP/1.1", b"HTTP/1.0"))
        assert (header_of(answer, "transfer-encoding"), body_of(answer)) == ([], b"hello")


async def test_head_has_the_length_of_a_get_and_no_body(tmp_path: Path) -> None:
    async with proxy_world(tmp_path) as world:
        world.side.answers(b"HTTP/1.1 200 OK\r\nContent-Length: 5000000000\r\n\r\n")
        answer = await world.ask("/", "HEAD")
        assert (header_of(answer, "content-length"), body_of(answer)) == (["5000000000"], b"")
        assert world.side.heads[0].startswith(b"HEAD / ")


async def test_ranges_are_the_jobs_to_answer(tmp_path: Path) -> None:
    async with proxy_world(tmp_path) as world:
        world.side.answers(
            b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 1-2/9\r\nContent-Length: 2\r\n\r\nel"
        )
        answer = await world.ask("/", "GET", "Range: bytes=1-2", "If-Range: x")
        assert (status_of(answer), header_of(answer, "content-range"), body_of(answer)) == (
            206,
            ["bytes 1-2/9"],
            b"el",
        )
        assert (world.side.header("range"), world.side.header("if-range")) == (["bytes=1-2"], ["x"])


async def test_server_sent_events_come_one_by_one_as_the_job_sends_them(tmp_path: Path) -> None:
    async with proxy_world(tmp_path) as world:
        told: asyncio.Queue[bytes] = asyncio.Queue()

        async def events(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
            while data := await told.get():
                writer.write(data)
                await writer.drain()

        world.side.script = events
        reader, writer = await world.connect()
        writer.write(head(world))
        assert b"text/event-stream" in await read_until(reader, b"\r\n\r\n")
        for number in range(3):
            await told.put(b"data: %d\n\n" % number)
            assert b"data: %d" % number in await read_until(reader, b"\n\n")
        await told.put(b"")
        assert (await read_until(reader, b"0\r\n\r\n")).endswith(b"0\r\n\r\n")
        writer.close()


async def test_two_requests_of_one_connection_are_two_of_the_jobs(tmp_path: Path) -> None:
    async with proxy_world(tmp_path) as world:
        world.side.answers(OK + b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhidden")
        answers = await world.raw(head(world) + head(world, "GET", "Connection: close"))
        assert answers.count(b"HTTP/1.1 200 OK") == len(world.side.heads) == 2
        assert b"hidden" not in answers


async def test_a_chunked_request_is_passed_on_as_it_comes(tmp_path: Path) -> None:
    async with proxy_world(tmp_path) as world:
        came: asyncio.Queue[bytes] = asyncio.Queue()

        async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            for _ in range(2):
                await came.put(await reader.readexactly(6))
            assert await reader.readexactly(5) == b"0\r\n\r\n"
            writer.write(OK)

        world.side.script = take
        reader, writer = await world.connect()
        writer.write(head(world, "POST", "Transfer-Encoding: chunked"))
        for sent in (b"1\r\na\r\n", b"1;x=y\r\nb\r\n"):
            writer.write(sent)
            async with asyncio.timeout(5):
                assert await came.get() in {b"1\r\na\r\n", b"1\r\nb\r\n"}
        writer.write(b"0\r\nTrailer: x\r\n\r\n")
        assert b"200 OK" in await read_until(reader, b"\r\n\r\n")
        assert world.side.header("transfer-encoding") == ["chunked"]
        writer.close()


async def test_a_client_that_waits_to_be_asked_for_its_body_is_asked_when_the_job_is_there(
    tmp_path: Path,
) -> None:
    async with proxy_world(tmp_path) as world:

        async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            assert await reader.readexactly(4) == b"body"
            writer.write(OK)

        world.side.script = take
        reader, writer = await world.connect()
        writer.write(head(world, "PUT", "Content-Length: 4", "Expect: 100-continue"))
        assert await read_until(reader, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"body")
        assert (await read_until(reader, b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK\r\n")
        assert world.side.header("expect") == []
        writer.close()


async def test_a_client_that_was_asked_for_its_body_is_told_of_what_goes_wrong_then(tmp_path: Path) -> None:
    async with proxy_world(tmp_path) as world:

        async def hang_up(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
            await reader.readexactly(4)

        world.side.script = hang_up
        reader, writer = await world.connect()
        writer.write(head(world, "PUT", "Content-Length: 4", "Expect: 100-continue"))
        await read_until(reader, b"\r\n\r\n")
        writer.write(b"body")
        assert status_of(await read_until(reader, b"\r\n\r\n")) == 502
        writer.close()


@pytest.mark.parametrize(("port", "expect", "status"), [("none", "100-continue", 404), ("web", "tea", 417)])
async def test_a_client_that_waits_is_not_asked_where_the_request_is_refused(
    tmp_path: Path, port: str, expect: str, status: int
) -> None:
    async with proxy_world(tmp_path) as world:
        reader, writer = await world.connect()
        request = head(world, "PUT", "Content-Length: 4", f"Expect: {expect}")
        writer.write(request.replace(b"/web/", f"/{port}/".encode()))
        assert status_of(await read_until(reader, b"\r\n\r\n")) == status
        writer.transport.abort()


async def test_an_early_answer_reaches_a_client_that_still_sends(tmp_path: Path) -> None:
    async with proxy_world(tmp_path) as world:
        world.side.answers(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nno!")
        reader, writer = await world.connect()
        writer.write(head(world, "POST", "Content-Length: 1000000000") + b"x" * 1000)
        answer = await read_until(reader, b"no!")
        assert status_of(answer) == 413
        writer.close()


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nxyz\r\n",
    ],
)
async def test_an_answer_that_breaks_off_is_never_shown_as_a_whole_one(tmp_path: Path, raw: bytes) -> None:
    async with proxy_world(tmp_path) as world:
        world.side.answers(raw)
        answer = await world.ask()
        assert status_of(answer) == 200
        assert not answer.endswith(b"0\r\n\r\n")
        assert b"9" not in header_of(answer, "content-length") or len(body_of(answer)) < 9


async def test_a_request_that_breaks_off_is_never_shown_to_the_job_as_a_whole_one(tmp_path: Path) -> None:
    async with proxy_world(tmp_path) as world:
        got = take_all(world)
        _, writer = await world.connect()
        writer.write(head(world, "POST", "Transfer-Encoding: chunked") + b"10\r\nhalf")
        await until(lambda: bool(world.side.heads))
        writer.transport.abort()
        await until(lambda: bool(got) or bool(world.side.errors))
        assert not got or b"0\r\n\r\n" not in got[0]


async def test_a_body_that_is_not_well_formed_breaks_off_at_once(tmp_path: Path) -> None:
    async with proxy_world(tmp_path) as world:
        got = take_all(world)
        reader, writer = await world.connect()
        writer.write(head(world, "POST", "Transfer-Encoding: chunked") + b"4\r\nha")
        await until(lambda: bool(world.side.heads))
        writer.write(b"lfX")
        assert status_of(await read_until(reader, b"\r\n\r\n")) == 400
        writer.close()
        await until(lambda: bool(got) or bool(world.side.errors))
        assert not got or b"0\r\n\r\n" not in got[0]


async def test_a_whole_body_that_waits_for_the_job_is_not_broken_by_the_next_request(tmp_path: Path) -> None:
    async with proxy_world(tmp_path) as world:
        goes_on = asyncio.Event()
        taken: list[bytes] = []

        async def take_late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await goes_on.wait()
            if not taken:
                taken.append(await reader.readexactly(1000))
            writer.write(OK)

        world.side.script = take_late
        _, writer = await world.connect()
        writer.write(
            head(world, "POST", "Content-Length: 1000")
            + b"x" * 1000
            + head(world, "GET", "Connection: close")
        )
        await until(lambda: bool(world.side.heads))
        goes_on.set()
        await until(lambda: len(world.side.heads) == 2)
        assert taken == [b"x" * 1000]
        writer.close()


def take_all(world: ProxyWorld) -> list[bytes]:
    """The job reads until the end, and answers nothing."""
    got: list[bytes] = []

    async def take(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        got.append(await reader.read())

    world.side.script = take
    return got


async def test_a_client_that_leaves_takes_its_request_to_the_job_with_it(tmp_path: Path) -> None:
    async with proxy_world(tmp_path) as world:
        ended = asyncio.Event()

        async def wait(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
            await reader.read()
            ended.set()

        world.side.script = wait
        _, writer = await world.connect()
        writer.write(head(world))
        await until(lambda: bool(world.side.heads))
        writer.close()
        async with asyncio.timeout(5):
            await ended.wait()


async def test_a_slow_client_slows_the_job_down_and_holds_nothing_in_memory(tmp_path: Path) -> None:
    async with proxy_world(tmp_path) as world:
        sent = 0

        async def flood(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal sent
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (256 * MIB))
            for _ in range(256):
                writer.write(bytes(MIB))
                await writer.drain()
                sent += MIB

        world.side.script = flood
        reader, writer = await world.connect()
        writer.write(head(world))
        await read_until(reader, b"\r\n\r\n")
        before = -1
        while before != sent:  # until nothing moves any more: what is in flight are the kernel's buffers
            before = sent
            await asyncio.sleep(0.3)
        assert sent < 64 * MIB
        writer.transport.abort()


async def test_a_slow_job_slows_the_client_down(tmp_path: Path) -> None:
    async with proxy_world(tmp_path) as world:
        held = asyncio.Event()

        async def take_nothing(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
            await held.wait()

        world.side.script = take_nothing
        _, writer = await world.connect()
        writer.write(head(world, "POST", f"Content-Length: {256 * MIB}"))
        sent = 0
        with suppress(TimeoutError):
            while sent < 256 * MIB:
                writer.write(bytes(MIB))
                async with asyncio.timeout(0.5):
                    await writer.drain()
                sent += MIB
        assert sent < 64 * MIB
        writer.transport.abort()
        held.set()


@pytest.mark.slow
async def test_a_body_may_take_longer_than_a_head(tmp_path: Path) -> None:
    """Its second piece is read before aiohttp's handler has had its first turn, and is no head of a next request."""
    limits = replace(LONG, header_seconds=0.2)
    async with proxy_world(tmp_path, limits=limits) as world:

        async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readexactly(MIB + 1)
            writer.write(OK)

        world.side.script = take
        reader, writer = await world.connect()
        writer.write(head(world, "POST", f"Content-Length: {MIB + 1}") + bytes(MIB))
        await asyncio.sleep(3 * limits.header_seconds)
        writer.write(b"x")
        assert b"200 OK" in await read_until(reader, b"\r\n\r\n")
        writer.close()


async def test_a_gigabyte_each_way_needs_a_few_megabytes(tmp_path: Path) -> None:
    async with proxy_world(tmp_path) as world:
        size = 512 * MIB
        took = 0

        async def swallow_and_flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal took
            while took < size:
                took += await count_of_piece(reader)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
            for _ in range(size // MIB):
                writer.write(bytes(MIB))
                await writer.drain()

        world.side.script = swallow_and_flood
        reader, writer = await world.connect()
        tracemalloc.start()
        writer.write(head(world, "POST", f"Content-Length: {size}"))
        for _ in range(size // MIB):
            writer.write(bytes(MIB))
            await writer.drain()
        await read_until(reader, b"\r\n\r\n")
        count = 0
        while count < size:
            count += await count_of_piece(reader)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        writer.close()
        # The client and the job of this test hold two or three pieces of a MiB themselves.
        assert (took, count, peak < 24 * MIB) == (size, size, True), peak


async def test_a_reader_that_takes_nothing_is_cut(tmp_path: Path) -> None:
    async with proxy_world(tmp_path, limits=replace(LONG, stream_seconds=0.2)) as world:
        cut = asyncio.Event()

        async def flood(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            try:
                while True:
                    writer.write(bytes(MIB))
                    await writer.drain()
            except OSError:
                cut.set()

        world.side.script = flood
        _, writer = await world.connect()
        writer.write(head(world))
        async with asyncio.timeout(10):
            await cut.wait()
        writer.transport.abort()
